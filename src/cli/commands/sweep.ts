import { basename, dirname, extname, resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { OnnxIreError } from '../../util/errors.js'
import { refuseOptions, usageError } from '../errors.js'
import { formatMetric } from '../format.js'
import { readRecipe } from '../inputs/read-recipe.js'
import { Interrupted } from '../interrupts.js'
import { type Io, print } from '../io.js'
import {
  type CliProvider,
  jsonOption,
  parseList,
  parseNonNegativeInteger,
  parsePositiveInteger,
  providerOption,
  repeatedOption,
  setOption,
} from '../options.js'
import { createStageProgress } from '../progress.js'
import { compareIre, formatComparison } from '../sweep/compare-ire.js'
import { createHeatMap, formatHeatMap, formatTrials } from '../sweep/format-sweep.js'
import { formatValues } from '../sweep/format-trial.js'
import { parseOver } from '../sweep/parse-over.js'
import { runSweep } from '../sweep/run-sweep.js'
import { parseBytes } from '../training/check-room.js'
import { monitoredMetric } from './train.js'

interface Options {
  readonly over: readonly string[]
  readonly set: readonly string[]
  readonly trials?: number
  readonly halving?: number
  readonly seed: number
  readonly metric?: string
  readonly map?: readonly string[]
  readonly compare?: 'ire'
  readonly seeds: number
  readonly out?: string
  readonly resume?: true
  readonly force?: true
  readonly jobs?: number
  readonly memory?: number
  readonly provider: CliProvider
  readonly quiet?: true
  readonly json?: true
}

/** Defines `onnx-ire sweep`. */
export function defineSweep(program: Command, io: Io): void {
  const command = program
    .command('sweep')
    .description('train a recipe with several values of its fields, and find the best')
    .argument('<recipe>', 'a JSON file, or the name of a recipe of the package')
    .addOption(
      repeatedOption('--over <path=values>', 'field of the recipe and its values, separated by commas, or from..to'),
    )
    .addOption(setOption('change a field of the recipe for all trials'))
    .option('--trials <n>', 'train this many combinations, chosen at random (default: all)', parsePositiveInteger)
    .option(
      '--halving <factor>',
      'successive halving: train all combinations for a share of the run, and 1 of <factor> of them longer, until the end',
      parsePositiveInteger,
    )
    .option('--seed <n>', 'seed of the choice of --trials', parseNonNegativeInteger, 0)
    .option(
      '--metric <name>',
      'validation metric to compare (default: that of best, earlyStopping or the schedule, else loss)',
    )
    .addOption(
      new Option(
        '--compare <what>',
        'ire: tune the base optimizer, then IRE, with equally many trials, and compare both with other seeds',
      ).choices(['ire']),
    )
    .option('--seeds <n>', 'number of seeds of --compare', parsePositiveInteger, 3)
    .option('--map <paths>', 'the two fields of the heat map, comma-separated (default: the last two)', parseList)
    .option(
      '--out <folder>',
      'the folder of the sweep (default: runs/<recipe>-sweep beside the recipe; with --compare runs/<recipe>-ire)',
    )
    .option('--resume', 'continue an interrupted sweep: finished trials are not repeated')
    .option('--force', 'replace the sweep in the folder')
    .option('--jobs <n>', 'the most trials at the same time (default: one per core, on a GPU 1)', parsePositiveInteger)
    .option(
      '--memory <bytes>',
      'memory that all trials together may take, such as 4G; fewer run at the same time if it is too little (default: what is left of the container or the machine)',
      parseBytes,
    )
    .addOption(providerOption())
    .option('--quiet', 'show no progress')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Values are JSON or words; null removes the field. A range from..to needs --trials: values are sampled evenly
in the logarithm if both ends are above 0, and are integers if both ends are written as integers. The score of
a trial is the metric of its exported weights on the validation data. A trial that diverges or fails is a row
of the table.

Files in the folder: sweep.json, the results so far; a run folder trial-<n> per combination, which train,
evaluate, predict and export read; and best.json, the recipe of the best trial. Each trial is a run of its own
in one of several processes, with the cores divided among them. With --halving a trial pauses and is resumed,
with the schedule of the whole run: the result is that of an uninterrupted run.

With --compare ire, --over lists fields of the base optimizer and of optimizer.ire (default: lr by factors of
two around that of the recipe; kappa 1, 2 and gamma 0.6, 0.8). The base is tuned first, then IRE at its best
values and at half of its best lr, then the base near its best values with as many trials as IRE had. Both
train with the seeds after that of the recipe, and the difference is printed with its 95 % interval. The five
sweeps are folders in the folder of the sweep.

Examples:
  $ onnx-ire sweep recipe.json --over optimizer.lr=1e-4,3e-4,1e-3 --over optimizer.ire.kappa=1,2,4
  $ onnx-ire sweep recipe.json --over optimizer.lr=1e-5..1e-2 --over batchSize=16,32,64 --trials 20 --metric accuracy
  $ onnx-ire sweep recipe.json --over optimizer.lr=1e-5..1e-2 --trials 27 --halving 3
  $ onnx-ire sweep recipe.json --over optimizer.kind=adamw,lion --resume
  $ onnx-ire sweep recipe.json --compare ire --over optimizer.lr=1e-4,3e-4,1e-3 --over optimizer.ire.kappa=1,2,4
  $ onnx-ire train runs/recipe-sweep/best.json --set seed=1 --out runs/best-1`,
    )
    .action(async (path: string, options: Options) => {
      if (options.over.length === 0 && !options.compare) usageError(command, 'name at least one field with --over')
      if (options.resume && options.force)
        usageError(command, '--resume continues the sweep in the folder, --force replaces it: give one of them')
      if (options.halving === 1) usageError(command, '--halving must be at least 2')
      if (options.compare && options.map) usageError(command, '--map is for a sweep without --compare')
      if (!options.compare) refuseOptions(command, ['seeds'], 'is for --compare')
      if (options.trials === undefined && !options.compare)
        refuseOptions(command, ['seed'], 'is for --trials, which chooses at random')
      if (options.seeds < 2) usageError(command, '--seeds must be at least 2, for an interval')
      if (options.map && options.map.length !== 2) usageError(command, '--map takes two fields')
      await sweepRecipe(io, path, options)
    })
}

/** The folder of a sweep if no option sets it. */
const defaultSweepFolder = (path: string, what: string): string =>
  resolve(dirname(path), 'runs', `${basename(path, extname(path))}-${what}`)

async function sweepRecipe(io: Io, path: string, options: Options): Promise<void> {
  const { trials, halving, seed, json } = options
  const over = parseOver(options.over)
  const [range] = Object.entries(over).find(([, axis]) => !Array.isArray(axis)) ?? []
  if (range !== undefined && trials === undefined)
    throw new OnnxIreError('invalid-option', `--over ${range} is a range: set --trials, the number of values to sample`)
  const unknown = options.map?.find((name) => !Object.hasOwn(over, name))
  if (unknown !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `--map: the sweep has no axis '${unknown}'; it has ${Object.keys(over).join(', ')}`,
    )
  const read = (assignments: readonly string[]) => readRecipe(path, [...options.set, ...assignments])
  const metric = options.metric ?? monitoredMetric(await read([]))
  const request = {
    ...{
      io,
      readRecipe: read,
      folder: options.out ?? defaultSweepFolder(path, options.compare ?? 'sweep'),
      provider: options.provider,
    },
    plan: {
      over,
      seed,
      metric,
      ...(trials === undefined ? {} : { trials }),
      ...(halving === undefined ? {} : { halving }),
    },
    ...{ resume: options.resume ?? false, force: options.force ?? false, jobs: options.jobs, memory: options.memory },
    progress: createStageProgress(io.stderr, options.quiet ?? false),
  }
  if (options.compare) {
    const comparison = await compareIre({ ...request, seeds: options.seeds })
    print(io, comparison, json, () => formatComparison(comparison))
    if (comparison.interrupted) throw new Interrupted()
    return
  }
  const result = await runSweep(request)
  const { mode, best, interrupted } = result
  const map = createHeatMap(result.trials, mode, options.map)
  print(io, { ...result, map }, json, () => {
    const done = `${result.trials.length} of ${result.combinations} combinations`
    const end = interrupted
      ? `interrupted after ${done}; continue with the same command and --resume`
      : best
        ? `best: trial ${best.index + 1}, ${formatValues(best.values)}: ${metric} ${formatMetric(metric, best.score!)}; its recipe is ${best.recipe}`
        : 'all trials have failed'
    return [
      ...(result.trials.length > 0 ? [formatTrials(result)] : []),
      ...(map && !interrupted ? [formatHeatMap(map, metric, mode)] : []),
      end,
    ].join('\n\n')
  })
  if (interrupted) throw new Interrupted()
}
