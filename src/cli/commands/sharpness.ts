import { join } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  type Flatness,
  type FlatnessOptions,
  type FlatnessProgress,
  measureFlatness,
} from '../../analysis/flatness/measure.js'
import { LossSurface } from '../../analysis/flatness/surface.js'
import { subset } from '../../data/dataset.js'
import { takeExamples } from '../../data/split-stream.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { writeFileAtomic } from '../../node/files.js'
import { makeFolder } from '../../node/folder.js'
import { readModel } from '../../node/model.js'
import { landscape, requirePlots, spectrum } from '../../node/plot.js'
import { createLoss } from '../../recipe/loss.js'
import { Random } from '../../util/random.js'
import { type Counter, counterOn } from '../counter.js'
import { type DataOptions, selectData } from '../inputs/select-data.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print } from '../io.js'
import {
  type CliProvider,
  collect,
  createRuntime,
  parseList,
  parsePositiveInteger,
  providerOption,
} from '../options.js'
import { formatFlatness } from '../text/flatness.js'
import { formatCount, formatDuration } from '../text/format.js'

interface Options extends Omit<DataOptions, 'metrics'> {
  readonly trace?: true
  readonly eigenvalues?: number
  readonly density?: true
  readonly sam?: number
  readonly landscape?: number
  readonly plot?: string
  readonly examples?: number
  readonly trainable?: readonly string[]
  readonly method?: 'exact' | 'differences'
  readonly seed?: number
  readonly batchSize?: number
  readonly threads?: number
  readonly provider: CliProvider
  readonly quiet?: true
  readonly json?: true
}

export function defineSharpness(program: Command, io: Io): void {
  const command = program
    .command('sharpness')
    .description('measure how flat the loss is around a model: curvature, sharpness, landscape')
    .argument('<model>', 'an ONNX file')
    .argument('[recipe]', 'the recipe that says which data and which loss')
    .option('--trace', "the Hessian's trace, by random probes")
    .option('--eigenvalues <k>', 'its k largest eigenvalues', parsePositiveInteger)
    .option('--density', 'the density of its eigenvalues')
    .option('--sam <rho>', 'the rise of the loss within rho: along the gradient, and on average', positive)
    .option(
      '--landscape <n>',
      'the loss on n x n points of a plane along filter-normalised directions',
      parsePositiveInteger,
    )
    .option('--plot <folder>', 'draw --density and --landscape as SVG files in this folder')
    .option('--examples <n>', 'measure on so many examples, drawn at random (default: all)', parsePositiveInteger)
    .addOption(
      new Option('--on <data>', "which of the recipe's data").choices(['train', 'validation']).default('train'),
    )
    .option('--set <path=value>', 'change a field of the recipe; may be repeated', collect, [])
    .option('--data <json>', "instead of a recipe: the data, as a recipe's data.train")
    .option('--loss <kind|json>', "instead of a recipe: the loss, by its kind or as a recipe's loss")
    .option('--logits <name>', "instead of a recipe: the model's output the loss works on")
    .option('--trainable <names>', 'the tensors to vary, with commas between; * stands for any characters', parseList)
    .addOption(
      new Option('--method <method>', 'Hessian-vector products: default exact where that can be').choices([
        'exact',
        'differences',
      ]),
    )
    .option('--seed <n>', 'decides all that is drawn (default: 0)', seed)
    .option('--batch-size <n>', 'examples per run', parsePositiveInteger)
    .option('--threads <n>', 'threads one operator may use', parsePositiveInteger)
    .addOption(providerOption())
    .option('--quiet', 'no progress')
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
Without a choice: the trace, 5 eigenvalues and the rise within 0.05. The Hessian is that of the mean loss by the tensors in weight
positions (or --trainable), in the evaluation form. Error bars say how well it is known for these examples; other examples
have another one. Ctrl-C ends after the batch in progress and prints what is complete. Plots need echarts: npm install echarts

Examples:
  $ onnx-ire sharpness runs/recipe/tuned.onnx recipe.json
  $ onnx-ire sharpness tuned.onnx recipe.json --examples 512 --eigenvalues 10 --density --landscape 21 --plot flatness
  $ onnx-ire sharpness tuned.onnx --loss cross-entropy --trace --sam 0.1 \\
      --data '{ "kind": "idx", "images": "t10k-images", "labels": "t10k-labels", "image": { "size": 48, "channels": 3 } }'`,
    )
    .action(async (path: string, recipePath: string | undefined, options: Options) => {
      if (options.plot !== undefined && !options.density && options.landscape === undefined) {
        command.error('error: --plot draws --density and --landscape; give one of them', { exitCode: 2 })
      }
      await measure(io, path, recipePath, options, command)
    })
}

async function measure(io: Io, path: string, recipePath: string | undefined, options: Options, command: Command) {
  const choose = await selectData(recipePath, options, command)
  const plots = options.plot === undefined ? undefined : await plotsIn(options.plot)
  const model = await readModel(path)
  const chosen = await choose(model)
  const { recipe } = chosen
  const { batchSize = recipe.batchSize, threads = recipe.threads, trainable = recipe.trainable } = options
  const seed = options.seed ?? recipe.seed ?? 0
  const data = await sampled(chosen.data, options.examples, seed)
  const runtime = await createRuntime(options.provider, threads)
  const progress = await progressOn(io, options.quiet ?? false, data.length)
  const interrupts = onInterrupt(io, () => progress.note('stopping after this batch; once more to quit at once'))
  try {
    const started = performance.now()
    const surface = LossSurface.of(model, data, {
      loss: createLoss(recipe.loss),
      runtime,
      ...(batchSize === undefined ? {} : { batchSize }),
      ...(trainable === undefined ? {} : { trainable }),
      ...(options.method === undefined ? {} : { method: options.method }),
    })
    const { signal } = interrupts
    const found = await measureFlatness(surface, { ...measures(options), seed, signal, onProgress: progress.at })
    progress.stop()
    const drawn = (await plots?.(found)) ?? []
    const seconds = (performance.now() - started) / 1000
    const about = { model: path, examples: progress.examples, seconds, runtime: runtime.description }
    print(io, { ...about, ...found, plots: drawn }, options.json, () =>
      [
        ...formatFlatness(found),
        ...drawn.map((file) => `drew ${file}`),
        `${path}: ${formatCount(found.parameters, 'parameter')}, ${formatCount(about.examples, 'example')}, products ${found.method === 'exact' ? 'exact' : 'by differences'}, ${found.interrupted ? 'interrupted after' : 'in'} ${formatDuration(seconds)}, ${runtime.description}`,
      ].join('\n'),
    )
    if (found.interrupted) throw new Interrupted()
  } finally {
    interrupts.release()
    progress.stop()
    await runtime.dispose()
  }
}

function measures({ trace, eigenvalues, density, sam, landscape }: Options): FlatnessOptions {
  const chosen = {
    ...(trace ? { trace } : {}),
    ...(eigenvalues === undefined ? {} : { eigenvalues: { count: eigenvalues } }),
    ...(density ? { density } : {}),
    ...(sam === undefined ? {} : { sharpness: { rho: sam } }),
    ...(landscape === undefined ? {} : { landscape: { points: landscape } }),
  }
  return Object.keys(chosen).length > 0 ? chosen : { trace: true, eigenvalues: true, sharpness: true }
}

/** So many examples at random; of a stream the first ones. */
async function sampled(data: DatasetOrStream, examples: number | undefined, seed: number): Promise<DatasetOrStream> {
  if (examples === undefined || (data.length !== undefined && data.length <= examples)) return data
  if (!('batch' in data)) return takeExamples(data, examples)
  return subset(data, new Random(seed).stream('examples').permutation(data.length).slice(0, examples).sort())
}

/** Makes the folder and finds echarts now; what it returns draws there. */
async function plotsIn(folder: string): Promise<(found: Flatness) => Promise<string[]>> {
  await requirePlots()
  await makeFolder(folder)
  return async ({ density, eigenvalues, landscape: plane }) => {
    const files: string[] = []
    const write = async (name: string, svg: string) => {
      files.push(join(folder, name))
      await writeFileAtomic(join(folder, name), svg)
    }
    if (density)
      await write(
        'spectrum.svg',
        await spectrum(
          density,
          eigenvalues?.largest.map(({ value }) => value),
        ),
      )
    if (plane) await write('landscape.svg', await landscape(plane))
    return files
  }
}

/** A counter of examples per measure. */
async function progressOn(io: Io, quiet: boolean, length: number | undefined) {
  let [measure, counter, examples] = ['', undefined as Counter | undefined, length ?? 0]
  const note = (text: string) => {
    counter?.stop()
    if (!quiet) io.stderr.write(`${text}\n`)
  }
  return {
    note,
    get examples() {
      return examples
    },
    at(progress: FlatnessProgress) {
      examples = Math.max(examples, progress.examples)
      if (progress.measure !== measure) {
        measure = progress.measure
        note(`${measure}: at most ${progress.passes} passes over the data`)
        counter = counterOn(io.stderr, quiet, length === undefined ? undefined : progress.passes * length)
      }
      counter?.at((progress.pass - 1) * (length ?? examples) + progress.examples)
    },
    stop: () => counter?.stop(),
  }
}

function positive(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('It must be a number above 0.')
}

function seed(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw new InvalidArgumentError('It must be a whole number from 0 on.')
}
