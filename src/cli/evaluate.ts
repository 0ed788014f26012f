import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { Data } from '../data/stream.js'
import type { Model } from '../onnx/model.js'
import type { LossKind } from '../recipe/loss.js'
import type { EvaluationRecipe } from '../recipe/recipe.js'
import { collected, listed, wholeNumber } from './arguments.js'
import type { ClassNames } from './data/opened.js'
import { inOneLine, tablesOf } from './measures-text.js'
import { duration, plural, print } from './output.js'

interface Options {
  readonly on: 'train' | 'validation'
  readonly set: readonly string[]
  readonly data?: string
  readonly loss?: string
  readonly logits?: string
  readonly metrics?: readonly string[]
  readonly batchSize?: number
  readonly threads?: number
  readonly quiet?: true
  readonly json?: true
}

export function defineEvaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('measure the loss and other metrics of a model, in stock onnxruntime')
    .argument('<model>', 'an ONNX file')
    .argument('[recipe]', 'the recipe that says which data and which loss')
    .addOption(
      new Option('--on <data>', "which of the recipe's data").choices(['train', 'validation']).default('validation'),
    )
    .option('--set <path=value>', 'change a field of the recipe; may be repeated', collected, [])
    .option('--data <json>', "instead of a recipe: the data, as a recipe's data.validation")
    .option('--loss <kind|json>', "instead of a recipe: the loss, by its kind or as a recipe's loss")
    .option('--logits <name>', "instead of a recipe: the model's output the loss works on")
    .option('--metrics <names>', 'what to measure, by name, with commas between', listed)
    .option('--batch-size <n>', 'examples per run', wholeNumber)
    .option('--threads <n>', 'threads one operator may use', wholeNumber)
    .option('--quiet', 'no progress')
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
Metrics: accuracy, top5 (top<k>), precision, recall, f1 (each also -micro, -weighted), confusion, perClass (a table),
perplexity, mae, rmse, r2. Without --metrics: those of the recipe, else accuracy where the loss is about classes.

Examples:
  $ onnx-ire evaluate runs/recipe/tuned.onnx recipe.json
  $ onnx-ire evaluate tuned.onnx recipe.json --on train --metrics accuracy,perClass,confusion
  $ onnx-ire evaluate tuned.onnx --loss cross-entropy \\
      --data '{ "kind": "idx", "images": "t10k-images", "labels": "t10k-labels", "image": { "size": 48, "channels": 3 } }'
  $ onnx-ire evaluate tuned.onnx --loss '{ "kind": "huber", "delta": 2 }' --metrics mae,r2 \\
      --data '{ "kind": "csv", "file": "houses.csv", "tensors": { "x": "*", "targets": ["price"] } }'`,
    )
    .action(async (path: string, recipePath: string | undefined, options: Options) => {
      const [{ readModel }, { node }, { evaluateModel }, { lossOf }, { metricsOf }, { counterOn }] = await Promise.all([
        import('../node/model.js'),
        import('../node/runtime.js'),
        import('../train/evaluate.js'),
        import('../recipe/loss.js'),
        import('../recipe/build.js'),
        import('./counter.js'),
      ])
      const choose =
        recipePath === undefined ? await fromOptions(options, command) : await fromRecipe(recipePath, options, command)
      const model = await readModel(path)
      const { data, classes, recipe } = await choose(model)
      const metrics = metricsOf(options.metrics ? { metrics: options.metrics } : recipe)
      const { batchSize = recipe.batchSize, threads = recipe.threads, quiet = false } = options
      const runtime = node({ threads })
      const counter = counterOn(process.stderr, quiet, data.length)
      try {
        const started = performance.now()
        let examples = 0
        const measures = await evaluateModel(model, data, {
          loss: lossOf(recipe.loss),
          runtime,
          ...(metrics ? { metrics } : {}),
          ...(batchSize === undefined ? {} : { batchSize }),
          onBatch(seen) {
            examples = seen
            counter.at(seen)
          },
        })
        counter.stop()
        const seconds = (performance.now() - started) / 1000
        const result = { model: path, ...measures, examples, seconds, runtime: runtime.description }
        print({ ...result, ...(Object.keys(classes).length > 0 ? { classes } : {}) }, options.json, () => {
          const over = measures.count === examples ? '' : ` (${plural(measures.count, 'value')})`
          const summary = `${path}: ${inOneLine(measures)} over ${plural(examples, 'example')}${over} in ${duration(seconds)}, ${runtime.description}`
          return [...tablesOf(measures, classes), summary].join('\n')
        })
      } finally {
        counter.stop()
        await runtime.dispose()
      }
    })
}

/** What to evaluate on, once the model is there. */
type Choose = (model: Model) => Promise<{
  readonly data: Data
  readonly classes: ClassNames
  readonly recipe: Omit<EvaluationRecipe, 'data'>
}>

async function fromRecipe(path: string, options: Options, command: Command): Promise<Choose> {
  if (options.data !== undefined || options.loss !== undefined || options.logits !== undefined) {
    command.error('error: --data, --loss and --logits stand in for a recipe; change a recipe with --set', {
      exitCode: 2,
    })
  }
  const [{ readRecipe }, { Prepared }] = await Promise.all([import('./recipe-file.js'), import('./data/prepared.js')])
  const recipe = await readRecipe(path, options.set)
  if (options.on === 'validation' && !recipe.data.validation && !recipe.data.split) {
    command.error(`error: ${path} has neither data.validation nor data.split; add one, or use --on train`, {
      exitCode: 2,
    })
  }
  return async (model) => {
    const prepared = await Prepared.of(recipe, model, model)
    const data = (options.on === 'validation' && (await prepared.validation())) || (await prepared.train())
    // Without tables no names are shown, and to find them may take reading the training data.
    const tables = options.metrics ?? recipe.metrics ?? []
    return { data, classes: tables.length > 0 ? await prepared.classes() : {}, recipe: prepared.recipe }
  }
}

async function fromOptions(options: Options, command: Command): Promise<Choose> {
  const { data: given, loss, logits } = options
  if (given === undefined || loss === undefined) {
    command.error('error: give a recipe, or both --data and --loss', { exitCode: 2 })
  }
  if (options.set.length > 0) command.error('error: --set changes a recipe, and none is given', { exitCode: 2 })
  const [{ checkEvaluation, parseJson }, { mapSourcePaths }, { lossOn, targetOf, taskLosses }, { openData }] =
    await Promise.all([
      import('../recipe/parse.js'),
      import('../recipe/sources/source.js'),
      import('../recipe/loss.js'),
      import('./data/open.js'),
    ])
  const written = loss.trimStart().startsWith('{')
  if (written && logits !== undefined) command.error('error: --logits goes with a loss by its kind', { exitCode: 2 })
  // A kind that is none is refused by the check.
  const { data: source, ...recipe } = checkEvaluation({
    data: parseJson(given),
    loss: written ? parseJson(loss) : lossOn(loss as LossKind, logits),
  })
  return async (model) => {
    const targets = taskLosses(recipe.loss).map(([, task]) => targetOf(task))
    const opening = { model, targets, classes: async () => ({}) }
    const { data, classes = {} } = await openData(
      '--data',
      mapSourcePaths(source, (path) => resolve(path)),
      opening,
    )
    return { data, classes, recipe }
  }
}
