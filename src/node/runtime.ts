import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { InferenceSession } from 'onnxruntime-node'
import type { Tensor } from '../ir/tensor.js'
import { allocate } from '../runtime/allocate.js'
import type { Device } from '../runtime/device.js'
import { checkFeeds } from '../runtime/feeds.js'
import { gone } from '../runtime/gone.js'
import type { Provider } from '../runtime/provider.js'
import type { Program, Runtime } from '../runtime/runtime.js'
import { OnnxIreError } from '../util/errors.js'
import { NodeDevice } from './device.js'
import type { Engine } from './engine.js'
import { LocalEngine } from './local-engine.js'
import type { NativeGate } from './native-gate.js'
import { NativeLock } from './native-lock.js'
import type { WorkerData } from './ort-worker.js'
import { WorkerEngine } from './worker-engine.js'

/** Options of `node`; every one may be left out. */
export interface NodeOptions {
  /**
   * What computes: 'cpu' (default), or 'webgpu', a GPU behind Vulkan, Metal or Direct3D 12. Nothing is found out by
   * trying: where it does not start, the first `compile` says why. See `startNode` to know at once, and for another
   * choice.
   */
  readonly provider?: 'cpu' | 'webgpu' | undefined
  /** Of provider 'webgpu' only. */
  readonly webgpu?: NodeWebGpuOptions | undefined
  /** Threads one operator may use. Default: the number of cores this process may use. */
  readonly threads?: number | undefined
  /** Run in a worker thread (default), or in the caller's own: less overhead, but its event loop stands still. */
  readonly worker?: boolean | undefined
  /** How far onnxruntime rewrites the graph. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
  /**
   * onnxruntime 1.30 keeps a device id in the user's cache folder and can report usage. Default false: the environment
   * variable ORT_DISABLE_TELEMETRY is set to 1 before the library loads, unless it is set already. From inside a worker
   * thread the process's environment cannot be set: start the process with the variable there.
   */
  readonly telemetry?: boolean | undefined
  /**
   * Session options handed to onnxruntime as they are, e.g. `{ enableCpuMemArena: false }`. Other defaults than
   * onnxruntime's: `logSeverityLevel: 3`, `enableMemPattern: false`, and `extra.session.force_spinning_stop: '1'`.
   */
  readonly session?: SessionOptions | undefined
}

/** Options of the provider 'webgpu'. */
export interface NodeWebGpuOptions {
  /**
   * What becomes of nodes that the provider does not run: 'allowed' (default) runs them on the CPU, which takes copies
   * there and back; 'refused' makes `compile` throw.
   */
  readonly cpuNodes?: 'allowed' | 'refused' | undefined
  /**
   * How much of each call the WebGPU implementation checks; 'basic' finds mistakes, 'disabled' (onnxruntime's default)
   * is fastest.
   */
  readonly validation?: 'disabled' | 'wgpuOnly' | 'basic' | 'full' | undefined
}

/**
 * onnxruntime's session options of these names. Written out, because onnxruntime's own declarations only compile beside
 * those of a browser.
 */
export interface SessionOptions {
  /** Threads that run operators in parallel, with the parallel execution mode. */
  readonly interOpNumThreads?: number | undefined
  /** Execution of independent operators. */
  readonly executionMode?: 'sequential' | 'parallel' | undefined
  /** Whether CPU memory is kept in an arena between runs; false returns it to the system. */
  readonly enableCpuMemArena?: boolean | undefined
  /** Whether memory is allocated by the pattern of the first run. */
  readonly enableMemPattern?: boolean | undefined
  /** Fixed values of symbolic dimensions, by name. */
  readonly freeDimensionOverrides?: Readonly<Record<string, number>> | undefined
  /** Path to write the optimized model to. */
  readonly optimizedModelFilePath?: string | undefined
  /** Whether to write a profile. */
  readonly enableProfiling?: boolean | undefined
  /** Prefix of the profile file. */
  readonly profileFilePrefix?: string | undefined
  /** Identifier of the session in the log. */
  readonly logId?: string | undefined
  /** Minimum severity of log messages: 0 (verbose) to 4 (fatal). Default 3, errors only. */
  readonly logSeverityLevel?: 0 | 1 | 2 | 3 | 4 | undefined
  /** Verbosity of verbose log messages. */
  readonly logVerbosityLevel?: number | undefined
  /** Configuration entries by section: `{ session: { ... } }`. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined
}

/**
 * onnxruntime-node, on the CPU or a GPU. One thread of its own runs every program of this runtime, one run at a time;
 * it starts with the first `compile` and does not keep the process alive when nothing is pending. With the provider
 * 'webgpu' the runtime has a `device`.
 *
 * Throws `invalid-option`.
 */
export function node(options: NodeOptions = {}): Runtime {
  const { worker = true, telemetry = false, threads = availableParallelism(), provider = 'cpu' } = options
  if (!Number.isSafeInteger(threads) || threads < 1) {
    throw new OnnxIreError('invalid-option', `threads must be a whole number of at least 1, not ${threads}`)
  }
  checkProvider(options)
  const sessionOptions: InferenceSession.SessionOptions = {
    logSeverityLevel: 3,
    graphOptimizationLevel: options.graphOptimizationLevel ?? 'all',
    ...present(tuned(options)),
    intraOpNumThreads: threads,
    executionProviders: [
      provider === 'cpu' ? 'cpu' : { name: provider, ...present({ validationMode: options.webgpu?.validation }) },
    ],
  }
  if (!telemetry) process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json')
  const place = worker ? 'worker' : 'in process'
  const description = `onnxruntime-node ${version}, ${provider}, ${threads} thread${threads === 1 ? '' : 's'}, ${place}`
  const lock = provider === 'webgpu' ? webgpuLock : undefined
  const engine = worker
    ? new WorkerEngine((gate) => startWorker(sessionOptions, gate, lock))
    : new LocalEngine(sessionOptions, lock && ((work) => lock.hold(work)))
  const device = (disposed: () => Promise<void> | undefined) => new NodeDevice(engine, disposed)
  return runtime(description, provider, engine, worker, provider === 'webgpu' ? device : undefined)
}

/** One for the process; see `NativeLock`. */
const webgpuLock = new NativeLock()

function checkProvider({ provider = 'cpu', webgpu }: NodeOptions): void {
  const refuse = (what: string): never => {
    throw new OnnxIreError('invalid-option', what)
  }
  if (provider !== 'cpu' && provider !== 'webgpu') refuse(`provider '${provider}' is none of cpu, webgpu`)
  if (webgpu && provider !== 'webgpu') refuse(`the option webgpu is for provider 'webgpu', not '${provider}'`)
}

function runtime(
  description: string,
  provider: Provider,
  engine: Engine,
  shared: boolean,
  device?: (disposed: () => Promise<void> | undefined) => Device,
): Runtime {
  let disposed: Promise<void> | undefined
  const check = () => {
    if (disposed) throw gone('runtime', 'disposed')
  }
  return {
    description,
    provider,
    ...(device ? { device: device(() => disposed) } : {}),
    async compile(model) {
      check()
      const { id, inputs, outputNames } = await engine.compile(model)
      let released: Promise<void> | undefined
      const program: Program = {
        inputNames: inputs.map(({ name }) => name),
        outputNames,
        async run(feeds) {
          check()
          if (released) throw gone('program', 'released')
          const outputs = await engine.run(id, checkFeeds(inputs, feeds))
          // None is kept: nothing was said of it when compiling.
          return Object.fromEntries(outputNames.map((name, i) => [name, outputs[i] as Tensor]))
        },
        release() {
          released ??= disposed ?? engine.release(id)
          return released
        },
      }
      return program
    },
    allocate: (dtype, length) => allocate(dtype, length, shared ? 'shared' : 'own'),
    dispose() {
      disposed ??= engine.close()
      return disposed
    },
  }
}

/** The flags of the user's process (`--input-type`, loaders) are not for this thread. */
function startWorker(options: InferenceSession.SessionOptions, gate: NativeGate, lock: NativeLock | undefined): Worker {
  const workerData: WorkerData = { options, gateCells: gate.cells, ...(lock ? { lockCell: lock.cell } : {}) }
  return new Worker(new URL('./ort-worker.js', import.meta.url), { workerData, execArgv: [] })
}

/**
 * What suits training. Without a memory pattern onnxruntime does not plan one block for all tensors of a run beside
 * what its first run allocated: a step takes as long, and a quarter to two fifths less memory. Threads that stop
 * spinning at the end of a run leave the cores to the optimizer and to the other graphs of a trainer, and a run takes
 * as long.
 */
const tuned = ({ session = {}, webgpu }: NodeOptions): SessionOptions => ({
  ...session,
  enableMemPattern: session.enableMemPattern ?? false,
  extra: {
    ...session.extra,
    session: {
      force_spinning_stop: '1',
      ...(webgpu?.cpuNodes === 'refused' ? { disable_cpu_ep_fallback: '1' } : {}),
      ...(session.extra?.['session'] as object | undefined),
    },
  },
})

/** onnxruntime throws on keys that are there and undefined. */
const present = (options: object) =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
