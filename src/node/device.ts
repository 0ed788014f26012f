import { type DType, isFloat } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'
import type { Device, DeviceOutputs, DeviceProgram, DeviceTensor, Feeds } from '../runtime/device.js'
import { checkFeed, checkNames } from '../runtime/feeds.js'
import { gone } from '../runtime/gone.js'
import { checkKeepable, outputNamesOf } from '../runtime/kept.js'
import { passage } from '../runtime/passage.js'
import { OnnxIreError } from '../util/errors.js'
import type { Engine, Kept, Operand, Session } from './engine.js'

/** A tensor behind an engine, by its number. */
class NodeTensor implements DeviceTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly device: NodeDevice
  readonly handle: number
  released = false
  /** What still reads it. */
  #uses: Promise<unknown> = Promise.resolve()

  constructor(device: NodeDevice, { handle, dtype, dims }: Kept) {
    this.device = device
    this.handle = handle
    this.dtype = dtype
    this.dims = dims
  }

  /** Its memory stays until this is over. */
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
 * The device of onnxruntime-node's WebGPU provider. Its JavaScript can neither read nor write device tensors, so they
 * come and go through a program of Identity, one per type; the first of them, never released, is also what keeps the
 * device itself alive.
 */
export class NodeDevice implements Device {
  readonly #engine: Engine
  readonly #disposed: () => Promise<void> | undefined
  readonly #passages = new Map<string, Promise<Session>>()

  /** @param disposed the end of the runtime, once it was asked for */
  constructor(engine: Engine, disposed: () => Promise<void> | undefined) {
    this.#engine = engine
    this.#disposed = disposed
  }

  async compile(model: Uint8Array, keeps: (output: string) => boolean): Promise<DeviceProgram> {
    this.#check()
    await this.#passage('float32', false)
    const session = await this.#engine.compile(model, { keeps: outputNamesOf(model).filter(keeps) })
    let released: Promise<void> | undefined
    return {
      inputNames: session.inputs.map(({ name }) => name),
      outputNames: session.outputNames,
      run: async (feeds) => {
        this.#check()
        if (released) throw gone('program', 'released')
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
    const session = await this.#passage(tensor.dtype, true)
    const [kept] = await this.#engine.run(session.id, [checkFeed(session.inputs[0]!, tensor)])
    return new NodeTensor(this, kept as Kept)
  }

  async download(tensor: DeviceTensor): Promise<Tensor> {
    this.#check()
    const own = this.#own('download', tensor)
    return own.during(this.#read(own))
  }

  async #read({ handle, dtype, dims }: NodeTensor): Promise<Tensor> {
    const session = await this.#passage(dtype, false)
    const [result] = await this.#engine.run(session.id, [{ handle, dtype, dims }])
    return result as Tensor
  }

  #check(): void {
    if (this.#disposed()) throw gone('runtime', 'disposed')
  }

  free(tensor: NodeTensor): void {
    // After a disposal the engine has freed it.
    this.#engine.free(tensor.handle).catch(() => {})
  }

  #outputs({ outputNames }: Session, results: readonly Operand[]): DeviceOutputs {
    const host: Record<string, Tensor> = {}
    const kept: Record<string, DeviceTensor> = {}
    for (const [i, name] of outputNames.entries()) {
      const result = results[i]!
      if ('handle' in result) kept[name] = new NodeTensor(this, result)
      else host[name] = result
    }
    return { host, kept }
  }

  #operands({ inputs }: Session, feeds: Feeds): Operand[] {
    checkNames(inputs, feeds)
    return inputs.map((info) => {
      const given = feeds[info.name]!
      if ('data' in given) return checkFeed(info, given)
      const own = this.#own(`input '${info.name}'`, given)
      if (own.dtype === info.dtype) return { handle: own.handle, dtype: own.dtype, dims: own.dims }
      throw new OnnxIreError('invalid-data', `input '${info.name}': the model wants ${info.dtype}, not ${own.dtype}`)
    })
  }

  #own(what: string, tensor: DeviceTensor): NodeTensor {
    if (!(tensor instanceof NodeTensor) || tensor.device !== this)
      throw new OnnxIreError('invalid-data', `${what}: the tensor belongs to another device`)
    if (tensor.released) throw new OnnxIreError('runtime', `${what}: this device tensor was released`)
    return tensor
  }

  /** Identity into the device, or out of it. */
  #passage(dtype: DType, into: boolean): Promise<Session> {
    const key = `${dtype} ${into}`
    let session = this.#passages.get(key)
    if (!session) {
      checkKeepable(dtype)
      // Integers and truth values pass on the CPU, whatever the user's programs may do.
      session = this.#engine.compile(passage(dtype), { keeps: into ? ['y'] : [], anywhere: !isFloat(dtype) })
      this.#passages.set(key, session)
      // One that failed is compiled anew when it is needed again.
      session.catch(() => this.#passages.delete(key))
    }
    return session
  }
}
