import {
  checkNames,
  checkNumber,
  count,
  invalidOption,
  nonNegative,
  positiveCount,
  type Range,
  unit,
} from '../util/check.js'
import { checkPlateau, type PlateauSchedule } from './plateau.js'

/** A schedule that starts with a warm-up. */
export interface WarmSchedule {
  /** Steps of the warm-up, in which the learning rate rises from 1 / warmup to 1 times its base; default 0. */
  readonly warmup?: number
}

/** A schedule that counts steps or epochs. */
export interface TimedSchedule extends WarmSchedule {
  /**
   * The unit of time: 'step' (default), or 'epoch' for one factor per epoch; `warmup`, `every` and `at` are then
   * numbers of epochs too.
   */
  readonly per?: 'step' | 'epoch'
}

/** A constant learning rate. */
export interface ConstantSchedule extends WarmSchedule {
  readonly kind: 'constant'
}

/** A decay along half a cosine, or a line, over the whole run, as `CosineAnnealingLR` and `LinearLR`. */
export interface DecaySchedule<Kind extends 'cosine' | 'linear'> extends TimedSchedule {
  readonly kind: Kind
  /** The share of the base learning rate that is left at the end; default 0. */
  readonly floor?: number
}

/** Drops at single steps, as `StepLR` and `MultiStepLR`. Give either `every` or `at`; both count from step 0. */
export interface StepSchedule extends TimedSchedule {
  readonly kind: 'step'
  /** Steps between drops. */
  readonly every?: number
  /** Steps of the drops. */
  readonly at?: readonly number[]
  /** Factor of a drop on the learning rate; default 0.1. */
  readonly factor?: number
}

/** Changes by the same factor each step, as `ExponentialLR`. */
export interface ExponentialSchedule extends TimedSchedule {
  readonly kind: 'exponential'
  /** Factor of the learning rate per step or epoch, at least 0; above 1 it rises. */
  readonly factor: number
}

/** Falls as 1 / sqrt(step) after the warm-up (Vaswani et al. 2017, arXiv 1706.03762, section 5.3, with the peak 1). */
export interface InverseSqrtSchedule {
  readonly kind: 'inverse-sqrt'
  /** Steps of the warm-up, which also set how fast the learning rate falls; at least 1. */
  readonly warmup: number
}

/** Learning-rate schedule of a run, as plain data that a recipe or a checkpoint can contain. */
export type Schedule =
  | ConstantSchedule
  | DecaySchedule<'cosine'>
  | DecaySchedule<'linear'>
  | StepSchedule
  | ExponentialSchedule
  | InverseSqrtSchedule
  | OneCycleSchedule
  | PlateauSchedule

/**
 * The factor on the base learning rate at `step`, counted from 0, of a run of `totalSteps`:
 *
 *     step < warmup   (step + 1) / warmup
 *     constant        1
 *     cosine          floor + (1 - floor) (1 + cos(pi p)) / 2
 *     linear          floor + (1 - floor) (1 - p)             p = (step - warmup) / (totalSteps - warmup), up to 1
 *     exponential     factor^(step - warmup)
 *     inverse-sqrt    sqrt(warmup / step)
 *     step            factor^(drops up to this step), also during the warm-up
 *     one-cycle       see `OneCycleSchedule`
 *     plateau         1, to be multiplied by the factor of the plateau's state; see `plateauStep`
 *
 * The factor of the first step is therefore positive, it is 1 at `step = warmup`, and `cosine` and `linear` reach
 * `floor` at `totalSteps` and stay there. With `per: 'epoch'`, replace step by epoch in all formulas.
 * @param totalSteps the steps of the whole run, which `cosine`, `linear` and `one-cycle` need; Infinity if the run has
 * no end
 * @param stepsPerEpoch for `per: 'epoch'`; undefined if the length of the data is unknown
 * @throws OnnxIreError `invalid-option`, also if the schedule needs a number that is unknown
 */
export function learningRateFactor(
  schedule: Schedule,
  step: number,
  totalSteps: number,
  stepsPerEpoch?: number,
): number {
  const curve = curveOf(schedule)
  checkNumber('schedule', 'step', step, count)
  const owner = `schedule ${schedule.kind}`
  const length = perEpoch(schedule) ? epochLength(owner, stepsPerEpoch) : 1
  return curve(Math.floor(step / length), () => Math.ceil(runLength(owner, totalSteps) / length))
}

/**
 * Checks a schedule before it is used.
 * @throws OnnxIreError `invalid-option` for an unknown kind, a misspelt or out-of-range field
 */
export function checkSchedule(schedule: Schedule): void {
  curveOf(schedule)
}

/** The factor at time `t`, a step or an epoch, of a run that has `total()` of them. */
type Curve = (t: number, total: () => number) => number

const curves: { readonly [Kind in Schedule['kind']]: (schedule: Extract<Schedule, { kind: Kind }>) => Curve } = {
  constant: (schedule) => {
    checkFields(schedule, ['warmup'])
    return withWarmup(schedule, () => 1)
  },
  cosine: (schedule) => decaying(schedule, (progress) => (1 + Math.cos(Math.PI * progress)) / 2),
  linear: (schedule) => decaying(schedule, (progress) => 1 - progress),
  step: dropping,
  exponential: (schedule) => {
    checkFields(schedule, ['warmup', 'per', 'factor'])
    const factor = checkNumber('schedule exponential', 'factor', schedule.factor, nonNegative)
    return withWarmup(schedule, (t, _, warmup) => factor ** (t - warmup))
  },
  'inverse-sqrt': (schedule) => {
    checkFields(schedule, ['warmup'])
    checkNumber('schedule inverse-sqrt', 'warmup', schedule.warmup, positiveCount)
    return withWarmup(schedule, (t, _, warmup) => Math.sqrt(warmup / t))
  },
  'one-cycle': oneCycle,
  plateau: (schedule) => {
    checkPlateau(schedule)
    return withWarmup(schedule, () => 1)
  },
}

function curveOf(schedule: Schedule): Curve {
  const { kind } = schedule
  if (!Object.hasOwn(curves, kind))
    throw invalidOption('schedule', 'kind', kind, `one of '${Object.keys(curves).join("', '")}'`)
  return (curves[kind] as (schedule: Schedule) => Curve)(schedule) // the entry of its own kind
}

function decaying(schedule: DecaySchedule<'cosine' | 'linear'>, shape: (progress: number) => number): Curve {
  checkFields(schedule, ['warmup', 'per', 'floor'])
  const floor = checkNumber(`schedule ${schedule.kind}`, 'floor', schedule.floor ?? 0, unit)
  return withWarmup(schedule, (t, total, warmup) =>
    t >= total() ? floor : floor + (1 - floor) * shape((t - warmup) / (total() - warmup)),
  )
}

function dropping(schedule: StepSchedule): Curve {
  checkFields(schedule, ['warmup', 'per', 'every', 'at', 'factor'])
  const owner = 'schedule step'
  const { every, at, factor = 0.1 } = schedule
  checkNumber(owner, 'factor', factor, unit)
  if ((every === undefined) === (at === undefined))
    throw invalidOption(owner, 'every', every, 'given when `at` is not, and left out when it is')
  if (every !== undefined) checkNumber(owner, 'every', every, positiveCount)
  if (at !== undefined && !Array.isArray(at)) throw invalidOption(owner, 'at', at, 'a list of integers >= 0')
  for (const milestone of at ?? []) checkNumber(owner, 'at', milestone, count)
  const drops = (t: number) =>
    every === undefined ? (at ?? []).filter((milestone) => milestone <= t).length : Math.floor(t / every)
  const rising = withWarmup(schedule, () => 1)
  return (t, total) => rising(t, total) * factor ** drops(t)
}

/** The warm-up, and `after` from then on. */
function withWarmup(
  schedule: { readonly kind: string; readonly warmup?: number },
  after: (t: number, total: () => number, warmup: number) => number,
): Curve {
  const warmup = checkNumber(`schedule ${schedule.kind}`, 'warmup', schedule.warmup ?? 0, count)
  return (t, total) => (t < warmup ? (t + 1) / warmup : after(t, total, warmup))
}

function checkFields(schedule: Schedule, names: readonly string[]): void {
  checkNames(`schedule ${schedule.kind}`, schedule, ['kind', ...names])
  perEpoch(schedule)
}

function perEpoch(schedule: Schedule): boolean {
  const per = 'per' in schedule ? schedule.per : 'step'
  if (per !== undefined && per !== 'step' && per !== 'epoch')
    throw invalidOption(`schedule ${schedule.kind}`, 'per', per, "'step' or 'epoch'")
  return per === 'epoch'
}

function epochLength(owner: string, stepsPerEpoch: number | undefined): number {
  if (stepsPerEpoch === undefined)
    throw invalidOption(owner, 'per', 'epoch', "'step' for data of no known length, or give the steps per epoch")
  return checkNumber(owner, 'stepsPerEpoch', stepsPerEpoch, positiveCount)
}

function runLength(owner: string, totalSteps: number): number {
  if (totalSteps === Infinity)
    throw invalidOption(
      owner,
      'totalSteps',
      totalSteps,
      'finite, because this schedule depends on the length of the run: set totalSteps or totalEpochs',
    )
  return checkNumber(owner, 'totalSteps', totalSteps, count)
}

/**
 * One cycle (Smith & Topin 2017, arXiv 1708.07120), as `torch.optim.lr_scheduler.OneCycleLR` with two phases, the base
 * learning rate being its `max_lr`: from 1 / div up to 1 in the first `pctStart totalSteps - 1` steps, then down to
 * 1 / (div finalDiv) at the last. Momentum is not cycled: betas and momentum stay as the base optimizer has them.
 */
export interface OneCycleSchedule {
  readonly kind: 'one-cycle'
  /** The peak over the start; default 25. */
  readonly div?: number
  /** The start over the end; default 1e4. */
  readonly finalDiv?: number
  /** The share of the run in which the learning rate rises; default 0.3. */
  readonly pctStart?: number
  /** The shape of both phases; default 'cosine'. */
  readonly anneal?: 'cosine' | 'linear'
}

const divisor: Range = { min: 1, max: Number.MAX_VALUE }

/** The factor at step `t` of `total()`; past the end it stays at the last. */
function oneCycle(schedule: OneCycleSchedule): (t: number, total: () => number) => number {
  const owner = 'schedule one-cycle'
  checkNames(owner, schedule, ['kind', 'div', 'finalDiv', 'pctStart', 'anneal'])
  const start = 1 / checkNumber(owner, 'div', schedule.div ?? 25, divisor)
  const end = start / checkNumber(owner, 'finalDiv', schedule.finalDiv ?? 1e4, divisor)
  const pctStart = checkNumber(owner, 'pctStart', schedule.pctStart ?? 0.3, unit)
  const { anneal = 'cosine' } = schedule
  if (anneal !== 'cosine' && anneal !== 'linear') throw invalidOption(owner, 'anneal', anneal, "'cosine' or 'linear'")
  const between = (from: number, to: number, share: number) =>
    from + (to - from) * (anneal === 'cosine' ? (1 - Math.cos(Math.PI * share)) / 2 : share)

  return (t, total) => {
    const last = total() - 1
    const top = pctStart * total() - 1
    const at = Math.min(t, last)
    if (at <= top) return top > 0 ? between(start, 1, at / top) : 1
    return at < last ? between(1, end, (at - top) / (last - top)) : end
  }
}
