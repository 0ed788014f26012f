import type { Value } from '../../ir/value.js'
import { reshapeLike } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'
import { zerosLike } from '../zeros.js'

/**
 * Zeros like `x` with `updates` (as many axes as x) added at `indices` along `axis`; an index that occurs twice adds twice.
 * By ScatterElements: ScatterND is faster in onnxruntime's CPU provider, but adds from several threads without protection,
 * so that repeated indices lose additions now and then.
 */
export const scatterAdd = (x: Value, indices: Value, updates: Value, axis: number): Value =>
  op.ScatterElements(zerosLike(x), indices, updates, { axis, reduction: 'add' })

/** The position in memory of every element of `x`. */
const positionsIn = (x: Value): Value => op.Reshape(op.Range(0, op.Size(x), 1), op.Shape(x), { allowzero: 1 })

/** The adjoint of `move`, which moves or repeats elements of x: their positions, moved likewise, say where each element of dy came from. */
export function scatterByPosition(x: Value, dy: Value, move: (positions: Value) => Value): Value {
  return reshapeLike(
    scatterAdd(op.Reshape(x, [-1]), op.Reshape(move(positionsIn(x)), [-1]), op.Reshape(dy, [-1]), 0),
    x,
  )
}

/** How a scattering operator addresses elements. */
interface Addresses {
  /** The elements of a tensor shaped like x that the indices name, shaped like the updates. */
  take(from: Value): Value
  put(onto: Value, updates: Value, reduction: 'none' | 'add' | 'mul'): Value
}

/** Gradients of the data and of the updates of y = scatter(x, indices, u). Of equal updates to one place under 'none' any may win. */
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
  // max and min: those that are the extreme share its gradient.
  const [isX, isU] = [same(x, y), same(u, take(y))]
  const share = op.Div(dy, put(isX, isU, 'add'))
  return [op.Mul(share, isX), op.Mul(take(share), isU)]
}

const same = (a: Value, b: Value): Value => op.CastLike(op.Equal(a, b), a)
const isZero = (x: Value): Value => same(x, zerosLike(x))
const nonZero = (x: Value): Value => op.Where(op.Equal(x, zerosLike(x)), op.Add(x, 1), x)

/** The product of all factors but `factor`, from the product of those that are not 0 and the number of those that are. */
const productWithout = (factor: Value, product: Value, zeros: Value): Value =>
  op.Mul(op.Div(product, nonZero(factor)), same(zeros, isZero(factor)))
