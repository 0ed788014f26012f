import type { Attribute, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import type { OldNode, Rewrite } from './rewrite.js'

/** The operands for the update of one tensor. Scalars have the type of the tensor. */
interface UpdateOperands {
  readonly x: Value
  /** The gradient with the L2 term: norm_coefficient X + G. */
  readonly g: Value
  readonly moments: readonly Value[]
  /** The learning rate. */
  readonly r: Value
  /** The number of earlier updates. */
  readonly t: Value
}

/**
 * Defines the rewrite of an optimizer. Its node has the inputs `R, T`, then every X, every G, and every tensor of each
 * moment; its outputs are the new X, then the new moments, in the same order. `update` returns the new X and the new
 * moments of one tensor.
 */
const defineOptimizer =
  (moments: number, update: (updated: UpdateOperands, of: OldNode) => readonly Value[]): Rewrite =>
  (node) => {
    const [r, t, ...rest] = node.inputs
    const groups = 2 + moments
    const count = rest.length / groups
    if (!r || !t || !Number.isInteger(count) || count === 0 || rest.includes(null))
      throw new OnnxIreError(
        'invalid-model',
        `needs R and T, then ${groups} tensors for every updated tensor; it has ${node.inputs.length} inputs`,
      )
    const decay = readNumber(node, 'norm_coefficient', 0)
    const perTensor = Array.from({ length: count }, (_, i) => {
      const [x, g, ...state] = Array.from({ length: groups }, (_, group) => rest[group * count + i] as Value)
      const regular = decay === 0 ? g! : op.Add(op.Mul(x!, decay), g!)
      return update({ x: x!, g: regular, moments: state, r: op.CastLike(r, x!), t: op.CastLike(t, x!) }, node)
    })
    return Array.from({ length: 1 + moments }, (_, output) => perTensor.map((values) => values[output]!)).flat()
  }

function readNumber(node: OldNode, name: string, fallback?: number): number {
  const value: Attribute | undefined = getOwn(node.attributes, name) ?? fallback
  if (typeof value !== 'number') throw new OnnxIreError('invalid-model', `needs its attribute '${name}', a number`)
  return value
}

/** `first` for the first update (T = 0), `later` for the others. */
const exceptAtFirst = (t: Value, later: Value, first: Value): Value => op.Where(op.Greater(t, 0), later, first)

/** `epsilon`, the small number added to a divisor, with the default of ONNX. */
const readEpsilon = (node: OldNode): number => readNumber(node, 'epsilon', Math.fround(1e-6))

/**
 * Adam of ONNX:
 *
 *     V <- alpha V + (1 - alpha) G
 *     H <- beta H + (1 - beta) G^2
 *     X <- (1 - norm_coefficient_post) (X - R' V / (sqrt(H) + epsilon))
 *     with R' = R sqrt(1 - beta^T) / (1 - alpha^T), or R for T = 0
 */
const adam = defineOptimizer(2, ({ x, g, moments: [v, h], r, t }, node) => {
  const alpha = readNumber(node, 'alpha', 0.9)
  const beta = readNumber(node, 'beta', 0.999)
  const vNew = op.Add(op.Mul(v!, alpha), op.Mul(g, 1 - alpha))
  const hNew = op.Add(op.Mul(h!, beta), op.Mul(op.Mul(g, g), 1 - beta))
  // Finite for T = 0 too, although the result is not used then.
  const count = op.Max([t, 1])
  const corrected = op.Div(op.Mul(r, op.Sqrt(op.Sub(1, op.Pow(beta, count)))), op.Sub(1, op.Pow(alpha, count)))
  const step = op.Div(vNew, op.Add(op.Sqrt(hNew), readEpsilon(node)))
  const xNew = op.Sub(x, op.Mul(exceptAtFirst(t, corrected, r), step))
  return [op.Mul(xNew, 1 - readNumber(node, 'norm_coefficient_post', 0)), vNew, hNew]
})

/**
 * Adagrad of ONNX:
 *
 *     H <- H + G^2
 *     X <- X - R / (1 + decay_factor T) G / (sqrt(H) + epsilon)
 */
const adagrad = defineOptimizer(1, ({ x, g, moments: [h], r, t }, node) => {
  const rate = op.Div(r, op.Add(op.Mul(t, readNumber(node, 'decay_factor', 0)), 1))
  const hNew = op.Add(h!, op.Mul(g, g))
  return [op.Sub(x, op.Div(op.Mul(rate, g), op.Add(op.Sqrt(hNew), readEpsilon(node)))), hNew]
})

/**
 * Momentum of ONNX:
 *
 *     V <- alpha V + beta G, beta taken as 1 for T = 0
 *     X <- X - R V, or, in the mode nesterov, X - R (G + alpha V)
 */
const momentum = defineOptimizer(1, ({ x, g, moments: [v], r, t }, node) => {
  const alpha = readNumber(node, 'alpha')
  const vNew = op.Add(op.Mul(v!, alpha), exceptAtFirst(t, op.Mul(g, readNumber(node, 'beta')), g))
  const step = node.attributes['mode'] === 'nesterov' ? op.Add(g, op.Mul(vNew, alpha)) : vNew
  return [op.Sub(x, op.Mul(r, step)), vNew]
})

/** The optimizers of ai.onnx.preview.training (https://onnx.ai/onnx/operators/, at the end of the list). */
export const trainingRewrites: Readonly<Record<string, Rewrite>> = { Adam: adam, Adagrad: adagrad, Momentum: momentum }
