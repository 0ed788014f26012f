import type { Measures } from '../metric/accumulator.js'
import { defaultMode } from '../metric/default-mode.js'
import { checkNames, checkNumber, invalidOption, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'

/** A validation metric by which models are compared, for `best` and `earlyStopping`. */
export interface MonitorOptions {
  /** Name of the metric. Default 'loss'. */
  readonly metric?: string
  /** Whether smaller or larger values are better. Default 'min' for losses and errors, 'max' for all other metrics. */
  readonly mode?: 'min' | 'max'
  /** Smallest improvement: a value is better only if the difference is larger. Default 0. */
  readonly minDelta?: number
}

/** The best value of a metric so far. Plain data: checkpoints store it. */
export interface MonitorState {
  readonly value: number
  /** Number of steps before the evaluation with that value. */
  readonly step: number
  /** Number of evaluations since then. */
  readonly waited: number
}

/** Checks monitor options. Throws `invalid-option`. */
export function checkMonitor(owner: string, options: MonitorOptions, otherNames: readonly string[] = []): void {
  checkNames(owner, options, ['metric', 'mode', 'minDelta', ...otherNames])
  if (options.mode !== undefined && options.mode !== 'min' && options.mode !== 'max')
    throw invalidOption(owner, 'mode', options.mode, "'min' or 'max'")
  checkNumber(owner, 'minDelta', options.minDelta ?? 0, nonNegative)
}

/** Monitor of a validation metric: the best value so far, and the number of evaluations since. */
export class MetricMonitor {
  readonly #options: MonitorOptions
  #state: MonitorState | null

  /** @param state saved state; null before the first evaluation */
  constructor(options: MonitorOptions, state: MonitorState | null = null) {
    this.#options = options
    this.#state = state
  }

  get state(): MonitorState | null {
    return this.#state
  }

  /** Number of evaluations since the best one. */
  get patienceUsed(): number {
    return this.#state?.waited ?? 0
  }

  /**
   * Adds an evaluation, and returns whether it is the best one so far. A value that is not finite is never better.
   * @param step number of steps before the evaluation
   */
  add(measures: Measures, step: number): boolean {
    const { metric = 'loss', mode, minDelta = 0 } = this.#options
    const value = readMetric(measures, metric)
    const sign = (mode ?? defaultMode(metric)) === 'min' ? 1 : -1
    const before = this.#state
    const better = Number.isFinite(value) && (before === null || sign * (before.value - value) > minDelta)
    if (better) this.#state = { value, step, waited: 0 }
    else if (before) this.#state = { ...before, waited: before.waited + 1 }
    else this.#state = { value: sign * Number.MAX_VALUE, step, waited: 1 }
    return better
  }
}

/** Returns a validation metric by name. Throws `invalid-option` if it is missing or not a single number. */
export function readMetric(measures: Measures, metric: string): number {
  const value = getOwn(measures, metric)
  if (typeof value === 'number') return value
  const available = Object.entries(measures).flatMap(([name, each]) => (typeof each === 'number' ? [`'${name}'`] : []))
  throw new OnnxIreError('invalid-option', `no validation metric '${metric}'; available: ${available.join(', ')}`)
}
