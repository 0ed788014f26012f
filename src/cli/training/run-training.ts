import { subset } from '../../data/dataset.js'
import { takeExamples } from '../../data/split-stream.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { transform } from '../../data/transform.js'
import type { Measures } from '../../metric/accumulator.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import { writeModel } from '../../node/model.js'
import { fitOptions, trainerOptions, weightsOf } from '../../recipe/build.js'
import { differences } from '../../recipe/difference.js'
import type { Recipe } from '../../recipe/recipe.js'
import type { WhichWeights } from '../../train/checkpoint/model-from-checkpoint.js'
import { MetricMonitor, type MonitorOptions, type MonitorState } from '../../train/metric-monitor.js'
import { replaceHead } from '../../train/model/replace-head.js'
import type { FitOptions, IntervalMetrics } from '../../train/options.js'
import { Trainer } from '../../train/trainer.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkNotOverwriting } from '../errors.js'
import { loadModel, modelTitle } from '../inputs/load-model.js'
import { onInterrupt } from '../interrupts.js'
import type { Io } from '../io.js'
import { type CliProvider, createRuntime } from '../options.js'
import type { Progress } from '../progress.js'
import type { RunFolder } from './run-folder.js'

export interface TrainingRequest {
  /** Signals interrupt the run. */
  readonly io: Pick<Io, 'onSignal' | 'exit'>
  readonly recipe: Recipe
  readonly folder: RunFolder
  readonly progress: Progress
  /** Go on from the folder's checkpoint. */
  readonly resume: boolean
  /** Take the place of another run. */
  readonly force: boolean
  /** What computes. */
  readonly provider: CliProvider
  /** Seconds between two checkpoints; undefined for what the recipe says. */
  readonly checkpointSeconds: number | undefined
}

export interface TrainingResult extends RunSummary {
  /** The run folder. */
  readonly run: string
  /** The trained model; null when the run was interrupted. */
  readonly model: string | null
  /** Which weights the model has. */
  readonly weights: WhichWeights
  readonly interrupted: boolean
  /** Steps done since the beginning. */
  readonly step: number
  /** How many numbers were trained. */
  readonly parameters: number
  /** Of the model, over the validation data; null without such data, and when the run was interrupted. */
  readonly validation: Measures | null
  /** By tensor, the names of the class numbers in it. */
  readonly classes: ClassNames
  /** The epochs of this call. */
  readonly epochs: readonly IntervalMetrics[]
  readonly runtime: string
}

/** Carries out a recipe in a run folder. Whatever can be found wrong is found before the folder is touched. */
export async function runTraining(call: TrainingRequest): Promise<TrainingResult> {
  const { recipe, folder, progress, resume } = call
  await refuseConflict(call)
  const start = resume ? folder.started(recipe) : recipe
  const model = await loadModel(start)
  if (typeof start.model === 'string') await checkNotOverwriting(start.model, folder.tuned)
  const prepared = await RecipeData.of(recipe, model, recipe.head ? replaceHead(model, recipe.head) : model)
  const data = await prepared.train()
  const validation = await prepared.validation()
  const classes = await prepared.classes()
  await folder.prepare()
  const runtime = await createRuntime(call.provider, recipe.threads)
  try {
    const trainer = await Trainer.create(model, { ...trainerOptions(await prepared.inSteps()), runtime })
    const resumed = resume ? await trainer.resume(folder.store) : null
    for (const { step, error } of resumed?.skipped ?? [])
      progress.note(`passing over the checkpoint of step ${step}: ${error.message}`)
    // What does not fit the model shows in the first examples: before another run's files are replaced.
    for (const set of validation ? [data, validation] : [data]) await trainer.evaluate(firstBatch(set, recipe))
    await folder.begin(recipe, classes, trainer.step, typeof start.model === 'string' ? undefined : model)
    const begun = resumed === null ? '' : `, going on from step ${trainer.step}`
    progress.note(
      `training ${sizeOf(trainer)} parameters of ${modelTitle(recipe)} on ${data.length ?? 'a stream of'} examples in ${folder.path}${begun}`,
    )
    const { epochs, interrupted } = await runSteps(trainer, data, validation, call)
    const weights = weightsOf(recipe)
    const verdict = summarizeRun(recipe, await folder.rounds())
    if (!interrupted) await writeModel(folder.tuned, trainer.export({ weights }))
    const held = interrupted ? null : await measured(trainer, validation, { weights, epochs, verdict, recipe })
    await trainer.dispose()
    return {
      run: folder.path,
      model: interrupted ? null : folder.tuned,
      weights,
      interrupted,
      step: trainer.step,
      ...verdict,
      parameters: sizeOf(trainer),
      validation: held,
      classes,
      epochs,
      runtime: runtime.description,
    }
  } finally {
    progress.stop()
    await runtime.dispose()
  }
}

async function refuseConflict({ folder, recipe, resume, force }: TrainingRequest): Promise<void> {
  if (!resume) {
    if (!folder.isUsed || force) return
    throw new OnnxIreError(
      'invalid-option',
      `${folder.path} holds a run already: --resume goes on with it, --force starts over and replaces it, --out takes another folder`,
    )
  }
  const different = differences(await folder.recipe(), recipe)
  if (different.length === 0) return
  throw new OnnxIreError(
    'invalid-option',
    `the run in ${folder.path} is another one; its recipe differs in ${different.join(', ')}. Resume it with its own recipe ` +
      `(${folder.path}/recipe.json), or start a new run with --out`,
  )
}

const firstBatch = (data: DatasetOrStream, { batchSize = 32 }: Recipe): DatasetOrStream =>
  'batch' in data ? subset(data, { end: Math.min(batchSize, data.length) }) : takeExamples(data, batchSize)

const sizeOf = ({ parameters }: Trainer): number =>
  Object.values(parameters).reduce((sum, { length }) => sum + length, 0)

/** What the validation data say of the weights that are exported: measured already where the last round measured them. */
async function measured(
  trainer: Trainer,
  validation: DatasetOrStream | undefined,
  {
    weights,
    epochs,
    verdict,
    recipe,
  }: Pick<TrainingResult, 'weights' | 'epochs'> & { verdict: RunSummary; recipe: Recipe },
): Promise<Measures | null> {
  if (!validation) return null
  const last = epochs.at(-1)
  const watched = recipe.ema === undefined ? 'last' : 'ema'
  const same = weights === 'best' ? verdict.best?.step === last?.step : weights === watched
  return (same && last?.validation) || (await trainer.evaluate(validation, { weights }))
}

/** Thrown out of an evaluation that an interrupt cuts short. */
class Stopped extends Error {}

async function runSteps(
  trainer: Trainer,
  data: DatasetOrStream,
  validation: DatasetOrStream | undefined,
  call: TrainingRequest,
) {
  const { recipe, folder, progress } = call
  const interrupts = onInterrupt(call.io, () => progress.note('stopping after this step; once more to quit at once'))
  const { signal } = interrupts
  const epochs: IntervalMetrics[] = []
  const options: FitOptions = {
    ...fitOptions(recipe),
    ...(validation ? { validation: stoppable(validation, signal) } : {}),
    signal,
    checkpoints: { store: folder.store, ...checkpointsOf(call) },
    onStep(done) {
      const { step, epoch, loss, lr, gradientNorm, kappa, refreshed, flatShare, seconds } = done
      folder.log({
        kind: 'step',
        ...{ step: step + 1, epoch, loss, lr, gradientNorm, kappa, refreshed, flatShare, seconds },
      })
      progress.step(done)
    },
    onEvaluate(metrics) {
      epochs.push(metrics)
      folder.log({ kind: 'epoch', ...metrics })
      progress.epoch(metrics)
    },
  }
  try {
    for await (const _ of trainer.fit(data, options));
  } catch (error) {
    if (!(error instanceof Stopped)) throw error
    await folder.store.save(trainer.step, trainer.checkpoint())
  } finally {
    interrupts.release()
  }
  return { epochs, interrupted: signal.aborted }
}

function checkpointsOf({ recipe: { checkpoints = {} }, checkpointSeconds }: TrainingRequest) {
  const { everySteps } = checkpoints
  const everySeconds = checkpointSeconds ?? checkpoints.everySeconds ?? (everySteps === undefined ? 60 : undefined)
  return {
    ...(everySteps === undefined ? {} : { everySteps }),
    ...(everySeconds === undefined ? {} : { everySeconds }),
  }
}

/** Data that give out nothing once a stop is asked for: an evaluation may take longer than a person waits. */
const stoppable = (data: DatasetOrStream, signal: { readonly aborted: boolean }): DatasetOrStream =>
  transform(data, (batch) => {
    if (signal.aborted) throw new Stopped()
    return batch
  })

/** What a run's validation data said of it over its whole length, resumes included. */
export interface RunSummary {
  /** The best evaluation, by the measure that is watched; null where none is. */
  readonly best: { readonly metric: string; readonly value: number; readonly step: number } | null
  /** Evaluations in a row that were no better, when that ended the run; else null. */
  readonly stoppedAfter: number | null
}

/** @param rounds all evaluations of the run in order */
export function summarizeRun({ best, earlyStopping }: Recipe, rounds: readonly IntervalMetrics[]): RunSummary {
  const keeping = best === true ? {} : best || undefined
  const by = keeping ?? earlyStopping
  const state = by && finalState(by, rounds)
  const waited = earlyStopping && finalState(earlyStopping, rounds)?.waited
  return {
    best: state ? { metric: by?.metric ?? 'loss', value: state.value, step: state.step } : null,
    stoppedAfter: earlyStopping && waited !== undefined && waited >= earlyStopping.patience ? waited : null,
  }
}

function finalState(options: MonitorOptions, rounds: readonly IntervalMetrics[]): MonitorState | null {
  const monitor = new MetricMonitor(options)
  for (const { validation, step } of rounds) if (validation) monitor.add(validation, step)
  return monitor.state
}
