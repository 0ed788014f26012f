import { dtypes } from '../ir/dtype.js'
import { sizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { count, nonNegative, positiveCount } from '../util/check.js'
import { adamOptions, adamw } from './adam.js'
import type { BaseOptimizer, GraphRule, UpdateRule } from './base-optimizer.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `adamw8bit`. */
export interface Adamw8bitOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Decay rates of the two moments, each in [0, 1); default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
  /** Decoupled, times lr; default 0.01. */
  readonly weightDecay?: number
  /** Number of elements that share a scale; default 256. */
  readonly blockSize?: number
  /** Tensors with fewer elements are updated as by `adamw`; default 4096. */
  readonly minSize?: number
}

export const adamw8bitOptions: OptionSpecs<Adamw8bitOptions> = {
  ...adamOptions,
  weightDecay: { type: 'number', default: 0.01, range: nonNegative, description: 'decoupled weight decay, times lr' },
  blockSize: { type: 'number', default: 256, range: positiveCount, description: 'the elements that share a scale' },
  minSize: {
    type: 'number',
    default: 4096,
    range: count,
    description: 'the elements of the smallest tensor in 8 bits',
  },
}

/**
 * AdamW with its first moment in 8 bits, after Dettmers et al. 2022 (arXiv 2110.02861). Per block of elements, with s
 * the largest |m| of the block:
 *
 *     q = round(127 sign(m) sqrt(|m| / s))         stored as the byte q + 128
 *     m = s sign(q) (q / 127)^2
 *
 * The square makes small elements as exact as large ones. The second moment is float32: errors of small second moments
 * are errors of large steps. State of 5 bytes per parameter instead of 8, in GPU memory too. The update is an ONNX
 * graph, so that `adamw8bit` needs a `Trainer`; `update` and `takeStep` reject it.
 * @throws OnnxIreError `invalid-option`
 */
export function adamw8bit(options: Adamw8bitOptions = {}): BaseOptimizer {
  const resolved = readOptions('adamw8bit', adamw8bitOptions, options)
  const { lr, betas, eps, weightDecay, minSize } = resolved
  const { moments, formula, coefficients } = adamw({ lr, betas, eps, weightDecay })
  const exact = { moments, formula, coefficients }
  const rules = new Map<string, GraphRule>()
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'adamw-8bit',
    lr,
    weightDecay,
    options: resolved,
    ...exact,
    ruleOf({ dims }): UpdateRule {
      const size = sizeOf(dims)
      if (size === 0 || size < minSize) return exact
      const key = JSON.stringify(['adamw-8bit', dims, resolved])
      const rule = rules.get(key) ?? createRule(key, dims, resolved, coefficients)
      rules.set(key, rule)
      return rule
    },
  })
}

function createRule(
  key: string,
  dims: readonly number[],
  { blockSize }: Required<Adamw8bitOptions>,
  coefficients: BaseOptimizer['coefficients'],
): GraphRule {
  const size = sizeOf(dims)
  const blocks = Math.ceil(size / blockSize)
  const padding = blocks * blockSize - size
  return {
    key,
    moments: ['firstMomentBytes', 'firstMomentScale', 'secondMoment'],
    momentTypes: {
      firstMomentBytes: { dtype: 'uint8', dims: [blocks, blockSize] },
      firstMomentScale: { dtype: 'float32', dims: [blocks, 1] },
    },
    scalars: ['oneMinusBeta1', 'oneMinusBeta2', 'stepSize', 'eps', 'decay'],
    coefficients,
    build({ theta, g, firstMomentBytes, firstMomentScale, secondMoment: v }, scalars) {
      const { oneMinusBeta1, oneMinusBeta2, stepSize, eps, decay } = scalars
      const root = op.Div(op.Sub(op.Cast(firstMomentBytes!, { to: dtypes.float32.onnx }), 128), 127)
      const decoded = op.Mul(op.Mul(root, op.Abs(root)), firstMomentScale!)
      const flat = op.Reshape(decoded, [blocks * blockSize])
      const m = op.Reshape(padding === 0 ? flat : op.Slice(flat, [0], [size], [0]), dims)
      const first = op.Add(m, op.Mul(op.Sub(g!, m), oneMinusBeta1!))
      const second = op.Add(op.Sub(v!, op.Mul(v!, oneMinusBeta2!)), op.Mul(op.Mul(g!, oneMinusBeta2!), g!))
      const d = op.Sub(op.Div(op.Mul(first, stepSize!), op.Add(op.Sqrt(second), eps!)), op.Mul(theta!, decay!))
      return { d, secondMoment: second, ...encode(first) }
    },
  }

  function encode(m: Value) {
    const flat = op.Reshape(m, [size])
    const values = op.Reshape(padding === 0 ? flat : op.Pad(flat, [0, padding]), [blocks, blockSize])
    const magnitudes = op.Abs(values)
    const firstMomentScale = op.ReduceMax(magnitudes, [1])
    // The smallest divisor is far below any moment that moves a weight.
    const roots = op.Mul(op.Sqrt(op.Div(magnitudes, op.Max([firstMomentScale, 1e-30]))), 127)
    const signed = op.Where(op.Less(values, 0), op.Mul(roots, -1), roots)
    const firstMomentBytes = op.Cast(op.Add(op.Round(signed), 128), { to: dtypes.uint8.onnx })
    return { firstMomentBytes, firstMomentScale }
  }
}
