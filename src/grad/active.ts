import { type DType, dtypes, isFloat } from '../ir/dtype.js'
import { scalar } from '../ir/leaf.js'
import { dependenciesOf } from '../ir/topology.js'
import type { Node, Value } from '../ir/value.js'
import { definitionOf, op } from '../op/op.js'

/**
 * Values that depend differentiably on `wrt`: floating-point results of nodes that read one of them, and quantized
 * integers from the node that rounds them on.
 */
export function activeValues(order: readonly Node[], wrt: Iterable<Value>): Set<Value> {
  const active = new Set(wrt)
  for (const node of order) {
    const read = dependenciesOf(node).filter((x) => active.has(x))
    if (read.length === 0) continue
    const quantized = (y: Value) => mayBeQuantized(y.dtype) && isQuantized(node, read)
    for (const y of node.outputs) if (isFloat(y.dtype) || quantized(y)) active.add(y)
  }
  return active
}

/** Type of a gradient: that of its tensor, or float32 for quantized integers. */
export const gradientType = (dtype: DType): DType => (isFloat(dtype) ? dtype : 'float32')

/** Whether integers of a type may represent quantized reals; int64 holds lengths and indices. */
const mayBeQuantized = (dtype: DType): boolean => dtypes[dtype].bits > 0 && dtypes[dtype].bits < 64 && dtype !== 'bool'

function isQuantized({ operator }: Node, read: readonly Value[]): boolean {
  const { straightThrough, gradient } = definitionOf(operator)
  return straightThrough || (gradient?.none !== 'zero' && read.some((x) => !isFloat(x.dtype)))
}

/** Zeros with the shape of `x` and the type of its gradient. */
export const zerosLike = (x: Value): Value => op.Expand(scalar(gradientType(x.dtype), 0), op.Shape(x))
