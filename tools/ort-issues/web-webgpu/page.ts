/** The parts of WebGPU that the reproducers use in the page: `tools` are compiled without the types of a browser. */
interface GpuBuffer {
  readonly size: number
  getMappedRange(): ArrayBuffer
  unmap(): void
  mapAsync(mode: number): Promise<void>
}

interface GpuDevice {
  readonly lost: Promise<{ readonly message: string }>
  readonly queue: { submit(commands: readonly unknown[]): void; onSubmittedWorkDone(): Promise<void> }
  createBuffer(descriptor: { size: number; usage: number; mappedAtCreation?: boolean }): GpuBuffer
  createCommandEncoder(): {
    copyBufferToBuffer(from: GpuBuffer, at: number, to: GpuBuffer, toAt: number, size: number): void
    finish(): unknown
  }
  pushErrorScope(filter: 'validation'): void
  popErrorScope(): Promise<{ readonly message: string } | null>
  destroy(): void
}

/** A tensor of onnxruntime-web, on the host or on the device. */
interface PageTensor {
  readonly location: string
  readonly data: Float32Array
  readonly gpuBuffer: GpuBuffer
  getData(): Promise<Float32Array>
}

interface PageSession {
  run(
    feeds: Readonly<Record<string, PageTensor>>,
    fetches?: Readonly<Record<string, PageTensor>>,
  ): Promise<Record<string, PageTensor>>
  release(): Promise<void>
}

interface PageOrt {
  readonly env: {
    readonly wasm: { numThreads?: number; wasmPaths?: string }
    /** Set by onnxruntime when it creates its device. */
    readonly webgpu: { device?: GpuDevice }
    logLevel?: string
  }
  readonly InferenceSession: { create(bytes: Uint8Array, options: object): Promise<PageSession> }
  readonly Tensor: {
    new (type: string, data: unknown, dims: readonly number[]): PageTensor
    fromGpuBuffer(buffer: GpuBuffer, options: { dataType: string; dims: readonly number[] }): PageTensor
  }
}

/** Helpers that the functions of reproducers find in the page as `kit`. */
export interface Kit {
  readonly isolated: boolean
  /** Loads an entry of onnxruntime-web, such as 'webgpu'. */
  load(entry: string): Promise<PageOrt>
  /** A new WebGPU device; null if there is none. */
  device(): Promise<GpuDevice | null>
  bytes(base64: string): Uint8Array
  buffer(device: GpuDevice, values: readonly number[]): GpuBuffer
  read(device: GpuDevice, buffer: GpuBuffer, length: number): Promise<number[]>
  /** The value of a promise, or 'late' after so many milliseconds. */
  within<T>(milliseconds: number, work: Promise<T>): Promise<T | 'late'>
}

/** Defines `kit`. Runs in the page, so that it refers to nothing outside itself. */
export function installKit(): void {
  const page = globalThis as unknown as {
    kit: Kit
    __name: (value: unknown) => unknown
    crossOriginIsolated: boolean
    navigator: { gpu?: { requestAdapter(): Promise<{ requestDevice(): Promise<GpuDevice> } | null> } }
  }
  // esbuild marks functions with it.
  page.__name = (value) => value
  page.kit = {
    isolated: page.crossOriginIsolated,
    load: async (entry) => {
      const address = `/ort/ort.${entry ? `${entry}.` : ''}min.mjs`
      const ort = (await import(address)) as PageOrt
      ort.env.logLevel = 'fatal'
      ort.env.wasm.wasmPaths = '/ort/'
      return ort
    },
    device: async () => {
      const adapter = await page.navigator.gpu?.requestAdapter()
      return (await adapter?.requestDevice()) ?? null
    },
    bytes: (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)),
    buffer: (device, values) => {
      // STORAGE | COPY_SRC | COPY_DST
      const buffer = device.createBuffer({ size: Math.max(16, 4 * values.length), usage: 0x8c, mappedAtCreation: true })
      new Float32Array(buffer.getMappedRange()).set(values)
      buffer.unmap()
      return buffer
    },
    read: async (device, buffer, length) => {
      // MAP_READ | COPY_DST
      const staging = device.createBuffer({ size: 4 * length, usage: 0x9 })
      const encoder = device.createCommandEncoder()
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, 4 * length)
      device.queue.submit([encoder.finish()])
      await staging.mapAsync(1)
      return [...new Float32Array(staging.getMappedRange())]
    },
    within: (milliseconds, work) =>
      Promise.race([work, new Promise<'late'>((resolve) => setTimeout(() => resolve('late'), milliseconds))]),
  }
}
