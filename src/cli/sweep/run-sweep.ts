import { availableParallelism } from 'node:os'
import { defaultMode } from '../../metric/default-mode.js'
import type { Recipe } from '../../recipe/recipe.js'
import { listCombinations, type SweepValues } from '../../sweep/search.js'
import { listRungs, type Rung, type SweepResult, type SweepTrial, sweep } from '../../sweep/sweep.js'
import { readMetric } from '../../train/metric-monitor.js'
import { OnnxIreError } from '../../util/errors.js'
import { formatBytes, formatCount } from '../format.js'
import { onInterrupt } from '../interrupts.js'
import type { Io } from '../io.js'
import type { CliProvider } from '../options.js'
import type { StageProgress } from '../progress.js'
import { measureMemoryRoom } from '../training/check-room.js'
import { firstBatch, openTraining } from '../training/open-training.js'
import { formatScore, formatValues } from './format-trial.js'
import { SweepFolder, type SweepPlan } from './sweep-folder.js'
import { TrialPool } from './trial-pool.js'
import { checksumSources, type OpenedTraining } from './trial-sources.js'

/** A sweep to carry out. */
export interface SweepRequest {
  readonly io: Pick<Io, 'onSignal' | 'exit'>
  /** Folder of the sweep. */
  readonly folder: string
  /** Reads the recipe with changes, each `path=value`. */
  readonly readRecipe: (assignments: readonly string[]) => Promise<Recipe>
  readonly plan: SweepPlan
  readonly resume: boolean
  readonly force: boolean
  readonly provider: CliProvider
  /** The most processes at the same time. Default: the number of cores, on a GPU 1. */
  readonly jobs: number | undefined
  /** Bytes that all processes together may take; undefined for what is left of the container or the machine. */
  readonly memory: number | undefined
  readonly progress: StageProgress
  /** Processes to use, for several sweeps after each other. Default: processes of its own. */
  readonly pool?: TrialPool
}

/** A finished trial with its run folder. */
interface FinishedTrial extends SweepTrial {
  readonly run: string
}

/** Result of a sweep, printed with --json. */
export interface FinishedSweep extends Pick<SweepResult, 'interrupted'> {
  /** The folder of the sweep. */
  readonly sweep: string
  readonly metric: string
  readonly mode: 'min' | 'max'
  readonly trials: readonly FinishedTrial[]
  /** Number of combinations. */
  readonly combinations: number
  /** The best trial; null if all have failed, or the sweep was interrupted. */
  readonly best: (FinishedTrial & { readonly recipe: string }) | null
  /** Number of processes. */
  readonly jobs: number
}

/**
 * Trains the combinations of a sweep, each in a run folder, by several processes. Errors in recipes and data are thrown
 * before the first run.
 */
export async function runSweep(request: SweepRequest): Promise<FinishedSweep> {
  const { plan, progress, io } = request
  const { metric, ...search } = plan
  const mode = defaultMode(metric)
  const base = await request.readRecipe([])
  if (!base.data.validation && !base.data.split)
    throw new OnnxIreError(
      'invalid-recipe',
      'a sweep compares runs by validation data: add data.validation, or hold out a share: "split": { "validation": 0.1 }',
    )
  const combinations = listCombinations(plan.over, plan.trials, plan.seed)
  const recipes = await Promise.all(combinations.map((values) => request.readRecipe(assign(values))))
  const { jobs, sources } = await openTrials(request, recipes)
  const threads = Math.max(1, Math.floor(availableParallelism() / jobs))
  const folder = new SweepFolder(request.folder)
  const unlock = await folder.begin(base, plan, sources, request)
  const pool = request.pool ?? new TrialPool()
  const interrupts = onInterrupt(io, () => {
    progress.note('stopping after the current steps; press Ctrl-C again to quit at once')
    pool.stop()
  })
  const work = new SweepWork(listRungs(combinations.length, plan.halving), folder.trials)
  const show = () => progress.at(work.done)
  progress.stage(`sweep of ${formatCount(combinations.length, 'trial')}`, work.total)
  show()
  try {
    const result = await sweep({
      ...search,
      ...{ mode, concurrency: jobs, finished: folder.trials, signal: interrupts.signal },
      async train({ index, share }) {
        const recipe = recipes[index]!
        const withThreads = recipe.threads === undefined && jobs > 1 ? { ...recipe, threads } : recipe
        const reply = await pool.train(
          { recipe: withThreads, folder: folder.trialFolder(index), provider: request.provider, share, metric },
          ({ done = 0 }) => {
            work.train(index, share, done)
            show()
          },
        )
        work.end(index)
        if (reply.kind === 'interrupted') return undefined
        if (reply.kind === 'trained') return readMetric(reply.validation!, metric)
        if (reply.code === 'not-finite') return null
        throw new OnnxIreError(reply.code === 'unexpected' ? 'runtime' : reply.code, reply.message)
      },
      async onTrial(trial) {
        work.finish(trial)
        progress.note(`trial ${trial.index + 1}: ${formatValues(trial.values)}: ${formatScore(trial, metric)}`)
        show()
        await folder.add(trial, base, plan)
      },
    })
    const { best, interrupted } = result
    if (best && !interrupted) await folder.writeBest(recipes[best.index]!)
    const withRun = (trial: SweepTrial): FinishedTrial => ({ ...trial, run: folder.trialFolder(trial.index) })
    return {
      ...{ sweep: folder.path, metric, mode, trials: result.trials.map(withRun), combinations: combinations.length },
      best: best && !interrupted ? { ...withRun(best), recipe: folder.best } : null,
      ...{ jobs, interrupted },
    }
  } finally {
    interrupts.release()
    progress.stop()
    if (!request.pool) pool.close()
    unlock()
  }
}

/** Work of a sweep in whole runs: trials that halving ends train for a share of the run. */
class SweepWork {
  readonly total: number
  readonly #rungs: readonly Rung[]
  /** Work in progress by the index of the trial. */
  readonly #running = new Map<number, number>()
  #finished = 0

  /** @param finished trials of an interrupted sweep */
  constructor(rungs: readonly Rung[], finished: readonly SweepTrial[]) {
    this.#rungs = rungs
    this.total = rungs.reduce((sum, { share, runs }) => sum + runs * (share - this.#shareBefore(share)), 0)
    for (const trial of finished) this.finish(trial)
  }

  get done(): number {
    return [...this.#running.values()].reduce((sum, done) => sum + done, this.#finished)
  }

  /** @param done share of the run that a trial has trained, on the way to `share` */
  train(index: number, share: number, done: number): void {
    this.#running.set(index, Math.max(0, Math.min(done, share) - this.#shareBefore(share)))
  }

  /** Removes the work in progress of a trial. */
  end(index: number): void {
    this.#running.delete(index)
  }

  /** Adds a finished trial. */
  finish({ share }: SweepTrial): void {
    this.#finished += share - this.#shareBefore(share)
  }

  /** The share that trials have trained before they continue to `share`. */
  #shareBefore(share: number): number {
    return this.#rungs[this.#rungs.findIndex((rung) => rung.share === share) - 1]?.share ?? 0
  }
}

/** The changes of a recipe by the values of a combination, as for --set. */
export const assign = (values: SweepValues): string[] =>
  Object.entries(values).map(([path, value]) => `${path}=${JSON.stringify(value)}`)

/** Opens what the trials read: counts the processes that its memory allows, and computes its checksums. */
async function openTrials(request: SweepRequest, recipes: readonly Recipe[]) {
  const size = ({ batchSize = 32, microBatch = batchSize }: Recipe) => Math.min(batchSize, microBatch)
  const largest = recipes.reduce((most, each) => (size(each) > size(most) ? each : most))
  const opened = await openTraining(largest)
  return {
    jobs: await countJobs(request, recipes.length, largest, opened),
    sources: await checksumSources(recipes, [largest, opened]),
  }
}

/**
 * Number of processes that train at the same time: as many as there are cores, if memory allows it by the estimate for
 * the recipe with the largest batches.
 */
async function countJobs(
  { provider, jobs, memory, progress }: SweepRequest,
  trials: number,
  largest: Recipe,
  { model, options, data }: OpenedTraining,
): Promise<number> {
  if (provider !== 'cpu') return jobs ?? 1
  const { needed, available } = await measureMemoryRoom(model, options, firstBatch(data, largest), memory)
  const wanted = Math.min(jobs ?? availableParallelism(), trials)
  if (needed === null) return jobs === undefined ? 1 : wanted
  const fitting = Math.max(1, Math.floor(available / needed))
  if (fitting < wanted)
    progress.note(
      `a run needs about ${formatBytes(needed)} of memory, and ${formatBytes(available)} are left: ${formatCount(fitting, 'process')} at the same time`,
    )
  return Math.min(wanted, fitting)
}
