import type { Tensor } from '../../ir/tensor.js'
import type { InputInfo } from '../../runtime/feeds.js'
import { OnnxIreError } from '../../util/errors.js'
import { Binding } from './binding.js'
import { Handle } from './library.js'
import { type Call, type Ort, readAddress, readInt32 } from './ort.js'
import { elementType, type OrtValue, type Owner } from './value.js'

/** Calls a slow function of onnxruntime, synchronously or off the event loop. */
export type Invoke = <A extends unknown[]>(call: Call<A>, ...args: A) => void | Promise<void>

const tensorType = 1

/**
 * A compiled model and the I/O binding of its runs. One run at a time. After `release` the session stays open until its
 * last device tensor is freed, because its provider owns their memory.
 */
export class OrtSession implements Owner {
  readonly inputs: readonly InputInfo[]
  readonly outputs: readonly InputInfo[]
  readonly #ort: Ort
  readonly #handle: Handle
  readonly #binding: Binding
  #tensorCount = 0
  #abandoned = false

  /**
   * Compiles a model, whose bytes must not change meanwhile, and releases `options`. Throws `OrtFailure` with
   * onnxruntime's message, and `runtime` for inputs and outputs that are not tensors.
   * @param hostMemory the memory of host tensors
   */
  static async create(
    ort: Ort,
    invoke: Invoke,
    options: Handle,
    model: Uint8Array,
    hostMemory: bigint,
  ): Promise<OrtSession> {
    const out = new BigUint64Array(1)
    try {
      await options.during(() => invoke(ort.CreateSessionFromArray, ort.env, model, model.length, options.address, out))
    } finally {
      options.release()
    }
    const handle = new Handle('session', out[0]!, ort.ReleaseSession)
    try {
      return new OrtSession(ort, handle, hostMemory)
    } catch (error) {
      handle.release()
      throw error
    }
  }

  private constructor(ort: Ort, handle: Handle, hostMemory: bigint) {
    const { address } = handle
    this.#ort = ort
    this.#handle = handle
    const inputCount = Number(readAddress((out) => ort.SessionGetInputCount(address, out)))
    const outputCount = Number(readAddress((out) => ort.SessionGetOutputCount(address, out)))
    this.inputs = Array.from({ length: inputCount }, (_, i) => {
      const name = readText(ort, (out) => ort.SessionGetInputName(address, i, ort.allocator, out))
      const info = readAddress((out) => ort.SessionGetInputTypeInfo(address, i, out))
      return { name, dtype: portType(ort, info, `input '${name}'`) }
    })
    this.outputs = Array.from({ length: outputCount }, (_, i) => {
      const name = readText(ort, (out) => ort.SessionGetOutputName(address, i, ort.allocator, out))
      const info = readAddress((out) => ort.SessionGetOutputTypeInfo(address, i, out))
      return { name, dtype: portType(ort, info, `output '${name}'`) }
    })
    const namesOf = (ports: readonly InputInfo[]) => ports.map(({ name }) => name)
    this.#binding = new Binding(
      ort,
      address,
      { inputs: namesOf(this.inputs), outputs: namesOf(this.outputs) },
      hostMemory,
    )
  }

  /**
   * Runs the model on feeds in the order of `inputs`, which are host tensors or values. An output is a new value in the
   * memory that its entry of `targets` names, or is written to the host tensor there and undefined in the result. A new
   * value that shares its elements with a feed or another output is replaced by the result of `separate`. Throws
   * `OrtFailure`.
   */
  async run(
    invoke: Invoke,
    feeds: readonly (Tensor | OrtValue)[],
    targets: readonly (bigint | Tensor)[],
    separate?: (shared: OrtValue, output: number) => OrtValue | Promise<OrtValue>,
  ): Promise<(OrtValue | undefined)[]> {
    const binding = this.#binding
    try {
      const fed = feeds.map((feed, i) => binding.bindInput(i, feed))
      for (const [i, target] of targets.entries()) binding.bindOutput(i, target)
      await this.#handle.during(() => invoke(this.#ort.RunWithBinding, this.#handle.address, null, binding.address))
      const outputs = binding.newValues(targets, this)
      if (separate) await separateOutputs(fed, outputs, separate)
      return outputs
    } finally {
      binding.finish()
    }
  }

  /** Counts a device tensor of this session. */
  keep(): void {
    this.#tensorCount++
  }

  /** Counts a device tensor of this session that was freed. */
  drop(): void {
    this.#tensorCount--
    if (this.#abandoned && this.#tensorCount === 0) this.#free()
  }

  /** Ends the session once its device tensors are freed. */
  release(): void {
    this.#abandoned = true
    if (this.#tensorCount === 0) this.#free()
  }

  #free() {
    this.#binding.release()
    this.#handle.release()
  }
}

/** Replaces outputs that share elements with a feed or another output. Releases all outputs on failure. */
async function separateOutputs(
  feeds: readonly OrtValue[],
  outputs: (OrtValue | undefined)[],
  separate: (shared: OrtValue, output: number) => OrtValue | Promise<OrtValue>,
) {
  if (outputs.every((value) => value === undefined)) return
  const seen = new Set(feeds.map(({ elements }) => elements))
  seen.delete(0n)
  try {
    for (const [i, value] of outputs.entries()) {
      if (!value) continue
      const { elements } = value
      if (seen.has(elements)) {
        outputs[i] = await separate(value, i)
        if (outputs[i] !== value) value.release()
      } else if (elements !== 0n) seen.add(elements)
    }
  } catch (error) {
    for (const value of outputs) value?.release()
    throw error
  }
}

/** Reads and frees a text that onnxruntime allocated. */
function readText(ort: Ort, call: (out: BigUint64Array) => void): string {
  const address = readAddress(call)
  const text = ort.text(address)
  ort.AllocatorFree(ort.allocator, address)
  return text
}

function portType(ort: Ort, info: bigint, what: string) {
  try {
    if (readInt32((out) => ort.GetOnnxTypeFromTypeInfo(info, out)) !== tensorType)
      throw new OnnxIreError(
        'runtime',
        `${what} is not a tensor: sequences, maps and optional values are not supported`,
      )
    return elementType(
      ort,
      readAddress((out) => ort.CastTypeInfoToTensorInfo(info, out)),
    )
  } finally {
    ort.ReleaseTypeInfo(info)
  }
}
