import { join } from 'node:path'
import { type Command, Option } from 'commander'
import { type LossKind, lossRegistry } from '../../loss/registry.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import { makeFolder } from '../../node/folder.js'
import { writeModel } from '../../node/model.js'
import { exportGraph, type GraphSpec } from '../../onnx/export/export-graph.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { unwrap } from '../../optim/optimizer.js'
import { trainerOptions } from '../../recipe/build.js'
import { createLoss, lossOnOutput } from '../../recipe/loss.js'
import { inSteps } from '../../recipe/optimizer.js'
import type { Recipe } from '../../recipe/recipe.js'
import type { TrainingOptions } from '../../train/graphs/build.js'
import { buildTrainingGraphs } from '../../train/graphs/build.js'
import type { HeadOptions } from '../../train/model/replace-head.js'
import { replaceHead } from '../../train/model/replace-head.js'
import { findTrainable } from '../../train/model/trainable.js'
import { findFrozen } from '../../train/parameter-groups.js'
import { loadModel, modelTitle } from '../inputs/load-model.js'
import { isRecipeName, readRecipe } from '../inputs/read-recipe.js'
import { type Io, print } from '../io.js'
import { collect, parsePositiveInteger } from '../options.js'
import { formatTable } from '../text/format.js'

const lossKinds = Object.keys(lossRegistry) as LossKind[]

interface Options {
  readonly loss?: LossKind
  readonly logits?: string
  readonly headClasses?: number
  readonly trainable?: readonly string[]
  readonly batchNorm?: 'frozen' | 'trained'
  readonly set: readonly string[]
  readonly output: string
  readonly json?: true
}

interface Written {
  readonly file: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

export function defineBuild(program: Command, io: Io): void {
  const command = program
    .command('build')
    .description('write the graphs of a training run as ONNX models, to open in a viewer or to run elsewhere')
    .argument('<model|recipe>', 'an ONNX file, or a recipe: a .json file or a name that train --list gives')
    .requiredOption('-o, --output <folder>', 'where to write training.onnx, evaluation.onnx and curvature.onnx')
    .addOption(new Option('--loss <kind>', 'what is minimised').choices(lossKinds))
    .option('--logits <name>', "the model's output the loss works on (default: the only one)")
    .option(
      '--head-classes <n>',
      'give the model a new last layer of so many classes; written as model.onnx',
      parsePositiveInteger,
    )
    .option('--trainable <pattern...>', 'train the tensors of these names (default: all in weight positions)')
    .addOption(new Option('--batch-norm <mode>', 'BatchNormalization statistics').choices(['frozen', 'trained']))
    .option('--set <path=value>', 'change a field of the recipe; may be repeated', collect, [])
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
training.onnx gives loss and gradients, evaluation.onnx the loss and for classifiers the number of correct examples,
curvature.onnx the gradients against labels sampled from the model's own output (from the noise it is fed). Parameters
are inputs under their own names; the metadata entry onnx-ire.gradients lists the gradients.

Examples:
  $ onnx-ire build model.onnx --loss cross-entropy -o graphs
  $ onnx-ire build model.onnx --loss cross-entropy --head-classes 10 --trainable 'head.*' -o graphs
  $ onnx-ire build recipe.json -o graphs`,
    )
    .action(async (path: string, options: Options) => {
      const { start, head, training } = await chosen(path, options, command)
      const original = await loadModel(start)
      const model = head ? replaceHead(original, head) : original
      const {
        training: trained,
        evaluation,
        curvature,
      } = buildTrainingGraphs(importGraph(model), await training(original, model))
      const files: [string, Model, Written][] = []
      const add = (name: string, spec: GraphSpec) => {
        const file = join(options.output, name)
        const written = { file, inputs: [...spec.inputs.keys()], outputs: [...spec.outputs.keys()] }
        files.push([file, { proto: exportGraph(spec), external: null }, written])
      }
      add('training.onnx', trained)
      add('evaluation.onnx', evaluation)
      if (curvature) add('curvature.onnx', curvature.spec)
      await makeFolder(options.output)
      const own = head !== undefined || typeof start.model !== 'string'
      if (own) await writeModel(join(options.output, 'model.onnx'), model)
      for (const [file, made] of files) await writeModel(file, made)
      const graphs = files.map(([, , written]) => written)
      const result = { model: own ? join(options.output, 'model.onnx') : modelTitle(start), graphs }
      print(io, result, options.json, () => text(result.model, graphs, own))
    })
}

interface Chosen {
  readonly start: Pick<Recipe, 'model' | 'seed'>
  readonly head: HeadOptions | undefined
  /** What the graphs are to be, once the model is there. */
  readonly training: (original: Model, model: Model) => Promise<TrainingOptions>
}

/** What to build, from a recipe or from the command line. */
async function chosen(path: string, options: Options, command: Command): Promise<Chosen> {
  if (path.toLowerCase().endsWith('.json') || isRecipeName(path)) {
    const given = (['loss', 'logits', 'headClasses', 'trainable', 'batchNorm'] as const).find(
      (name) => options[name] !== undefined,
    )
    if (given) command.error(`error: a recipe says ${given} itself; change it with --set`, { exitCode: 2 })
    const recipe = await readRecipe(path, options.set)
    return { start: recipe, head: recipe.head, training: (...models) => graphOptions(recipe, ...models) }
  }
  const { loss, logits, headClasses, trainable, batchNorm } = options
  if (loss === undefined) return command.error('error: give --loss, or a recipe instead of the model', { exitCode: 2 })
  if (options.set.length > 0) command.error('error: --set changes a recipe; a model has none', { exitCode: 2 })
  const training: TrainingOptions = {
    loss: createLoss(lossOnOutput(loss, logits)),
    curvature: 'sampled',
    ...(trainable === undefined ? {} : { trainable }),
    ...(batchNorm === undefined ? {} : { batchNorm }),
  }
  const head: HeadOptions | undefined =
    headClasses === undefined
      ? undefined
      : { classes: headClasses, ...(logits === undefined ? {} : { output: logits }) }
  return { start: { model: path }, head, training: async () => training }
}

/** The graphs that a trainer would make of a recipe. */
async function graphOptions(recipe: Recipe, original: Model, model: Model): Promise<TrainingOptions> {
  const { recipe: settled } = await RecipeData.of(recipe, original, model)
  // Steps only matter while training: the graphs are the same however many an epoch has.
  const optimizer = await inSteps(settled.optimizer, async () => 1)
  const options = trainerOptions({ ...settled, optimizer })
  const names = [...findTrainable(importGraph(model), options.trainable).keys()]
  return {
    ...options,
    frozen: findFrozen(names, options),
    curvature: unwrap(options.optimizer).ire?.curvature === 'hutchinson' ? 'hutchinson' : 'sampled',
  }
}

function text(model: string, graphs: readonly Written[], own: boolean): string {
  const rows = graphs.map(({ file, inputs, outputs }) => {
    const gradients = outputs.filter((name) => name.startsWith('grad/'))
    const others = outputs.filter((name) => !name.startsWith('grad/'))
    return [
      file,
      excerpted(inputs).join(', '),
      [...excerpted(others), ...(gradients.length > 0 ? [`${gradients.length} grad/<parameter>`] : [])].join(', '),
    ]
  })
  return `${own ? `wrote ${model}, the model that training starts from: the parameters to begin with\n` : ''}${formatTable(['wrote', 'inputs', 'outputs'], rows)}`
}

const shownNames = 4
const excerpted = (all: readonly string[]): string[] =>
  all.length > shownNames + 1 ? [...all.slice(0, shownNames), `${all.length - shownNames} more`] : [...all]
