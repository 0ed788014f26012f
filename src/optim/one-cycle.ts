import { checkNames, checkNumber, invalidOption, type Range, unit } from '../util/check.js'

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
export function oneCycle(schedule: OneCycleSchedule): (t: number, total: () => number) => number {
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
