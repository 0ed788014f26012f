import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { OnnxIreError } from '../../util/errors.js'
import { library } from './library.js'
import type { Ort } from './ort.js'
import { readAddress } from './ort.js'

/** An execution provider and its memory. */
export interface Provider {
  /** Display name: 'cpu', 'cuda 0'. */
  readonly name: string
  /** Value of `Runtime.provider`. */
  readonly kind: 'cpu' | 'cuda'
  /** Memory of the provider, by onnxruntime's name. */
  readonly memory: { readonly name: string; readonly device: number }
  /** Adds the provider before the CPU to session options. Throws `runtime` naming what is missing. */
  append(ort: Ort, sessionOptions: bigint): void
}

export const cpuMemory = { name: 'Cpu', device: 0 }

/** The CPU provider: its tensors are in onnxruntime's own arena. */
export const cpuProvider: Provider = { name: 'cpu', kind: 'cpu', memory: cpuMemory, append() {} }

/** Options of onnxruntime's CUDA provider, by its own names: `{ gpu_mem_limit: 2 ** 33 }`. */
export type CudaOptions = Readonly<Record<string, string | number | boolean>>

const libraries = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so']

/**
 * Creates the CUDA provider. Two defaults differ from onnxruntime's: `use_tf32: 0` computes float32 products in
 * float32, and `arena_extend_strategy: kSameAsRequested` allocates only what is needed, because every program of a
 * trainer has its own arena.
 */
export function cudaProvider(device: number, options: CudaOptions): Provider {
  const settings: Record<string, string> = {
    arena_extend_strategy: 'kSameAsRequested',
    use_tf32: '0',
    ...Object.fromEntries(Object.entries(options).map(([key, value]) => [key, setting(value)])),
    device_id: String(device),
  }
  return {
    name: `cuda ${device}`,
    kind: 'cuda',
    memory: { name: 'Cuda', device },
    append(ort, sessionOptions) {
      requireLibraries(ort.folder)
      requireDevice(device)
      const cuda = readAddress((out) => ort.CreateCUDAProviderOptions(out))
      try {
        const keys = Object.keys(settings)
        ort.UpdateCUDAProviderOptions(cuda, keys, Object.values(settings), keys.length)
        ort.SessionOptionsAppendExecutionProvider_CUDA_V2(sessionOptions, cuda)
      } catch (cause) {
        throw new OnnxIreError('runtime', explainCudaFailure((cause as Error).message), { cause })
      } finally {
        ort.ReleaseCUDAProviderOptions(cuda)
      }
    },
  }
}

/** Text of a setting; onnxruntime expects 0 and 1 for booleans. */
const setting = (value: string | number | boolean) =>
  typeof value === 'boolean' ? String(Number(value)) : String(value)

function requireLibraries(folder: string) {
  const missing = libraries.filter((name) => !existsSync(join(folder, name)))
  if (missing.length === 0) return
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    const text = `onnxruntime-node has a CUDA provider for Linux x64 only, not for ${process.platform} ${process.arch}`
    throw new OnnxIreError('runtime', text)
  }
  throw new OnnxIreError(
    'runtime',
    `CUDA: ${missing.join(' and ')} not found in ${folder}: download them with onnxruntime-node's install script: ONNXRUNTIME_NODE_INSTALL=cuda12 node ${join(folder, '..', '..', '..', '..', 'script', 'install.js')}`,
  )
}

/** Number of NVIDIA GPUs that this process may use. Throws `runtime` if the driver is missing or fails. */
function cudaDevices(): number {
  const { load } = library()
  const name = process.platform === 'win32' ? 'nvcuda.dll' : 'libcuda.so.1'
  let driver: ReturnType<typeof load>
  try {
    driver = load(name)
  } catch (cause) {
    const text = `CUDA: no NVIDIA driver: ${name} does not load (${(cause as Error).message})`
    throw new OnnxIreError('runtime', text, { cause })
  }
  const count = new Int32Array(1)
  const fault = driver.func('cuInit', 'int', ['uint32'])(0) || driver.func('cuDeviceGetCount', 'int', ['void *'])(count)
  if (fault !== 0) throw new OnnxIreError('runtime', `CUDA: the NVIDIA driver fails with error ${fault}`)
  return count[0]!
}

function requireDevice(device: number) {
  const count = cudaDevices()
  if (device < count) return
  throw new OnnxIreError('runtime', `CUDA: device ${device} does not exist; the driver has ${count}`)
}

/** Explains onnxruntime's message and adds a remedy. */
export function explainCudaFailure(message: string): string {
  const absent =
    /(lib(?:cublas|cublasLt|cudart|cudnn|cufft|curand|nvrtc)\w*\.so[.\d]*): cannot open shared object/.exec(message)
  const remedy = absent
    ? ` ${absent[1]} is part of CUDA or cuDNN: install the versions for which the provider was built (libcublas.so.13 belongs to CUDA 13, libcudnn.so.9 to cuDNN 9) and add their folders to the loader's path (LD_LIBRARY_PATH).`
    : ''
  return `CUDA could not start.${remedy} onnxruntime says: ${message.trim()}`
}

/** CUDA errors after which a context is unusable: an illegal access, a failed assertion, a lost or broken device. */
const fatal = new Set([46, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721])

/** Whether a failed run means that this process has lost the device. */
export function isDeviceLost(message: string): boolean {
  const fault = /CUDA (?:failure|error):? (\d+)/i.exec(message)
  return fault !== null && fatal.has(Number(fault[1]))
}
