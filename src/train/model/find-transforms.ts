import { isFloat } from '../../ir/dtype.js'
import { axisOf } from '../../ir/shape.js'
import type { Node, Value } from '../../ir/value.js'
import { definitionOf } from '../../op/op.js'

/** Operators whose result is linear in an operand, if the others are stored. */
const products: ReadonlySet<string> = new Set(['Conv', 'MatMul', 'Gemm', 'Mul', 'Div'])
const sums: ReadonlySet<string> = new Set(['Add', 'Sub', 'Neg', 'Concat', 'Pad'])

/**
 * Finds the nodes of Fourier and wavelet transforms: those that compute the real and imaginary parts, of which the
 * model only reads the magnitudes. Parts are linear in an input of the model, and a magnitude is the sum of two
 * squares.
 * @param isStored whether a value depends on stored tensors only
 */
export function findTransforms(
  nodes: readonly Node[],
  users: ReadonlyMap<Value, readonly Node[]>,
  isStored: (x: Value) => boolean,
): ReadonlySet<Node> {
  const linear = new Set<Node>()
  const isLinear = ({ source }: Value) => source.kind === 'input' || (source.kind === 'node' && linear.has(source))
  for (const node of nodes) {
    const operands = node.inputs.filter((x): x is Value => x !== null && isFloat(x.dtype))
    const parts = operands.filter(isLinear)
    const { view } = definitionOf(node.operator)
    const others = operands.filter((x) => !parts.includes(x))
    if (parts.length === 0 || !(view !== undefined || others.every(isStored))) continue
    if (view !== undefined || sums.has(node.operator) || (products.has(node.operator) && parts.length === 1))
      linear.add(node)
  }
  const squares = new Set(nodes.flatMap((node) => squaresIn(node).filter(({ inputs: [x] }) => isLinear(x!))))
  const transforms = new Set<Node>()
  for (const node of nodes.toReversed()) {
    const readers = node.outputs.flatMap((y) => users.get(y) ?? []).filter(({ operator }) => !isShape(operator))
    const isRead = (reader: Node) => squares.has(reader) || transforms.has(reader)
    if (linear.has(node) && readers.length > 0 && readers.every(isRead)) transforms.add(node)
  }
  return transforms
}

const isShape = (operator: string): boolean => definitionOf(operator).shapeOnly

/** The nodes that square the parts of a magnitude, if a node sums two squares. */
function squaresIn(node: Node): readonly Node[] {
  const { operator, inputs, attributes } = node
  if (operator === 'Add') {
    const squares = inputs.flatMap((x) => squareOf(x!))
    return squares.length === 2 ? squares : []
  }
  if (!['ReduceSum', 'ReduceSumSquare', 'ReduceL2'].includes(operator)) return []
  const [x, axes] = inputs
  const { contents = attributes['axes'] as readonly number[] | undefined } = axes ?? {}
  const [axis] = contents ?? []
  if (contents?.length !== 1 || typeof axis !== 'number' || !x?.shape) return []
  if (x.shape[axisOf(axis, x.shape.length)] !== 2) return []
  return operator === 'ReduceSum' ? squareOf(x) : [node]
}

/** The node that squares another value to compute this one, if there is one. */
function squareOf({ source }: Value): readonly Node[] {
  if (source.kind !== 'node') return []
  const { operator, inputs } = source
  const [x, y] = inputs
  const isSquare = operator === 'Mul' ? x === y : operator === 'Pow' && isTwo(y!)
  return isSquare ? [source] : []
}

const isTwo = ({ source }: Value): boolean =>
  (source.kind === 'parameter' || source.kind === 'constant') &&
  source.tensor.data.length === 1 &&
  Number(source.tensor.data[0]) === 2
