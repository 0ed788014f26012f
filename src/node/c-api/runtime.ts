import type { Program, Runtime } from '../../runtime/runtime.js'
import { allocate, disposedError, threadRange } from '../../runtime/runtime.js'
import { checkNames, checkNumber, count, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { HelperThreads } from '../runtime/helper-threads.js'
import { coreCount, type NodeOptions, type SessionOptions } from '../runtime/options.js'
import { nativeDevice } from './device.js'
import { CApiEngine } from './engine.js'
import { ort } from './ort.js'
import { type CudaOptions, cpuProvider, cudaProvider } from './provider.js'

/** Options of `cApi`. */
export interface CApiOptions extends Omit<NodeOptions, 'provider' | 'webgpu' | 'worker'> {
  /** Execution provider. 'cuda' is an NVIDIA GPU on Linux x64. Default 'cpu'. */
  readonly provider?: 'cpu' | 'cuda' | undefined
  /** Index of the GPU. Default 0. */
  readonly device?: number | undefined
  /**
   * Whether a trainer stores its state in the provider's memory (`Runtime.device`) instead of host arrays. Default:
   * true for 'cuda'; false for 'cpu', where loops over host arrays are faster than update graphs.
   */
  readonly resident?: boolean | undefined
  /** Options of onnxruntime's CUDA provider, by its own names: `{ gpu_mem_limit: 2 ** 33 }`. */
  readonly cuda?: CudaOptions | undefined
  /**
   * Whether runs take place in the calling thread and block its event loop, instead of in a thread of Node's pool, which
   * costs 0.1 ms per run. Default: false for 'cuda'; for 'cpu' runs of less than 4 ms do, for up to 8 ms in a row, if no
   * other runtime is open in this thread. Use true in a worker thread of your own.
   */
  readonly blocking?: boolean | undefined
}

/**
 * Creates a runtime that calls onnxruntime's C API instead of its official binding. Tensors can stay in the provider's
 * memory between runs (`Runtime.device`), so that CUDA trains without copying parameters to the GPU and gradients back,
 * and arrays in shared memory are read in place. Several threads update the parameters of a trainer. It needs the
 * package koffi, an optional dependency of this one. One run at a time. On the CPU `node()` creates it if koffi loads.
 * @throws OnnxIreError `runtime` naming what is missing, `invalid-option`
 * @example
 * const runtime = cApi({ provider: 'cuda' })
 */
export function cApi(options: CApiOptions = {}): Runtime & AsyncDisposable {
  const {
    provider = 'cpu',
    device = 0,
    telemetry = false,
    threads = coreCount(),
    // Short runs were measured on the CPU only.
    blocking = provider === 'cuda' ? false : undefined,
    resident = provider === 'cuda',
  } = options
  checkNames('cApi', options, Object.keys(cApiOptions))
  checkNames('cApi: session', options.session ?? {}, Object.keys(sessionOptions))
  checkNumber('cApi', 'threads', threads, threadRange)
  checkNumber('cApi', 'device', device, count)
  if (provider !== 'cpu' && provider !== 'cuda') throw invalidOption('cApi', 'provider', provider, "'cpu' or 'cuda'")
  for (const name of ['device', 'cuda'] as const)
    if (provider === 'cpu' && options[name] !== undefined)
      throw new OnnxIreError('invalid-option', `cApi: option '${name}' has no effect without provider: 'cuda'; omit it`)
  if (!telemetry) process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const chosen = provider === 'cuda' ? cudaProvider(device, options.cuda ?? {}) : cpuProvider
  const native = ort()
  const engine = new CApiEngine(native, chosen, { ...options, threads, blocking })
  const manner = blocking ? 'blocking' : blocking === false ? 'thread pool' : 'thread pool except for short runs'
  const description = `onnxruntime ${native.version} through its C API, ${chosen.name}, ${threads} thread${threads === 1 ? '' : 's'}, ${manner}`
  const helpers = resident ? undefined : new HelperThreads(threads)
  return runtime(description, chosen.kind, engine, resident, helpers)
}

const cApiOptions: Readonly<Record<keyof CApiOptions, true>> = {
  ...{ provider: true, device: true, resident: true, cuda: true, blocking: true, threads: true },
  ...{ graphOptimizationLevel: true, telemetry: true, session: true },
}

/** The session options that `CApiEngine` passes to onnxruntime. */
const sessionOptions: Readonly<Record<keyof SessionOptions, true>> = {
  ...{ interOpNumThreads: true, executionMode: true, enableCpuMemArena: true, enableMemPattern: true, extra: true },
  ...{ optimizedModelFilePath: true, enableProfiling: true, profileFilePrefix: true, logId: true },
  ...{ logSeverityLevel: true, logVerbosityLevel: true, freeDimensionOverrides: true },
}

function runtime(
  description: string,
  provider: 'cpu' | 'cuda',
  engine: CApiEngine,
  resident: boolean,
  helpers: HelperThreads | undefined,
): Runtime & AsyncDisposable {
  let disposed: Promise<void> | undefined
  const alive = () => {
    if (disposed) throw disposedError('runtime', 'disposed')
  }
  const device = nativeDevice(engine, alive)
  const dispose = () => {
    disposed ??= Promise.all([engine.close(), helpers?.close()]).then(() => {})
    return disposed
  }
  return {
    description,
    provider,
    ...(resident ? { device } : {}),
    ...(helpers ? { helpers } : {}),
    // On Windows a file cannot be replaced while it is mapped.
    readsFiles: provider === 'cpu' && process.platform !== 'win32',
    async compile(model, hints) {
      const program = await device.compile(model, () => false, hints)
      const run: Program['runInto'] = async (feeds, outputs) => (await program.run(feeds, outputs)).host
      return { ...program, run: (feeds) => run(feeds, {}), runInto: run }
    },
    // Other threads update the arrays, too.
    allocate: (dtype, length) => allocate(dtype, length, 'shared'),
    dispose,
    [Symbol.asyncDispose]: dispose,
  }
}
