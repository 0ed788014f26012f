import { OnnxIreError } from '../errors.js'
import { type DType, isFloat } from '../ir/dtype.js'
import { input } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { decode } from '../onnx/decode.js'
import { encode } from '../onnx/encode.js'
import { exportGraph } from '../onnx/export.js'
import { op } from '../op/index.js'
import type { Device, DeviceOutputs, DeviceProgram, DeviceTensor, Feeds } from '../runtime/device.js'
import { checkFeed, checkNames } from '../runtime/feeds.js'
import { gone } from '../runtime/gone.js'
import type { Engine, Kept, Operand, Session } from './engine.js'

/** A tensor behind an engine, by its number. */
class NodeTensor implements DeviceTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly device: NodeDevice
  readonly handle: number
  released = false

  constructor(device: NodeDevice, { handle, dtype, dims }: Kept) {
    this.device = device
    this.handle = handle
    this.dtype = dtype
    this.dims = dims
  }

  release(): void {
    if (this.released) return
    this.released = true
    this.device.free(this)
  }
}

/**
 * The device of onnxruntime-node's WebGPU provider. Its JavaScript can neither read nor write device tensors, so they come and
 * go through a program of Identity, one per type; the first of them, never released, is also what keeps the device itself alive.
 */
export class NodeDevice implements Device {
  readonly #engine: Engine
  readonly #check: () => void
  readonly #passages = new Map<string, Promise<Session>>()

  /** `check` throws once the runtime is disposed. */
  constructor(engine: Engine, check: () => void) {
    this.#engine = engine
    this.#check = check
  }

  async compile(model: Uint8Array, keeps: (output: string) => boolean): Promise<DeviceProgram> {
    this.#check()
    await this.#passage('float32', false)
    const names = decode('ModelProto', model).graph?.output.map(({ name }) => name ?? '') ?? []
    const session = await this.#engine.compile(model, { keeps: names.filter(keeps) })
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
        released ??= this.#engine.release(session.id)
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
    const own = this.#own('tensor', tensor)
    const session = await this.#passage(own.dtype, false)
    const [result] = await this.#engine.run(session.id, [own])
    return result as Tensor
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
      if (own.dtype === info.dtype) return own
      throw new OnnxIreError('invalid-data', `input '${info.name}': the model wants ${info.dtype}, not ${own.dtype}`)
    })
  }

  #own(what: string, tensor: DeviceTensor): Kept {
    if (!(tensor instanceof NodeTensor) || tensor.device !== this)
      throw new OnnxIreError('invalid-data', `${what}: a device tensor of another runtime`)
    if (tensor.released) throw new OnnxIreError('runtime', `${what}: this device tensor was released`)
    const { handle, dtype, dims } = tensor
    return { handle, dtype, dims }
  }

  /** Identity into the device, or out of it. */
  #passage(dtype: DType, into: boolean): Promise<Session> {
    const key = `${dtype} ${into}`
    let passage = this.#passages.get(key)
    if (!passage) {
      if (dtype === 'float64' || dtype === 'string')
        throw new OnnxIreError('invalid-data', `the WebGPU device keeps no ${dtype} tensors`)
      // Integers and truth values pass on the CPU, whatever the user's programs may do.
      passage = this.#engine.compile(identity(dtype), { keeps: into ? ['y'] : [], anywhere: !isFloat(dtype) })
      this.#passages.set(key, passage)
    }
    return passage
  }
}

function identity(dtype: DType): Uint8Array {
  const x = input('x', dtype, undefined)
  return encode(
    'ModelProto',
    exportGraph({ name: 'passage', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Identity(x)]]) }),
  )
}
