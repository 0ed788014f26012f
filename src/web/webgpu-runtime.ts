import { allocate } from '../runtime/allocate.js'
import { gone } from '../runtime/gone.js'
import type { Program } from '../runtime/runtime.js'
import type { OnnxIreError } from '../util/errors.js'
import { requestDevice } from './adapter.js'
import { DeviceLife } from './device-life.js'
import { type InferenceSession, loadOrt, type Ort, startProvider } from './ort.js'
import { Turns } from './turns.js'
import type { WebGpuOptions, WebGpuRuntime } from './webgpu.js'
import { WebGpuBackend } from './webgpu-backend/webgpu-backend.js'
import { WebGpuSessions } from './webgpu-sessions.js'

/** Queue of all calls: onnxruntime hangs if two overlap, even of different sessions. */
const turns = new Turns()

/** A device and its sessions, which are lost together. */
interface Opened {
  readonly life: DeviceLife
  readonly sessions: WebGpuSessions
}

/** Starts onnxruntime-web's WebGPU provider. @throws 'runtime' with the reason */
export async function startWebGpu(options: WebGpuOptions): Promise<WebGpuRuntime> {
  // The device first: without one, 27 MB need not be loaded.
  const gpu = await requestDevice(options.powerPreference)
  let ort: Ort
  try {
    ort = await loadOrt(
      'onnxruntime-web/webgpu',
      () => import('onnxruntime-web/webgpu'),
      { ...options, threads: options.threads ?? 1 },
      {
        wasm: new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm', import.meta.url),
        mjs: new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs', import.meta.url),
      },
    )
  } catch (error) {
    gpu.destroy()
    throw error
  }
  const opened = await started(ort, gpu, options)
  const { vendor, architecture, description } = gpu.adapterInfo
  const name = [vendor, architecture, description].filter(Boolean).join(' ')
  return new WebGpu(`onnxruntime-web ${ort.env.versions.web}, webgpu${name && ` on ${name}`}`, opened, async () =>
    started(ort, await requestDevice(options.powerPreference), options),
  )
}

async function started(ort: Ort, gpu: GPUDevice, options: WebGpuOptions): Promise<Opened> {
  const sessionOptions: InferenceSession.SessionOptions = {
    logSeverityLevel: 3,
    graphOptimizationLevel: options.graphOptimizationLevel ?? 'all',
    executionProviders: [{ name: 'webgpu', device: gpu as never }],
    ...(options.cpuNodes === 'refused' ? { extra: { session: { disable_cpu_ep_fallback: '1' } } } : {}),
  }
  const life = new DeviceLife(gpu, turns)
  try {
    await life.inTurn(() => startProvider(ort, 'WebGPU provider', sessionOptions))
  } catch (error) {
    life.end()
    throw error
  }
  return { life, sessions: new WebGpuSessions(ort, life, sessionOptions) }
}

class WebGpu implements WebGpuRuntime {
  readonly description: string
  readonly provider = 'webgpu'
  readonly allocate: WebGpuRuntime['allocate'] = allocate
  readonly device: WebGpuRuntime['device']
  #opened: Opened
  #renewal: Promise<void> | undefined
  #disposed: Promise<void> | undefined

  constructor(description: string, opened: Opened, open: () => Promise<Opened>) {
    this.description = description
    this.#opened = opened
    this.device = {
      compile: (model, keeps) => this.#opened.sessions.compile(model, keeps),
      upload: (tensor) => this.#opened.sessions.upload(tensor),
      download: (tensor) => this.#opened.sessions.download(tensor),
      createBackend: (runtime, spec) => new WebGpuBackend(runtime, this.device, () => this.#opened.life, spec),
      renew: async () => {
        if (this.#disposed) throw gone('runtime', 'disposed')
        // Another caller may have renewed the lost device, or may be renewing it.
        if (!this.#opened.life.isLost) return
        this.#renewal ??= this.#renewed(open).finally(() => {
          this.#renewal = undefined
        })
        await this.#renewal
      },
    }
  }

  get gpu(): GPUDevice {
    return this.#opened.life.gpu
  }

  get lost(): Promise<OnnxIreError> {
    return this.#opened.life.lost
  }

  async compile(model: Uint8Array): Promise<Program> {
    const { run, ...program } = await this.device.compile(model, () => false)
    return { ...program, run: async (feeds) => (await run(feeds)).host }
  }

  async #renewed(open: () => Promise<Opened>): Promise<void> {
    await ended(this.#opened)
    this.#opened = await open()
  }

  dispose(): Promise<void> {
    this.#disposed ??= ended(this.#opened)
    return this.#disposed
  }
}

async function ended({ life, sessions }: Opened): Promise<void> {
  await sessions.close()
  life.end()
}
