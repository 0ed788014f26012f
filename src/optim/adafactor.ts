import { sizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { invalidOption, nonNegative } from '../util/check.js'
import type { BaseOptimizer, GraphRule, UpdateRule } from './base-optimizer.js'
import { array, formula, scalar } from './expr/expr.js'
import { sumElements } from './expr/onnx.js'
import { type OptionSpecs, readOptions } from './option-specs.js'

/** Options of `adafactor`; names and defaults are those of `torch.optim.Adafactor`. */
export interface AdafactorOptions {
  /** Largest relative step; default 0.01. Update t, from 1, takes min(lr, 1 / sqrt(t)). */
  readonly lr?: number
  /** Power of t in the decay of the second moment, 1 - t^beta2Decay, below 0; default -0.8. */
  readonly beta2Decay?: number
  /**
   * Lower bounds of the root of the second moment, and of the root mean square of a tensor; default [1.1920929e-7,
   * 1e-3].
   */
  readonly eps?: readonly [number, number]
  /** Largest root mean square of an update before the step size; default 1. */
  readonly d?: number
  /** Decoupled, times lr; default 0. */
  readonly weightDecay?: number
}

export const adafactorOptions: OptionSpecs<AdafactorOptions> = {
  lr: { type: 'number', default: 0.01, range: nonNegative, description: 'the largest relative step' },
  beta2Decay: {
    type: 'number',
    default: -0.8,
    range: { min: -10, max: 0 },
    description: 'the power of t in the decay of the second moment',
  },
  eps: {
    type: 'numbers',
    default: [1.1920929e-7, 1e-3],
    range: nonNegative,
    allowed: 'two numbers >= 0',
    description: 'the lower bounds of the root of the second moment, and of the root mean square of a tensor',
  },
  d: { type: 'number', default: 1, range: nonNegative, description: 'the largest root mean square of an update' },
  weightDecay: { type: 'number', default: 0, range: nonNegative, description: 'decoupled weight decay, times lr' },
}

/**
 * Adafactor (Shazeer & Stern 2018, arXiv 1804.04235), as `torch.optim.Adafactor`; t counts from 1, and means are over
 * the last two axes:
 *
 *     b = t^beta2Decay
 *     R <- (1 - b) R + b mean_columns(g^2)           tensors of two axes and more
 *     C <- (1 - b) C + b mean_rows(g^2)
 *     V = R C / max(mean_rows(R), eps1)
 *     V <- (1 - b) V + b g^2                         other tensors
 *     u = g / max(sqrt(V), eps1)
 *     a = max(eps2, rms(theta)) min(lr, 1 / sqrt(t))
 *     d = -a u / max(1, rms(u) / d) - lr weightDecay theta
 *
 * The state of a matrix is one number per row and per column. The update is an ONNX graph, so that `adafactor` needs a
 * `Trainer`; `update` and `takeStep` reject it.
 * @throws OnnxIreError `invalid-option`
 */
export function adafactor(options: AdafactorOptions = {}): BaseOptimizer {
  const resolved = readOptions('adafactor', adafactorOptions, options)
  if (resolved.d === 0) throw invalidOption('adafactor', 'd', 0, 'a number > 0')
  const { lr, weightDecay } = resolved
  const rules = new Map<string, GraphRule>()
  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'adafactor',
    lr,
    weightDecay,
    options: resolved,
    ...emptyRule,
    ruleOf({ dims }): UpdateRule {
      if (sizeOf(dims) === 0) return emptyRule
      const key = JSON.stringify(['adafactor', dims, resolved])
      const rule = rules.get(key) ?? createRule(key, dims, resolved)
      rules.set(key, rule)
      return rule
    },
  })
}

/** The rule of tensors without elements, of which no mean exists. */
const emptyRule = {
  moments: [],
  formula: formula({ d: array('theta').mul(scalar('decay')).negate() }),
  coefficients: (_: number, lr: number, weightDecay: number) => ({ decay: lr * weightDecay }),
} as const

function createRule(
  key: string,
  dims: readonly number[],
  { beta2Decay, eps: [eps1, eps2], d }: Required<AdafactorOptions>,
): GraphRule {
  const factored = dims.length >= 2
  const outer = dims.slice(0, -2)
  const float32 = (dims: readonly number[]) => ({ dtype: 'float32', dims }) as const
  return {
    key,
    moments: factored ? ['rowMoment', 'columnMoment'] : ['secondMoment'],
    ...(factored
      ? {
          momentTypes: {
            rowMoment: float32([...outer, dims.at(-2)!, 1]),
            columnMoment: float32([...outer, 1, dims.at(-1)!]),
          },
        }
      : {}),
    scalars: ['rho', 'newest', 'decay'],
    coefficients: (earlier, lr, weightDecay) => {
      const t = earlier + 1
      return { rho: Math.min(lr, 1 / Math.sqrt(t)), newest: t ** beta2Decay, decay: lr * weightDecay }
    },
    build({ theta, g, ...old }, { rho, newest, decay }) {
      const average = (before: Value, value: Value) => op.Add(before, op.Mul(op.Sub(value, before), newest!))
      const squares = op.Mul(g!, g!)
      let next: { readonly [moment: string]: Value }
      let second: Value
      if (factored) {
        const rowMoment = average(old['rowMoment']!, op.ReduceMean(squares, [-1]))
        const columnMoment = average(old['columnMoment']!, op.ReduceMean(squares, [-2]))
        const rows = op.Div(rowMoment, op.Max([op.ReduceMean(rowMoment, [-2]), eps1]))
        second = op.Mul(rows, columnMoment)
        next = { rowMoment, columnMoment }
      } else {
        second = average(old['secondMoment']!, squares)
        next = { secondMoment: second }
      }
      const u = op.Div(g!, op.Max([op.Sqrt(second), eps1]))
      const size = op.Mul(op.Max([rootMeanSquare(theta!), eps2]), rho!)
      const step = op.Div(size, op.Max([op.Div(rootMeanSquare(u), d), 1]))
      return { d: op.Sub(op.Mul(op.Mul(u, step), -1), op.Mul(theta!, decay!)), ...next }
    },
  }
}

const rootMeanSquare = (x: Value): Value =>
  op.Sqrt(op.Div(sumElements(x, 'squares'), sizeOf(x.shape as readonly number[])))
