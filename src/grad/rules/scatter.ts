import type { Value } from '../../ir/value.js'
import { reshapeLike } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'
import { zerosLike } from '../zeros.js'

/**
 * Zeros like `x` with `updates` (of the rank of x) added at `indices` along `axis`; repeated indices add repeatedly.
 * It uses ScatterElements: ScatterND is faster on onnxruntime's CPU provider but adds from several threads without
 * synchronization and sometimes loses additions at repeated indices.
 */
export const scatterAdd = (x: Value, indices: Value, updates: Value, axis: number): Value =>
  op.ScatterElements(zerosLike(x), indices, updates, { axis, reduction: 'add' })

/** Row-major position of every element of `x`. */
const positionsIn = (x: Value): Value => op.Reshape(op.Range(0, op.Size(x), 1), op.Shape(x), { allowzero: 1 })

/**
 * Gradient of `move`, which moves or repeats elements of x: it moves their positions too, and adds each element of dy
 * at its origin.
 */
export function scatterByPosition(x: Value, dy: Value, move: (positions: Value) => Value): Value {
  return reshapeLike(
    scatterAdd(op.Reshape(x, [-1]), op.Reshape(move(positionsIn(x)), [-1]), op.Reshape(dy, [-1]), 0),
    x,
  )
}

/** Addressing of a scattering operator: reading and writing at its indices. */
interface Addresses {
  /** Elements of a tensor of the shape of x at the indices, in the shape of the updates. */
  take(from: Value): Value
  put(onto: Value, updates: Value, reduction: 'none' | 'add' | 'mul'): Value
}

/**
 * Gradients of y = scatter(x, indices, u) with respect to x and u. With reduction 'none' ONNX leaves open which of
 * several updates at one index wins.
 */
export function scatterGradients(
  [x, u]: readonly [Value, Value],
  dy: Value,
  y: Value,
  reduction: string,
  { take, put }: Addresses,
): [dx: Value, du: Value] {
  if (reduction === 'add') return [dy, take(dy)]
  if (reduction === 'none') return [put(dy, zerosLike(u), 'none'), take(dy)]
  if (reduction === 'mul') {
    const product = put(nonZero(x), nonZero(u), 'mul')
    const zeros = put(isZero(x), isZero(u), 'add')
    return [
      op.Mul(dy, productWithout(x, product, zeros)),
      op.Mul(take(dy), productWithout(u, take(product), take(zeros))),
    ]
  }
  // max and min: elements that equal the extremum share its gradient.
  const [isX, isU] = [same(x, y), same(u, take(y))]
  const share = op.Div(dy, put(isX, isU, 'add'))
  return [op.Mul(share, isX), op.Mul(take(share), isU)]
}

const same = (a: Value, b: Value): Value => op.CastLike(op.Equal(a, b), a)
const isZero = (x: Value): Value => same(x, zerosLike(x))
const nonZero = (x: Value): Value => op.Where(op.Equal(x, zerosLike(x)), op.Add(x, 1), x)

/** Product of all factors except `factor`, computed from the product of the nonzero ones and the number of zeros. */
const productWithout = (factor: Value, product: Value, zeros: Value): Value =>
  op.Mul(op.Div(product, nonZero(factor)), same(zeros, isZero(factor)))
