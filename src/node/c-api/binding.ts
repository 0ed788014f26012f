import type { TypedArray } from '../../ir/dtype.js'
import { isShared } from '../../ir/float-array.js'
import type { Tensor } from '../../ir/tensor.js'
import { Handle } from './library.js'
import { type Ort, readAddress } from './ort.js'
import { hostValue, isResizable, OrtValue, type Owner, valueAt } from './value.js'

/** A tensor that stays bound, and its value. */
interface Lasting {
  readonly tensor: Tensor
  readonly value: OrtValue
}

/** Names of a session's inputs and outputs, in order. */
interface Names {
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

/**
 * Inputs and outputs of the runs of a session: an `OrtIoBinding`. Host tensors in shared memory stay bound until others
 * take their place: they are a trainer's parameters and gradients, the same at every step, and to bind hundreds of them
 * takes milliseconds.
 */
export class Binding {
  readonly #ort: Ort
  readonly #names: Names
  /** The memory of host tensors. */
  readonly #hostMemory: bigint
  readonly #handle: Handle
  readonly #inputs: (Lasting | undefined)[] = []
  readonly #outputs: (Lasting | undefined)[] = []
  /** Values over host tensors of the current run only. */
  #passing: OrtValue[] = []
  /** Indices of the outputs that the current run allocates in host memory. */
  #allocated: number[] = []
  #usesDevice = false

  constructor(ort: Ort, session: bigint, names: Names, hostMemory: bigint) {
    this.#ort = ort
    this.#names = names
    this.#hostMemory = hostMemory
    this.#handle = new Handle(
      'binding',
      readAddress((out) => ort.CreateIoBinding(session, out)),
      ort.ReleaseIoBinding,
    )
  }

  get address(): bigint {
    return this.#handle.address
  }

  /** Binds a host tensor or a value to an input of the next run, and returns the value. */
  bindInput(index: number, feed: Tensor | OrtValue): OrtValue {
    if (!(feed instanceof OrtValue)) return this.#bindTensor('input', index, feed)
    this.#usesDevice = true
    this.#ort.BindInput(this.address, this.#names.inputs[index]!, feed.address)
    return feed
  }

  /** Binds an output of the next run to a host tensor, or to a new value in a memory. */
  bindOutput(index: number, target: Tensor | bigint): void {
    if (typeof target !== 'bigint') {
      this.#bindTensor('output', index, target)
      return
    }
    if (target === this.#hostMemory) this.#allocated.push(index)
    else this.#usesDevice = true
    this.#allocate(index, target)
  }

  /**
   * Returns the new values of the last run by output, undefined where the output is bound to a host tensor.
   * @param owner the owner of the new values
   */
  newValues(targets: readonly (Tensor | bigint)[], owner: Owner): (OrtValue | undefined)[] {
    if (!targets.some((target) => typeof target === 'bigint')) return targets.map(() => undefined)
    const ort = this.#ort
    const count = new BigUint64Array(1)
    const list = readAddress((out) => ort.GetBoundOutputValues(this.address, ort.allocator, out, count))
    if (list === 0n) return []
    const addresses = new BigUint64Array(Number(count[0]))
    ort.memcpy(addresses, list, addresses.byteLength)
    ort.AllocatorFree(ort.allocator, list)
    const values: (OrtValue | undefined)[] = []
    try {
      for (const [i, address] of addresses.entries()) {
        if (typeof targets[i] === 'bigint') values.push(valueAt(ort, address, owner))
        else {
          ort.ReleaseValue(address)
          values.push(undefined)
        }
      }
      return values
    } catch (error) {
      for (const value of values) value?.release()
      for (const address of addresses.subarray(values.length)) ort.ReleaseValue(address)
      throw error
    }
  }

  /**
   * Ends a run: the next one must not write to its new values, and memory on a device is not kept. Host tensors that do
   * not last remain bound, but the next run binds others before it begins.
   */
  finish(): void {
    if (this.#usesDevice) this.#clear()
    else for (const index of this.#allocated) this.#allocate(index, this.#hostMemory)
    for (const value of this.#passing) value.release()
    this.#passing = []
    this.#allocated = []
    this.#usesDevice = false
  }

  release(): void {
    if (this.#handle.released) return
    this.#clear()
    this.#handle.release()
  }

  /** Binds a host tensor, unless it still is. */
  #bindTensor(kind: 'input' | 'output', index: number, tensor: Tensor): OrtValue {
    const [lasting, names, call] =
      kind === 'input'
        ? ([this.#inputs, this.#names.inputs, this.#ort.BindInput] as const)
        : ([this.#outputs, this.#names.outputs, this.#ort.BindOutput] as const)
    const before = lasting[index]
    if (before && isSame(before.tensor, tensor)) return before.value
    const value = hostValue(this.#ort, this.#hostMemory, tensor)
    // If the call fails, `finish` releases the value.
    this.#passing.push(value)
    call(this.address, names[index]!, value.address)
    before?.value.release()
    lasting[index] = isLasting(tensor) ? { tensor, value: this.#passing.pop()! } : undefined
    return value
  }

  /** Binds an output to memory that is allocated by the next run, in place of any value. */
  #allocate(index: number, memory: bigint): void {
    this.#ort.BindOutputToDevice(this.address, this.#names.outputs[index]!, memory)
    this.#outputs[index]?.value.release()
    this.#outputs[index] = undefined
  }

  #clear(): void {
    this.#ort.ClearBoundInputs(this.address)
    this.#ort.ClearBoundOutputs(this.address)
    for (const list of [this.#inputs, this.#outputs]) {
      for (const bound of list) bound?.value.release()
      list.length = 0
    }
  }
}

/** Whether a tensor is in shared memory, and its value has the same elements: `hostValue` copies resizable buffers. */
const isLasting = ({ data }: Tensor): boolean =>
  ArrayBuffer.isView(data) && data.length > 0 && isShared(data.buffer) && !isResizable(data as TypedArray)

const isSame = (a: Tensor, b: Tensor): boolean =>
  a.data === b.data &&
  a.dtype === b.dtype &&
  a.dims.length === b.dims.length &&
  a.dims.every((dim, i) => dim === b.dims[i])
