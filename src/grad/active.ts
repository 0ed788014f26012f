import { type DType, dtypes, isFloat } from '../ir/dtype.js'
import { dependenciesOf } from '../ir/topology.js'
import type { Node, Value } from '../ir/value.js'
import { definitionOf } from '../op/op.js'

/**
 * Values through which `wrt` can influence anything: floating-point results of nodes that read one of them, and integers
 * that stand for reals, from where they are rounded on.
 */
export function activeValues(order: readonly Node[], wrt: Iterable<Value>): Set<Value> {
  const active = new Set(wrt)
  for (const node of order) {
    const read = dependenciesOf(node).filter((x) => active.has(x))
    if (read.length === 0) continue
    const quantized = (y: Value) => standsForReals(y.dtype) && isQuantized(node, read)
    for (const y of node.outputs) if (isFloat(y.dtype) || quantized(y)) active.add(y)
  }
  return active
}

/** The type of a gradient: that of its tensor, or float32 for integers that stand for reals. */
export const gradientType = (dtype: DType): DType => (isFloat(dtype) ? dtype : 'float32')

/** int64 holds lengths and indices. */
const standsForReals = (dtype: DType): boolean => dtypes[dtype].bits > 0 && dtypes[dtype].bits < 64 && dtype !== 'bool'

function isQuantized({ operator }: Node, read: readonly Value[]): boolean {
  const { straightThrough, gradient } = definitionOf(operator)
  return straightThrough || (gradient?.none !== 'zero' && read.some((x) => !isFloat(x.dtype)))
}
