import { dirname, relative, resolve, sep } from 'node:path'
import type { Command } from 'commander'
import { writeFileAtomic } from '../../node/files/files.js'
import type { Recipe } from '../../recipe/recipe.js'
import { mapPaths } from '../../recipe/resolve.js'
import { usageError } from '../errors.js'
import { formatCount, formatNumber, formatTable, quotePath } from '../format.js'
import { loadModel, readRecipe } from '../inputs/read-recipe.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print, writeText } from '../io.js'
import { writeLabelPage } from '../labels/label-page.js'
import { type MeasuredLabels, measureLabels } from '../labels/measure-labels.js'
import {
  type CliProvider,
  jsonOption,
  parseNumber,
  parsePositiveInteger,
  providerOption,
  setOption,
} from '../options.js'
import { listDataFiles, listInitialFiles, listRecipeFile, prepareOutputs } from '../outputs.js'
import { createTrainingProgress } from '../progress.js'
import { findRunFiles } from '../training/run-record.js'

interface Options {
  readonly set: readonly string[]
  readonly top: number
  readonly below: number
  readonly html?: string
  readonly drop?: string
  readonly provider: CliProvider
  readonly quiet?: true
  readonly json?: true
}

/** Defines `onnx-ire labels`. */
export function defineLabels(program: Command, io: Io): void {
  const command = program
    .command('labels')
    .description('list training examples whose labels may be wrong')
    .argument('<run|recipe>', 'a run folder, a JSON file, or the name of a recipe of the package')
    .addOption(setOption('change a field of the recipe'))
    .option('--top <n>', 'number of examples to list', parsePositiveInteger, 50)
    .option('--below <margin>', 'margin below which an example is a suspect', parseNumber, 0)
    .option('--html <file>', 'write a page with the listed examples and thumbnails of their images')
    .option('--drop <file>', 'write the recipe with all suspects in data.exclude')
    .addOption(providerOption())
    .option('--quiet', 'show no progress')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Trains the recipe once more, and evaluates the training examples, without augmentation, after every epoch (or
evaluateEvery steps). The margin of an example is the score of its label minus the highest other score, as
logits, in the mean over the evaluations (area under the margin). A network learns wrong labels last: examples
with a margin below 0 are suspects. Hard examples have low margins too, and after few epochs many have: look
at the list before you drop them, and lower --below if it is too long.

Examples:
  $ onnx-ire labels runs/recipe
  $ onnx-ire labels recipe.json --set epochs=5 --top 200 --html suspects.html
  $ onnx-ire labels runs/recipe --drop cleaned.json
  $ onnx-ire train cleaned.json`,
    )
    .action(async (path: string, options: Options) => {
      const recipePath = findRunFiles(path)?.recipe ?? path
      const recipe = await readRecipe(recipePath, options.set)
      const files = [options.html, options.drop].filter((file) => file !== undefined)
      if (options.html !== undefined && options.drop !== undefined && resolve(options.html) === resolve(options.drop))
        usageError(command, '--html and --drop name the same file: choose another name for one of them')
      await prepareOutputs({ files }, async () => [
        ...listRecipeFile(recipePath),
        ...listInitialFiles(recipe, await loadModel(recipe)),
        ...(await listDataFiles(recipe)),
      ])
      const interrupts = onInterrupt(io, () => {})
      try {
        const progress = createTrainingProgress(io.stderr, options.quiet ?? false, 'loss')
        const measured = await measureLabels(recipe, {
          provider: options.provider,
          signal: interrupts.signal,
          progress,
        })
        await report(io, recipe, measured, options)
      } finally {
        interrupts.release()
      }
    })
}

async function report(io: Io, recipe: Recipe, measured: MeasuredLabels, options: Options): Promise<void> {
  const { labels, evaluations, interrupted } = measured
  const { html, drop, top, below, json } = options
  const listed = labels.slice(0, top)
  const suspects = labels.filter(({ margin }) => margin < below)
  if (html !== undefined && !interrupted)
    await writeFileAtomic(html, await writeLabelPage('Labels that may be wrong', listed))
  if (drop !== undefined && !interrupted) await writeFileAtomic(drop, withoutExamples(recipe, suspects, drop))
  const counts = { examples: labels.length, suspects: suspects.length, evaluations, interrupted }
  print(io, { ...counts, labels: listed }, json, () =>
    [
      ...(listed.length > 0
        ? [
            formatTable(
              ['example', 'label', 'preferred', 'margin'],
              listed.map(({ example, given, preferred, margin }) => [
                ...[example, given, preferred].map(String),
                Number(margin.toFixed(2)),
              ]),
            ),
          ]
        : []),
      `${formatNumber(suspects.length)} of ${formatCount(labels.length, 'example')} have a margin below ${below} over ${formatCount(evaluations, 'evaluation')}${interrupted ? '; interrupted' : ''}`,
      ...(html !== undefined && !interrupted ? [`wrote ${html}`] : []),
      ...(drop !== undefined && !interrupted
        ? [`wrote ${drop}, a recipe without them: onnx-ire train ${quotePath(drop)}`]
        : []),
    ].join('\n'),
  )
  if (interrupted) throw new Interrupted()
  if (suspects.length > labels.length / 4)
    writeText(
      io.stderr,
      `warning: more than a quarter of the labels are suspects, so the training was too short to judge them: raise epochs, or lower --below${drop === undefined ? '' : ` before you train ${drop}`}\n`,
    )
}

/** A recipe that excludes examples, as the text of a file. */
function withoutExamples(recipe: Recipe, suspects: MeasuredLabels['labels'], file: string): string {
  const { output: _, ...others } = recipe
  const exclude = [...(recipe.data.exclude ?? []), ...suspects.map(({ example }) => example)]
  const cleaned: Recipe = { ...others, data: { ...recipe.data, exclude } }
  const folder = dirname(resolve(file))
  const relativePaths = mapPaths(cleaned, (path) => (relative(folder, path) || '.').split(sep).join('/'))
  return `${JSON.stringify(relativePaths, null, 2)}\n`
}
