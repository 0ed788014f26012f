import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Command, Option } from 'commander'
import { type LossKind, lossRegistry } from '../../loss/registry.js'
import { RecipeData, resolveHead } from '../../node/data/recipe-data.js'
import { makeFolder } from '../../node/files/make-folder.js'
import { writeModel } from '../../node/files/model.js'
import { exportGraph, type GraphSpec } from '../../onnx/export/export-graph.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { unwrap } from '../../optim/optimizer.js'
import { trainerOptions } from '../../recipe/build.js'
import { createLoss, lossOnOutput } from '../../recipe/loss.js'
import { convertEpochsToSteps } from '../../recipe/optimizer.js'
import type { Recipe } from '../../recipe/recipe.js'
import type { TrainingOptions } from '../../train/graphs/build.js'
import { buildTrainingGraphs } from '../../train/graphs/build.js'
import type { HeadOptions } from '../../train/model/replace-head.js'
import { createStartModel, type StartOptions } from '../../train/model/start-model.js'
import { findTrainable } from '../../train/model/trainable.js'
import { findFrozen } from '../../train/parameter-groups.js'
import { usageError } from '../errors.js'
import { formatTable } from '../format.js'
import { isRecipeName, loadModel, loadTeacher, modelTitle, readRecipe } from '../inputs/read-recipe.js'
import { type Io, print } from '../io.js'
import { jsonOption, parsePositiveInteger, readRecompute, setOption } from '../options.js'
import { listDataFiles, listInitialFiles, listRecipeFile, prepareOutputs } from '../outputs.js'

const lossKinds = Object.keys(lossRegistry) as LossKind[]

interface Options {
  readonly loss?: LossKind
  readonly logits?: string
  readonly headClasses?: number
  readonly trainable?: readonly string[]
  readonly batchNorm?: 'frozen' | 'trained'
  readonly recompute?: readonly string[]
  readonly set: readonly string[]
  readonly output: string
  readonly json?: true
}

/** A file that was written, and the names of its inputs and outputs. */
interface WrittenGraph {
  readonly file: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

/** Defines `onnx-ire build`. */
export function defineBuild(program: Command, io: Io): void {
  const command = program
    .command('build')
    .description('write the graphs of a training run as ONNX models, to open in a viewer or to run elsewhere')
    .argument('<model|recipe>', 'an ONNX file; or a recipe: a .json file, or a name from train --list')
    .requiredOption('-o, --output <folder>', 'folder for training.onnx, evaluation.onnx and curvature.onnx')
    .addOption(new Option('--loss <kind>', 'the loss to minimize').choices(lossKinds))
    .option('--logits <name>', 'the output of the model that the loss reads (default: the only output)')
    .option(
      '--head-classes <n>',
      'replace the last layer by a new one with n classes; the model is written as model.onnx',
      parsePositiveInteger,
    )
    .option('--trainable <pattern...>', "tensors to train, by name; 'default' is what is trained without this option")
    .addOption(new Option('--batch-norm <mode>', 'statistics of BatchNormalization').choices(['frozen', 'trained']))
    .option('--recompute <pattern...>', "activations to compute again: 'blocks', or names after which a block ends")
    .addOption(setOption('change a field of the recipe'))
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
training.onnx computes the loss and the gradients; evaluation.onnx the loss, and for classifiers the number of
correct examples; curvature.onnx the gradients for labels sampled from the output of the model, with noise as
an input. For a loss without sampled labels a curvature.onnx of an earlier build is removed. Parameters are
inputs under their own names; the metadata entry onnx-ire.gradients lists the gradients.

Examples:
  $ onnx-ire build model.onnx --loss cross-entropy -o graphs
  $ onnx-ire build model.onnx --loss cross-entropy --head-classes 10 --trainable 'head.*' -o graphs
  $ onnx-ire build recipe.json -o graphs`,
    )
    .action(async (path: string, options: Options) => {
      const { start, changes, listFiles, trainingOptions } = await readRequest(path, options, command)
      const original = await loadModel(start)
      const { model, ...choice } = await createStartModel(original, await changes(original))
      const built = buildTrainingGraphs(importGraph(model), await trainingOptions(original, model, choice))
      const specs: readonly (readonly [name: string, spec: GraphSpec])[] = [
        ['training.onnx', built.training],
        ['evaluation.onnx', built.evaluation],
        ...(built.curvature ? [['curvature.onnx', built.curvature.spec] as const] : []),
      ]
      // All graphs are exported before the first file is written, since an export may fail.
      const files = specs.map(([name, spec]) => ({ file: join(options.output, name), spec, proto: exportGraph(spec) }))
      const isNewModel = model !== original || typeof start.model !== 'string'
      const written = [...files.map(({ file }) => file), ...(isNewModel ? [join(options.output, 'model.onnx')] : [])]
      // A curvature graph of an earlier build would be taken for one of these graphs.
      const outdated = built.curvature ? [] : [join(options.output, 'curvature.onnx')]
      await prepareOutputs({ files: [...written, ...outdated] }, async () => [
        ...listInitialFiles(start, original),
        ...(await listFiles()),
      ])
      await makeFolder(options.output)
      for (const file of outdated) await rm(file, { force: true })
      const modelFile = isNewModel ? join(options.output, 'model.onnx') : modelTitle(start)
      if (isNewModel) await writeModel(modelFile, model)
      for (const { file, proto } of files) await writeModel(file, { proto, external: null })
      const graphs = files.map(({ file, spec: { inputs, outputs } }) => ({
        file,
        inputs: [...inputs.keys()],
        outputs: [...outputs.keys()],
      }))
      print(io, { model: modelFile, graphs }, options.json, () =>
        [
          ...(isNewModel ? [`wrote ${modelFile}: the initial model, with the initial parameters`] : []),
          formatGraphs(graphs),
        ].join('\n'),
      )
    })
}

type Choice = Pick<TrainingOptions, 'trainable'>

/** Graphs to build. */
interface Request {
  readonly start: Pick<Recipe, 'model' | 'seed'>
  /** Changes of the model before training. */
  readonly changes: (original: Model) => Promise<StartOptions>
  /** Lists the files of the recipe, if there is one: its own, those of its data, and its teacher. */
  readonly listFiles: () => Promise<readonly string[]>
  /** Options of the graphs, which may depend on the model. */
  readonly trainingOptions: (original: Model, model: Model, choice: Choice) => Promise<TrainingOptions>
}

/** Reads what to build from a recipe or from the command line. */
async function readRequest(path: string, options: Options, command: Command): Promise<Request> {
  if (path.toLowerCase().endsWith('.json') || isRecipeName(path)) {
    const conflict = (['loss', 'logits', 'headClasses', 'trainable', 'batchNorm', 'recompute'] as const).find(
      (name) => options[name] !== undefined,
    )
    if (conflict) usageError(command, `a recipe sets ${conflict} itself; change it with --set`)
    const recipe = await readRecipe(path, options.set)
    return {
      start: recipe,
      changes: (original) => resolveHead(recipe, original),
      listFiles: async () => [
        ...listRecipeFile(path),
        ...(await listDataFiles(recipe)),
        ...(recipe.teacher ? [recipe.teacher.model] : []),
      ],
      trainingOptions: (original, model, choice) => recipeTrainingOptions({ ...recipe, ...choice }, original, model),
    }
  }
  const { loss, logits, headClasses, trainable, batchNorm, recompute } = options
  if (loss === undefined) return usageError(command, 'give --loss, or a recipe in place of the model')
  if (options.set.length > 0) usageError(command, '--set changes a recipe, but no recipe is given')
  const trainingOptions: TrainingOptions = {
    loss: createLoss(lossOnOutput(loss, logits)),
    curvature: 'sampled',
    ...(trainable === undefined ? {} : { trainable }),
    ...(batchNorm === undefined ? {} : { batchNorm }),
    ...readRecompute(recompute),
  }
  const head: HeadOptions | undefined =
    headClasses === undefined
      ? undefined
      : { classes: headClasses, ...(logits === undefined ? {} : { output: logits }) }
  const changes = { ...(head && { head }), ...(trainable && { trainable }) }
  return {
    start: { model: path },
    changes: async () => changes,
    listFiles: async () => [],
    trainingOptions: async () => trainingOptions,
  }
}

/** Options of the graphs that a trainer would build for a recipe. */
async function recipeTrainingOptions(given: Recipe, original: Model, model: Model): Promise<TrainingOptions> {
  const recipe = await resolveHead(given, original)
  const { recipe: resolved } = await RecipeData.open(recipe, model)
  // The number of steps per epoch matters for training only: the graphs do not depend on it.
  const optimizer = await convertEpochsToSteps(resolved.optimizer, async () => 1)
  const options = trainerOptions({ ...resolved, optimizer }, { teacher: await loadTeacher(recipe) })
  const names = [...findTrainable(importGraph(model), options.trainable).keys()]
  const { batchSize = 32, microBatch = batchSize } = options
  return {
    ...options,
    batchSize: Math.min(batchSize, microBatch),
    frozen: findFrozen(names, options),
    curvature: unwrap(options.optimizer).ire?.curvature === 'hutchinson' ? 'hutchinson' : 'sampled',
  }
}

const formatGraphs = (graphs: readonly WrittenGraph[]): string =>
  formatTable(
    ['wrote', 'inputs', 'outputs'],
    graphs.map(({ file, inputs, outputs }) => {
      const gradients = outputs.filter((name) => name.startsWith('grad/'))
      const others = outputs.filter((name) => !name.startsWith('grad/'))
      return [
        file,
        abbreviate(inputs).join(', '),
        [...abbreviate(others), ...(gradients.length > 0 ? [`${gradients.length} grad/<parameter>`] : [])].join(', '),
      ]
    }),
  )

/** The first four names and the number of the others. */
const abbreviate = (names: readonly string[]): string[] =>
  names.length > 5 ? [...names.slice(0, 4), `${names.length - 4} more`] : [...names]
