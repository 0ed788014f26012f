import type { Attribute, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import type { OldNode, Upgrade } from './upgrade.js'

/** What one tensor of an update has: itself, its gradient, its moments; scalars come in its type. */
interface Updated {
  readonly x: Value
  /** The gradient with the L2 term: norm_coefficient X + G. */
  readonly g: Value
  readonly moments: readonly Value[]
  /** The learning rate. */
  readonly r: Value
  /** Updates made before. */
  readonly t: Value
}

/**
 * Inputs `R, T`, then all X, all G and all of each moment; outputs the new X, then the new moments, in the same order.
 * `update` gives the new X and moments of one tensor.
 */
const optimizer =
  (moments: number, update: (updated: Updated, of: OldNode) => readonly Value[]): Upgrade =>
  (node) => {
    const [r, t, ...rest] = node.inputs
    const groups = 2 + moments
    const count = rest.length / groups
    if (!r || !t || !Number.isInteger(count) || count === 0 || rest.includes(null))
      throw new OnnxIreError(
        'invalid-model',
        `takes R and T, then ${groups} tensors for each one that is updated; it has ${node.inputs.length} inputs`,
      )
    const decay = number(node, 'norm_coefficient', 0)
    const perTensor = Array.from({ length: count }, (_, i) => {
      const [x, g, ...state] = Array.from({ length: groups }, (_, group) => rest[group * count + i] as Value)
      const regular = decay === 0 ? g! : op.Add(op.Mul(x!, decay), g!)
      return update({ x: x!, g: regular, moments: state, r: op.CastLike(r, x!), t: op.CastLike(t, x!) }, node)
    })
    return Array.from({ length: 1 + moments }, (_, output) => perTensor.map((values) => values[output]!)).flat()
  }

function number(node: OldNode, name: string, fallback?: number): number {
  const value: Attribute | undefined = node.attributes[name] ?? fallback
  if (typeof value !== 'number') throw new OnnxIreError('invalid-model', `needs its attribute '${name}', a number`)
  return value
}

/** `first` at the first update, when T is 0. */
const fromSecond = (t: Value, later: Value, first: Value): Value => op.Where(op.Greater(t, 0), later, first)

/** ONNX's default for the small number that keeps a divisor from being zero. */
const epsilonOf = (node: OldNode): number => number(node, 'epsilon', Math.fround(1e-6))

/**
 *     V <- alpha V + (1 - alpha) G
 *     H <- beta H + (1 - beta) G^2
 *     X <- (1 - norm_coefficient_post) (X - R' V / (sqrt(H) + epsilon)),  R' = R sqrt(1 - beta^T) / (1 - alpha^T), R for T = 0
 */
const adam = optimizer(2, ({ x, g, moments: [v, h], r, t }, node) => {
  const alpha = number(node, 'alpha', 0.9)
  const beta = number(node, 'beta', 0.999)
  const vNew = op.Add(op.Mul(v!, alpha), op.Mul(g, 1 - alpha))
  const hNew = op.Add(op.Mul(h!, beta), op.Mul(op.Mul(g, g), 1 - beta))
  // Finite for T = 0 too, where it is not used.
  const count = op.Max([t, 1])
  const corrected = op.Div(op.Mul(r, op.Sqrt(op.Sub(1, op.Pow(beta, count)))), op.Sub(1, op.Pow(alpha, count)))
  const step = op.Div(vNew, op.Add(op.Sqrt(hNew), epsilonOf(node)))
  const xNew = op.Sub(x, op.Mul(fromSecond(t, corrected, r), step))
  return [op.Mul(xNew, 1 - number(node, 'norm_coefficient_post', 0)), vNew, hNew]
})

/**
 *     H <- H + G^2
 *     X <- X - R / (1 + decay_factor T) G / (sqrt(H) + epsilon)
 */
const adagrad = optimizer(1, ({ x, g, moments: [h], r, t }, node) => {
  const rate = op.Div(r, op.Add(op.Mul(t, number(node, 'decay_factor', 0)), 1))
  const hNew = op.Add(h!, op.Mul(g, g))
  return [op.Sub(x, op.Div(op.Mul(rate, g), op.Add(op.Sqrt(hNew), epsilonOf(node)))), hNew]
})

/**
 *     V <- alpha V + beta G, beta taken as 1 for T = 0
 *     X <- X - R V, or, in the mode nesterov, X - R (G + alpha V)
 */
const momentum = optimizer(1, ({ x, g, moments: [v], r, t }, node) => {
  const alpha = number(node, 'alpha')
  const vNew = op.Add(op.Mul(v!, alpha), fromSecond(t, op.Mul(g, number(node, 'beta')), g))
  const step = node.attributes['mode'] === 'nesterov' ? op.Add(g, op.Mul(vNew, alpha)) : vNew
  return [op.Sub(x, op.Mul(r, step)), vNew]
})

/** The optimizers of ai.onnx.preview.training (https://onnx.ai/onnx/operators/, at the end of the list). */
export const training: Readonly<Record<string, Upgrade>> = { Adam: adam, Adagrad: adagrad, Momentum: momentum }
