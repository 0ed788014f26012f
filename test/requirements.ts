import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { whyNoChromium } from '../tools/chromium.js'
import { isNextInstalled, nextFolder } from '../tools/next/project.js'
import { environmentsFolder, isInstalled, pythonOf } from '../tools/python/environments.js'

/** Folder of the models that tools/language/export.py writes. */
export const languageModels = join(environmentsFolder(), 'language-models')

/**
 * Requirements that a test may have besides Node and the packages that `npm ci` installs. A test that requires one of
 * these passes `await needs(name)` as its options: if the machine lacks it, the test is skipped, and the closing report
 * of the run (`skipped-reporter.ts`) lists the test, the reason, and `install`.
 */
export const requirements = {
  chromium: {
    title: 'Chromium',
    install: 'apt-get install chromium, or set CHROMIUM to the path of another one',
    missing: () => whyNoChromium(),
  },
  webgpu: {
    title: "a GPU for onnxruntime's WebGPU provider",
    install: 'a Vulkan driver and libvulkan1; or, as a software GPU, apt-get install chromium libvulkan1',
    missing: async () => {
      const softwareGpu = '/usr/lib/chromium/vk_swiftshader_icd.json'
      if (process.env['VK_ICD_FILENAMES'] === undefined && existsSync(softwareGpu)) {
        process.env['VK_ICD_FILENAMES'] = softwareGpu
        process.env['XDG_RUNTIME_DIR'] ??= tmpdir()
      }
      return messageOf(async () => {
        const { node } = await import('../src/node/runtime/node.js')
        await (await node({ provider: 'webgpu', fallback: null })).dispose()
      })
    },
  },
  cuda: {
    title: 'CUDA',
    install: 'an NVIDIA GPU, its driver, CUDA and cuDNN; see docs/gpu.md',
    missing: whyNoCuda,
  },
  'no CUDA': {
    title: 'a machine without CUDA',
    install: 'run the tests where CUDA does not start',
    missing: async () => ((await whyNoCuda()) === undefined ? 'CUDA starts here' : undefined),
  },
  strace: {
    title: 'strace',
    install: 'apt-get install strace, on Linux',
    missing: () =>
      spawnSync('strace', ['-o', '/dev/null', 'true']).status === 0
        ? undefined
        : 'it is not installed, or may not trace',
  },
  'language models': {
    title: 'exported language models',
    install: `npm run python -- language, then ${pythonOf('language')} tools/language/export.py ${languageModels}`,
    missing: () => (existsSync(languageModels) ? undefined : `there is no folder ${languageModels}`),
  },
  'Next.js': {
    title: 'Next.js',
    install: 'npx tsx tools/next/main.ts',
    missing: () => (isNextInstalled() ? undefined : `there is no ${nextFolder()}`),
  },
  'onnxruntime in Python': {
    title: 'onnxruntime in Python',
    install: 'npm run python -- language',
    missing: () =>
      pythonWith('onnxruntime', 'numpy') ? undefined : 'neither python3 nor the environment of tools/language has it',
  },
  'Pillow in Python': {
    title: 'onnxruntime and Pillow in Python',
    install: 'python3 -m pip install onnxruntime pillow numpy',
    missing: () =>
      pythonWith('onnxruntime', 'PIL', 'numpy')
        ? undefined
        : 'neither python3 nor the environment of tools/language has both',
  },
  TensorBoard: {
    title: 'TensorBoard of PyPI',
    install: 'npm run python -- tensorboard',
    missing: () => (isInstalled('tensorboard') ? undefined : 'it is not installed'),
  },
  'Open MPI': {
    title: 'Open MPI',
    install: 'apt-get install openmpi-bin',
    missing: () => (isOnPath('mpirun.openmpi') ? undefined : 'there is no mpirun.openmpi'),
  },
  MPICH: {
    title: 'MPICH',
    install: 'apt-get install mpich',
    missing: () => (isOnPath('mpiexec.mpich') ? undefined : 'there is no mpiexec.mpich'),
  },
  'memory disk': {
    title: 'permission to mount a disk of memory',
    install: 'run the tests as root, on Linux',
    missing: () => {
      const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-disk-'))
      try {
        if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'none', folder]).status !== 0)
          return 'mounting is not permitted'
        spawnSync('umount', ['-l', folder])
        return undefined
      } finally {
        rmdirSync(folder)
      }
    },
  },
  linux: {
    title: 'Linux',
    install: 'run the tests on Linux',
    missing: () => (process.platform === 'linux' ? undefined : `this is ${process.platform}`),
  },
} as const satisfies Record<string, Requirement>

interface Requirement {
  readonly title: string
  /** Instructions to install it. */
  readonly install: string
  /** Returns why the machine lacks it; undefined if the machine has it. */
  readonly missing: () => string | undefined | Promise<string | undefined>
}

export type RequirementName = keyof typeof requirements

/** Options of a test or suite. `meta.missing` is read by the closing report. */
export interface Needs {
  readonly skip: boolean
  readonly meta: { readonly missing?: { readonly requirement: RequirementName; readonly why: string } }
  /** The reason why the machine lacks the requirement. */
  readonly why: string | undefined
}

declare module 'vitest' {
  interface TaskMeta {
    missing?: NonNullable<Needs['meta']['missing']>
  }
}

/** Set by vitest.fast.config.ts: no browser, device or process is started. */
const fastLane = process.env['ONNX_IRE_TEST_LANE'] === 'fast'

const found = new Map<RequirementName, Promise<Needs>>()

/** Options of a test or suite that requires `requirement`: the machine is examined once per test file. */
export function needs(requirement: RequirementName): Promise<Needs> {
  let result = found.get(requirement)
  if (!result) {
    result = examine(requirement)
    found.set(requirement, result)
  }
  return result
}

async function examine(requirement: RequirementName): Promise<Needs> {
  const why = fastLane ? 'the fast lane leaves it out' : await requirements[requirement].missing()
  return { skip: why !== undefined, meta: why === undefined ? {} : { missing: { requirement, why } }, why }
}

/** A Python interpreter that has these modules: $PYTHON, python3 or that of tools/language; undefined if none has. */
export const pythonWith = (...modules: readonly string[]): string | undefined =>
  [process.env['PYTHON'] ?? 'python3', pythonOf('language')].find(
    (python) => spawnSync(python, ['-c', `import ${modules.join()}`]).status === 0,
  )

const isOnPath = (program: string): boolean => spawnSync(program, ['--version']).status === 0

function whyNoCuda(): Promise<string | undefined> {
  return messageOf(async () => {
    const { cApi } = await import('../src/node/c-api/runtime.js')
    await cApi({ provider: 'cuda' }).dispose()
  })
}

/** The message of the error that `run` throws, if any. */
async function messageOf(run: () => unknown): Promise<string | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
