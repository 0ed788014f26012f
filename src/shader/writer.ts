import { constantTensor, numbersOf } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { getOwn } from '../util/record.js'
import { type Code, Emitter, Index } from './code.js'
import { functions, pointwise } from './pointwise.js'
import { isSampler, type Sampling, sample, samplingFunctions } from './random.js'
import { dimsOf, type ElementType, elementsOf, elementType, literal, storageType, unsupported } from './types.js'
import { broadcastIndex, type ElementWriter, keepsOrder, transposedAxes, views } from './views.js'

/** An array in GPU memory. */
export interface Slot {
  readonly type: ElementType
  readonly elements: number
}

/** The arrays in memory that values are read from, and the source of random numbers. */
export interface Memory {
  /** The values that are in memory. */
  readonly slots: ReadonlyMap<Value, Slot>
  readonly sampling: Sampling
}

/** A compute shader that writes one array, and the arrays that it binds. */
export interface ShaderKernel {
  readonly label: string
  readonly code: string
  /** Bindings 0, 1, ... of group 0; `write` is the last binding. */
  readonly reads: readonly Slot[]
  readonly write: Slot
  readonly workgroups: number
}

/** Invocations per workgroup. */
const kernelWorkgroupSize = 64

/** Whether an element is written as a number. */
export function literalOf(value: Value): string | undefined {
  if (value.source.kind !== 'constant' || elementsOf(value) !== 1) return undefined
  const [number] = numbersOf(constantTensor(value)!)
  return Number.isFinite(number) && Math.abs(number!) < 3.4e38 ? literal(elementType(value), number!) : undefined
}

/** Writes one kernel. */
export class KernelWriter implements ElementWriter {
  readonly emitter = new Emitter()
  /** Elements that are known in the current block, at the current position. */
  readonly registers = new Map<Value, Code>()
  readonly #slots: ReadonlyMap<Value, Slot>
  readonly #sampling: Sampling
  readonly #reads: { readonly slot: Slot; readonly wide: boolean }[] = []

  constructor({ slots, sampling }: Memory) {
    this.#slots = slots
    this.#sampling = sampling
  }

  element(value: Value, index: Index): Code {
    const register = this.registers.get(value)
    if (register) return register
    const text = literalOf(value)
    if (text !== undefined) return { text, depth: 0 }
    const slot = this.#slots.get(value)
    if (slot) return this.load(slot, index.flat)
    const node = value.source
    if (node.kind !== 'node') throw unsupported('an input that is not in memory')
    const point = getOwn(pointwise, node.operator)
    if (point) {
      const operands = node.inputs.map((x) => this.element(x!, broadcastIndex(this.emitter, index, dimsOf(x!))))
      return this.emitter.let(
        point.write(
          operands.map(({ text }) => text),
          node,
        ),
        ...operands,
      )
    }
    if (isSampler(node)) {
      const { state, numbers } = this.#sampling
      return sample(this.emitter, node, numbers.get(node)!, index, (at) => this.load(this.#slots.get(state)!, at))
    }
    return views[node.operator]!(this, node, index, value.index)
  }

  vector(value: Value, index: Index, axis: number): Code | undefined {
    const { shape } = index
    if (elementType(value) !== 'f32' || shape[axis]! % 4 !== 0 || this.registers.has(value)) return undefined
    const isLast = shape.slice(axis + 1).every((dim) => dim === 1)
    const slot = this.#slots.get(value)
    if (slot) {
      if (!isLast) return undefined
      const at = this.emitter.div(index.flat, 4)
      return this.emitter.let(`${this.#bind(slot, true)}[${at.text}]`, at)
    }
    const node = value.source
    if (node.kind !== 'node') return undefined
    const [x] = node.inputs as [Value]
    if (keepsOrder(node)) {
      const dims = dimsOf(x)
      const last = dims.findLastIndex((dim) => dim !== 1)
      return isLast ? this.vector(x, index.reshaped(dims), Math.max(0, last)) : undefined
    }
    if (node.operator !== 'Transpose') return undefined
    const order = transposedAxes(node)
    const coordinates: Code[] = []
    for (const [to, from] of order.entries()) coordinates[from] = index.coordinates[to]!
    return this.vector(x, Index.at(this.emitter, dimsOf(x), coordinates), order[axis]!)
  }

  /** Reads an element of an array. */
  load(slot: Slot, at: Code): Code {
    const element = `${this.#bind(slot, false)}[${at.text}]`
    return this.emitter.let(slot.type === 'bool' ? `${element} != 0u` : element, at)
  }

  /** The name of an array that the kernel reads, as numbers or as vectors of four. */
  #bind(slot: Slot, wide: boolean): string {
    let binding = this.#reads.findIndex((read) => read.slot === slot && read.wide === wide)
    if (binding < 0) binding = this.#reads.push({ slot, wide }) - 1
    return `r${binding}`
  }

  /** Writes an element of the result. */
  store({ type }: Slot, at: Code, element: string): void {
    this.emitter.line(`result[${at.text}] = ${type === 'bool' ? `u32(${element})` : element};`)
  }

  /** The finished kernel, for `count` invocations whose number is `invocation`. */
  finish(label: string, write: Slot, count: number): ShaderKernel {
    const body = this.emitter.toString()
    const array = (name: string, access: string, binding: number, element: string) =>
      `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<${element}>;`
    const code = [
      ...this.#reads.map(({ slot, wide }, binding) =>
        array(`r${binding}`, 'read', binding, wide ? 'vec4f' : storageType(slot.type)),
      ),
      array('result', 'read_write', this.#reads.length, storageType(write.type)),
      ...Object.entries({ ...functions, ...samplingFunctions }).flatMap(([name, text]) =>
        body.includes(`${name}(`) ? [text] : [],
      ),
      `@compute @workgroup_size(${kernelWorkgroupSize})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
let invocation = (group.y * groups.x + group.x) * ${kernelWorkgroupSize}u + local;
if (invocation >= ${count}u) { return; }
${body}
}
`,
    ].join('\n')
    return {
      label,
      code,
      reads: this.#reads.map(({ slot }) => slot),
      write,
      workgroups: Math.ceil(count / kernelWorkgroupSize),
    }
  }
}

/** The number of the invocation. */
export const invocation: Code = { text: 'invocation', depth: 0 }
