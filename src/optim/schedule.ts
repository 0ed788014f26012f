import { checkNames, checkNumber, count, invalidOption, unit } from './option.js'

/**
 * How the learning rate moves over a run, as plain data that a recipe or a checkpoint can hold.
 * `warmup` is in steps (default 0); `floor` is the share of the base learning rate that is left at the end (default 0).
 */
export type Schedule =
  | { readonly kind: 'constant'; readonly warmup?: number }
  | { readonly kind: 'cosine'; readonly warmup?: number; readonly floor?: number }
  | { readonly kind: 'linear'; readonly warmup?: number; readonly floor?: number }

/**
 * The factor on the base learning rate at `step`, counted from 0, of a run of `totalSteps`:
 *
 *     step < warmup:  (step + 1) / warmup
 *     after that, with p = (step - warmup) / (totalSteps - warmup) up to 1:
 *       constant      1
 *       cosine        floor + (1 - floor) (1 + cos(pi p)) / 2
 *       linear        floor + (1 - floor) (1 - p)
 *
 * So the first step already moves, the factor is 1 at `step = warmup`, and it would reach `floor` at `totalSteps`, as
 * `CosineAnnealingLR` and `LinearLR` do. Past the end it stays at `floor`.
 * @throws 'invalid-option'
 */
export function learningRateFactor(schedule: Schedule, step: number, totalSteps: number): number {
  const { warmup, floor } = checkSchedule(schedule)
  checkNumber('schedule', 'step', step, count)
  if (step < warmup) return (step + 1) / warmup
  if (schedule.kind === 'constant') return 1
  checkNumber('schedule', 'totalSteps', totalSteps, count)
  if (step >= totalSteps) return floor
  const progress = (step - warmup) / (totalSteps - warmup)
  const share = schedule.kind === 'cosine' ? (1 + Math.cos(Math.PI * progress)) / 2 : 1 - progress
  return floor + (1 - floor) * share
}

/**
 * A schedule with its defaults filled in.
 * @throws 'invalid-option' for an unknown kind, a misspelt or out-of-range field
 */
export function checkSchedule(schedule: Schedule): { kind: Schedule['kind']; warmup: number; floor: number } {
  const { kind } = schedule
  if (kind !== 'constant' && kind !== 'cosine' && kind !== 'linear')
    throw invalidOption('schedule', 'kind', kind, "'constant', 'cosine' or 'linear'")
  checkNames(`schedule ${kind}`, schedule, kind === 'constant' ? ['kind', 'warmup'] : ['kind', 'warmup', 'floor'])
  const warmup = checkNumber(`schedule ${kind}`, 'warmup', schedule.warmup ?? 0, count)
  const floor = kind === 'constant' ? 1 : checkNumber(`schedule ${kind}`, 'floor', schedule.floor ?? 0, unit)
  return { kind, warmup, floor }
}
