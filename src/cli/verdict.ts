import type { Recipe } from '../recipe/recipe.js'
import type { RoundMetrics } from '../train/options.js'
import { type WatchOptions, type WatchState, watched } from '../train/watch.js'

/** What a run's validation data said of it over its whole length, resumes included. */
export interface Verdict {
  /** The best evaluation, by the measure that is watched; null where none is. */
  readonly best: { readonly metric: string; readonly value: number; readonly step: number } | null
  /** Evaluations in a row that were no better, when that ended the run; else null. */
  readonly stoppedAfter: number | null
}

/** @param rounds all evaluations of the run in order */
export function verdictOf({ best, earlyStopping }: Recipe, rounds: readonly RoundMetrics[]): Verdict {
  const keeping = best === true ? {} : best || undefined
  const by = keeping ?? earlyStopping
  const state = by && followed(by, rounds)
  const waited = earlyStopping && followed(earlyStopping, rounds)?.waited
  return {
    best: state ? { metric: by?.metric ?? 'loss', value: state.value, step: state.step } : null,
    stoppedAfter: earlyStopping && waited !== undefined && waited >= earlyStopping.patience ? waited : null,
  }
}

const followed = (options: WatchOptions, rounds: readonly RoundMetrics[]): WatchState | null =>
  rounds.reduce<WatchState | null>(
    (state, { validation, step }) => (validation ? watched(options, state, validation, step) : state),
    null,
  )
