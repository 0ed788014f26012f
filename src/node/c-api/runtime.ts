import { availableParallelism } from 'node:os'
import { allocate } from '../../runtime/allocate.js'
import { gone } from '../../runtime/gone.js'
import type { Program, Runtime } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import type { NodeOptions } from '../runtime.js'
import { type CudaOptions, cudaProvider } from './cuda.js'
import { nativeDevice } from './device.js'
import { Engine } from './engine.js'
import { ort } from './ort.js'
import { cpuProvider } from './provider.js'

/** Options of `cApi`; every one may be left out. */
export interface CApiOptions extends Omit<NodeOptions, 'provider' | 'webgpu' | 'worker'> {
  /** What computes. 'cuda' is an NVIDIA GPU on Linux x64. Default 'cpu'. */
  readonly provider?: 'cpu' | 'cuda' | undefined
  /** Which GPU, from 0. Default 0. */
  readonly device?: number | undefined
  /**
   * Whether a trainer keeps its state in the provider's memory (`Runtime.device`) or in arrays of the host. Default: yes with
   * 'cuda'; no with 'cpu', where arrays are as near and the library's own loops over them faster than update graphs.
   */
  readonly resident?: boolean | undefined
  /** Options of onnxruntime's CUDA provider, under its own names: `{ gpu_mem_limit: 2 ** 33 }`. */
  readonly cuda?: CudaOptions | undefined
  /**
   * Run in the calling thread, whose event loop stands still meanwhile. Default false: runs go to a thread of Node's pool,
   * for some 40 microseconds more per run. Blocking is for small models, from a worker thread of your own.
   */
  readonly blocking?: boolean | undefined
}

/**
 * onnxruntime by its C API instead of its official binding: tensors may stay in the provider's memory between runs
 * (`Runtime.device`), so that CUDA trains without copying parameters to the GPU and gradients back, and arrays over shared
 * memory are read in place. It needs the package koffi, which is not installed with this one. One run at a time.
 *
 * Throws 'runtime' with what is missing, 'invalid-option'.
 */
export function cApi(options: CApiOptions = {}): Runtime {
  const {
    provider = 'cpu',
    device = 0,
    telemetry = false,
    threads = availableParallelism(),
    blocking = false,
    resident = provider === 'cuda',
  } = options
  whole('threads', threads, 1)
  whole('device', device, 0)
  if (provider !== 'cpu' && provider !== 'cuda')
    throw new OnnxIreError('invalid-option', `provider is one of cpu, cuda, not ${provider}`)
  if (!telemetry) process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const chosen = provider === 'cuda' ? cudaProvider(device, options.cuda ?? {}) : cpuProvider
  const native = ort()
  const engine = new Engine(native, chosen, { ...options, threads, blocking })
  const manner = blocking ? 'blocking' : 'thread pool'
  const description = `onnxruntime ${native.version} by its C API, ${chosen.name}, ${threads} thread${threads === 1 ? '' : 's'}, ${manner}`
  return runtime(description, chosen.kind, engine, resident)
}

function whole(option: string, value: number, least: number) {
  if (Number.isSafeInteger(value) && value >= least) return
  throw new OnnxIreError('invalid-option', `${option} must be a whole number of at least ${least}, not ${value}`)
}

function runtime(description: string, provider: 'cpu' | 'cuda', engine: Engine, resident: boolean): Runtime {
  let disposed: Promise<void> | undefined
  const alive = () => {
    if (disposed) throw gone('runtime', 'disposed')
  }
  const device = nativeDevice(engine, alive)
  return {
    description,
    provider,
    ...(resident ? { device } : {}),
    async compile(model) {
      const program = await device.compile(model, () => false)
      return { ...program, run: async (feeds) => (await program.run(feeds)).host } satisfies Program
    },
    allocate,
    dispose() {
      disposed ??= engine.close()
      return disposed
    },
  }
}
