import { dtypes } from '../../ir/dtype.js'
import { constant, constantTensor, numbersOf, tensorFrom } from '../../ir/leaf.js'
import { isStatic, type Shape, sameShape } from '../../ir/shape.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { type Node, nameValue, placeNode, refineShape, type Value } from '../../ir/value.js'
import { permutation } from '../../op/definitions/movement.js'
import { definitionOf, op } from '../../op/op.js'

/** Replacements of values in the exported graph: equal values that need fewer nodes. */
export type Substitutes = Map<Value, Value>

/** The largest number of elements of an expanded scalar that is written as a constant. */
const maxExpandedElements = 1024

/**
 * Simplifies the nodes of one scope, given in topological order: removes Identity, pairs of Transpose that cancel,
 * reshapes of reshapes, and nodes with constant results. Replacements of removed results are added to `substitutes`.
 * Nodes that become unused remain.
 */
export function simplify(order: readonly Node[], substitutes: Substitutes): readonly Node[] {
  const nodes: Node[] = []
  for (const node of order) {
    const replacement = isCandidate(node) ? new Simplification(node, substitutes).result() : undefined
    if (replacement) substitutes.set(node.outputs[0]!, replacement.value)
    else nodes.push(node)
    if (!replacement?.isNew || replacement.value.source.kind !== 'node') continue
    const { name, shape } = node.outputs[0]!
    if (name !== undefined) nameValue(replacement.value, name)
    refineShape(replacement.value, shape)
    placeNode(replacement.value.source, node.scope)
    nodes.push(replacement.value.source)
  }
  return nodes
}

interface Replacement {
  readonly value: Value
  /** Whether the value is the result of a new node. */
  readonly isNew: boolean
}

const reuse = (value: Value | undefined): Replacement | undefined => value && { value, isNew: false }
const createNew = (value: Value): Replacement => ({ value, isNew: true })

const isLayout = (operator: string): boolean => definitionOf(operator).view === 'reshaped'

const isCandidate = ({ outputs, operator, domain }: Node): boolean =>
  outputs.length === 1 &&
  domain === '' &&
  (definitionOf(operator).view !== undefined || operator === 'Expand' || outputs[0]!.contents !== undefined)

/** The simplification of one node with a single result `y`. */
class Simplification {
  readonly #node: Node
  readonly #y: Value
  readonly #substitutes: Substitutes

  constructor(node: Node, substitutes: Substitutes) {
    this.#node = node
    this.#y = node.outputs[0]!
    this.#substitutes = substitutes
  }

  result(): Replacement | undefined {
    const { operator, inputs } = this.#node
    const known = this.#y.contents && toKnownTensor(this.#y)
    if (known) return reuse(constant(known))
    const [x] = inputs
    if (!x) return undefined
    if (operator === 'Identity') return reuse(this.#resolve(x))
    if (operator === 'Expand') return reuse(this.#simplifyExpand(this.#resolve(x)))
    if (operator === 'Transpose') return this.#simplifyTranspose(this.#resolve(x))
    return isLayout(operator) ? this.#simplifyReshape(this.#resolve(x)) : undefined
  }

  #resolve(value: Value): Value {
    return this.#substitutes.get(value) ?? value
  }

  /** The first input of the node that computes `x`, if that node is in the same scope and `is` accepts its operator. */
  #inputOf(x: Value, is: (operator: string) => boolean): Value | undefined {
    const { source } = x
    const inside = source.kind === 'node' && source.domain === '' && source.scope === this.#node.scope
    return inside && is(source.operator) ? this.#resolve(source.inputs[0]!) : undefined
  }

  #simplifyExpand(x: Value): Value | undefined {
    const y = this.#y
    if (sameShape(x.shape, y.shape)) return x
    const tensor = constantTensor(x)
    if (!tensor || !isStatic(y.shape) || sizeOf(tensor.dims) !== 1 || sizeOf(y.shape) > maxExpandedElements)
      return undefined
    if (tensor.dtype === 'string' || dtypes[tensor.dtype].bits === 4) return undefined
    const [element] = numbersOf(tensor)
    const repeated = tensorFrom(tensor.dtype, y.shape, Array<number>(sizeOf(y.shape)).fill(element!))
    return Number.isSafeInteger(element) || !tensor.dtype.includes('64') ? constant(repeated) : undefined
  }

  /** Merges two permutations into one. A permutation that only moves axes of length 1 becomes a Reshape. */
  #simplifyTranspose(x: Value): Replacement | undefined {
    const y = this.#y
    if (!y.shape) return undefined
    const rank = y.shape.length
    const outer = permutation(rank, readPerm(this.#node))
    const from = this.#inputOf(x, (operator) => operator === 'Transpose')
    const inner = from ? permutation(rank, readPerm(x.source as Node)) : undefined
    const perm = inner ? outer.map((axis) => inner[axis]!) : outer
    const root = from ?? x
    if (perm.every((axis, index) => axis === index)) return reuse(root)
    const moved = perm.filter((axis) => root.shape?.[axis] !== 1)
    if (root.shape && moved.every((axis, index) => index === 0 || axis > moved[index - 1]!)) {
      const layout = this.#simplifyReshape(root, true)
      if (layout) return layout
    }
    return from && createNew(op.Transpose(root, { perm }))
  }

  /** Merges reshapes into one: only the last shape matters. */
  #simplifyReshape(x: Value, transposed = false): Replacement | undefined {
    const y = this.#y
    let root = x
    for (let next: Value | undefined = x; next; next = this.#inputOf(root, isLayout)) root = next
    if (sameShape(root.shape, y.shape)) return reuse(root)
    const tensor = constantTensor(root)
    if (tensor && isStatic(y.shape)) return reuse(constant(reshapeTensor(tensor, y.shape)))
    const given = this.#node.operator === 'Reshape' ? this.#node.inputs[1]! : undefined
    const known = given?.contents
    if (known?.every((length) => typeof length === 'number' && length !== 0))
      return root === x ? undefined : createNew(op.Reshape(root, given!))
    // A computed target is more reliable than the shape that the file declares for the result.
    const computed = known?.every((length) => typeof length === 'string' || length > 0) ?? false
    const target = findTarget(root.shape, computed ? known : y.shape)
    return target && (root !== x || transposed || computed) ? createNew(op.Reshape(root, target)) : undefined
  }
}

const readPerm = ({ attributes }: Node) => attributes['perm'] as readonly number[] | undefined

/**
 * The target of a Reshape: 0 copies the length of the same axis, -1 is inferred. undefined if the target cannot be
 * written as constants, or if an axis has length 0, which allows neither 0 nor -1.
 */
function findTarget(from: Shape | undefined, to: Shape | undefined): readonly number[] | undefined {
  if (!to || to.includes(0)) return undefined
  if (isStatic(to)) return to
  const copied = to.map((dim, axis) => (typeof dim === 'number' ? dim : from?.[axis] === dim ? 0 : -1))
  if (!copied.includes(-1)) return copied
  return to.filter((dim) => typeof dim === 'string').length === 1 ? copied : undefined
}

/** A tensor with the same elements and other dims. Elements are read when `data` is first used. */
const reshapeTensor = (tensor: Tensor, dims: readonly number[]): Tensor => ({
  dtype: tensor.dtype,
  dims,
  get data() {
    return tensor.data
  },
})

/** The tensor of a small result, if all elements are known before the graph runs. */
function toKnownTensor({ dtype, shape, contents }: Value): Tensor | undefined {
  if (!isStatic(shape) || dtypes[dtype].bits === 4 || sizeOf(shape) !== contents!.length) return undefined
  const known = contents!.every((element) => typeof element === 'number')
  return known ? tensorFrom(dtype, shape, contents as readonly number[]) : undefined
}
