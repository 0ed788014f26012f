import type { Measures } from '../metric/accumulator.js'
import { checkNames, checkNumber, invalidOption, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'

/** Which measure of the validation data tells a better model. */
export interface MonitorOptions {
  /** Default 'loss'. */
  readonly metric?: string
  /** Whether less is better. Default 'min' for losses and errors, 'max' for everything else. */
  readonly mode?: 'min' | 'max'
  /** What counts as better has to be better by more than this. Default 0. */
  readonly minDelta?: number
}

/** The best value so far, and evaluations since. Plain data. */
export interface MonitorState {
  readonly value: number
  /** Steps done when it was measured. */
  readonly step: number
  readonly waited: number
}

/** Measures that are better when smaller, also behind `<task>/`. */
const smaller = /(^|\/)(loss|mae|rmse|mse|perplexity)$/

/** Refuses options that make no sense. */
export function checkMonitor(owner: string, options: MonitorOptions, more: readonly string[] = []): void {
  checkNames(owner, options, ['metric', 'mode', 'minDelta', ...more])
  if (options.mode !== undefined && options.mode !== 'min' && options.mode !== 'max')
    throw invalidOption(owner, 'mode', options.mode, "'min' or 'max'")
  checkNumber(owner, 'minDelta', options.minDelta ?? 0, nonNegative)
}

/** The state after one more evaluation; `waited` is 0 when it was the best. A value that is not finite is never better. */
export function watched(
  options: MonitorOptions,
  state: MonitorState | null,
  measures: Measures,
  step: number,
): MonitorState {
  const { metric = 'loss', minDelta = 0 } = options
  const value = readMetric(measures, metric)
  const sign = (options.mode ?? (smaller.test(metric) ? 'min' : 'max')) === 'min' ? 1 : -1
  const better = Number.isFinite(value) && (state === null || sign * (state.value - value) > minDelta)
  if (better) return { value, step, waited: 0 }
  return state ? { ...state, waited: state.waited + 1 } : { value: sign * Number.MAX_VALUE, step, waited: 1 }
}

/** Throws `invalid-option` for a measure that there is not, or that is no single number. */
export function readMetric(measures: Measures, metric: string): number {
  const value = measures[metric]
  if (typeof value === 'number') return value
  const there = Object.entries(measures).flatMap(([name, each]) => (typeof each === 'number' ? [`'${name}'`] : []))
  throw new OnnxIreError(
    'invalid-option',
    `no number '${metric}' is measured on the validation data; there are ${there.join(', ')}`,
  )
}
