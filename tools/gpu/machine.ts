import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** An NVIDIA card, as `nvidia-smi` lists it. */
export interface Card {
  readonly name: string
  readonly driver: string
  readonly memory: string
  /** CUDA's number of the architecture, such as 9.0. */
  readonly capability: string
}

/** State of CUDA on this machine; `missing` lists what is absent, with the remedy. */
export interface CudaMachine {
  readonly cards: readonly Card[]
  /** Libraries that onnxruntime's provider was linked with, and where the loader finds them. */
  readonly libraries: readonly { readonly name: string; readonly path: string | null }[]
  readonly missing: readonly string[]
}

/** A Vulkan driver: its description file. */
export interface VulkanDriver {
  readonly file: string
  /** Whether it computes on the CPU. */
  readonly software: boolean
}

/** Parses the output of `nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader`. */
export const parseCards = (text: string): Card[] =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [name = '', driver = '', memory = '', capability = ''] = line.split(',').map((field) => field.trim())
      return { name, driver, memory, capability }
    })

/** Parses the output of `ldd`: the libraries of CUDA, with the path that the loader finds. */
export const parseLibraries = (text: string): { name: string; path: string | null }[] =>
  [...text.matchAll(/^\s*(lib(?:cu|nv)\S+\.so\S*) => (not found|\S+)/gm)].map(([, name, path]) => ({
    name: name!,
    path: path === 'not found' ? null : path!,
  }))

/** Examines what CUDA needs: a card, a driver, onnxruntime's provider and the libraries it was linked with. */
export function examineCuda(): CudaMachine {
  const query = ['--query-gpu=name,driver_version,memory.total,compute_cap', '--format=csv,noheader']
  const cards = parseCards(outputOf('nvidia-smi', query) ?? '')
  const provider = join(onnxruntimeFolder(), 'libonnxruntime_providers_cuda.so')
  const libraries = parseLibraries(outputOf('ldd', [provider]) ?? '')
  const absent = libraries.filter(({ path }) => path === null).map(({ name }) => name)
  return {
    cards,
    libraries,
    missing: [
      ...(cards.length === 0 ? ['no NVIDIA card: nvidia-smi lists none'] : []),
      ...(existsSync(provider) ? [] : [`onnxruntime's CUDA provider is not installed: ${provider}; see docs/gpu.md`]),
      ...(absent.length === 0
        ? []
        : [`the loader does not find ${absent.join(', ')}: add their folders to LD_LIBRARY_PATH`]),
    ],
  }
}

/** Folder of the libraries inside onnxruntime-node. */
function onnxruntimeFolder(): string {
  const home = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
  return join(home, 'bin', 'napi-v6', process.platform, process.arch)
}

const driverFolders = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d']

/** Whether the system has a device for computing on a GPU: distributions install drivers on machines without one. */
const hasGpu = (): boolean =>
  process.platform !== 'linux' ||
  ['/dev/nvidia0', '/dev/dxg'].some((file) => existsSync(file)) ||
  (existsSync('/dev/dri') && readdirSync('/dev/dri').some((name) => name.startsWith('renderD')))

/**
 * Finds the Vulkan drivers: those that VK_ICD_FILENAMES names, else Chromium's SwiftShader, on which the tests run
 * by default, and those installed.
 * Without a GPU only drivers that compute on the CPU are returned.
 */
export function findVulkanDrivers(): VulkanDriver[] {
  const named = process.env['VK_ICD_FILENAMES']?.split(':')
  const installed = driverFolders
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  const files = named ?? ['/usr/lib/chromium/vk_swiftshader_icd.json', ...installed]
  return files
    .filter((file) => file.endsWith('.json') && existsSync(file))
    .map((file) => ({ file, software: isSoftware(file, readFileSync(file, 'utf8')) }))
    .filter(({ software }) => software || hasGpu())
}

/** Whether a driver computes on the CPU, by the names of its description and its library. */
export const isSoftware = (file: string, description: string): boolean =>
  /swiftshader|lvp|lavapipe|llvmpipe/i.test(file + description)

function outputOf(command: string, args: readonly string[]): string | undefined {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch {
    return undefined
  }
}
