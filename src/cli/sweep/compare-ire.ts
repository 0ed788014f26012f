import { join } from 'node:path'
import { unwrap } from '../../optim/optimizer.js'
import { optimizerOf } from '../../recipe/optimizer.js'
import type { Recipe } from '../../recipe/recipe.js'
import { axesNear, type SweepAxes, type SweepValues } from '../../sweep/search.js'
import { rankTrials } from '../../sweep/sweep.js'
import { OnnxIreError } from '../../util/errors.js'
import { estimateMean, estimatePairedDifference, type IntervalEstimate } from '../../util/statistics.js'
import { formatMetric, formatTable } from '../format.js'
import { onInterrupt } from '../interrupts.js'
import { formatValues } from './format-trial.js'
import { assign, type FinishedSweep, runSweep, type SweepRequest } from './run-sweep.js'
import { TrialPool } from './trial-pool.js'

/** A comparison of a recipe with and without IRE. */
interface CompareRequest extends SweepRequest {
  /** Number of seeds of the comparison. */
  readonly seeds: number
}

/** One side of a comparison. */
interface ComparedSide {
  /** Tuned values. */
  readonly values: SweepValues
  /** Score of the tuned values with the seed of the search. */
  readonly tuned: number
  /** Recipe with the tuned values. */
  readonly recipe: string
  /** Number of runs of the search. */
  readonly trials: number
  /** Scores by seed; null for runs that diverged or failed. */
  readonly scores: readonly (number | null)[]
}

/** Result of a comparison, printed with --json. */
export interface IreComparison {
  readonly sweep: string
  readonly metric: string
  readonly mode: 'min' | 'max'
  readonly interrupted: boolean
  /** Seeds of the comparison, other ones than that of the search. */
  readonly seeds: readonly number[]
  /** Null if the comparison was interrupted. */
  readonly base: ComparedSide | null
  readonly ire: ComparedSide | null
  /** Score with IRE minus score without, of the seeds that both sides have. */
  readonly difference: IntervalEstimate | null
  /** Whether the 95 % interval of the difference is on one side of 0. */
  readonly verdict: 'helps' | 'harms' | 'undecided' | null
}

const irePath = 'optimizer.ire'
const ratePath = 'optimizer.lr'
const withoutIre = `${irePath}=null`

/** Axes of a comparison that has no axes of its own. */
const defaultIreAxes: SweepAxes = { [`${irePath}.kappa`]: [1, 2], [`${irePath}.gamma`]: [0.6, 0.8] }
const rateFactors = [0.25, 0.5, 1, 2, 4]

/**
 * Compares a recipe with and without IRE: tunes the base optimizer, then IRE at its best values and at half of its best
 * rate, and the base again near its best values with as many runs as IRE had; then trains both with other seeds.
 */
export async function compareIre(request: CompareRequest): Promise<IreComparison> {
  // The sweeps stop their own trials; this ends the comparison between two of them.
  const interrupts = onInterrupt(request.io, () => {})
  const pool = new TrialPool()
  try {
    return await compare({ ...request, pool }, interrupts.signal)
  } finally {
    interrupts.release()
    pool.close()
  }
}

async function compare(request: CompareRequest, signal: { readonly aborted: boolean }): Promise<IreComparison> {
  const { plan, folder, readRecipe, seeds: count } = request
  const recipe = await readRecipe([])
  const { base: baseAxes, ire: ireAxes } = splitAxes(plan.over, recipe)
  const { seed: searchSeed = 0 } = recipe
  const seeds = Array.from({ length: count }, (_, i) => searchSeed + 1 + i)
  const { trials, halving, ...shared } = plan
  const options = { ...(trials === undefined ? {} : { trials }), ...(halving === undefined ? {} : { halving }) }
  /** Sweeps over axes with fixed changes of the recipe, in a folder of its own. */
  const search = (name: string, fixed: readonly string[], over: SweepAxes, own: typeof options = options) => {
    request.progress.note(`${name}: ${Object.keys(over).join(', ')}`)
    return runSweep({
      ...request,
      folder: join(folder, name),
      readRecipe: (assignments) => readRecipe([...fixed, ...assignments]),
      plan: { ...shared, over, ...own },
    })
  }
  const first = await search('base', [withoutIre], baseAxes)
  const { metric, mode } = first
  const shape = { sweep: folder, metric, mode, seeds }
  const stopped: IreComparison = { ...shape, interrupted: true, base: null, ire: null, difference: null, verdict: null }
  if (first.interrupted || signal.aborted) return stopped
  const fixed = assign(bestOf(first, 'base').values)
  // With IRE the best rate is often lower.
  const lr = bestOf(first, 'base').values[ratePath]
  const tuned = await search('ire', fixed, {
    ...(typeof lr === 'number' ? { [ratePath]: [lr / 2, lr] } : {}),
    ...ireAxes,
  })
  if (tuned.interrupted || signal.aborted) return stopped
  const near = axesNear(baseAxes, bestOf(first, 'base').values)
  const more = await search('base-near', [withoutIre], near, { ...options, trials: tuned.combinations })
  if (more.interrupted || signal.aborted) return stopped
  const [base] = rankTrials(
    [first, more].flatMap(({ best }) => (best ? [best] : [])),
    mode,
  )
  const ire = bestOf(tuned, 'ire')
  const baseRuns = await search('base-seeds', [withoutIre, ...assign(base!.values)], { seed: seeds }, {})
  if (baseRuns.interrupted || signal.aborted) return stopped
  const ireRuns = await search('ire-seeds', [...fixed, ...assign(ire.values)], { seed: seeds }, {})
  if (ireRuns.interrupted || signal.aborted) return stopped
  const [baseScores, ireScores] = [baseRuns, ireRuns].map(({ trials }) => trials.map(({ score }) => score))
  const difference = estimatePairs(ireScores!, baseScores!)
  return {
    ...{ ...shape, interrupted: false, difference, verdict: difference && judge(difference, mode) },
    base: {
      ...{ values: base!.values, tuned: base!.score!, recipe: base!.recipe, scores: baseScores! },
      trials: first.combinations + more.combinations,
    },
    ire: {
      ...{ values: { ...bestOf(first, 'base').values, ...ire.values }, tuned: ire.score!, recipe: ire.recipe },
      ...{ trials: first.combinations + tuned.combinations, scores: ireScores! },
    },
  }
}

type Scores = readonly (number | null)[]

/** Estimates the mean of a[i] - b[i] where both have a score; null for fewer than two pairs. */
function estimatePairs(a: Scores, b: Scores): IntervalEstimate | null {
  const pairs = a.flatMap((score, i) => (score === null || b[i] === null ? [] : [{ a: score, b: b[i]! }]))
  if (pairs.length < 2) return null
  return estimatePairedDifference(
    pairs.map((pair) => pair.a),
    pairs.map((pair) => pair.b),
  )
}

/** Divides axes into those of the base optimizer and those of IRE, with defaults for a side that has none. */
function splitAxes(over: SweepAxes, { optimizer }: Recipe): { readonly base: SweepAxes; readonly ire: SweepAxes } {
  const isOfIre = ([path]: readonly [string, unknown]) => path === irePath || path.startsWith(`${irePath}.`)
  const axes = Object.entries(over)
  const [base, ire] = [axes.filter((axis) => !isOfIre(axis)), axes.filter(isOfIre)]
  const { ire: _, ...plain } = optimizer
  const { lr } = unwrap(optimizerOf(plain as Recipe['optimizer'])).base
  return {
    base: base.length > 0 ? Object.fromEntries(base) : { [ratePath]: rateFactors.map((factor) => factor * lr) },
    ire: ire.length > 0 ? Object.fromEntries(ire) : defaultIreAxes,
  }
}

function bestOf({ best, sweep }: FinishedSweep, side: string): NonNullable<FinishedSweep['best']> {
  if (best) return best
  throw new OnnxIreError(
    'not-finite',
    `all runs of ${side} have diverged or failed, see ${sweep}: lower the learning rates`,
  )
}

function judge({ value, half }: IntervalEstimate, mode: 'min' | 'max'): IreComparison['verdict'] {
  if (!(Math.abs(value) > half)) return 'undecided'
  return value > 0 === (mode === 'max') ? 'helps' : 'harms'
}

/** A comparison as text. */
export function formatComparison({ base, ire, seeds, metric, difference, verdict, sweep }: IreComparison): string {
  if (!base || !ire) return `interrupted; continue with the same command and --resume. Results so far are in ${sweep}`
  const show = (score: number | null) => (score === null ? 'diverged' : formatMetric(metric, score))
  const line = (name: string, side: ComparedSide) =>
    `${name} ${formatValues(side.values)}: ${metric} ${show(side.tuned)}, the best of ${side.trials} trials; ${side.recipe}`
  const table = formatTable(
    ['seed', 'base', 'IRE'],
    seeds.map((seed, i) => [String(seed), show(base.scores[i]!), show(ire.scores[i]!)]),
  )
  const [baseMean, ireMean] = [base, ire].map(({ scores }) => formatMean(metric, scores))
  const end = difference
    ? `${verdicts[verdict!]}: ${metric} ${ireMean} with IRE and ${baseMean} without, a difference of ` +
      `${formatMetric(metric, difference.value)} ± ${formatMetric(metric, difference.half)} (95 % interval over ${difference.n} seeds)`
    : 'No comparison: fewer than two seeds are left, because runs diverged or failed'
  return [line('base:', base), line('IRE: ', ire), '', `${metric} with other seeds:`, table, '', end].join('\n')
}

const verdicts = { helps: 'IRE helped', harms: 'IRE made it worse', undecided: 'No effect of IRE is shown' } as const

const formatMean = (metric: string, scores: Scores): string =>
  formatMetric(metric, estimateMean(scores.filter((score) => score !== null)).value)
