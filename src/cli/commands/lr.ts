import type { Command } from 'commander'
import { findLearningRate, type LearningRatePoint, type LearningRateTest } from '../../sweep/find-learning-rate.js'
import { usageError } from '../errors.js'
import { formatCount, formatTable } from '../format.js'
import { readRecipe } from '../inputs/read-recipe.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print } from '../io.js'
import {
  type CliProvider,
  createRuntime,
  jsonOption,
  parsePositiveInteger,
  parsePositiveNumber,
  providerOption,
  setOption,
} from '../options.js'
import { createStageProgress } from '../progress.js'
import { openTraining } from '../training/open-training.js'

interface Options {
  readonly set: readonly string[]
  readonly from: number
  readonly to: number
  readonly steps: number
  readonly provider: CliProvider
  readonly quiet?: true
  readonly json?: true
}

/** Defines `onnx-ire lr`. */
export function defineLr(program: Command, io: Io): void {
  const command = program
    .command('lr')
    .description(
      'suggest a learning rate for a recipe: a short training with a rate that rises until the loss diverges',
    )
    .argument('<recipe>', 'a JSON file, or the name of a recipe of the package')
    .addOption(setOption('change a field of the recipe'))
    .option('--from <rate>', 'the learning rate of the first step', parsePositiveNumber, 1e-7)
    .option('--to <rate>', 'the learning rate of the last step', parsePositiveNumber, 10)
    .option('--steps <n>', 'the number of steps', parsePositiveInteger, 100)
    .addOption(providerOption())
    .option('--quiet', 'show no progress')
    .addOption(jsonOption())
  command
    .addHelpText(
      'after',
      `
The learning rate rises by the same factor at every step, those of groups in proportion, and the schedule of
the recipe is not used. The suggestion is the rate at which the smoothed loss falls fastest, before its least
value. The test ends if the running mean of the loss exceeds four times its least value, or the loss is not
finite. It writes no files. The suggestion is a start: compare it with half and twice the rate, as the last
example does.

Examples:
  $ onnx-ire lr recipe.json
  $ onnx-ire lr recipe.json --set optimizer.ire=null --steps 200 --to 1
  $ onnx-ire sweep recipe.json --over optimizer.lr=1e-3,2e-3,4e-3`,
    )
    .action(async (path: string, options: Options) => {
      const { from, to, steps, quiet = false, json } = options
      if (to <= from) usageError(command, `--to is ${to}, and --from is ${from}: rates rise, so give --to above --from`)
      if (steps < 5) usageError(command, `--steps is ${steps}; it must be at least 5`)
      const recipe = await readRecipe(path, options.set)
      const { model, data, options: trainer } = await openTraining(recipe)
      const runtime = await createRuntime(options.provider, recipe.threads)
      const progress = createStageProgress(io.stderr, quiet)
      const interrupts = onInterrupt(io, () => {})
      progress.note(`testing learning rates from ${from} to ${to} in ${formatCount(steps, 'step')}`)
      progress.stage('learning rates', steps)
      try {
        const test = await findLearningRate(model, data, {
          ...trainer,
          ...{ runtime, from, to, steps, signal: interrupts.signal },
          onStep: ({ step }) => progress.at(step + 1),
        })
        progress.stop()
        const interrupted = interrupts.signal.aborted
        print(io, { ...test, rule, interrupted }, json, () => formatTest(test, interrupted))
        if (interrupted) throw new Interrupted()
      } finally {
        interrupts.release()
        progress.stop()
        await runtime.dispose()
      }
    })
}

const rule = 'the rate at which the smoothed loss falls fastest, before its least value'

/** Number of rows of the table. */
const rows = 20

function formatTest({ points, suggestion, minimum, diverged }: LearningRateTest, interrupted: boolean): string {
  const shown = points.filter((_, i) => i % Math.ceil(points.length / rows) === 0)
  const until = interrupted ? ', interrupted' : diverged ? ', until the loss diverged' : ''
  const end = `${formatCount(points.length, 'step')}${until}`
  const result =
    suggestion === null
      ? interrupted
        ? 'no suggestion: the test was interrupted before the loss fell'
        : 'no suggestion: the loss does not fall at any of these rates; check data and labels, or start with a lower --from'
      : `suggestion${interrupted ? ' so far' : ''}: ${formatRate(suggestion)}, ${rule} (${formatRate(minimum!)})`
  return [
    formatTable(
      ['lr', 'loss', ''],
      shown.map((point) => [formatRate(point.lr), point.smoothed, bar(point, points)]),
    ),
    end,
    result,
  ].join('\n')
}

const formatRate = (rate: number): string => String(Number(rate.toPrecision(3)))

/** A bar for the smoothed loss of a step, between the least and the first one. */
function bar({ smoothed }: LearningRatePoint, points: readonly LearningRatePoint[]): string {
  const least = Math.min(...points.map((point) => point.smoothed))
  const share = (smoothed - least) / (points[0]!.smoothed - least || 1)
  return '█'.repeat(Math.round(30 * Math.min(Math.max(share, 0), 1)))
}
