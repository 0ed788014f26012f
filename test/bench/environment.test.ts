import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { peakOf } from '../../tools/bench/contender.js'
import { commandsFor, devices, installedPeers } from '../../tools/bench/contenders.js'
import { withoutRestrictions } from '../../tools/bench/environment.js'
import { instructionsIn } from '../../tools/bench/machine.js'
import { openRuntime } from '../../tools/bench/runtime.js'
import { environmentsFolder, isInstalled } from '../../tools/python/environments.js'
import { needs } from '../requirements.js'

const gpu = { cpu: {}, cuda: await needs('cuda'), webgpu: await needs('webgpu') }

afterEach(() => vi.unstubAllEnvs())

test('variables that restrict kernels are removed, others stay', () => {
  const restricting = {
    OPENBLAS_CORETYPE: 'Haswell',
    OPENBLAS_L2_SIZE: '1',
    MKL_NUM_THREADS: '1',
    ONEDNN_MAX_CPU_ISA: 'AVX2',
    DNNL_MAX_CPU_ISA: 'AVX2',
    ATEN_CPU_CAPABILITY: 'default',
    OMP_NUM_THREADS: '1',
    KMP_AFFINITY: 'disabled',
    XLA_FLAGS: '--x',
    NPROC: '1',
  }
  const { env, removed } = withoutRestrictions({ ...restricting, PATH: '/bin', OMPHALOS: '1', MKLROOT: '/opt' })
  expect(env).toEqual({ PATH: '/bin', OMPHALOS: '1', MKLROOT: '/opt' })
  expect(removed).toEqual(Object.keys(restricting))
})

test('the peers in Python run without restrictions, with the given threads', () => {
  vi.stubEnv('ONEDNN_MAX_CPU_ISA', 'SSE41')
  vi.stubEnv('OMP_NUM_THREADS', '7')
  const commands = commandsFor('folder', ['torch', 'compile', 'jax'], {
    threads: 2,
    ire: false,
    sam: false,
    device: 'cpu',
  })
  expect(commands.map(({ name }) => name)).toEqual(['onnx-ire', 'PyTorch', 'PyTorch compiled', 'JAX'])
  for (const { env } of commands.slice(1)) expect(env).not.toHaveProperty('ONEDNN_MAX_CPU_ISA')
  expect(commands[1]!.env['OMP_NUM_THREADS']).toBe('2')
  expect(commands[3]!.env['NPROC']).toBe('2')
})

test('a peer that is not installed is skipped, with the command that installs it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-test-'))
  vi.stubEnv('ONNX_IRE_PYTHON', folder)
  const { installed, missing } = installedPeers(['compile', 'tfjs'], 'cpu')
  expect(installed).toEqual(['tfjs'])
  expect(missing).toHaveLength(1)
  expect(missing[0]).toMatch(/^compile .*npm run python -- torch$/)
  rmSync(folder, { recursive: true })
})

test('an environment is installed if its list is the pinned one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-test-'))
  const list = readFileSync(new URL('../../tools/python/jax.txt', import.meta.url), 'utf8')
  mkdirSync(join(folder, 'jax'))
  expect(isInstalled('jax', folder)).toBe(false)
  writeFileSync(join(folder, 'jax/installed.txt'), list.replace(/^jax==.*$/m, 'jax==0.1'))
  expect(isInstalled('jax', folder)).toBe(false)
  writeFileSync(join(folder, 'jax/installed.txt'), list)
  expect(isInstalled('jax', folder)).toBe(true)
  rmSync(folder, { recursive: true })
})

test('the folder of the environments', () => {
  expect(environmentsFolder({ ONNX_IRE_PYTHON: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a')
  expect(environmentsFolder({ XDG_CACHE_HOME: '/b' })).toBe(join('/b', 'onnx-ire'))
})

test('the peak is read from the status of a process', () => {
  expect(peakOf('Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t  12 kB\nVmRSS:\t 8 kB\n')).toBe(12 * 1024)
  expect(peakOf('Name:\tpython\n')).toBeUndefined()
})

test('instruction sets of x86 and of Arm', () => {
  expect(instructionsIn('model\t: x\nflags\t\t: fpu sse2 smep fma avx avx512f amx_tile fsrm\n')).toEqual([
    'fma',
    'avx',
    'avx512f',
    'amx_tile',
  ])
  expect(instructionsIn('Features\t: fp asimd sve crc32\n')).toEqual(['asimd', 'sve'])
  expect(instructionsIn('')).toEqual([])
})

describe.each(devices)('on %s', (device) => {
  test('onnx-ire runs with the given threads', gpu[device], async () => {
    const runtime = await openRuntime(device, 1)
    expect(runtime.description).toMatch(/\b1 thread\b/)
    await runtime.dispose()
  })
})
