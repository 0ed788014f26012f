import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { EvaluationRecipe } from '../recipe/recipe.js'
import { collected, wholeNumber } from './arguments.js'
import { count, duration, plural, print } from './output.js'

interface Options {
  readonly on: 'train' | 'validation'
  readonly set: readonly string[]
  readonly data?: string
  readonly loss?: string
  readonly logits?: string
  readonly batchSize?: number
  readonly threads?: number
  readonly json?: true
}

export function defineEvaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('measure the loss and accuracy of a model, in stock onnxruntime')
    .argument('<model>', 'an ONNX file')
    .argument('[recipe]', 'the recipe that says which data and which loss')
    .addOption(
      new Option('--on <data>', "which of the recipe's data").choices(['train', 'validation']).default('validation'),
    )
    .option('--set <path=value>', 'change a field of the recipe; may be repeated', collected, [])
    .option('--data <json>', "instead of a recipe: the data, as a recipe's data.validation")
    .addOption(new Option('--loss <kind>', 'instead of a recipe: the loss').choices(['cross-entropy', 'mse']))
    .option('--logits <name>', "instead of a recipe: the model's output the loss works on")
    .option('--batch-size <n>', 'examples per run', wholeNumber)
    .option('--threads <n>', 'threads one operator may use', wholeNumber)
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
Examples:
  $ onnx-ire evaluate runs/recipe/tuned.onnx recipe.json
  $ onnx-ire evaluate tuned.onnx recipe.json --on train
  $ onnx-ire evaluate tuned.onnx --loss cross-entropy \\
      --data '{ "kind": "idx", "images": "t10k-images", "labels": "t10k-labels", "image": { "size": 48, "channels": 3 } }'`,
    )
    .action(async (path: string, recipePath: string | undefined, options: Options) => {
      const [{ readModel }, { node }, { evaluateModel }, { lossOf }, { openData }] = await Promise.all([
        import('../node/model.js'),
        import('../node/runtime.js'),
        import('../train/evaluate.js'),
        import('../recipe/build.js'),
        import('./data.js'),
      ])
      const { place, recipe } =
        recipePath === undefined ? await fromOptions(options, command) : await fromRecipe(recipePath, options, command)
      const model = await readModel(path)
      const data = await openData(place, recipe.data, model, recipe.loss)
      const runtime = node({ threads: recipe.threads })
      try {
        const started = performance.now()
        const batchSize = recipe.batchSize === undefined ? {} : { batchSize: recipe.batchSize }
        const measures = await evaluateModel(model, data, { loss: lossOf(recipe.loss), runtime, ...batchSize })
        const seconds = (performance.now() - started) / 1000
        const { loss, accuracy, count: labelled } = measures
        print(
          { model: path, ...measures, examples: data.length, seconds, runtime: runtime.description },
          options.json,
          () => {
            const share = accuracy === undefined ? '' : `, accuracy ${(100 * accuracy).toFixed(2)} %`
            const over = labelled === data.length ? '' : ` (${plural(labelled, 'value')})`
            return `${path}: loss ${count(loss)}${share} over ${plural(data.length, 'example')}${over} in ${duration(seconds)}, ${runtime.description}`
          },
        )
      } finally {
        await runtime.dispose()
      }
    })
}

interface Chosen {
  readonly place: string
  readonly recipe: EvaluationRecipe
}

async function fromRecipe(path: string, options: Options, command: Command): Promise<Chosen> {
  if (options.data !== undefined || options.loss !== undefined || options.logits !== undefined) {
    command.error('error: --data, --loss and --logits stand in for a recipe; change a recipe with --set', {
      exitCode: 2,
    })
  }
  const { readRecipe } = await import('./recipe-file.js')
  const recipe = await readRecipe(path, options.set)
  const data = recipe.data[options.on]
  if (data === undefined) {
    command.error(`error: ${path} has no data.${options.on}; add it, or use --on train`, { exitCode: 2 })
  }
  const { batchSize = recipe.batchSize, threads = recipe.threads } = options
  return { place: `data.${options.on}`, recipe: { loss: recipe.loss, data, ...machine({ batchSize, threads }) } }
}

async function fromOptions(options: Options, command: Command): Promise<Chosen> {
  const { data, loss, logits } = options
  if (data === undefined || loss === undefined) {
    command.error('error: give a recipe, or both --data and --loss', { exitCode: 2 })
  }
  if (options.set.length > 0) command.error('error: --set changes a recipe, and none is given', { exitCode: 2 })
  const { checkEvaluation, parseJson } = await import('../recipe/parse.js')
  const { mapSourcePaths } = await import('../recipe/paths.js')
  const output = logits === undefined ? {} : loss === 'mse' ? { output: logits } : { logits }
  const recipe = checkEvaluation({ data: parseJson(data), loss: { kind: loss, ...output }, ...machine(options) })
  return { place: '--data', recipe: { ...recipe, data: mapSourcePaths(recipe.data, (path) => resolve(path)) } }
}

const machine = ({
  batchSize,
  threads,
}: {
  readonly batchSize?: number | undefined
  readonly threads?: number | undefined
}) => ({
  ...(batchSize === undefined ? {} : { batchSize }),
  ...(threads === undefined ? {} : { threads }),
})
