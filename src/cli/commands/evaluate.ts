import type { Command } from 'commander'
import { metrics as metricsByName } from '../../metric/registry.js'
import { readModel } from '../../node/files/model.js'
import { createMetrics, passOptions } from '../../recipe/build.js'
import { createLoss } from '../../recipe/loss.js'
import { measuredClassNames } from '../../recipe/usage.js'
import { evaluateModel } from '../../train/evaluate.js'
import { formatCount, formatDuration, formatMetricsLine, formatMetricTables } from '../format.js'
import { addDataOptions, type DataOptions, selectData } from '../inputs/select-data.js'
import { type Io, print, writeText } from '../io.js'
import { addRuntimeOptions, createRuntime, listNames, parseList, type RuntimeOptions } from '../options.js'
import { createExampleCounter } from '../progress.js'
import { findRunFiles, readTrainedModel } from '../training/run-record.js'

/** Defines `onnx-ire evaluate`. */
export function defineEvaluate(program: Command, io: Io): void {
  const command = program
    .command('evaluate')
    .description('measure the loss and other metrics of a model, with stock onnxruntime')
    .argument('<model>', 'an ONNX file, or a run folder')
    .argument('[recipe]', 'a recipe with the data and the loss (default: that of the run folder)')
    .option('--metrics <names>', 'metrics by name, comma-separated', parseList)
  addDataOptions(command, 'validation')
  addRuntimeOptions(command)
  command
    .addHelpText(
      'after',
      `
Metrics (docs/losses-and-metrics.md has their meaning):
${listNames([...Object.keys(metricsByName), 'top<k>'])}.
Without --metrics: the metrics of the recipe, else accuracy if the loss compares classes.

Examples:
  $ onnx-ire evaluate runs/recipe
  $ onnx-ire evaluate runs/recipe/tuned.onnx recipe.json
  $ onnx-ire evaluate tuned.onnx recipe.json --on train --metrics accuracy,perClass,confusion
  $ onnx-ire evaluate tuned.onnx --loss cross-entropy \\
      --data '{ "kind": "idx", "images": "t10k-images", "labels": "t10k-labels", "image": { "size": 48, "channels": 3 } }'
  $ onnx-ire evaluate tuned.onnx --loss '{ "kind": "huber", "delta": 2 }' --metrics mae,r2 \\
      --data '{ "kind": "csv", "file": "houses.csv", "tensors": { "x": "*", "targets": ["price"] } }'`,
    )
    .action(async (given: string, recipePath: string | undefined, options: DataOptions & RuntimeOptions) => {
      const run = findRunFiles(given)
      const path = run?.model ?? given
      const openSelectedData = await selectData(recipePath ?? run?.recipe, options, command)
      const model = await (run ? readTrainedModel(run, io.stderr) : readModel(path))
      const { data, recipe, warning, ...selected } = await openSelectedData(model)
      const classes = measuredClassNames(recipe, selected.classes)
      if (warning !== undefined) writeText(io.stderr, `warning: ${warning}\n`)
      const metrics = createMetrics(recipe)
      const { batchSize = recipe.batchSize, threads = recipe.threads, quiet = false } = options
      const runtime = await createRuntime(options.provider, threads)
      const counter = createExampleCounter(io.stderr, quiet, data.length)
      try {
        const started = performance.now()
        let examples = 0
        const measures = await evaluateModel(model, data, {
          loss: createLoss(recipe.loss),
          runtime,
          ...passOptions(recipe),
          ...(metrics ? { metrics } : {}),
          ...(batchSize === undefined ? {} : { batchSize }),
          onBatch(seen) {
            examples = seen
            counter.at(seen)
          },
        })
        counter.stop()
        const seconds = (performance.now() - started) / 1000
        const warnings = warning === undefined ? {} : { warnings: [warning] }
        const result = { model: path, ...measures, examples, seconds, runtime: runtime.description, ...warnings }
        print(io, { ...result, ...(Object.keys(classes).length > 0 ? { classes } : {}) }, options.json, () => {
          const values = measures.count === examples ? '' : ` (${formatCount(measures.count, 'value')})`
          const summary = `${path}: ${formatMetricsLine(measures)} over ${formatCount(examples, 'example')}${values} in ${formatDuration(seconds)}, ${runtime.description}`
          return [...formatMetricTables(measures, classes), summary].join('\n')
        })
      } finally {
        counter.stop()
        await runtime.dispose()
      }
    })
}
