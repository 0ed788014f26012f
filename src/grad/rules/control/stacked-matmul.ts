import type { Node, Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'

/** alpha a^T b of matrices. */
export interface Product<T> {
  readonly a: T
  readonly b: T
  readonly alpha: number
}

/** Largest number of terms that a sum is split into; shared terms could otherwise be enumerated without end. */
const MAX_TERMS = 32

/** Splits a sum into products a^T b, the form of a weight's gradient, and the remaining terms. */
export function splitProducts(sum: Value): {
  readonly rest: readonly Value[]
  readonly products: readonly Product<Value>[]
} {
  const rest: Value[] = []
  const products: Product<Value>[] = []
  const open = [sum]
  for (let term = open.pop(); term !== undefined; term = open.pop()) {
    const node = term.source
    const many = open.length + rest.length + products.length >= MAX_TERMS
    if (!many && node.kind === 'node' && node.operator === 'Add' && node.inputs.every((x) => hasShapeOf(x, term!)))
      open.push(...(node.inputs as Value[]))
    else if (node.kind === 'node' && isProduct(node))
      products.push({ a: node.inputs[0]!, b: node.inputs[1]!, alpha: node.attributes['alpha'] as number })
    else rest.push(term)
  }
  return { rest, products }
}

/** Whether an operand has the shape of the sum, i.e. is not broadcast. */
const hasShapeOf = (x: Value | null, { shape }: Value): boolean =>
  x?.shape?.length === shape?.length &&
  (x?.shape?.every(
    (dim, axis) => dim === shape![axis] || (typeof dim === 'string' && typeof shape![axis] === 'string'),
  ) ??
    false)

const isProduct = ({ operator, inputs, attributes }: Node): boolean =>
  operator === 'Gemm' && !inputs[2] && attributes['transA'] === 1 && attributes['transB'] === 0

/**
 * The sum over t of alpha a_t^T b_t, of stacked factors [T, K, M] and [T, K, N]: the rows of all iterations are the
 * rows of one matrix.
 */
export const stackedMatMul = ({ a, b, alpha }: Product<Value>): Value =>
  op.Gemm(op.Flatten(a, { axis: 2 }), op.Flatten(b, { axis: 2 }), { transA: 1, alpha })
