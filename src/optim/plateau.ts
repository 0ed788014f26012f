import { defaultMode } from '../metric/default-mode.js'
import { checkNames, checkNumber, count, invalidOption, nonNegative, unit } from '../util/check.js'

/**
 * Drops of the learning rate when a metric stops improving, as `torch.optim.lr_scheduler.ReduceLROnPlateau` with
 * `threshold_mode='rel'`, counted in evaluations.
 */
export interface PlateauSchedule {
  readonly kind: 'plateau'
  /** Steps of the warm-up; default 0. */
  readonly warmup?: number
  /** Name of the validation metric to monitor; default the loss. */
  readonly metric?: string
  /** Whether smaller or larger values are better. Default 'min' for losses and errors, 'max' for all other metrics. */
  readonly mode?: 'min' | 'max'
  /** Factor of a drop on the learning rate; default 0.1. */
  readonly factor?: number
  /** Number of evaluations without improvement before the one that drops; default 10. */
  readonly patience?: number
  /** The least improvement that counts, as a share of the best value's magnitude; default 1e-4. */
  readonly threshold?: number
  /** Evaluations after a drop that do not count as bad; default 0. */
  readonly cooldown?: number
  /** The smallest factor on the base learning rate; default 0. */
  readonly floor?: number
}

/** State of a plateau schedule: plain data for a checkpoint. */
export interface PlateauState {
  /** The factor on the learning rate so far. */
  readonly factor: number
  /** The best value so far; null before the first. */
  readonly best: number | null
  /** Evaluations since the last improvement, cool-down or drop. */
  readonly bad: number
  /** Evaluations left of the cool-down. */
  readonly cooldown: number
}

/** The state before the first evaluation. */
export const plateauStart: PlateauState = Object.freeze({ factor: 1, best: null, bad: 0, cooldown: 0 })

/**
 * The state after an evaluation. The learning rate is base lr * `learningRateFactor(...)` * `state.factor`. A value
 * that is not finite is no improvement. For negative values, of which PyTorch takes `best * (1 - threshold)`, the
 * threshold is a share of the magnitude.
 * @throws OnnxIreError `invalid-option`
 */
export function plateauStep(schedule: PlateauSchedule, state: PlateauState, value: number): PlateauState {
  const { mode, factor, patience, threshold, cooldown, floor } = checkPlateau(schedule)
  const better = Number.isFinite(value) && (state.best === null || improves(mode, value, state.best, threshold))
  const best = better ? value : state.best
  if (state.cooldown > 0) return { factor: state.factor, best, bad: 0, cooldown: state.cooldown - 1 }
  const bad = better ? 0 : state.bad + 1
  if (bad <= patience) return { factor: state.factor, best, bad, cooldown: 0 }
  return { factor: Math.min(state.factor, Math.max(state.factor * factor, floor)), best, bad: 0, cooldown }
}

function improves(mode: 'min' | 'max', value: number, best: number, threshold: number): boolean {
  const share = threshold * Math.sign(best)
  return mode === 'min' ? value < best * (1 - share) : value > best * (1 + share)
}

/**
 * A plateau schedule with its defaults filled in.
 * @throws OnnxIreError `invalid-option`
 */
export function checkPlateau(schedule: PlateauSchedule) {
  const owner = 'schedule plateau'
  const names = ['kind', 'warmup', 'metric', 'mode', 'factor', 'patience', 'threshold', 'cooldown', 'floor']
  checkNames(owner, schedule, names)
  const { metric = 'loss', factor = 0.1, patience = 10, threshold = 1e-4, cooldown = 0, floor = 0 } = schedule
  if (typeof metric !== 'string') throw invalidOption(owner, 'metric', metric, 'a name')
  const { mode = defaultMode(metric) } = schedule
  if (mode !== 'min' && mode !== 'max') throw invalidOption(owner, 'mode', mode, "'min' or 'max'")
  return {
    mode,
    factor: checkNumber(owner, 'factor', factor, unit),
    patience: checkNumber(owner, 'patience', patience, count),
    threshold: checkNumber(owner, 'threshold', threshold, nonNegative),
    cooldown: checkNumber(owner, 'cooldown', cooldown, count),
    floor: checkNumber(owner, 'floor', floor, unit),
  }
}
