import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { lossRegistry } from '../../loss/registry.js'
import { mpi } from '../../node/mpi/mpi.js'
import { baseOptimizers } from '../../optim/registry.js'
import type { Recipe } from '../../recipe/recipe.js'
import { recipeSchema } from '../../recipe/schema.js'
import type { IntervalMetrics } from '../../train/options.js'
import { decideByFirst, type ProcessGroup } from '../../train/process-group.js'
import { OnnxIreError, prefixError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { usageError } from '../errors.js'
import { formatCount, formatMetric, formatMetricTables, formatTable, quotePath, scalarMetrics } from '../format.js'
import { pathOfTeacher, pathsOfTraining, withPathAdvice } from '../inputs/moved-paths.js'
import {
  dataPathOption,
  defaultRunFolder,
  modelPathOption,
  overridePaths,
  type PathOverrides,
  readRecipe,
  readShippedRecipe,
  recipeNames,
  teacherPathOption,
} from '../inputs/read-recipe.js'
import { exitOnSignals, Interrupted } from '../interrupts.js'
import { type Io, print, writeText } from '../io.js'
import {
  type CliProvider,
  jsonOption,
  listNames,
  parsePositiveInteger,
  parsePositiveNumber,
  providerOption,
  setOption,
} from '../options.js'
import { listRecipeFile, prepareOutputs } from '../outputs.js'
import { createTrainingProgress } from '../progress.js'
import { parseBytes } from '../training/check-room.js'
import { followTraining } from '../training/follow-training.js'
import { formatFolds, summarizeRuns } from '../training/format-folds.js'
import { removeFolds } from '../training/replaced-run.js'
import { foldFolder, RunFolder } from '../training/run-folder.js'
import { checkNewRunFolder, runTraining } from '../training/run-training.js'
import type { TrainingRequest, TrainingResult } from '../training/training-request.js'

interface Options extends PathOverrides {
  readonly set: readonly string[]
  readonly out?: string
  readonly folds?: number
  readonly resume?: true
  readonly resumeIfStarted?: true
  readonly force?: true
  readonly provider: CliProvider
  readonly checkpointEvery?: number
  readonly memory?: number
  readonly measureEvery?: number
  readonly tensorboard?: string
  readonly groupTimeout?: number
  readonly shardOptimizer?: true
  readonly list?: true
  readonly schema?: true
  readonly quiet?: true
  readonly json?: true
}

/** Defines `onnx-ire train`. */
export function defineTrain(program: Command, io: Io): void {
  const command = program
    .command('train')
    .description('train a model with the settings of a recipe')
    .argument(
      '[recipe]',
      'a JSON file, whose paths are relative to the file; or a name from --list, with paths relative to the working directory',
    )
    .addOption(setOption('change a field of the recipe (null removes it)'))
    .option('--out <folder>', 'the run folder (default: output of the recipe, else runs/<recipe> beside the recipe)')
    .option(
      '--folds <n>',
      'cross-validation: train n runs, each with another part of the training data held out, in fold-<i> of the run folder; prints mean and spread',
      parseFolds,
    )
    .option('--resume', 'resume from the last checkpoint in the run folder, with the result of an uninterrupted run')
    .option('--resume-if-started', 'as --resume if the run folder holds a run, for jobs that a scheduler starts again')
    .option('--force', 'replace the run in the run folder')
    .addOption(modelPathOption())
    .addOption(dataPathOption())
    .addOption(teacherPathOption())
    .option(
      '--checkpoint-every <seconds>',
      'seconds between checkpoints within an epoch (default: checkpoints of the recipe, else 60)',
      parsePositiveNumber,
    )
    .option(
      '--memory <bytes>',
      'memory that the run may take, such as 4G; a run that needs more begins with a warning (default: what is left of the container or the machine)',
      parseBytes,
    )
    .option(
      '--measure-every <steps>',
      "steps between two lines of metrics.jsonl with gradient norm, update ratio and IRE's mask of every trained tensor; such a step copies the trained parameters (default: none)",
      parsePositiveInteger,
    )
    .option(
      '--tensorboard <folder>',
      'folder for an event file of TensorBoard: all numbers, histograms of the trained tensors, confusion, recipe',
    )
    .addOption(providerOption())
    .option(
      '--group-timeout <seconds>',
      'seconds that a process of an MPI job waits for another before the job ends (default: 600)',
      parsePositiveNumber,
    )
    .option(
      '--shard-optimizer',
      "divide the optimizer's moments and IRE's mask among the processes of an MPI job: less memory, the same weights",
    )
    .option('--list', 'print the recipes of the package')
    .option('--schema', 'print the JSON Schema of recipes')
    .option('--quiet', 'show no progress')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Files in the run folder: recipe.json; run.json, a digest of the data; start.onnx, the initial model of a
preset; classes.json, the class names, if the data set has some; metrics.jsonl, a line per step and evaluation
(docs/run-folders.md has its fields); checkpoints/, written after every epoch, every minute or as the recipe
sets, and on Ctrl-C after the current step; and tuned.onnx at the end. A damaged checkpoint is skipped: the
run resumes from the checkpoint before it. While a process trains, lock.json keeps others out. With --force,
the run that was there is kept in replaced-<n> until the new run ends. --resume refuses another model, another
loss and other data, by their contents; their paths may change, and the folder may be moved.

Examples:
  $ onnx-ire train recipe.json
  $ onnx-ire train recipe.json --set optimizer.ire.kappa=3 --set epochs=5 --out runs/kappa-3
  $ onnx-ire train recipe.json --set optimizer.ire=null --out runs/base
  $ onnx-ire train recipe.json --measure-every 50
  $ onnx-ire train recipe.json --tensorboard boards/first; tensorboard --logdir boards
  $ onnx-ire train recipe.json --resume
  $ onnx-ire train recipe.json --folds 5
  $ mpirun -n 4 npx onnx-ire train recipe.json --resume-if-started --shard-optimizer
  $ onnx-ire train moved-run/recipe.json --resume --model model.onnx --data photos
  $ onnx-ire train cifar10-resnet-56-sgd-ire --set seed=1 --out runs/seed-1
  $ onnx-ire train --schema > recipe.schema.json

A recipe:
  {
    "model": "model.onnx",
    "data": {
      "train": { "kind": "idx", "images": "train-images", "labels": "train-labels", "image": { "size": 48, "channels": 3 } },
      "split": { "validation": 0.1 }
    },
    "head": { "classes": 10 },
    "loss": { "kind": "cross-entropy" },
    "metrics": ["accuracy", "perClass", "confusion"],
    "optimizer": { "kind": "adamw", "lr": 0.001, "ire": { "kappa": 2, "gamma": 0.8, "interval": 10 } },
    "schedule": { "kind": "cosine", "warmup": 20 },
    "batchSize": 32, "epochs": 3, "best": true, "seed": 0
  }

For cross-validation: --folds 5, in place of data.validation or data.split.validation. "split": { "folds": 5,
"fold": 0 } is its first run.

To train from scratch: "model": { "preset": "resnet-20", "options": { "classes": 100 } }, with "batchNorm":
"trained" if the model has BatchNormalization, and "dropout": "on" if it has Dropout.

Other data sources (all accept start and end; csv, jsonl and text also accept "stream": true, for files larger
than memory):
  { "kind": "image-folder", "folder": "flowers/train", "image": { "size": 224, "mean": [0.485, 0.456, 0.406] } }
  { "kind": "image-texts", "file": "lines/rec_gt.txt", "image": { "size": [48, 320], "fit": "line" } } (for ctc)
  { "kind": "csv", "file": "iris.csv", "tensors": { "x": "*", "labels": { "columns": "species", "as": "class" } } }
  { "kind": "jsonl", "file": "reviews.jsonl", "padding": { "input_ids": { "mask": "attention_mask" } },
    "tensors": { "input_ids": { "field": "tokens", "as": "integer" }, "labels": { "field": "mood", "as": "class" } } }
  { "kind": "text", "files": "book.txt", "tokens": "bytes", "context": 128 }
  { "kind": "tokens", "file": "corpus/train.tokens", "context": 256 } (written by data prepare text)
  { "kind": "cifar-10", "folder": "cifar-10-batches-bin", "part": "train", "augment": [{ "kind": "crop" }, { "kind": "flip" }] }
Augmentations of images (idx, image-folder, image-texts, cifar-10, cifar-100): crop, flip, cutout,
resized-crop, rand-augment.

Losses (docs/losses-and-metrics.md has their meaning):
${listNames(Object.keys(lossRegistry).filter((kind) => kind !== 'combine'))},
and a sum of several:
  { "kind": "combine", "tasks": { "kind": { "loss": { "kind": "cross-entropy", "logits": "a", "labels": "a_labels" } },
                                  "size": { "loss": { "kind": "huber", "output": "b", "targets": "sizes" }, "weight": 0.1 } } }

Optimizers, each with "sam" and "ire" around it:
${listNames(Object.entries(baseOptimizers).map(([kind, { summary }]) => `${kind} (${summary})`))}.

Other fields (--schema describes each):
${listNames(otherFields())}.`,
    )
    .action(async (path: string | undefined, options: Options) => {
      if (options.schema)
        return print(io, { $schema: 'http://json-schema.org/draft-07/schema#', ...recipeSchema }, true, () => '')
      if (options.list) return listRecipes(io, options.json)
      if (path === undefined) return usageError(command, "missing required argument 'recipe'")
      if ((options.resume || options.resumeIfStarted) && options.force)
        return usageError(command, '--resume continues the run in the folder, --force replaces it: give one of them')
      await train(io, path, options)
    })
}

/** Parses the number of folds. */
function parseFolds(text: string): number {
  if (Number(text) !== 1) return parsePositiveInteger(text)
  throw new InvalidArgumentError('It must be an integer of at least 2.')
}

async function listRecipes(io: Io, json: true | undefined): Promise<void> {
  const recipes = await Promise.all(
    (await recipeNames()).map(async (name) => ({ name, about: (await readShippedRecipe(name)).about ?? '' })),
  )
  print(io, { recipes }, json, () =>
    formatTable(
      ['recipe', ''],
      recipes.map(({ name, about }) => [name, about]),
    ),
  )
}

async function train(io: Io, path: string, options: Options): Promise<void> {
  const group = await mpi(options.groupTimeout === undefined ? {} : { timeout: options.groupTimeout })
  const interrupted = await (options.folds === undefined ? trainOnce : trainFolds)(io, group, path, options)
  await group?.close()
  if (interrupted) throw new Interrupted()
}

/** Trains a run, and prints its result; returns whether it was interrupted. */
async function trainOnce(io: Io, group: ProcessGroup | undefined, path: string, options: Options): Promise<boolean> {
  if (group && group.rank > 0) return follow(io, group, path, options)
  const result = await lead(io, group, path, options)
  print(io, result, options.json, () => formatTrainingResult(result))
  return result.interrupted
}

/** Trains a run per fold, and prints mean and spread of their metrics; returns whether it was interrupted. */
async function trainFolds(io: Io, group: ProcessGroup | undefined, path: string, options: Options): Promise<boolean> {
  const { folds, resume, resumeIfStarted, tensorboard, ...others } = options
  const ofFold = (fold: number): Options => ({
    ...others,
    set: [...options.set, `data.split.folds=${folds}`, `data.split.fold=${fold}`, 'data.split.validation=null'],
    ...((resume || resumeIfStarted) && { resumeIfStarted: true as const }),
  })
  const { folder } = await openRun(path, ofFold(0), undefined)
  if (!group || group.rank === 0) checkFoldsFolder(folder, options)
  const results: TrainingResult[] = []
  for (let fold = 0; fold < folds!; fold++) {
    const own: Options = {
      ...ofFold(fold),
      out: foldFolder(folder.path, fold),
      ...(tensorboard !== undefined && { tensorboard: join(tensorboard, `fold-${fold}`) }),
    }
    if (group && group.rank > 0) {
      if (await follow(io, group, path, own)) return true
    } else {
      const result = await lead(io, group, path, own)
      results.push(result)
      if (result.interrupted) break
      // The folds of a replaced cross-validation may be more.
      if (fold === 0 && options.force) await removeFolds(folder.path, folds!)
    }
  }
  if (group && group.rank > 0) return false
  const result = summarizeRuns(folder.path, results)
  print(io, result, options.json, () => formatFolds(result))
  return result.interrupted
}

/** Checks the folder of a cross-validation, and the folders of its runs in it. Throws `invalid-option`. */
function checkFoldsFolder(folder: RunFolder, { folds, resume, resumeIfStarted, force }: Options): void {
  if (folder.isUsed)
    throw new OnnxIreError(
      'invalid-option',
      `${folder.path} already holds a run, and the folds would be mixed with it: choose another folder with --out`,
    )
  if (resume || resumeIfStarted) return
  for (let fold = 0; fold < folds!; fold++)
    checkNewRunFolder(new RunFolder(foldFolder(folder.path, fold)), force ?? false)
}

async function openRun(path: string, options: Options, group: ProcessGroup | undefined) {
  const recipe = overridePaths(await readRecipe(path, options.set), options)
  const folder = new RunFolder(options.out ?? recipe.output ?? defaultRunFolder(path), recipe.checkpoints?.keep)
  let resume = options.resume ?? false
  if (options.resumeIfStarted) resume = group ? await decideByFirst(group, folder.isUsed) : folder.isUsed
  return { recipe, folder, resume, provider: options.provider, shardOptimizer: options.shardOptimizer ?? false }
}

/**
 * Milliseconds after which a process reports an error: the first one, if it has the same error, has ended the job then.
 */
const reportDelay = 1000

async function follow(io: Io, group: ProcessGroup, path: string, options: Options): Promise<boolean> {
  try {
    return await followTraining({ io, group, ...(await openRun(path, options, group)) })
  } catch (error) {
    await setTimeout(reportDelay)
    throw prefixError(error, `rank ${group.rank}`)
  }
}

async function lead(io: Io, group: ProcessGroup | undefined, path: string, options: Options): Promise<TrainingResult> {
  const run = await openRun(path, options, group)
  const { recipe, folder } = run
  const isUnchanged = run.resume || options.set.length === 0
  const { files, ...others } = await folder.outputs(true, options.force ?? false)
  // The recipe of the folder itself may be trained again, if no field is changed.
  const changed = isUnchanged ? files.filter((file) => file !== folder.recipe) : files
  await prepareOutputs({ files: changed, ...others }, async () => listRecipeFile(path))
  const signals = exitOnSignals(io, () => {
    writeText(io.stderr, 'interrupted\n')
    if (options.json) print(io, { run: folder.path, interrupted: true }, true, () => '')
  })
  const request: TrainingRequest = {
    io: signals.io,
    ...run,
    group,
    progress: createTrainingProgress(io.stderr, options.quiet ?? false, monitoredMetric(recipe)),
    force: options.force ?? false,
    checkpointSeconds: options.checkpointEvery,
    memory: options.memory,
    measureEvery: options.measureEvery,
    tensorboard: options.tensorboard,
  }
  const paths = [...pathsOfTraining(recipe), ...pathOfTeacher(recipe)]
  try {
    return await withPathAdvice(paths, () => runTraining(request))
  } finally {
    signals.release()
  }
}

/** The validation metric that selects the best weights, stops the run or lowers the learning rate. */
export const monitoredMetric = ({ best, earlyStopping, schedule }: Recipe): string =>
  (typeof best === 'object' ? best.metric : undefined) ??
  earlyStopping?.metric ??
  (schedule?.kind === 'plateau' ? schedule.metric : undefined) ??
  'loss'

/** Fields of a recipe that the help does not explain. */
function otherFields(): string[] {
  const explained =
    '$schema model data head loss metrics optimizer schedule batchSize epochs best seed batchNorm dropout'.split(' ')
  return Object.keys(recipeSchema.properties ?? {}).filter((field) => !explained.includes(field))
}

/** Table of metrics and outcome of a training run. */
function formatTrainingResult(result: TrainingResult): string {
  const { run, model, step, epochs, validation, classes } = result
  const end =
    model === null
      ? `interrupted after ${formatCount(step, 'step')}, saved in ${run}; resume it with onnx-ire train ${quotePath(join(run, 'recipe.json'))} --resume`
      : `${formatCount(step, 'step')} done; the trained model is ${model}${weightsText[result.weights]}`
  return [
    ...(epochs.length === 0 ? [] : [metricsTable(epochs)]),
    ...(validation ? formatMetricTables(validation, classes) : []),
    ...formatBest(result),
    end,
  ].join('\n')
}

const weightsText = {
  last: '',
  ema: ', with the moving average of its weights',
  best: ', with its best weights',
} as const

function formatBest({ best, stoppedAfter }: TrainingResult): string[] {
  if (best === null) return []
  const value = `${best.metric} ${formatMetric(best.metric, best.value)}`
  return [
    ...(stoppedAfter === null ? [] : [`stopped early: no better in ${formatCount(stoppedAfter, 'evaluation')}`]),
    `best on held-out data: ${value} at step ${best.step.toLocaleString('en-US')}`,
  ]
}

type Column = readonly [name: string, cell: (metrics: IntervalMetrics) => string | number]

function metricsTable(epochs: readonly IntervalMetrics[]): string {
  const percent = (share: number | undefined) => (share === undefined ? '-' : `${(100 * share).toFixed(2)} %`)
  const optional: readonly (readonly [...Column, shown: (metrics: IntervalMetrics) => unknown])[] = [
    ['accuracy', ({ accuracy }) => percent(accuracy), ({ accuracy }) => accuracy],
    ...validationColumns(epochs),
  ]
  const columns: readonly Column[] = [
    ['epoch', ({ epoch }) => epoch + 1],
    ['step', ({ step }) => step],
    ['loss', ({ loss }) => loss],
    ...optional.flatMap(([name, cell, shown]): Column[] =>
      epochs.some((metrics) => shown(metrics) !== undefined) ? [[name, cell]] : [],
    ),
    ['gradient norm', ({ gradientNorm }) => gradientNorm],
    ['s/step', ({ secondsPerStep }) => secondsPerStep],
  ]
  return formatTable(
    columns.map(([name]) => name),
    epochs.map((metrics) => columns.map(([, cell]) => cell(metrics))),
  )
}

/** A column per validation metric that is one number. */
function validationColumns(
  epochs: readonly IntervalMetrics[],
): (readonly [...Column, shown: (metrics: IntervalMetrics) => unknown])[] {
  const names = new Set(
    epochs.flatMap(({ validation }) => (validation ? scalarMetrics(validation).map(([name]) => name) : [])),
  )
  return [...names].map((name) => {
    const value = ({ validation }: IntervalMetrics) => getOwn(validation, name)
    const cell = (metrics: IntervalMetrics) => {
      const found = value(metrics)
      if (typeof found !== 'number') return '-'
      return name === 'loss' ? found : formatMetric(name, found)
    }
    return [`held-out ${name}`, cell, value] as const
  })
}
