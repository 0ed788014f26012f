import type { BackendSpec } from '../../backend/backend.js'
import { OnnxBackend } from '../../backend/onnx/onnx-backend.js'
import { unwrap } from '../../optim/optimizer.js'
import { samMoment } from '../../optim/sam.js'
import type { CompileHints, Program } from '../../runtime/runtime.js'
import { allocate, disposedError } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import { WebGpuBackend } from '../webgpu-backend/webgpu-backend.js'
import { checkForGpu, MonitoredDevice } from './monitored-device.js'
import { type InferenceSession, loadOrt, type Ort, startProvider } from './ort.js'
import type { WasmSettings } from './wasm-settings.js'
import type { WebGpuOptions, WebGpuRuntime } from './webgpu-options.js'
import { WebGpuSessions } from './webgpu-sessions.js'
import { YieldingQueue } from './yielding-queue.js'

/** Queue of all calls: onnxruntime hangs if two overlap, even of different sessions. */
const queue = new YieldingQueue()

/** A device and the sessions that a runtime has on it, which are lost together. */
interface OpenDevice {
  readonly monitored: MonitoredDevice
  readonly sessions: WebGpuSessions
  readonly powerPreference: GPUPowerPreference
}

/** The open devices of all runtimes, which share onnxruntime's. */
const openDevices = new Set<OpenDevice>()

/** Starts onnxruntime-web's WebGPU provider. @throws OnnxIreError `runtime` with the reason */
export async function startWebGpu(options: WebGpuOptions): Promise<WebGpuRuntime> {
  // The GPU first: without one, 18 or 29 MB need not be loaded.
  await checkForGpu()
  const ort = await loadBuild({ ...options, threads: options.threads ?? 1 })
  const opened = await openDevice(ort, options)
  const { vendor, architecture, description } = opened.monitored.gpu.adapterInfo
  const name = [vendor, architecture, description].filter(Boolean).join(' ')
  return new OrtWebGpuRuntime(
    `onnxruntime-web ${ort.env.versions.web}, webgpu${name && ` on ${name}`}`,
    opened,
    async () => {
      // Without an adapter onnxruntime would not answer, and no later session would start.
      await checkForGpu()
      return openDevice(ort, options)
    },
    options.gradients !== 'onnxruntime',
  )
}

/**
 * Loads one of the two builds of onnxruntime-web's WebGPU provider, which wait for the GPU in different ways. The build
 * for browsers that can suspend WebAssembly (JSPI) has 18 MB; the other, in which a compiler has made every function
 * suspendable (asyncify), has 29.
 */
const loadBuild = (settings: WasmSettings): Promise<Ort> =>
  usesJspi(settings)
    ? loadOrt('onnxruntime-web/jspi', () => import('onnxruntime-web/jspi'), settings, {
        wasm: new URL('onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm', import.meta.url),
        mjs: new URL('onnxruntime-web/ort-wasm-simd-threaded.jspi.mjs', import.meta.url),
      })
    : loadOrt('onnxruntime-web/webgpu', () => import('onnxruntime-web/webgpu'), settings, {
        wasm: new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm', import.meta.url),
        mjs: new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs', import.meta.url),
      })

/** Whether the browser runs the build that suspends WebAssembly, and `wasmPaths` does not name a file of the other. */
function usesJspi({ wasmPaths }: WasmSettings): boolean {
  if (!('Suspending' in WebAssembly)) return false
  return typeof wasmPaths !== 'object' || !/asyncify/.test(`${wasmPaths.wasm ?? ''} ${wasmPaths.mjs ?? ''}`)
}

/**
 * Opens onnxruntime's own device, which exists from its first session to its last one and has the limits of the adapter
 * that compute shaders depend on. On another device onnxruntime-web 1.31 finds no tensors.
 * @throws OnnxIreError `runtime` with the reason, `invalid-option` if another runtime prefers another GPU
 */
async function openDevice(ort: Ort, options: WebGpuOptions): Promise<OpenDevice> {
  const { powerPreference = 'high-performance', cpuNodes, graphOptimizationLevel = 'all' } = options
  // A lost device ends with its last session, and only then onnxruntime requests another one.
  for (const { monitored, sessions } of openDevices) if (monitored.isLost) await sessions.close()
  const sessionOptions: InferenceSession.SessionOptions = {
    logSeverityLevel: 3,
    graphOptimizationLevel,
    executionProviders: ['webgpu'],
    extra: {
      ...(cpuNodes === 'forbidden' ? { session: { disable_cpu_ep_fallback: '1' } } : {}),
      ep: { webgpuexecutionprovider: { powerPreference } },
    },
  }
  return queue.run(async () => {
    for (const { monitored, powerPreference: other } of openDevices)
      if (!monitored.isLost && other !== powerPreference)
        throw new OnnxIreError(
          'invalid-option',
          `webgpu: powerPreference '${powerPreference}' has no effect beside a runtime with '${other}', whose device it shares: dispose of that one first, or give both the same`,
        )
    const session = await startProvider(ort, 'WebGPU provider', sessionOptions)
    const monitored = new MonitoredDevice(ort.env.webgpu.device as unknown as GPUDevice, queue)
    const opened = { monitored, sessions: new WebGpuSessions(ort, monitored, sessionOptions, session), powerPreference }
    openDevices.add(opened)
    return opened
  })
}

/** Whether a step contains matrix products, sums over tensors or a variant of SAM, which the compute shaders lack. */
function needsGraphs({ optimizer }: BackendSpec): boolean {
  const { base, sam } = unwrap(optimizer)
  return base.ruleOf !== undefined || base.estimate !== undefined || (sam !== null && samMoment(sam) !== null)
}

class OrtWebGpuRuntime implements WebGpuRuntime {
  readonly provider = 'webgpu'
  readonly readsBytes = true
  readonly allocate: WebGpuRuntime['allocate'] = allocate
  readonly device: WebGpuRuntime['device']
  readonly #name: string
  readonly #announcements = new Set<string>()
  #opened: OpenDevice
  #recovery: Promise<void> | undefined
  #disposed: Promise<void> | undefined

  constructor(name: string, opened: OpenDevice, open: () => Promise<OpenDevice>, usesShaders: boolean) {
    this.#name = name
    const announce = (message: string) => void this.#announcements.add(message)
    this.#opened = opened
    this.device = {
      compile: (model, keepOnDevice, hints) => this.#opened.sessions.compile(model, keepOnDevice, hints),
      upload: (tensor) => this.#opened.sessions.upload(tensor),
      download: (tensor) => this.#opened.sessions.download(tensor),
      createBackend: (runtime, spec) => {
        if (this.#disposed) throw disposedError('runtime', 'disposed')
        return needsGraphs(spec)
          ? new OnnxBackend(runtime, this.device, spec)
          : new WebGpuBackend(runtime, this.device, () => this.#opened.monitored, spec, usesShaders ? announce : null)
      },
      recover: async () => {
        if (this.#disposed) throw disposedError('runtime', 'disposed')
        // Another caller may have replaced the lost device, or may be replacing it.
        if (!this.#opened.monitored.isLost) return
        this.#recovery ??= this.#reopen(open).finally(() => {
          this.#recovery = undefined
        })
        await this.#recovery
      },
    }
  }

  get description(): string {
    return [this.#name, ...this.#announcements].join('; ')
  }

  get gpu(): GPUDevice {
    return this.#opened.monitored.gpu
  }

  get lacksFloat16(): boolean {
    return !this.gpu.features.has('shader-f16')
  }

  get lost(): Promise<OnnxIreError> {
    return this.#opened.monitored.lost
  }

  async compile(model: Uint8Array, hints?: CompileHints): Promise<Program> {
    const { run, ...program } = await this.device.compile(model, () => false, hints)
    return { ...program, run: async (feeds) => (await run(feeds)).host }
  }

  async #reopen(open: () => Promise<OpenDevice>): Promise<void> {
    await closeDevice(this.#opened)
    this.#opened = await open()
  }

  dispose(): Promise<void> {
    this.#disposed ??= this.#close()
    return this.#disposed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  async #close(): Promise<void> {
    // The device that replaces a lost one is closed, too.
    await this.#recovery?.catch(() => {})
    await closeDevice(this.#opened)
  }
}

async function closeDevice(opened: OpenDevice): Promise<void> {
  opened.monitored.close()
  openDevices.delete(opened)
  await opened.sessions.close()
}
