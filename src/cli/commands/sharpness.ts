import { join } from 'node:path'
import { type Command, Option } from 'commander'
import type { SpectralDensity } from '../../analysis/flatness/density.js'
import type { Eigenvalues } from '../../analysis/flatness/eigenvalues.js'
import type { Landscape } from '../../analysis/flatness/landscape.js'
import type { Flatness } from '../../analysis/flatness/measure.js'
import { type FlatnessOptions, type FlatnessProgress, measureFlatness } from '../../analysis/flatness/measure.js'
import type { Sharpness } from '../../analysis/flatness/sharpness.js'
import { LossSurface } from '../../analysis/flatness/surface.js'
import type { MeanEstimate } from '../../analysis/flatness/trace.js'
import { subset } from '../../data/dataset.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { takeExamples } from '../../data/stream.js'
import { writeFileAtomic } from '../../node/files/files.js'
import { makeFolder } from '../../node/files/make-folder.js'
import { listModelFiles, readModel } from '../../node/files/model.js'
import { plotLandscape, plotSpectrum, requirePlots } from '../../node/plot.js'
import { passOptions } from '../../recipe/build.js'
import { createLoss } from '../../recipe/loss.js'
import { Random } from '../../util/random.js'
import { usageError } from '../errors.js'
import { formatCount, formatDuration, formatNumber, formatTable } from '../format.js'
import { addDataOptions, type DataOptions, selectData } from '../inputs/select-data.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print, writeText } from '../io.js'
import {
  addRuntimeOptions,
  createRuntime,
  parseList,
  parseNonNegativeInteger,
  parsePositiveInteger,
  parsePositiveNumber,
  type RuntimeOptions,
} from '../options.js'
import { prepareOutputs } from '../outputs.js'
import { createExampleCounter, type ExampleCounter } from '../progress.js'
import { findRunFiles, readTrainedModel } from '../training/run-record.js'

interface Options extends Omit<DataOptions, 'metrics'>, RuntimeOptions {
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
}

/** Defines `onnx-ire sharpness`. */
export function defineSharpness(program: Command, io: Io): void {
  const command = program
    .command('sharpness')
    .description('measure how flat the loss is around a model: curvature, sharpness, landscape')
    .argument('<model>', 'an ONNX file, or a run folder')
    .argument('[recipe]', 'a recipe with the data and the loss (default: that of the run folder)')
    .option('--trace', 'trace of the Hessian, estimated with random probes')
    .option('--eigenvalues <k>', 'the k largest eigenvalues of the Hessian', parsePositiveInteger)
    .option('--density', 'density of the eigenvalues of the Hessian')
    .option('--sam <rho>', 'rise of the loss within rho: along the gradient, and on average', parsePositiveNumber)
    .option('--landscape <n>', 'loss on n x n points of a plane of filter-normalized directions', parsePositiveInteger)
    .option('--plot <folder>', 'write --density and --landscape as SVG files to this folder')
    .option('--examples <n>', 'measure on n random examples (default: all)', parsePositiveInteger)
    .option(
      '--trainable <names>',
      "tensors to vary, comma-separated; * matches any characters, and 'default' is what is trained by default",
      parseList,
    )
    .addOption(
      new Option('--method <method>', 'Hessian-vector products (default: exact if possible)').choices([
        'exact',
        'differences',
      ]),
    )
    .option('--seed <n>', 'seed of probes, directions and random examples (default: 0)', parseNonNegativeInteger)
  addDataOptions(command, 'train')
  addRuntimeOptions(command)
  command
    .addHelpText(
      'after',
      `
Default measures: the trace, 5 eigenvalues and the rise within 0.05. The Hessian is that of the mean loss with
respect to the trainable tensors (or --trainable), in inference mode. Error bars hold for these examples;
other examples have another Hessian. Ctrl-C stops after the current batch and prints the complete measures.
Plots need echarts: npm install echarts

Examples:
  $ onnx-ire sharpness runs/recipe
  $ onnx-ire sharpness runs/recipe/tuned.onnx recipe.json
  $ onnx-ire sharpness tuned.onnx recipe.json --examples 512 --eigenvalues 10 --density --landscape 21 --plot flatness
  $ onnx-ire sharpness tuned.onnx --loss cross-entropy --trace --sam 0.1 \\
      --data '{ "kind": "idx", "images": "t10k-images", "labels": "t10k-labels", "image": { "size": 48, "channels": 3 } }'`,
    )
    .action(async (given: string, recipePath: string | undefined, options: Options) => {
      if (options.plot !== undefined && !options.density && options.landscape === undefined)
        usageError(command, '--plot draws --density and --landscape; give one of them')
      await measure(io, given, recipePath, options, command)
    })
}

async function measure(
  io: Io,
  given: string,
  recipePath: string | undefined,
  options: Options,
  command: Command,
): Promise<void> {
  const run = findRunFiles(given)
  const path = run?.model ?? given
  const openSelectedData = await selectData(recipePath ?? run?.recipe, options, command)
  const writePlots = options.plot === undefined ? undefined : await preparePlots(options.plot)
  const model = await (run ? readTrainedModel(run, io.stderr) : readModel(path))
  const selected = await openSelectedData(model)
  if (options.plot !== undefined) {
    const files = Object.values(plotNames).map((name) => join(options.plot!, name))
    const inputs = async () => [...listModelFiles(path, model), ...(await selected.listFiles())]
    await prepareOutputs({ files }, inputs)
  }
  const { recipe } = selected
  const { batchSize = recipe.batchSize, threads = recipe.threads, trainable = recipe.trainable } = options
  const seed = options.seed ?? recipe.seed ?? 0
  const data = sampleExamples(selected.data, options.examples, seed)
  const runtime = await createRuntime(options.provider, threads)
  const progress = createProgress(io, options.quiet ?? false, data.length)
  const interrupts = onInterrupt(io, () =>
    progress.note('stopping after this batch; press Ctrl-C again to quit at once'),
  )
  try {
    const started = performance.now()
    const surface = LossSurface.of(model, data, {
      loss: createLoss(recipe.loss),
      runtime,
      ...passOptions(recipe),
      ...(batchSize === undefined ? {} : { batchSize }),
      ...(trainable === undefined ? {} : { trainable }),
      ...(options.method === undefined ? {} : { method: options.method }),
    })
    const { signal } = interrupts
    const flatness = await measureFlatness(surface, {
      ...requestedMeasures(options),
      seed,
      signal,
      onProgress: progress.at,
    })
    progress.stop()
    const plots = (await writePlots?.(flatness)) ?? []
    const seconds = (performance.now() - started) / 1000
    const about = { model: path, examples: progress.examples, seconds, runtime: runtime.description }
    print(io, { ...about, ...flatness, plots }, options.json, () =>
      [
        ...formatFlatness(flatness),
        ...plots.map((file) => `wrote ${file}`),
        `${path}: ${formatCount(flatness.parameters, 'parameter')}, ${formatCount(about.examples, 'example')}, products ${flatness.method === 'exact' ? 'exact' : 'by differences'}, ${flatness.interrupted ? 'interrupted after' : 'in'} ${formatDuration(seconds)}, ${runtime.description}`,
      ].join('\n'),
    )
    if (flatness.interrupted) throw new Interrupted()
  } finally {
    interrupts.release()
    progress.stop()
    await runtime.dispose()
  }
}

function requestedMeasures({ trace, eigenvalues, density, sam, landscape }: Options): FlatnessOptions {
  const requested = {
    ...(trace ? { trace } : {}),
    ...(eigenvalues === undefined ? {} : { eigenvalues: { count: eigenvalues } }),
    ...(density ? { density } : {}),
    ...(sam === undefined ? {} : { sharpness: { rho: sam } }),
    ...(landscape === undefined ? {} : { landscape: { points: landscape } }),
  }
  return Object.keys(requested).length > 0 ? requested : { trace: true, eigenvalues: true, sharpness: true }
}

/** Random examples of a data set, or the first examples of a stream. */
function sampleExamples(data: DatasetOrStream, examples: number | undefined, seed: number): DatasetOrStream {
  if (examples === undefined || (data.length !== undefined && data.length <= examples)) return data
  if (!('batch' in data)) return takeExamples(data, examples)
  return subset(data, new Random(seed).stream('examples').permutation(data.length).slice(0, examples).sort())
}

const plotNames = { density: 'spectrum.svg', landscape: 'landscape.svg' }

/**
 * Checks that echarts is installed and creates the folder, before anything is computed. Returns a function that plots.
 */
async function preparePlots(folder: string): Promise<(flatness: Flatness) => Promise<string[]>> {
  requirePlots()
  await makeFolder(folder)
  return async ({ density, eigenvalues, landscape: plane }) => {
    const files: string[] = []
    const write = async (name: string, svg: string) => {
      files.push(join(folder, name))
      await writeFileAtomic(join(folder, name), svg)
    }
    const largest = eigenvalues?.largest.map(({ value }) => value)
    if (density) await write(plotNames.density, await plotSpectrum(density, largest))
    if (plane) await write(plotNames.landscape, await plotLandscape(plane))
    return files
  }
}

/** An example counter per measure. */
function createProgress(io: Io, quiet: boolean, length: number | undefined) {
  let measure = ''
  let counter: ExampleCounter | undefined
  let examples = length ?? 0
  const note = (text: string) => {
    counter?.stop()
    if (!quiet) writeText(io.stderr, `${text}\n`)
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
        counter = createExampleCounter(io.stderr, quiet, length === undefined ? undefined : progress.passes * length)
      }
      counter?.at((progress.pass - 1) * (length ?? examples) + progress.examples)
    },
    stop: () => counter?.stop(),
  }
}

/** Results of `sharpness` as text. */
function formatFlatness({ trace, eigenvalues, density, sharpness, landscape }: Flatness): string[] {
  return [
    ...(trace
      ? [
          `trace of the Hessian: ${formatEstimate(trace)} from ${formatCount(trace.probes, 'probe')}${trace.converged ? '' : ', short of the tolerance'}`,
        ]
      : []),
    ...(eigenvalues ? [formatEigenvalues(eigenvalues)] : []),
    ...(density ? [formatDensity(density)] : []),
    ...(sharpness ? formatSharpness(sharpness) : []),
    ...(landscape ? [formatLandscape(landscape)] : []),
  ]
}

const formatEstimate = ({ value, error }: MeanEstimate): string =>
  Number.isFinite(error)
    ? `${formatNumber(value)} +- ${formatNumber(Number(error.toPrecision(2)))}`
    : formatNumber(value)

function formatEigenvalues({ largest, smallest, steps, converged }: Eigenvalues): string {
  const rows = [
    ...largest.map(({ value, bound }, i) => [`largest ${i + 1}`, formatNumber(value), bound.toExponential(1)]),
    ['smallest', formatNumber(smallest.value), smallest.bound.toExponential(1)],
  ]
  const head = `eigenvalues after ${formatCount(steps, 'Lanczos step')}${converged ? '' : ', short of the tolerance'}:`
  return `${head}\n${formatTable(['', 'value', 'within'], rows)}`
}

function formatDensity({ nodes, weights, mean, meanSquare, probes }: SpectralDensity): string {
  const negative = nodes.reduce((sum, node, i) => sum + (node < 0 ? weights[i]! : 0), 0)
  const [least, most] = [Math.min(...nodes), Math.max(...nodes)]
  return `spectrum: from ${formatNumber(least)} to ${formatNumber(most)}, mean ${formatEstimate(mean)}, mean square ${formatEstimate(meanSquare)}, ${(100 * negative).toFixed(1)} % of it below 0, from ${formatCount(probes, 'probe')}`
}

const formatSharpness = ({ rho, loss, gradientNorm, ascent, average }: Sharpness): string[] => [
  `loss ${formatNumber(loss)}, norm of the gradient ${formatNumber(gradientNorm)}`,
  `rise within ${rho}: ${formatNumber(ascent)} along the gradient (SAM)${average ? `, ${formatEstimate(average)} on average over directions` : ''}`,
]

function formatLandscape({ axis, losses }: Landscape): string {
  const finite = losses.flat().filter(Number.isFinite)
  return `landscape: losses from ${formatNumber(Math.min(...finite))} to ${formatNumber(Math.max(...finite))} on ${axis.length} x ${axis.length} points`
}
