import type { Command } from 'commander'
import { writeFileAtomic } from '../../node/files/files.js'
import { requirePlots } from '../../node/plot.js'
import { refuseOptions } from '../errors.js'
import { formatBytes, formatCount } from '../format.js'
import { type Io, print } from '../io.js'
import { type CliProvider, createRuntime, jsonOption, parsePositiveInteger, providerOption } from '../options.js'
import { listDataFiles, prepareOutputs } from '../outputs.js'
import { predictExamples, type ShownExamples } from '../report/predict-examples.js'
import { writeReport } from '../report/write-report.js'
import { findRuns, listRunFiles, readRuns, type StoredRun } from '../runs/read-run.js'

interface Options {
  readonly output: string
  readonly examples?: number
  readonly provider: CliProvider
  readonly json?: true
}

/** Defines `onnx-ire plot`. */
export function definePlot(program: Command, io: Io): void {
  const command = program
    .command('plot')
    .description('write a report about runs: one HTML file with curves, tables and matrices, without a network')
    .argument('<runs...>', 'run folders, or folders with run folders in them')
    .requiredOption('-o, --output <file>', 'path of the report')
    .option(
      '--examples <n>',
      'held-out examples of each run to predict and show: the worst ones, and others (default: none)',
      parsePositiveInteger,
    )
    .addOption(providerOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The report contains losses, metrics, learning rate, gradient norm, time and memory of all runs in common
charts. For each run: the measures of its tensors, if it was trained with --measure-every; the confusion
matrix, if it is among the metrics of the recipe; and flatness.json of the run folder, if sharpness was
written to it. With --examples, tuned.onnx of each finished run predicts the validation data of its recipe.
The worst examples are those whose label has the lowest probability; for targets that are not one class per
example (several yes-or-no questions, numbers, masks), those with the largest loss. Images are drawn as the
model reads them, with predicted and given masks. Charts need echarts: npm install echarts

Examples:
  $ onnx-ire plot runs/a runs/b -o report.html
  $ onnx-ire plot runs/a --examples 24 -o report.html
  $ onnx-ire train recipe.json --measure-every 50 --set 'metrics=["accuracy","confusion"]' && onnx-ire plot runs -o report.html
  $ onnx-ire sharpness runs/a/tuned.onnx runs/a/recipe.json --json > runs/a/flatness.json`,
    )
    .action(async (paths: string[], { output, examples, provider, json }: Options) => {
      if (examples === undefined) refuseOptions(command, ['provider'], 'is for --examples')
      requirePlots()
      const folders = await findRuns(paths)
      const runs = await readRuns(folders)
      await prepareOutputs({ files: [output] }, async () => [
        ...folders.flatMap(listRunFiles),
        ...(examples === undefined ? [] : (await Promise.all(runs.map(({ recipe }) => listDataFiles(recipe)))).flat()),
      ])
      const html = await writeReport(
        runs,
        examples === undefined ? undefined : await predictAll(runs, examples, provider),
      )
      await writeFileAtomic(output, html)
      const bytes = Buffer.byteLength(html)
      print(io, { output, bytes, runs: folders }, json, () => {
        const what = formatCount(folders.length, 'run')
        return `wrote ${output}: ${what}, ${formatBytes(bytes)}`
      })
    })
}

async function predictAll(runs: readonly StoredRun[], count: number, provider: CliProvider): Promise<ShownExamples[]> {
  const runtime = await createRuntime(provider, undefined)
  try {
    const examples: ShownExamples[] = []
    for (const run of runs) examples.push(await predictExamples(run, count, runtime))
    return examples
  } finally {
    await runtime.dispose()
  }
}
