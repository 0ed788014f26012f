import type { Tensor } from '../../ir/tensor.js'
import type { InputInfo } from '../../runtime/feeds.js'
import { OnnxIreError } from '../../util/errors.js'
import { Handle } from './handle.js'
import { answer, type Call, numberOf, type Ort } from './ort.js'
import { elementType, hostValue, type Owner, Value, valueAt } from './value.js'

/** Calls a function of onnxruntime that takes long: at once, or off the event loop. */
export type Invoke = <A extends unknown[]>(call: Call<A>, ...args: A) => void | Promise<void>

const tensorType = 1

/**
 * A model that onnxruntime holds, and the binding that its runs go through. One run at a time.
 *
 * It outlives its release for as long as tensors do that its runs left on the device: their memory is its provider's.
 */
export class Session implements Owner {
  readonly inputs: readonly InputInfo[]
  readonly outputs: readonly InputInfo[]
  readonly #ort: Ort
  readonly #handle: Handle
  readonly #binding: Handle
  #kept = 0
  #abandoned = false

  /**
   * Releases `options` in the end. Throws `OrtFailure` with why onnxruntime refuses the model, 'runtime' for inputs and outputs
   * that are no tensors.
   */
  static async create(ort: Ort, invoke: Invoke, options: Handle, model: Uint8Array): Promise<Session> {
    // Its own bytes: the caller's may be written to, or be gone, before onnxruntime has read them.
    const bytes = model.slice()
    const out = new BigUint64Array(1)
    try {
      await options.during(() => invoke(ort.CreateSessionFromArray, ort.env, bytes, bytes.length, options.address, out))
    } finally {
      options.release()
    }
    const handle = new Handle('session', out[0]!, ort.ReleaseSession)
    try {
      return new Session(ort, handle)
    } catch (error) {
      handle.release()
      throw error
    }
  }

  private constructor(ort: Ort, handle: Handle) {
    const { address } = handle
    this.#ort = ort
    this.#handle = handle
    const inputCount = Number(answer((out) => ort.SessionGetInputCount(address, out)))
    const outputCount = Number(answer((out) => ort.SessionGetOutputCount(address, out)))
    this.inputs = Array.from({ length: inputCount }, (_, i) => {
      const name = take(ort, (out) => ort.SessionGetInputName(address, i, ort.allocator, out))
      const info = answer((out) => ort.SessionGetInputTypeInfo(address, i, out))
      return { name, dtype: portType(ort, info, `input '${name}'`) }
    })
    this.outputs = Array.from({ length: outputCount }, (_, i) => {
      const name = take(ort, (out) => ort.SessionGetOutputName(address, i, ort.allocator, out))
      const info = answer((out) => ort.SessionGetOutputTypeInfo(address, i, out))
      return { name, dtype: portType(ort, info, `output '${name}'`) }
    })
    this.#binding = new Handle(
      'binding',
      answer((out) => ort.CreateIoBinding(address, out)),
      ort.ReleaseIoBinding,
    )
  }

  /**
   * Runs the model on feeds in the order of `inputs`, from the host (whose memory is `hostMemory`) or values. Every output
   * is a new value in the memory that stands in `places`. One that lies in the memory of a feed, which the model passes
   * through, or of another output is what `separate` makes of it. Throws `OrtFailure`.
   */
  async run(
    invoke: Invoke,
    hostMemory: bigint,
    feeds: readonly (Tensor | Value)[],
    places: readonly bigint[],
    separate?: (shared: Value, output: number) => Value | Promise<Value>,
  ): Promise<Value[]> {
    const ort = this.#ort
    const binding = this.#binding.address
    const own: Value[] = []
    try {
      const fed = feeds.map((feed) => {
        if (feed instanceof Value) return feed
        const value = hostValue(ort, hostMemory, feed)
        own.push(value)
        return value
      })
      for (const [i, value] of fed.entries()) ort.BindInput(binding, this.inputs[i]!.name, value.address)
      for (const [i, place] of places.entries()) ort.BindOutputToDevice(binding, this.outputs[i]!.name, place)
      await this.#handle.during(() => invoke(ort.RunWithBinding, this.#handle.address, null, binding))
      const outputs = this.#collect(binding)
      if (separate) await apart(fed, outputs, separate)
      return outputs
    } finally {
      // The binding would keep what it was given, and the next run would write into this one's outputs.
      ort.ClearBoundInputs(binding)
      ort.ClearBoundOutputs(binding)
      for (const value of own) value.release()
    }
  }

  #collect(binding: bigint): Value[] {
    const ort = this.#ort
    const count = new BigUint64Array(1)
    const list = answer((out) => ort.GetBoundOutputValues(binding, ort.allocator, out, count))
    if (list === 0n) return []
    const addresses = ort.addresses(list, Number(count[0]))
    ort.AllocatorFree(ort.allocator, list)
    const values: Value[] = []
    try {
      for (const address of addresses) values.push(valueAt(ort, address, this))
      return values
    } catch (error) {
      for (const value of values) value.release()
      for (const address of addresses.slice(values.length)) ort.ReleaseValue(address)
      throw error
    }
  }

  /** Counts a tensor of its runs that is alive. */
  keep(): void {
    this.#kept++
  }

  /** Such a tensor is gone. */
  drop(): void {
    this.#kept--
    if (this.#abandoned && this.#kept === 0) this.#free()
  }

  /** No more runs will follow. */
  release(): void {
    this.#abandoned = true
    if (this.#kept === 0) this.#free()
  }

  #free() {
    this.#binding.release()
    this.#handle.release()
  }
}

/** Replaces the outputs that have the elements of a feed or of another output. On failure they are all released. */
async function apart(
  feeds: readonly Value[],
  outputs: Value[],
  separate: (shared: Value, output: number) => Value | Promise<Value>,
) {
  const seen = new Set(feeds.map(({ elements }) => elements))
  seen.delete(0n)
  try {
    for (const [i, value] of outputs.entries()) {
      const { elements } = value
      if (seen.has(elements)) {
        outputs[i] = await separate(value, i)
        if (outputs[i] !== value) value.release()
      } else if (elements !== 0n) seen.add(elements)
    }
  } catch (error) {
    for (const value of outputs) value.release()
    throw error
  }
}

/** Text that onnxruntime allocated for us. */
function take(ort: Ort, call: (out: BigUint64Array) => void): string {
  const address = answer(call)
  const text = ort.text(address)
  ort.AllocatorFree(ort.allocator, address)
  return text
}

function portType(ort: Ort, info: bigint, what: string) {
  try {
    if (numberOf((out) => ort.GetOnnxTypeFromTypeInfo(info, out)) !== tensorType)
      throw new OnnxIreError(
        'runtime',
        `${what} is no tensor: sequences, maps and optional values cannot be fed or read`,
      )
    return elementType(
      ort,
      answer((out) => ort.CastTypeInfoToTensorInfo(info, out)),
    )
  } finally {
    ort.ReleaseTypeInfo(info)
  }
}
