import { type DType, dtypes, type TypedArray } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'
import { sizeOf } from '../../ir/tensor.js'
import type { DeviceProgram, DeviceTensor, Feeds } from '../../runtime/device.js'
import { checkFeeds, type InputInfo } from '../../runtime/feeds.js'
import { checkDeviceType, fromOrtTensor, inputsOf, isCpuRefusal, readOutputNames } from '../../runtime/ort.js'
import { type CompileHints, disposedError } from '../../runtime/runtime.js'
import { bytesOf } from '../../util/bytes.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { bufferUsage, mapModeRead } from '../webgpu-backend/constants.js'
import type { MonitoredDevice } from './monitored-device.js'
import {
  createSession,
  type InferenceSession,
  type Ort,
  type OrtTensor,
  runSession,
  toOrtTensor,
  withData,
} from './ort.js'

/** Sessions and tensors of a runtime on a GPU device. */
export class WebGpuSessions {
  readonly #ort: Ort
  readonly #device: MonitoredDevice
  readonly #options: InferenceSession.SessionOptions
  readonly #open: Set<InferenceSession>
  readonly #released = new WeakSet<GpuTensor>()
  #closed: Promise<void> | undefined

  /** @param first a session that is open until `close`: a device of onnxruntime ends with its last one */
  constructor(ort: Ort, device: MonitoredDevice, options: InferenceSession.SessionOptions, first: InferenceSession) {
    this.#ort = ort
    this.#device = device
    this.#options = options
    this.#open = new Set([first])
  }

  async compile(
    model: Uint8Array,
    keepOnDevice: (output: string) => boolean,
    { externalData }: Pick<CompileHints, 'externalData'> = {},
  ): Promise<DeviceProgram> {
    this.#checkOpen()
    const onDevice = new Set(readOutputNames(model).filter(keepOnDevice))
    const locations = Object.fromEntries([...onDevice].map((name) => [name, 'gpu-buffer' as const]))
    const own = withData(this.#options, externalData)
    const options = onDevice.size > 0 ? { ...own, preferredOutputLocation: locations } : own
    try {
      const session = await this.#device.run(async () => {
        const created = await createSession(this.#ort, model, options)
        this.#open.add(created)
        return created
      })
      this.#checkOpen()
      return this.#program(session, onDevice)
    } catch (error) {
      if (!isCpuRefusal(error)) throw error
      const { nameCpuNodes } = await import('../../lowering/cpu-nodes.js')
      const tryAlone = (bytes: Uint8Array) =>
        this.#device.run(async () => (await createSession(this.#ort, bytes, this.#options)).release())
      throw await nameCpuNodes(error, model, tryAlone, externalData)
    }
  }

  async upload(tensor: Tensor): Promise<GpuTensor> {
    this.#checkOpen()
    checkDeviceType(tensor.dtype)
    return this.#device.run(async () => {
      const { dtype, dims } = tensor
      const data = tensor.data as TypedArray
      // Kernels read 16-byte vectors.
      const size = Math.max(16, Math.ceil(data.byteLength / 16) * 16)
      const usage = bufferUsage.storage | bufferUsage.copyFrom | bufferUsage.copyTo
      const buffer = this.#device.gpu.createBuffer({ size, usage, mappedAtCreation: true })
      new Uint8Array(buffer.getMappedRange()).set(bytesOf(data))
      buffer.unmap()
      return this.#tensor(dtype, dims, buffer, () => buffer.destroy())
    })
  }

  async download(tensor: DeviceTensor): Promise<Tensor> {
    this.#checkOpen()
    const { buffer, byteLength, dtype, dims } = this.#own(tensor)
    return this.#device.run(async () => {
      const size = Math.max(4, Math.ceil(byteLength / 4) * 4)
      const staging = this.#device.gpu.createBuffer({ size, usage: bufferUsage.copyTo | bufferUsage.mapRead })
      try {
        const encoder = this.#device.gpu.createCommandEncoder()
        encoder.copyBufferToBuffer(buffer, 0, staging, 0, size)
        this.#device.gpu.queue.submit([encoder.finish()])
        await staging.mapAsync(mapModeRead)
        const bytes = staging.getMappedRange().slice(0, byteLength)
        const { array, bits } = dtypes[dtype]
        return { dtype, dims, data: new array!(bytes, 0, bits === 4 ? byteLength : (byteLength * 8) / bits) }
      } finally {
        staging.destroy()
      }
    })
  }

  /** Frees every session after the calls made before. */
  close(): Promise<void> {
    this.#closed ??= this.#device.free(async () => {
      for (const session of this.#open) await this.#end(session)
    })
    return this.#closed
  }

  #program(session: InferenceSession, onDevice: ReadonlySet<string>): DeviceProgram {
    const inputs = inputsOf(session)
    const { outputNames } = session
    let released: Promise<void> | undefined
    return {
      inputNames: inputs.map(({ name }) => name),
      outputNames,
      run: async (feeds) => {
        this.#checkOpen()
        if (released) throw disposedError('program', 'released')
        const checked = this.#checkFeeds(inputs, feeds)
        return this.#device.run(async () => {
          const own = checked.map(([name, feed]) => [name, this.#toOrt(feed)] as const)
          const results = Object.entries(await runSession(session, Object.fromEntries(own)))
          const host = results.filter(([name]) => !onDevice.has(name))
          const device = results.filter(([name]) => onDevice.has(name))
          return {
            host: Object.fromEntries(host.map(([name, tensor]) => [name, fromOrtTensor(tensor)])),
            device: Object.fromEntries(device.map(([name, tensor]) => [name, this.#wrap(tensor)])),
          }
        })
      },
      release: () => {
        released ??= this.#device.free(() => this.#end(session))
        return released
      },
    }
  }

  /** Wraps a tensor that onnxruntime allocated; freeing returns its memory to onnxruntime's pool. */
  #wrap(tensor: OrtTensor): GpuTensor {
    return this.#tensor(tensor.type, [...tensor.dims], tensor.gpuBuffer as GPUBuffer, () => tensor.dispose())
  }

  #tensor(dtype: Tensor['dtype'], dims: readonly number[], buffer: GPUBuffer, free: () => void): GpuTensor {
    const tensor: GpuTensor = new GpuTensor(this.#device.gpu, dtype, dims, buffer, () => {
      this.#released.add(tensor)
      void this.#device.free(free)
    })
    return tensor
  }

  #toOrt(feed: Tensor | GpuTensor): OrtTensor {
    if (!(feed instanceof GpuTensor)) return toOrtTensor(this.#ort, feed)
    const { buffer, dtype, dims } = feed
    return this.#ort.Tensor.fromGpuBuffer(buffer as never, { dataType: dtype as 'float32', dims })
  }

  /** Checks the feeds, on the host and on the device. Throws `invalid-data` naming the input. */
  #checkFeeds(inputs: readonly InputInfo[], feeds: Feeds): [name: string, feed: Tensor | GpuTensor][] {
    const onDevice = new Map<string, GpuTensor>()
    for (const { name, dtype } of inputs) {
      const feed = getOwn(feeds, name)
      if (feed === undefined || 'data' in feed) continue
      if (feed.dtype !== dtype)
        throw new OnnxIreError('invalid-data', `input '${name}': the model expects ${dtype}, got ${feed.dtype}`)
      onDevice.set(name, this.#own(feed, `input '${name}': `))
    }
    const onHost = inputs.filter(({ name }) => !onDevice.has(name))
    // Unknown names stay in, so that checkFeeds reports them.
    const others = Object.fromEntries(Object.entries(feeds).filter(([name]) => !onDevice.has(name)))
    const checked = checkFeeds(onHost, others as Record<string, Tensor>)
    return [...onDevice, ...onHost.map(({ name }, i): [string, Tensor] => [name, checked[i]!])]
  }

  #own(tensor: DeviceTensor, where = ''): GpuTensor {
    if (!(tensor instanceof GpuTensor) || tensor.gpu !== this.#device.gpu)
      throw new OnnxIreError('invalid-data', `${where}the tensor belongs to another device`)
    if (this.#released.has(tensor)) throw new OnnxIreError('runtime', `${where}this device tensor was released`)
    return tensor
  }

  #checkOpen(): void {
    this.#device.check()
    if (this.#closed) throw disposedError('runtime', 'disposed')
  }

  async #end(session: InferenceSession): Promise<void> {
    if (this.#open.delete(session)) await session.release()
  }
}

/**
 * A device tensor of the WebGPU runtime. Its elements are at the start of `buffer`, which may be longer (onnxruntime
 * rounds sizes up) and is owned by the creator of the tensor.
 */
export class GpuTensor implements DeviceTensor {
  /** Device of its buffer. */
  readonly gpu: GPUDevice
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly buffer: GPUBuffer
  #free: (() => void) | undefined

  /** @param free frees the buffer; called once */
  constructor(gpu: GPUDevice, dtype: DType, dims: readonly number[], buffer: GPUBuffer, free?: () => void) {
    this.gpu = gpu
    this.dtype = dtype
    this.dims = dims
    this.buffer = buffer
    this.#free = free
  }

  /** Number of elements; it does not follow from the size of the buffer. */
  get elements(): number {
    return sizeOf(this.dims)
  }

  /** Number of bytes of the elements. */
  get byteLength(): number {
    return Math.ceil((this.elements * dtypes[this.dtype].bits) / 8)
  }

  release(): void {
    const free = this.#free
    this.#free = undefined
    free?.()
  }
}
