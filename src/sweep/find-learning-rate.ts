import type { DatasetOrStream } from '../data/stream.js'
import type { Model } from '../onnx/model.js'
import type { BaseOptimizer } from '../optim/base-optimizer.js'
import { checkOptimizer, type Optimizer, unwrap } from '../optim/optimizer.js'
import type { Callback, StepProgress, TrainerOptions } from '../train/options.js'
import { Trainer } from '../train/trainer.js'
import { checkArguments, checkNumber, type Range } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'

/** Options of `findLearningRate` in addition to those of `Trainer.create`. */
export interface FindLearningRateOptions {
  /** Learning rate of the first step. Default 1e-7. */
  readonly from?: number
  /** Learning rate of the last step. Default 10. */
  readonly to?: number
  /** Number of steps. Default 100. */
  readonly steps?: number
  /** Called after every step, to show progress. */
  readonly onStep?: Callback<StepProgress>
  /** Ends the test after the current step, without an error, once it is aborted. */
  readonly signal?: { readonly aborted: boolean }
}

/** One step of a test of learning rates. */
export interface LearningRatePoint {
  readonly lr: number
  /** The loss of the batch, before the update. */
  readonly loss: number
  /** The loss of neighboring steps, by local linear regression. */
  readonly smoothed: number
}

/** Result of `findLearningRate`. */
export interface LearningRateTest {
  /** The rate at which the smoothed loss falls fastest; null if it does not fall. */
  readonly suggestion: number | null
  /** The rate of the least smoothed loss: near it, training begins to diverge. Null if the loss does not fall. */
  readonly minimum: number | null
  /** Whether the loss diverged, which ended the test. */
  readonly diverged: boolean
  /** All steps. */
  readonly points: readonly LearningRatePoint[]
}

/** The test ends if the running mean of the loss exceeds its least value by this factor (Smith 2017; as in fastai). */
const divergence = 4
/** Weight of the past in the running mean. */
const inertia = 0.9
/** Share of the steps on each side that the smoothed loss of a step is computed from. */
const reach = 0.08

const positive: Range = { min: Number.MIN_VALUE, max: Number.MAX_VALUE }

/**
 * Tests learning rates (Smith 2017, arXiv 1506.01186): trains for some steps with a learning rate that rises
 * exponentially, until the loss diverges, and suggests the rate at which the loss falls fastest. The learning rates of
 * groups rise in proportion; the option `schedule` is not used. The model is not changed.
 *
 * @example
 * const { suggestion } = await findLearningRate(model, data, { loss: crossEntropy(), optimizer: adamw(), runtime })
 *
 * @throws OnnxIreError `invalid-option`, also for an optimizer that takes no schedule; as `Trainer.create` and `fit`
 */
export async function findLearningRate(
  model: Model,
  data: DatasetOrStream,
  options: TrainerOptions & FindLearningRateOptions,
): Promise<LearningRateTest> {
  checkArguments('findLearningRate(model, data, { loss, optimizer, runtime })', { data, options })
  const { from = 1e-7, to = 10, steps = 100, onStep, signal, ...given } = options
  const owner = 'findLearningRate'
  checkNumber(owner, 'from', from, positive)
  checkNumber(owner, 'to', to, { ...positive, min: from })
  checkNumber(owner, 'steps', steps, { min: 5, max: 1e6, integer: true })
  checkOptimizer(owner, given.optimizer)
  const { base } = unwrap(given.optimizer)
  if (base.evaluation !== undefined || base.lr === 0)
    throw new OnnxIreError(
      'invalid-option',
      `${owner}: the learning rate of the optimizer '${base.name}' cannot be raised step by step; find it with a sweep`,
    )
  const { best: _best, earlyStopping: _stopping, ema: _ema, groups, ...others } = given
  const growth = (to / from) ** (1 / (steps - 1))
  const trainer = await Trainer.create(model, {
    ...others,
    ...(groups && {
      groups: groups.map((group) => (group.lr === undefined ? group : { ...group, lr: (group.lr * from) / base.lr })),
    }),
    optimizer: withRate(given.optimizer, from),
    schedule: { kind: 'exponential', factor: growth },
  })
  const rates: number[] = []
  const losses: number[] = []
  let [mean, least] = [0, Infinity]
  let diverged = false
  try {
    await trainer.train(data, {
      totalSteps: steps,
      ...(signal ? { signal } : {}),
      async onStep(progress) {
        rates.push(progress.lr)
        losses.push(progress.loss)
        mean = inertia * mean + (1 - inertia) * progress.loss
        const unbiased = mean / (1 - inertia ** losses.length)
        least = Math.min(least, unbiased)
        // A loss that may be negative has no factor by which it exceeds its least value.
        diverged = least > 0 && unbiased > divergence * least
        const answer = await onStep?.(progress)
        return diverged || answer === 'stop' ? 'stop' : undefined
      },
    })
  } catch (error) {
    if (!(error instanceof OnnxIreError && error.code === 'not-finite' && losses.length > 0)) throw error
    diverged = true
  } finally {
    await trainer.dispose()
  }
  return { ...suggestRate(rates, losses, Math.max(2, Math.round(reach * steps))), diverged }
}

/** An optimizer with another learning rate. */
function withRate(optimizer: Optimizer, lr: number): Optimizer {
  const { base, sam, ire } = unwrap(optimizer)
  const changed: BaseOptimizer = { ...base, lr }
  const inner = sam ? { ...sam, base: changed } : changed
  return ire ? { ...ire, inner } : inner
}

/**
 * Finds the least smoothed loss, and the rate before it at which the smoothed loss falls fastest in the logarithm of
 * the rate.
 * @param width steps on each side that a step is smoothed by
 */
export function suggestRate(
  rates: readonly number[],
  losses: readonly number[],
  width: number,
): Pick<LearningRateTest, 'suggestion' | 'minimum' | 'points'> {
  const logs = rates.map(Math.log)
  const lines = losses.map((_, i) => {
    const [start, end] = [Math.max(0, i - width), Math.min(losses.length, i + width + 1)]
    return fitLine(logs.slice(start, end), losses.slice(start, end), logs[i]!)
  })
  const points = rates.map((lr, i) => ({ lr, loss: losses[i]!, smoothed: lines[i]!.value }))
  const lowest = points.reduce((best, { smoothed }, i) => (smoothed < points[best]!.smoothed ? i : best), 0)
  const steepest = lines.slice(0, lowest).reduce((best, { slope }, i) => (slope < lines[best]!.slope ? i : best), 0)
  const falls = lowest > 0 && lines[steepest]!.slope < 0
  return { suggestion: falls ? rates[steepest]! : null, minimum: falls ? rates[lowest]! : null, points }
}

/** The least-squares line through points: its slope, and its value at `x`. */
function fitLine(xs: readonly number[], ys: readonly number[], x: number): { value: number; slope: number } {
  const n = xs.length
  const [meanX, meanY] = [xs, ys].map((values) => values.reduce((sum, value) => sum + value, 0) / n) as [number, number]
  const square = xs.reduce((sum, value) => sum + (value - meanX) ** 2, 0)
  const slope = square === 0 ? 0 : xs.reduce((sum, value, i) => sum + (value - meanX) * (ys[i]! - meanY), 0) / square
  return { value: meanY + slope * (x - meanX), slope }
}
