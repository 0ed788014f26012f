import { checkNames, checkNumber, invalidOption, positiveCount } from '../util/check.js'
import { mapConcurrently } from '../util/concurrent.js'
import { OnnxIreError } from '../util/errors.js'
import { listCombinations, type SweepAxes, type SweepValues } from './search.js'

/** A run to carry out: one combination of values. */
export interface SweepRun {
  /** Index of the combination, from 0. */
  readonly index: number
  readonly values: SweepValues
  /** Share of the whole run after which the score is read, in (0, 1]; below 1 only with `halving`. */
  readonly share: number
}

/** A finished run, and its score. Plain data. */
export interface SweepTrial extends SweepRun {
  /** The score; null for a run that diverged or failed. */
  readonly score: number | null
  /** Message of the error that ended the run. */
  readonly error?: string
}

/** Options of `sweep`. */
export interface SweepOptions {
  /** Values to try by the name of the setting: a list, or `{ from, to }` to sample from. */
  readonly over: SweepAxes
  /** Number of combinations, chosen at random. Default: all combinations of the lists. */
  readonly trials?: number
  /**
   * Successive halving: all combinations train for a share of the run, the best 1 / `halving` of them for a share that
   * is `halving` times longer, and so on up to the whole run. Default: every combination trains to the end.
   */
  readonly halving?: number
  /** Seed of the combinations that `trials` chooses. Default 0. */
  readonly seed?: number
  /** Whether smaller or larger scores are better. Default 'min'. */
  readonly mode?: 'min' | 'max'
  /** Number of runs at the same time. Default 1. */
  readonly concurrency?: number
  /** Finished runs of an interrupted sweep with the same options, which are not repeated. */
  readonly finished?: readonly SweepTrial[]
  /** Called after every run, to store it. */
  readonly onTrial?: (trial: SweepTrial) => unknown
  /** Ends the sweep after the current runs, without an error, once it is aborted. */
  readonly signal?: { readonly aborted: boolean }
  /**
   * Trains with the values, up to `share` of the run, and returns the score. With `halving` a combination is called
   * again with a larger share, to continue its run. Null, NaN, an infinite number or an `OnnxIreError` is a run that
   * diverged or failed; undefined is a run that was interrupted and is not recorded.
   */
  readonly train: (run: SweepRun) => Promise<number | null | undefined>
}

/** Result of a sweep. */
export interface SweepResult {
  /** The last run of every combination that was tried, in the order of the combinations. */
  readonly trials: readonly SweepTrial[]
  /** The best of the trials that ran longest; null if all have failed. */
  readonly best: SweepTrial | null
  /** Whether `signal` ended the sweep before its last run. */
  readonly interrupted: boolean
}

const optionNames: Readonly<Record<keyof SweepOptions, true>> = {
  ...{ over: true, trials: true, halving: true, seed: true, mode: true, concurrency: true, finished: true },
  ...{ onTrial: true, signal: true, train: true },
}

/**
 * Trains with every combination of some settings, or with some of them, and finds the best.
 *
 * @example
 * const { best } = await sweep({
 *   over: { lr: [1e-4, 3e-4, 1e-3], kappa: [1, 2, 4] },
 *   async train({ values: { lr, kappa } }) {
 *     const optimizer = ire(adamw({ lr: lr as number }), { kappa: kappa as number })
 *     const trainer = await Trainer.create(model, { loss: crossEntropy(), optimizer, runtime })
 *     const metrics = await trainer.train(data, { totalEpochs: 3, validation })
 *     await trainer.dispose()
 *     return metrics!.validation!.loss
 *   },
 * })
 *
 * @throws OnnxIreError `invalid-option`; the first error of `train` if all runs fail and none is left
 */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  checkNames('sweep', options, Object.keys(optionNames))
  const { over, trials, halving, seed, mode = 'min', concurrency = 1, finished = [], signal } = options
  if (trials !== undefined) checkNumber('sweep', 'trials', trials, positiveCount)
  if (halving !== undefined) checkNumber('sweep', 'halving', halving, { ...positiveCount, min: 2 })
  if (mode !== 'min' && mode !== 'max') throw invalidOption('sweep', 'mode', mode, "'min' or 'max'")
  checkNumber('sweep', 'concurrency', concurrency, positiveCount)
  const combinations = listCombinations(over, trials, seed)
  const last = new Map<number, SweepTrial>()
  let firstError: unknown
  let interrupted = false
  const runOne = async (run: SweepRun): Promise<void> => {
    let trial = finished.find(({ index, share }) => index === run.index && share === run.share)
    if (!trial) {
      if (signal?.aborted) {
        interrupted = true
        return
      }
      const outcome = await trainOne(options, run)
      if (outcome === undefined) {
        interrupted = true
        return
      }
      firstError ??= outcome.cause
      trial = outcome.trial
      await options.onTrial?.(trial)
    }
    last.set(run.index, trial)
  }
  let rung: readonly number[] = combinations.map((_, index) => index)
  for (const { share } of listRungs(combinations.length, halving)) {
    const runs = rung.map((index) => ({ index, values: combinations[index]!, share }))
    await mapConcurrently(runs, concurrency, runOne)
    if (interrupted) break
    const ranked = rankTrials(
      rung.map((index) => last.get(index)!),
      mode,
    )
    if (ranked.length === 0) break
    rung = ranked.slice(0, Math.max(1, Math.floor(rung.length / (halving ?? 1)))).map(({ index }) => index)
  }
  const found = [...last.values()].sort((a, b) => a.index - b.index)
  const longest = Math.max(...found.map(({ share }) => share))
  const best = rankTrials(
    found.filter(({ share }) => share === longest),
    mode,
  )[0]
  if (!interrupted && firstError !== undefined && found.every(({ score }) => score === null)) throw firstError
  return { trials: found, best: best ?? null, interrupted }
}

/** Runs one combination; undefined if it was interrupted. */
async function trainOne(
  { train }: SweepOptions,
  run: SweepRun,
): Promise<{ readonly trial: SweepTrial; readonly cause?: unknown } | undefined> {
  try {
    const score = await train(run)
    if (score === undefined) return undefined
    return { trial: { ...run, score: score !== null && Number.isFinite(score) ? score : null } }
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    return { trial: { ...run, score: null, error: cause.message }, cause }
  }
}

/** Runs of a sweep that are trained for the same share. */
export interface Rung {
  /** Share of the whole run. */
  readonly share: number
  /** Number of runs, if none fails. */
  readonly runs: number
}

/** The rungs of successive halving of `n` combinations, the last one up to the whole run; without it a single one. */
export function listRungs(n: number, halving: number | undefined): Rung[] {
  if (halving === undefined) return [{ share: 1, runs: n }]
  const runs = [n]
  for (let left = Math.floor(n / halving); left >= 1; left = Math.floor(left / halving)) runs.push(left)
  const shares = [1]
  while (shares.length < runs.length) shares.unshift(shares[0]! / halving)
  return runs.map((count, i) => ({ share: shares[i]!, runs: count }))
}

/** Sorts the trials that have a score, the best first; equal ones in the order of the combinations. */
export function rankTrials<Trial extends Pick<SweepTrial, 'score' | 'index'>>(
  trials: readonly Trial[],
  mode: 'min' | 'max',
): Trial[] {
  const sign = mode === 'min' ? 1 : -1
  return trials.filter(({ score }) => score !== null).sort((a, b) => sign * (a.score! - b.score!) || a.index - b.index)
}
