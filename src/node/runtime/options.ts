import { availableParallelism } from 'node:os'
import { type Runtime, threadRange } from '../../runtime/runtime.js'

/** Options of `node`. */
export interface NodeOptions {
  /**
   * Execution provider: 'cpu', or 'webgpu' for a GPU through Vulkan, Metal or Direct3D 12. If the provider cannot
   * start, the first `compile` throws the reason; with the option `fallback` of `NodeFallbackOptions`, `node` starts it
   * immediately. Default 'cpu'.
   */
  readonly provider?: 'cpu' | 'webgpu' | undefined
  /** Options of the provider 'webgpu'. Throws `invalid-option` with other providers. */
  readonly webgpu?: NodeWebGpuOptions | undefined
  /** Number of threads of one operator, at most 1,024. Default: the number of cores available to this process. */
  readonly threads?: number | undefined
  /**
   * Runs onnxruntime's binding instead of its C API: in a worker thread (true), or in the calling thread, whose event
   * loop runs then block (false). Default: the C API on the CPU, and a worker thread with other providers.
   */
  readonly worker?: boolean | undefined
  /** Level of onnxruntime's graph optimizations. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
  /**
   * Whether onnxruntime may store a device id in the user's cache folder and report usage, as version 1.30 can. Default
   * false: the environment variable ORT_DISABLE_TELEMETRY is set to 1 before the library loads, unless it is already
   * set. A worker thread cannot set the environment of its process: set the variable when the process starts.
   */
  readonly telemetry?: boolean | undefined
  /**
   * Session options passed to onnxruntime unchanged, e.g. `{ enableCpuMemArena: false }`. Defaults that differ from
   * onnxruntime's: `logSeverityLevel: 3`, `enableMemPattern: false`, `extra.session.force_spinning_stop: '1'` and
   * `extra.session.qdq_matmulnbits_accuracy_level: '0'`.
   */
  readonly session?: SessionOptions | undefined
}

/** Options of the provider 'webgpu'. */
export interface NodeWebGpuOptions {
  /**
   * Treatment of nodes without a GPU kernel: 'allowed' (default) runs them on the CPU, with copies there and back;
   * 'forbidden' makes `compile` throw, with the names of the nodes.
   */
  readonly cpuNodes?: 'allowed' | 'forbidden' | undefined
  /**
   * Level of checks by the WebGPU implementation: 'basic' finds invalid calls, 'disabled' (onnxruntime's default) is
   * fastest.
   */
  readonly validation?: 'disabled' | 'wgpuOnly' | 'basic' | 'full' | undefined
}

/**
 * Session options of onnxruntime with the same names. They are declared here because onnxruntime's own declarations
 * compile only together with a browser's.
 */
export interface SessionOptions {
  /** Threads that run operators in parallel, with the parallel execution mode. */
  readonly interOpNumThreads?: number | undefined
  /** Execution of independent operators. */
  readonly executionMode?: 'sequential' | 'parallel' | undefined
  /** Whether CPU memory stays in an arena between runs; false returns it to the system. */
  readonly enableCpuMemArena?: boolean | undefined
  /** Whether memory is allocated by the pattern of the first run. */
  readonly enableMemPattern?: boolean | undefined
  /** Fixed values of symbolic dimensions, by name; only the C API supports it. */
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
  /** Verbosity of verbose log messages; only the C API supports it. */
  readonly logVerbosityLevel?: number | undefined
  /** Configuration entries by section: `{ session: { ... } }`. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined
}

/** Options of `node` that start the provider immediately. */
export interface NodeFallbackOptions extends NodeOptions {
  /**
   * Creates the runtime to use if the provider cannot start, such as `node`, which is the CPU. `null`: the failure is
   * thrown.
   */
  readonly fallback: (() => Runtime | Promise<Runtime>) | null
}

/** Number of processes that share the cores of this one. */
let sharers = 1

/** Divides the cores among processes of one job; see `coreCount`. */
export const shareCores = (processes: number): void => {
  sharers = processes
}

/** Number of cores available to this process, as a number of threads. */
export const coreCount = (): number =>
  Math.max(1, Math.min(Math.floor(availableParallelism() / sharers), threadRange.max))
