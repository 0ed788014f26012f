import { dtypes } from '../../ir/dtype.js'
import { constant, constantTensor, numbersOf, tensorFrom } from '../../ir/leaf.js'
import { isStatic, type Shape, sameShape } from '../../ir/shape.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { type Node, nameValue, placeNode, refineShape, type Value } from '../../ir/value.js'
import { permutation } from '../../op/definitions/movement.js'
import { definitionOf, op } from '../../op/op.js'

/** What stands for a value in the file: one that equals it and takes fewer steps. */
export type Substitutes = Map<Value, Value>

/** Elements up to which a number repeated along axes is written out. */
const WRITTEN_OUT = 1024

/**
 * The nodes of one scope, in order, without those that only rename, that reorder axes there and back, or lay out again what
 * is laid out anew anyway, and without those whose results are known. What stands for their results goes into `substitutes`.
 * Nodes that nothing reads any more are still there.
 */
export function simplify(order: readonly Node[], substitutes: Substitutes): readonly Node[] {
  const nodes: Node[] = []
  for (const node of order) {
    const instead = mayBeSimpler(node) ? new Simplification(node, substitutes).result() : undefined
    if (instead) substitutes.set(node.outputs[0]!, instead.value)
    else nodes.push(node)
    if (!instead?.made || instead.value.source.kind !== 'node') continue
    const { name, shape } = node.outputs[0]!
    if (name !== undefined) nameValue(instead.value, name)
    refineShape(instead.value, shape)
    placeNode(instead.value.source, node.scope)
    nodes.push(instead.value.source)
  }
  return nodes
}

interface Instead {
  readonly value: Value
  /** Whether it is the result of a new node. */
  readonly made: boolean
}

const existing = (value: Value | undefined): Instead | undefined => value && { value, made: false }
const made = (value: Value): Instead => ({ value, made: true })

const isLayout = (operator: string): boolean => definitionOf(operator).view === 'reshaped'

const mayBeSimpler = ({ outputs, operator, domain }: Node): boolean =>
  outputs.length === 1 &&
  domain === '' &&
  (definitionOf(operator).view !== undefined || operator === 'Expand' || outputs[0]!.contents !== undefined)

/** Looks at one node with a single result `y`. */
class Simplification {
  readonly #node: Node
  readonly #y: Value
  readonly #substitutes: Substitutes

  constructor(node: Node, substitutes: Substitutes) {
    this.#node = node
    this.#y = node.outputs[0]!
    this.#substitutes = substitutes
  }

  result(): Instead | undefined {
    const { operator, inputs } = this.#node
    const known = this.#y.contents && knownTensor(this.#y)
    if (known) return existing(constant(known))
    const [x] = inputs
    if (!x) return undefined
    if (operator === 'Identity') return existing(this.#settled(x))
    if (operator === 'Expand') return existing(this.#expanded(this.#settled(x)))
    if (operator === 'Transpose') return this.#transposed(this.#settled(x))
    return isLayout(operator) ? this.#laidOut(this.#settled(x)) : undefined
  }

  #settled(value: Value): Value {
    return this.#substitutes.get(value) ?? value
  }

  /** The input of the node in this scope that gives `x`, if its operator is one of these. */
  #behind(x: Value, is: (operator: string) => boolean): Value | undefined {
    const { source } = x
    const inside = source.kind === 'node' && source.domain === '' && source.scope === this.#node.scope
    return inside && is(source.operator) ? this.#settled(source.inputs[0]!) : undefined
  }

  #expanded(x: Value): Value | undefined {
    const y = this.#y
    if (sameShape(x.shape, y.shape)) return x
    const tensor = constantTensor(x)
    if (!tensor || !isStatic(y.shape) || sizeOf(tensor.dims) !== 1 || sizeOf(y.shape) > WRITTEN_OUT) return undefined
    if (tensor.dtype === 'string' || dtypes[tensor.dtype].bits === 4) return undefined
    const [element] = numbersOf(tensor)
    const repeated = tensorFrom(tensor.dtype, y.shape, Array<number>(sizeOf(y.shape)).fill(element!))
    return Number.isSafeInteger(element) || !tensor.dtype.includes('64') ? constant(repeated) : undefined
  }

  /** Two orders of axes after each other are one; one that leaves all axes longer than 1 in place is a layout. */
  #transposed(x: Value): Instead | undefined {
    const y = this.#y
    if (!y.shape) return undefined
    const rank = y.shape.length
    const outer = permutation(rank, permOf(this.#node))
    const from = this.#behind(x, (operator) => operator === 'Transpose')
    const inner = from ? permutation(rank, permOf(x.source as Node)) : undefined
    const perm = inner ? outer.map((axis) => inner[axis]!) : outer
    const root = from ?? x
    if (perm.every((axis, index) => axis === index)) return existing(root)
    const moved = perm.filter((axis) => root.shape?.[axis] !== 1)
    if (root.shape && moved.every((axis, index) => index === 0 || axis > moved[index - 1]!)) {
      const layout = this.#laidOut(root, true)
      if (layout) return layout
    }
    return from && made(op.Transpose(root, { perm }))
  }

  /** Elements of `x` in the same order, in another shape: only the last shape counts. */
  #laidOut(x: Value, transposed = false): Instead | undefined {
    const y = this.#y
    let root = x
    for (let next: Value | undefined = x; next; next = this.#behind(root, isLayout)) root = next
    if (sameShape(root.shape, y.shape)) return existing(root)
    const tensor = constantTensor(root)
    if (tensor && isStatic(y.shape)) return existing(constant(relabelled(tensor, y.shape)))
    const given = this.#node.operator === 'Reshape' ? this.#node.inputs[1]! : undefined
    const known = given?.contents
    if (known?.every((length) => typeof length === 'number' && length !== 0))
      return root === x ? undefined : made(op.Reshape(root, given!))
    // A length the file declares of the result is worth less than the one it is computed from.
    const computed = known?.every((length) => typeof length === 'string' || length > 0) ?? false
    const target = targetOf(root.shape, computed ? known : y.shape)
    return target && (root !== x || transposed || computed) ? made(op.Reshape(root, target)) : undefined
  }
}

const permOf = ({ attributes }: Node) => attributes['perm'] as readonly number[] | undefined

/** Reshape's target: 0 copies a length that stays in its place, -1 is whatever is left. An axis of length 0 allows neither. */
function targetOf(from: Shape | undefined, to: Shape | undefined): readonly number[] | undefined {
  if (!to || to.includes(0)) return undefined
  if (isStatic(to)) return to
  const copied = to.map((dim, axis) => (typeof dim === 'number' ? dim : from?.[axis] === dim ? 0 : -1))
  if (!copied.includes(-1)) return copied
  return to.filter((dim) => typeof dim === 'string').length === 1 ? copied : undefined
}

/** The same elements under other dims, read when they are needed. */
const relabelled = (tensor: Tensor, dims: readonly number[]): Tensor => ({
  dtype: tensor.dtype,
  dims,
  get data() {
    return tensor.data
  },
})

/** What a small result is, if all of it is known before running. */
function knownTensor({ dtype, shape, contents }: Value): Tensor | undefined {
  if (!isStatic(shape) || dtypes[dtype].bits === 4 || sizeOf(shape) !== contents!.length) return undefined
  const known = contents!.every((element) => typeof element === 'number')
  return known ? tensorFrom(dtype, shape, contents as readonly number[]) : undefined
}
