import type { BackendSpec, TrainingBackend, TrainingDevice } from '../../backend/backend.js'
import { OnnxBackend } from '../../backend/onnx/onnx-backend.js'
import { type DType, isFloat } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'
import type { DeviceOutputs, DeviceProgram, DeviceTensor, DeviceTensors, Feeds } from '../../runtime/device.js'
import { checkFeed, checkFeedNames } from '../../runtime/feeds.js'
import { checkDeviceType, identityModel, readOutputNames } from '../../runtime/ort.js'
import { disposedError, type Runtime } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord } from '../../util/record.js'
import type { Engine, Session, SessionTensor, TensorHandle } from './engine.js'

/** Handle of a tensor in an engine's device memory. */
class NodeTensor implements DeviceTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly device: NodeDevice
  readonly handle: number
  released = false
  /** Pending calls that read the tensor. */
  #uses: Promise<unknown> = Promise.resolve()

  constructor(device: NodeDevice, { handle, dtype, dims }: TensorHandle) {
    this.device = device
    this.handle = handle
    this.dtype = dtype
    this.dims = dims
  }

  /** Keeps the memory allocated until `use` settles. */
  during<T>(use: Promise<T>): Promise<T> {
    this.#uses = Promise.allSettled([this.#uses, use])
    return use
  }

  release(): void {
    if (this.released) return
    this.released = true
    void this.#uses.then(() => this.device.free(this))
  }
}

/**
 * Device of onnxruntime-node's WebGPU provider. Its JavaScript can neither read nor write device tensors, so uploads
 * and downloads run an identity model per type. The first of these sessions is never released: onnxruntime's device
 * exists only as long as a session does.
 */
export class NodeDevice implements TrainingDevice {
  readonly #engine: Engine
  readonly #disposed: () => Promise<void> | undefined
  readonly #identities = new Map<string, Promise<Session>>()

  /** @param disposed the promise of the runtime's `dispose`, once it was called */
  constructor(engine: Engine, disposed: () => Promise<void> | undefined) {
    this.#engine = engine
    this.#disposed = disposed
  }

  createBackend(runtime: Runtime, spec: BackendSpec): TrainingBackend<DeviceTensors> {
    return new OnnxBackend(runtime, this, spec)
  }

  async compile(model: Uint8Array, keepOnDevice: (output: string) => boolean): Promise<DeviceProgram> {
    this.#check()
    await this.#identity('float32', false)
    const session = await this.#engine.compile(model, { keepOnDevice: readOutputNames(model).filter(keepOnDevice) })
    this.#check()
    let released: Promise<void> | undefined
    return {
      inputNames: session.inputs.map(({ name }) => name),
      outputNames: session.outputNames,
      run: async (feeds) => {
        this.#check()
        if (released) throw disposedError('program', 'released')
        return this.#outputs(session, await this.#engine.run(session.id, this.#operands(session, feeds)))
      },
      release: () => {
        released ??= this.#disposed() ?? this.#engine.release(session.id)
        return released
      },
    }
  }

  async upload(tensor: Tensor): Promise<DeviceTensor> {
    this.#check()
    const session = await this.#identity(tensor.dtype, true)
    const [handle] = await this.#engine.run(session.id, [checkFeed(session.inputs[0]!, tensor)])
    return new NodeTensor(this, handle as TensorHandle)
  }

  async download(tensor: DeviceTensor): Promise<Tensor> {
    this.#check()
    const own = this.#own('download', tensor)
    return own.during(this.#read(own))
  }

  async #read({ handle, dtype, dims }: NodeTensor): Promise<Tensor> {
    const session = await this.#identity(dtype, false)
    const [result] = await this.#engine.run(session.id, [{ handle, dtype, dims }])
    return result as Tensor
  }

  #check(): void {
    if (this.#disposed()) throw disposedError('runtime', 'disposed')
  }

  free(tensor: NodeTensor): void {
    // A closed engine has already freed it.
    this.#engine.free(tensor.handle).catch(() => {})
  }

  #outputs({ outputNames }: Session, results: readonly SessionTensor[]): DeviceOutputs {
    const host: Record<string, Tensor> = emptyRecord()
    const device: Record<string, DeviceTensor> = emptyRecord()
    for (const [i, name] of outputNames.entries()) {
      const result = results[i]!
      if ('handle' in result) device[name] = new NodeTensor(this, result)
      else host[name] = result
    }
    return { host, device }
  }

  #operands({ inputs }: Session, feeds: Feeds): SessionTensor[] {
    checkFeedNames(inputs, feeds)
    return inputs.map((info) => {
      const given = feeds[info.name]!
      if ('data' in given) return checkFeed(info, given)
      const own = this.#own(`input '${info.name}'`, given)
      if (own.dtype === info.dtype) return { handle: own.handle, dtype: own.dtype, dims: own.dims }
      throw new OnnxIreError('invalid-data', `input '${info.name}': the model expects ${info.dtype}, got ${own.dtype}`)
    })
  }

  #own(what: string, tensor: DeviceTensor): NodeTensor {
    if (!(tensor instanceof NodeTensor) || tensor.device !== this)
      throw new OnnxIreError('invalid-data', `${what}: the tensor belongs to another device`)
    if (tensor.released) throw new OnnxIreError('runtime', `${what}: this device tensor was released`)
    return tensor
  }

  /** Session of the identity model that copies to the device, or from it. */
  #identity(dtype: DType, into: boolean): Promise<Session> {
    const key = `${dtype} ${into}`
    let session = this.#identities.get(key)
    if (!session) {
      checkDeviceType(dtype)
      // Integers and booleans pass through the CPU, even if the user's `cpuNodes` forbids it for programs.
      session = this.#engine.compile(identityModel(dtype), {
        keepOnDevice: into ? ['y'] : [],
        allowCpu: !isFloat(dtype),
      })
      this.#identities.set(key, session)
      // The next call compiles again.
      session.catch(() => this.#identities.delete(key))
    }
    return session
  }
}
