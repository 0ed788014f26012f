import { broadcastShapes, type Dim, type Shape, sameShape } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { define, float, int, string } from '../define.js'
import { einsumShape, ellipsis, parseEinsum } from '../einsum.js'
import { biasFlops, lengthAt, matMulFlops, product, size } from '../flops.js'

function sameType(first: Value, ...others: readonly (Value | null)[]): void {
  const other = others.find((operand) => operand && operand.dtype !== first.dtype)
  if (other) throw new OnnxIreError('invalid-shape', `operand types differ: ${first.dtype} and ${other.dtype}`)
}

const contract = (a: Dim | undefined, b: Dim | undefined): void => {
  if (typeof a === 'number' && typeof b === 'number' && a !== b) {
    throw new OnnxIreError('invalid-shape', `inner dimensions ${a} and ${b} differ`)
  }
}

/**
 * numpy.matmul: leading axes broadcast; a 1-D operand is a row on the left, a column on the right, and its axis goes.
 */
export function matMulShape(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (!a || !b) return undefined
  if (a.length === 0 || b.length === 0) throw new OnnxIreError('invalid-shape', 'a matrix product takes no scalars')
  contract(a.at(-1), b.length === 1 ? b[0] : b.at(-2))
  const batch = broadcastShapes([a.slice(0, -2), b.slice(0, -2)])!
  return [...batch, ...(a.length === 1 ? [] : [a.at(-2)!]), ...(b.length === 1 ? [] : [b.at(-1)!])]
}

function gemmType(a: Value, b: Value, c: Value | null, transA: number, transB: number): TensorType {
  sameType(a, b, c)
  if (!a.shape || !b.shape) return { dtype: a.dtype, shape: undefined }
  if (a.shape.length !== 2 || b.shape.length !== 2) throw new OnnxIreError('invalid-shape', 'Gemm takes matrices')
  const [m, k] = transA ? a.shape.toReversed() : a.shape
  const [l, n] = transB ? b.shape.toReversed() : b.shape
  contract(k, l)
  const shape = [m!, n!]
  const withC = c?.shape && broadcastShapes([shape, c.shape])
  if (
    withC &&
    (withC.length !== 2 || shape.some((dim, axis) => dim === 1 && typeof withC[axis] === 'number' && withC[axis] !== 1))
  ) {
    throw new OnnxIreError('invalid-shape', `C [${c.shape!.join(', ')}] does not broadcast to [${shape.join(', ')}]`)
  }
  return { dtype: a.dtype, shape }
}

function checkSquare(operator: string, x: Shape | undefined): void {
  if (
    x &&
    (x.length < 2 || (x.every((dim) => typeof dim === 'number') && !sameShape(x.slice(-2), x.slice(-2).toReversed())))
  ) {
    throw new OnnxIreError('invalid-shape', `${operator} takes square matrices`)
  }
}

/** Operands are contracted from left to right; an axis is summed over as soon as nothing further needs it. */
function einsumFlops(xs: readonly Value[], equation: string): number {
  const { operands, output } = parseEinsum(
    equation,
    xs.map(({ shape }) => shape),
  )
  const lengths = new Map<string, number>([[ellipsis, Number.NaN]])
  for (const [i, labels] of operands.entries())
    for (const [axis, label] of labels.entries())
      lengths.set(label, Math.max(lengths.get(label) ?? 1, lengthAt(xs[i]!, axis)))
  let left = new Set(operands[0])
  let total = operands.length === 1 && output.length < left.size ? size(xs[0]!) : 0
  for (let i = 1; i < operands.length; i++) {
    const all = new Set([...left, ...operands[i]!])
    const needed = new Set([...operands.slice(i + 1).flat(), ...output])
    left = new Set([...all].filter((label) => needed.has(label)))
    total += (left.size < all.size ? 2 : 1) * product([...all].map((label) => lengths.get(label)!))
  }
  return total
}

export const linalg = {
  MatMul: define({
    inputs: ['a', 'b'],
    since: 9,
    broadcasts: true,
    weights: ['a', 'b'],
    layer: 'own',
    filterAxes: {
      a: (_, rank) => (rank < 2 ? undefined : [rank - 2]),
      b: (_, rank) => (rank < 2 ? undefined : [rank - 1]),
    },
    flops: ([a], [y]) => matMulFlops(a, y!),
    infer: ({ inputs: [a, b] }) => {
      sameType(a, b)
      return { dtype: a.dtype, shape: matMulShape(a.shape, b.shape) }
    },
  }),
  Gemm: define({
    inputs: ['a', 'b', 'c?'],
    attributes: { alpha: float(1), beta: float(1), transA: int(0), transB: int(0) },
    since: 11,
    broadcasts: true,
    weights: ['a', 'b', 'c'],
    layer: 'own',
    filterAxes: { a: ({ transA }) => [transA ? 1 : 0], b: ({ transB }) => [transB ? 0 : 1] },
    flops: ([a, , c], [y], { transA }) => 2 * size(y!) * lengthAt(a, transA ? 0 : 1) + biasFlops(c, y!),
    infer: ({ inputs: [a, b, c], attributes: { transA, transB } }) => gemmType(a, b, c, transA, transB),
  }),
  Einsum: define({
    inputs: ['...xs'],
    attributes: { equation: string.required },
    since: 12,
    broadcasts: true,
    weights: ['xs'],
    layer: 'own',
    flops: (xs, _, { equation }) => einsumFlops(xs, equation),
    infer: ({ inputs: [first, ...others], attributes: { equation } }) => {
      if (!first) throw new OnnxIreError('invalid-model', 'Einsum needs an operand')
      sameType(first, ...others)
      const shapes = [first, ...others].map((x) => x.shape)
      return { dtype: first.dtype, shape: einsumShape(parseEinsum(equation, shapes), shapes) }
    },
  }),
  Det: define({
    inputs: ['x'],
    since: 11,
    // by LU decomposition
    flops: ([x]) => (size(x) * lengthAt(x, -1) * 2) / 3,
    infer: ({ inputs: [x] }) => {
      checkSquare('Det', x.shape)
      return { dtype: x.dtype, shape: x.shape?.slice(0, -2) }
    },
  }),
  /** The inverse of matrices [..., n, n]; ai.onnx has none, and PyTorch exports this. */
  Inverse: define({
    inputs: ['x'],
    domain: 'com.microsoft',
    since: 1,
    flops: ([x]) => 2 * size(x) * lengthAt(x, -1),
    infer: ({ inputs: [x] }) => {
      checkSquare('Inverse', x.shape)
      return x
    },
  }),
}
