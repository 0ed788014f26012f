import { sizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { belowOne, nonNegative, positiveCount } from '../util/check.js'
import { adamOptions, adamw } from './adam.js'
import type { BaseOptimizer, GraphRule, HiddenMatrix } from './base-optimizer.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `muon`. */
export interface MuonOptions {
  /** Learning rate; default 1e-3. With `scale: 'match-rms-adamw'` AdamW's values suit it. */
  readonly lr?: number
  /** Decay of the momentum, in [0, 1); default 0.95. */
  readonly momentum?: number
  /** Nesterov momentum; default true. */
  readonly nesterov?: boolean
  /** Number of Newton-Schulz iterations; default 5. */
  readonly iterations?: number
  /**
   * The factor on the orthogonal matrix. 'match-rms-adamw' (default): 0.2 sqrt(max(rows, columns)), so that an element
   * moves as far as with AdamW (Liu et al. 2025, arXiv 2502.16982). 'original': sqrt(max(1, outputs / inputs)), Keller
   * Jordan's and PyTorch's default; a learning rate of 0.02 suits it.
   */
  readonly scale?: 'match-rms-adamw' | 'original'
  /** Decoupled, times lr; default 0.1. */
  readonly weightDecay?: number
  /** Factor on the learning rate of tensors that AdamW updates; default 1. With `scale: 'original'` 0.015 is usual. */
  readonly adamLrFactor?: number
  /** Decay rates of AdamW's moments, each in [0, 1); default [0.9, 0.95]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of AdamW's second moment; default 1e-8. */
  readonly eps?: number
}

export const muonOptions: OptionSpecs<MuonOptions> = {
  lr: { type: 'number', default: 1e-3, range: nonNegative, description: 'the learning rate' },
  momentum: { type: 'number', default: 0.95, range: belowOne, description: 'the decay of the momentum' },
  nesterov: { type: 'boolean', default: true, description: 'Nesterov momentum' },
  iterations: { type: 'number', default: 5, range: positiveCount, description: 'Newton-Schulz iterations' },
  scale: {
    type: 'choice',
    default: 'match-rms-adamw',
    choices: ['match-rms-adamw', 'original'],
    description: 'the factor on the orthogonal matrix',
  },
  weightDecay: { type: 'number', default: 0.1, range: nonNegative, description: 'decoupled weight decay, times lr' },
  adamLrFactor: {
    type: 'number',
    default: 1,
    range: nonNegative,
    description: 'a factor on the learning rate of tensors that AdamW updates',
  },
  betas: {
    type: 'numbers',
    default: [0.9, 0.95],
    range: belowOne,
    allowed: 'two numbers in [0, 1)',
    description: "the decay rates of AdamW's moments",
  },
  eps: adamOptions.eps,
}

/**
 * Muon (Jordan 2024, kellerjordan.github.io/posts/muon) for the matrices of hidden layers, AdamW for all other tensors.
 * As `torch.optim.Muon`, but in float32 instead of bfloat16:
 *
 *     m <- momentum m + (1 - momentum) g
 *     u = nesterov ? momentum m + (1 - momentum) g : m
 *     X = u / max(||u||, 1e-7), as a matrix [first axis, all others]
 *     X <- 3.4445 X + (-4.775 A + 2.0315 A^2) X     with A = X X^T, five times
 *     d = -lr (scale X + weightDecay theta)
 *
 * Matrices are the weights that only matrix products and convolutions read, except those of the last layer. Embeddings,
 * the last layer, norms, biases and recurrent weights are updated by AdamW; a parameter group's `matrix` changes the
 * choice. IRE enhances the coordinates of d, so that the update is no longer orthogonal.
 *
 * The matrix products run as ONNX graphs on the runtime, so that `muon` needs a `Trainer`; `update` and `takeStep`
 * reject it.
 * @throws OnnxIreError `invalid-option`
 */
export function muon(options: MuonOptions = {}): BaseOptimizer {
  const resolved = readOptions('muon', muonOptions, options)
  const { lr, weightDecay, adamLrFactor, betas, eps } = resolved
  const rest = adamw({ lr, betas, eps, weightDecay })
  const coefficients: BaseOptimizer['coefficients'] = (t, lr, weightDecay, estimate) =>
    rest.coefficients(t, lr * adamLrFactor, weightDecay, estimate)
  const restRule = { moments: rest.moments, formula: rest.formula, coefficients }
  const rules = new Map<string, GraphRule>()
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'muon',
    lr,
    weightDecay,
    options: resolved,
    ...restRule,
    ruleOf({ matrix }) {
      if (!matrix) return restRule
      const key = JSON.stringify(['muon', matrix, resolved])
      const rule = rules.get(key) ?? createMatrixRule(key, matrix, resolved)
      rules.set(key, rule)
      return rule
    },
  })
}

/** The update of a matrix. */
function createMatrixRule(
  key: string,
  { rows, columns, outputs }: HiddenMatrix,
  { momentum, nesterov, iterations, scale }: Required<MuonOptions>,
): GraphRule {
  const ratio = outputs === 'rows' ? rows / columns : columns / rows
  const factor = scale === 'original' ? Math.sqrt(Math.max(1, ratio)) : 0.2 * Math.sqrt(Math.max(rows, columns))
  return {
    key,
    moments: ['momentum'],
    scalars: ['step', 'decay', 'oneMinusMomentum'],
    coefficients: (_, lr, weightDecay) => ({
      step: -lr * factor,
      decay: lr * weightDecay,
      oneMinusMomentum: 1 - momentum,
    }),
    build({ theta, g, momentum }, { step, decay, oneMinusMomentum }) {
      // beta x + (1 - beta) y is written x + (1 - beta) (y - x), as in `movingAverage`.
      const mix = (average: Value) => op.Add(average, op.Mul(op.Sub(g!, average), oneMinusMomentum!))
      const next = mix(momentum!)
      const u = op.Reshape(nesterov ? mix(next) : next, [rows, columns])
      const x = op.Reshape(orthogonalize(u, rows > columns, iterations), theta!.shape as readonly number[])
      return { d: op.Sub(op.Mul(x, step!), op.Mul(theta!, decay!)), momentum: next }
    },
  }
}

/** Coefficients of the quintic that moves all singular values near 1. */
const [a, b, c] = [3.4445, -4.775, 2.0315] as const

/** Newton-Schulz iterations: the matrix with all singular values moved near 1. */
function orthogonalize(u: Value, isTall: boolean, iterations: number): Value {
  const transposed = (x: Value) => op.Transpose(x, { perm: [1, 0] })
  const size = sizeOf(u.shape as readonly number[])
  const norm = op.Sqrt(op.ReduceSumSquare(op.Reshape(u, [size]), [0], { keepdims: 0 }))
  let x = op.Div(isTall ? transposed(u) : u, op.Max([norm, 1e-7]))
  for (let i = 0; i < iterations; i++) {
    const square = op.MatMul(x, transposed(x))
    const polynomial = op.Add(op.Mul(square, b), op.Mul(op.MatMul(square, square), c))
    x = op.Add(op.Mul(x, a), op.MatMul(polynomial, x))
  }
  return isTall ? transposed(x) : x
}
