import type { TrainingDevice } from '../../backend/backend.js'
import { OnnxBackend } from '../../backend/onnx/onnx-backend.js'
import { type DType, dtypes } from '../../ir/dtype.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import type { DeviceOutputs, DeviceProgram, DeviceTensor, Feeds } from '../../runtime/device.js'
import { checkFeed, checkFeeds } from '../../runtime/feeds.js'
import { type CompileHints, disposedError } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord, getOwn } from '../../util/record.js'
import type { CApiEngine, OutputTarget } from './engine.js'
import type { OrtSession } from './session.js'
import { OrtValue } from './value.js'

/**
 * Whether tensors of a type can be in device memory: strings cannot, and onnxruntime has no kernel that copies packed
 * integers.
 */
const canBeOnDevice = (dtype: DType) => dtypes[dtype].bits >= 8

/** A tensor in the memory of an engine's provider. */
class NativeTensor implements DeviceTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly engine: CApiEngine
  readonly #value: OrtValue
  #released = false

  constructor(engine: CApiEngine, value: OrtValue) {
    this.engine = engine
    this.#value = value
    this.dtype = value.dtype
    this.dims = value.dims
  }

  /**
   * onnxruntime's value, for calls on `engine`; `what` names the tensor in messages. Throws `invalid-data`, `runtime`.
   */
  value(engine: CApiEngine, what: string): OrtValue {
    if (this.engine !== engine) throw new OnnxIreError('invalid-data', `${what}: the tensor belongs to another device`)
    if (this.#released) throw new OnnxIreError('runtime', `${what}: this device tensor was released`)
    return this.#value
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    // Queued after the calls that use it; a closed or lost engine has already freed it.
    this.engine.free(this.#value).catch(() => {})
  }
}

/** A program whose outputs may be host tensors of the caller. */
interface NativeProgram extends DeviceProgram {
  /** @param into tensors that outputs are written to, by name; see `Program.runInto` */
  run(feeds: Feeds, into?: Tensors): Promise<DeviceOutputs>
}

/** The device of an engine. */
interface NativeDevice extends TrainingDevice {
  compile(model: Uint8Array, keepOnDevice: (output: string) => boolean, hints?: CompileHints): Promise<NativeProgram>
}

/** Creates the device of an engine; `alive` throws once its runtime is disposed. */
export function nativeDevice(engine: CApiEngine, alive: () => void): NativeDevice {
  const device: NativeDevice = {
    async compile(model, keepOnDevice, hints) {
      alive()
      const session = await engine.compile(model, hints)
      alive()
      const misplaced = session.outputs.find(({ name, dtype }) => keepOnDevice(name) && !canBeOnDevice(dtype))
      if (misplaced === undefined) return deviceProgram(engine, session, keepOnDevice, alive)
      await engine.release(session)
      const text = `output '${misplaced.name}': ${misplaced.dtype} tensors cannot stay on a device`
      throw new OnnxIreError('invalid-data', text)
    },
    async upload(tensor) {
      alive()
      if (!canBeOnDevice(tensor.dtype))
        throw new OnnxIreError('invalid-data', `${tensor.dtype} tensors cannot stay on a device`)
      const [fed] = checkFeeds([{ name: 'upload', dtype: tensor.dtype }], { upload: tensor })
      return new NativeTensor(engine, await engine.upload(fed!))
    },
    async download(tensor) {
      alive()
      return engine.download(valueOfTensor(engine, tensor, 'download'))
    },
    createBackend: (runtime, spec) => new OnnxBackend(runtime, device, spec),
  }
  return device
}

function deviceProgram(
  engine: CApiEngine,
  session: OrtSession,
  keepOnDevice: (output: string) => boolean,
  alive: () => void,
): NativeProgram {
  const { inputs, outputs } = session
  const outputNames = outputs.map(({ name }) => name)
  let released: Promise<void> | undefined
  return {
    inputNames: inputs.map(({ name }) => name),
    outputNames,
    async run(feeds, into = {}) {
      alive()
      if (released) throw disposedError('program', 'released')
      const targets = outputs.map((output): OutputTarget => {
        const own = getOwn(into, output.name)
        return own ? checkFeed(output, own, 'output') : keepOnDevice(output.name) ? 'device' : 'host'
      })
      const results = await engine.run(session, orderFeeds(engine, session, feeds), targets)
      const host: Record<string, Tensor> = emptyRecord()
      const device: Record<string, DeviceTensor> = emptyRecord()
      for (const [i, result] of results.entries()) {
        if (result instanceof OrtValue) device[outputNames[i]!] = new NativeTensor(engine, result)
        else host[outputNames[i]!] = result
      }
      return { host, device }
    },
    release() {
      released ??= engine.release(session)
      return released
    },
  }
}

/** Returns the feeds in the order of the model's inputs. Throws `invalid-data` naming the input. */
function orderFeeds(engine: CApiEngine, { inputs }: OrtSession, feeds: Feeds): (Tensor | OrtValue)[] {
  const known = new Set(inputs.map(({ name }) => name))
  const onHost: Record<string, Tensor> = emptyRecord()
  const onDevice = new Map<string, OrtValue>()
  for (const [name, feed] of Object.entries(feeds)) {
    // checkFeeds reports names that the model does not have.
    if ('data' in feed || !known.has(name)) onHost[name] = feed as Tensor
    else onDevice.set(name, valueOfTensor(engine, feed, `input '${name}'`))
  }
  const tensors = checkFeeds(
    inputs.filter(({ name }) => !onDevice.has(name)),
    onHost,
  )
  let next = 0
  return inputs.map(({ name, dtype }) => {
    const value = onDevice.get(name)
    if (value === undefined) return tensors[next++]!
    if (value.dtype === dtype) return value
    throw new OnnxIreError('invalid-data', `input '${name}': the model expects ${dtype}, got ${value.dtype}`)
  })
}

function valueOfTensor(engine: CApiEngine, tensor: DeviceTensor, what: string): OrtValue {
  if (tensor instanceof NativeTensor) return tensor.value(engine, what)
  throw new OnnxIreError('invalid-data', `${what}: the tensor belongs to another device`)
}
