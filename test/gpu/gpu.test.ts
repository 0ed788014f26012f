import { expect, test } from 'vitest'
import { isSoftware, parseCards, parseLibraries } from '../../tools/gpu/machine.js'
import { type GpuReport, hasFailed, reportText } from '../../tools/gpu/report.js'

test('cards > are read from nvidia-smi', () => {
  expect(parseCards('NVIDIA H100 80GB HBM3, 550.54.15, 81559 MiB, 9.0\n')).toEqual([
    { name: 'NVIDIA H100 80GB HBM3', driver: '550.54.15', memory: '81559 MiB', capability: '9.0' },
  ])
  expect(parseCards('')).toEqual([])
})

test('libraries of CUDA > are read from ldd, with those that are missing', () => {
  const text = `\tlinux-vdso.so.1 (0x00007ffd)
\tlibcublasLt.so.13 => not found
\tlibcudart.so.13 => /usr/local/cuda/lib64/libcudart.so.13 (0x00007f00)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f01)\n`
  expect(parseLibraries(text)).toEqual([
    { name: 'libcublasLt.so.13', path: null },
    { name: 'libcudart.so.13', path: '/usr/local/cuda/lib64/libcudart.so.13' },
  ])
})

test('software drivers > are recognized', () => {
  expect(isSoftware('/usr/lib/chromium/vk_swiftshader_icd.json', '{}')).toBe(true)
  expect(isSoftware('/usr/share/vulkan/icd.d/x.json', '{"ICD": {"library_path": "libvulkan_lvp.so"}}')).toBe(true)
  expect(isSoftware('/usr/share/vulkan/icd.d/nvidia_icd.json', '{"ICD": {"library_path": "libGLX_nvidia.so.0"}}')).toBe(
    false,
  )
})

const report = (models: { loss: number; parameters: number }[], failed: string[] = []): GpuReport => ({
  date: '2026-01-01',
  command: 'npm run check:gpu',
  cuda: { cards: [], libraries: [], missing: ['no NVIDIA card'] },
  vulkan: [{ file: 'a.json', software: true }],
  devices: [
    {
      device: 'webgpu',
      tests: { command: 'npx vitest run', passed: 3, failed, skipped: 0 },
      agreement: {
        runtime: 'onnxruntime',
        models: models.map((each) => ({ model: 'MLP', steps: 50, cpu: 1, device: 2, ...each })),
      },
    },
  ],
})

test('report > fails if a test fails, a loss or parameter differs, or a part could not run', () => {
  expect(hasFailed(report([{ loss: 1e-5, parameters: 1e-4 }]))).toBe(false)
  expect(hasFailed(report([{ loss: 1e-5, parameters: 1e-4 }], ['a']))).toBe(true)
  expect(hasFailed(report([{ loss: Number.NaN, parameters: 1e-4 }]))).toBe(true)
  expect(hasFailed(report([{ loss: 1e-5, parameters: 0.1 }]))).toBe(true)
  expect(hasFailed({ ...report([]), devices: [{ device: 'cuda', agreement: 'It ended with SIGSEGV' }] })).toBe(true)
  const text = reportText(report([{ loss: 1, parameters: 0 }], ['test/a: wrong']))
  for (const part of ['no NVIDIA card', 'computes on the CPU', '3 passed, 1 failed', 'test/a: wrong', 'DIFFERS'])
    expect(text).toContain(part)
})
