import { type Command, Option } from 'commander'
import { readModel } from '../../node/model.js'
import { metricsOf } from '../../recipe/build.js'
import { createLoss } from '../../recipe/loss.js'
import { evaluateModel } from '../../train/evaluate.js'
import { counterOn } from '../counter.js'
import { type DataOptions, selectData } from '../inputs/select-data.js'
import { type Io, print } from '../io.js'
import {
  type CliProvider,
  collect,
  createRuntime,
  parseList,
  parsePositiveInteger,
  providerOption,
} from '../options.js'
import { formatCount, formatDuration } from '../text/format.js'
import { formatMetricsLine, formatMetricTables } from '../text/metrics.js'

interface Options extends DataOptions {
  readonly batchSize?: number
  readonly threads?: number
  readonly provider: CliProvider
  readonly quiet?: true
  readonly json?: true
}

export function defineEvaluate(program: Command, io: Io): void {
  const command = program
    .command('evaluate')
    .description('measure the loss and other metrics of a model, in stock onnxruntime')
    .argument('<model>', 'an ONNX file')
    .argument('[recipe]', 'the recipe that says which data and which loss')
    .addOption(
      new Option('--on <data>', "which of the recipe's data").choices(['train', 'validation']).default('validation'),
    )
    .option('--set <path=value>', 'change a field of the recipe; may be repeated', collect, [])
    .option('--data <json>', "instead of a recipe: the data, as a recipe's data.validation")
    .option('--loss <kind|json>', "instead of a recipe: the loss, by its kind or as a recipe's loss")
    .option('--logits <name>', "instead of a recipe: the model's output the loss works on")
    .option('--metrics <names>', 'what to measure, by name, with commas between', parseList)
    .option('--batch-size <n>', 'examples per run', parsePositiveInteger)
    .option('--threads <n>', 'threads one operator may use', parsePositiveInteger)
    .addOption(providerOption())
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
      const choose = await selectData(recipePath, options, command)
      const model = await readModel(path)
      const { data, classes, recipe } = await choose(model)
      const metrics = metricsOf(options.metrics ? { metrics: options.metrics } : recipe)
      const { batchSize = recipe.batchSize, threads = recipe.threads, quiet = false } = options
      const runtime = await createRuntime(options.provider, threads)
      const counter = counterOn(io.stderr, quiet, data.length)
      try {
        const started = performance.now()
        let examples = 0
        const measures = await evaluateModel(model, data, {
          loss: createLoss(recipe.loss),
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
        print(io, { ...result, ...(Object.keys(classes).length > 0 ? { classes } : {}) }, options.json, () => {
          const over = measures.count === examples ? '' : ` (${formatCount(measures.count, 'value')})`
          const summary = `${path}: ${formatMetricsLine(measures)} over ${formatCount(examples, 'example')}${over} in ${formatDuration(seconds)}, ${runtime.description}`
          return [...formatMetricTables(measures, classes), summary].join('\n')
        })
      } finally {
        counter.stop()
        await runtime.dispose()
      }
    })
}
