import { Worker } from 'node:worker_threads'
import type { InferenceSession } from 'onnxruntime-node'
import type { Tensor } from '../../ir/tensor.js'
import type { Device } from '../../runtime/device.js'
import { checkFeeds } from '../../runtime/feeds.js'
import { identityModel } from '../../runtime/ort.js'
import type { Program, Provider, Runtime } from '../../runtime/runtime.js'
import { allocate, disposedError, threadRange, withFallback } from '../../runtime/runtime.js'
import { checkNames, checkNumber, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { dropUndefined, getOwn } from '../../util/record.js'
import { ort } from '../c-api/ort.js'
import { cApi } from '../c-api/runtime.js'
import { NodeDevice } from './device.js'
import type { Engine } from './engine.js'
import type { ExitGuard } from './exit-guard.js'
import { LocalEngine } from './local-engine.js'
import {
  coreCount,
  type NodeFallbackOptions,
  type NodeOptions,
  type NodeWebGpuOptions,
  type SessionOptions,
} from './options.js'
import type { WorkerData } from './ort-worker.js'
import { findWorker, requirePackage } from './packages.js'
import { StrictEngine } from './strict-engine.js'
import { ThreadLock } from './thread-lock.js'
import { WorkerEngine } from './worker-engine.js'

/** Session options that onnxruntime-node supports. */
type NodeSessionOptions = Omit<SessionOptions, 'freeDimensionOverrides' | 'logVerbosityLevel'>

/**
 * Creates a runtime with onnxruntime-node, on the CPU or a GPU. It executes one run at a time, outside of the calling
 * thread. On the CPU it is `cApi`, which trains with less time and memory than onnxruntime's binding; outside of Linux,
 * if koffi does not load, or with the option `worker`, it is the binding, and `description` contains the reason. The
 * binding's worker thread starts with the first `compile`; a bundle that does not find its file runs in process.
 * Nothing keeps the process alive while no call is pending. With the provider 'webgpu' the runtime has a `device`.
 * @throws OnnxIreError `invalid-option`
 * @example
 * const runtime = node()
 */
export function node(options?: NodeOptions & { readonly fallback?: undefined }): Runtime & AsyncDisposable
/**
 * Creates a runtime and starts its provider. If the provider cannot start, resolves to the runtime of `fallback`, whose
 * `description` contains the reason.
 * @throws OnnxIreError `invalid-option`, and `runtime` if the provider cannot start and `fallback` is null
 * @example
 * const runtime = await node({ provider: 'webgpu', fallback: node })
 */
export function node(options: NodeFallbackOptions): Promise<Runtime & AsyncDisposable>
export function node(
  options: NodeOptions & { readonly fallback?: NodeFallbackOptions['fallback'] | undefined } = {},
): (Runtime & AsyncDisposable) | Promise<Runtime & AsyncDisposable> {
  const { fallback } = options
  return fallback === undefined ? createRuntime(options) : startRuntime(options, fallback)
}

/** Compiles a model of one node, with which onnxruntime starts the provider. */
async function startRuntime(
  options: NodeOptions,
  fallback: NodeFallbackOptions['fallback'],
): Promise<Runtime & AsyncDisposable> {
  const runtime = createRuntime(options)
  try {
    const program = await runtime.compile(identityModel('float32'))
    await program.release()
    return runtime
  } catch (error) {
    await runtime.dispose()
    return withFallback(error, fallback)
  }
}

function createRuntime(options: NodeOptions): Runtime & AsyncDisposable {
  const { telemetry = false, threads = coreCount(), provider = 'cpu' } = options
  checkNumber('node', 'threads', threads, threadRange)
  checkNames('node', options, Object.keys(nodeOptions))
  checkProvider(options)
  checkSession(options.session ?? {})
  const native = provider === 'cpu' && options.worker === undefined ? openCApi(options) : ''
  if (typeof native === 'object') return native
  const file = options.worker === false ? undefined : findWorker('ort-worker')
  const noFile = options.worker !== false && file === undefined ? missingWorker : ''
  if (options.worker && noFile) throw new OnnxIreError('runtime', `node: option 'worker' is true, but ${noFile}`)
  const allOptions: InferenceSession.SessionOptions = {
    logSeverityLevel: 3,
    graphOptimizationLevel: options.graphOptimizationLevel ?? 'all',
    // onnxruntime throws on options that are undefined.
    ...dropUndefined(trainingDefaults(options)),
    intraOpNumThreads: threads,
    executionProviders: [
      provider === 'cpu' ? 'cpu' : { name: provider, ...dropUndefined({ validationMode: options.webgpu?.validation }) },
    ],
  }
  if (!telemetry) process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
  const { version } = requirePackage<{ version: string }>('onnxruntime-node/package.json', 'node()')
  const reasons = [native, noFile].filter((reason) => reason !== '')
  const thread = `${file ? 'worker' : 'in process'}${reasons.map((reason) => `, because ${reason}`).join('')}`
  const description = `onnxruntime-node ${version}, ${provider}, ${threads} thread${threads === 1 ? '' : 's'}, ${thread}`
  const lock = provider === 'webgpu' ? webgpuLock : undefined
  const plain = file
    ? new WorkerEngine((guard) => startWorker(file, allOptions, guard, lock))
    : new LocalEngine(allOptions, lock && ((work) => lock.run(work)))
  const engine = options.webgpu?.cpuNodes === 'forbidden' ? new StrictEngine(plain) : plain
  const device = (disposed: () => Promise<void> | undefined) => new NodeDevice(engine, disposed)
  return runtimeOf(description, provider, engine, file !== undefined, provider === 'webgpu' ? device : undefined)
}

/** Creates the runtime of the C API, or returns the reason why it is not used. */
function openCApi({
  threads,
  graphOptimizationLevel,
  telemetry,
  session,
}: NodeOptions): (Runtime & AsyncDisposable) | string {
  if (process.platform !== 'linux') return `the C API was tested on Linux only, not on ${process.platform}`
  try {
    ort()
  } catch (error) {
    if (!(error instanceof OnnxIreError) || error.code !== 'runtime') throw error
    return error.message
  }
  return cApi({ threads, graphOptimizationLevel, telemetry, session })
}

const nodeOptions: Readonly<Record<keyof NodeFallbackOptions, true>> = {
  ...{ provider: true, webgpu: true, threads: true, worker: true, graphOptimizationLevel: true },
  ...{ telemetry: true, session: true, fallback: true },
}

/** Reason why there is no worker thread. */
const missingWorker =
  'its file ort-worker.js is neither beside the bundle nor in an installed onnx-ire (docs/bundlers.md)'

/** Values of the options of the provider 'webgpu'. */
const webgpuOptions: { readonly [Name in keyof NodeWebGpuOptions]-?: readonly string[] } = {
  cpuNodes: ['allowed', 'forbidden'],
  validation: ['disabled', 'wgpuOnly', 'basic', 'full'],
}

/** The session options that onnxruntime-node reads (session_options_helper.cc); it ignores all others. */
const sessionOptions: Readonly<Record<keyof NodeSessionOptions, true>> = {
  ...{ interOpNumThreads: true, executionMode: true, enableCpuMemArena: true, enableMemPattern: true, extra: true },
  ...{ optimizedModelFilePath: true, enableProfiling: true, profileFilePrefix: true, logId: true },
  logSeverityLevel: true,
}

/** Options of onnxruntime that have no effect in a session of this runtime, with what to do instead. */
const ignoredOptions: Readonly<Record<string, string>> = {
  freeDimensionOverrides: 'onnxruntime-node ignores it; fix the lengths in the model, or use the C API',
  logVerbosityLevel: 'onnxruntime-node ignores it; use the C API',
  intraOpNumThreads: "use the option 'threads' of node()",
  executionProviders: "use the option 'provider' of node()",
  graphOptimizationLevel: "use the option 'graphOptimizationLevel' of node()",
}

function checkSession(session: SessionOptions): void {
  for (const name of Object.keys(session)) {
    const reason = getOwn(ignoredOptions, name)
    if (reason !== undefined)
      throw new OnnxIreError('invalid-option', `node: the session option '${name}' has no effect: ${reason}`)
  }
  checkNames('node: session', session, Object.keys(sessionOptions))
}

/** Lock of all WebGPU runtimes of the process. */
const webgpuLock = new ThreadLock()

function checkProvider({ provider = 'cpu', webgpu }: NodeOptions): void {
  const fail = (what: string): never => {
    throw new OnnxIreError('invalid-option', what)
  }
  if (provider !== 'cpu' && provider !== 'webgpu') fail(`provider must be 'cpu' or 'webgpu', got '${provider}'`)
  if (webgpu && provider !== 'webgpu') fail(`the option 'webgpu' needs provider 'webgpu', got '${provider}'`)
  checkNames('webgpu', webgpu ?? {}, Object.keys(webgpuOptions))
  for (const [name, allowed] of Object.entries(webgpuOptions)) {
    const value = webgpu?.[name as keyof NodeWebGpuOptions]
    if (value !== undefined && !allowed.includes(value))
      throw invalidOption('webgpu', name, value, allowed.map((each) => `'${each}'`).join(' or '))
  }
}

/** Creates the runtime of an engine. @param shared whether fed arrays are best in shared memory */
function runtimeOf(
  description: string,
  provider: Provider,
  engine: Engine,
  shared: boolean,
  device?: (disposed: () => Promise<void> | undefined) => Device,
): Runtime & AsyncDisposable {
  let disposed: Promise<void> | undefined
  const check = () => {
    if (disposed) throw disposedError('runtime', 'disposed')
  }
  const dispose = () => {
    disposed ??= engine.close()
    return disposed
  }
  return {
    description,
    provider,
    // On Windows a file cannot be replaced while it is mapped.
    readsFiles: provider === 'cpu' && process.platform !== 'win32',
    ...(device ? { device: device(() => disposed) } : {}),
    async compile(model, hints) {
      check()
      const { id, inputs, outputNames } = await engine.compile(model, { ...hints })
      check()
      let released: Promise<void> | undefined
      const program: Program = {
        inputNames: inputs.map(({ name }) => name),
        outputNames,
        async run(feeds) {
          check()
          if (released) throw disposedError('program', 'released')
          const outputs = await engine.run(id, checkFeeds(inputs, feeds))
          // All outputs are on the host: `compile` requested no other location.
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
    dispose,
    [Symbol.asyncDispose]: dispose,
  }
}

/** Starts the worker thread, without the flags of the user's process (`--input-type`, loaders). */
function startWorker(
  file: string,
  options: InferenceSession.SessionOptions,
  guard: ExitGuard,
  lock: ThreadLock | undefined,
): Worker {
  const workerData: WorkerData = { options, guardCells: guard.cells, ...(lock ? { lockCell: lock.cell } : {}) }
  return new Worker(file, { workerData, execArgv: [] })
}

/**
 * Session options with defaults for training. With a memory pattern, onnxruntime plans one block for all tensors of a
 * run in addition to the memory of its first run: without it, a step takes as long and 25 to 40 % less memory. Threads
 * that stop spinning after a run leave the cores to the optimizer and to the other graphs of a trainer, and a run takes
 * as long.
 */
const trainingDefaults = ({ session = {}, webgpu }: NodeOptions): SessionOptions => ({
  ...session,
  enableMemPattern: session.enableMemPattern ?? false,
  extra: {
    ...session.extra,
    session: {
      force_spinning_stop: '1',
      // DequantizeLinear and MatMul become MatMulNBits, by default with activations rounded to 8 bits.
      qdq_matmulnbits_accuracy_level: '0',
      ...(webgpu?.cpuNodes === 'forbidden' ? { disable_cpu_ep_fallback: '1' } : {}),
      ...(session.extra?.['session'] as object | undefined),
    },
  },
})
