import type { Node, Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'

/** alpha a^T b of matrices. */
export interface Product<T> {
  readonly a: T
  readonly b: T
  readonly alpha: number
}

/** Sums of more terms are taken as they are: shared terms would be counted out without end. */
const MOST_TERMS = 32

/** The terms of a sum: products a^T b, which is what the gradient of a weight is, and the rest. */
export function productsIn(sum: Value): {
  readonly rest: readonly Value[]
  readonly products: readonly Product<Value>[]
} {
  const rest: Value[] = []
  const products: Product<Value>[] = []
  const open = [sum]
  for (let term = open.pop(); term !== undefined; term = open.pop()) {
    const node = term.source
    const many = open.length + rest.length + products.length >= MOST_TERMS
    if (!many && node.kind === 'node' && node.operator === 'Add' && node.inputs.every((x) => alike(x, term!)))
      open.push(...(node.inputs as Value[]))
    else if (node.kind === 'node' && isProduct(node))
      products.push({ a: node.inputs[0]!, b: node.inputs[1]!, alpha: node.attributes['alpha'] as number })
    else rest.push(term)
  }
  return { rest, products }
}

/** Whether an operand has the shape of a sum, rather than being repeated along some axis. */
const alike = (x: Value | null, { shape }: Value): boolean =>
  x?.shape?.length === shape?.length &&
  (x?.shape?.every(
    (dim, axis) => dim === shape![axis] || (typeof dim === 'string' && typeof shape![axis] === 'string'),
  ) ??
    false)

const isProduct = ({ operator, inputs, attributes }: Node): boolean =>
  operator === 'Gemm' && !inputs[2] && attributes['transA'] === 1 && attributes['transB'] === 0

/** The sum over t of alpha a_t^T b_t, of stacked factors [T, K, M] and [T, K, N]: rows of all rounds are rows of one matrix. */
export const stackedProduct = ({ a, b, alpha }: Product<Value>): Value =>
  op.Gemm(op.Flatten(a, { axis: 2 }), op.Flatten(b, { axis: 2 }), { transA: 1, alpha })
