import { extname, resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { split } from '../../data/dataset.js'
import { splitStream } from '../../data/split-stream.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { openData } from '../../node/data/open-data.js'
import { writeFileAtomic } from '../../node/files.js'
import { readModel } from '../../node/model.js'
import type { Model } from '../../onnx/model.js'
import { checkSource, parseJson } from '../../recipe/parse.js'
import type { DataSource } from '../../recipe/recipe.js'
import { mapSourcePaths } from '../../recipe/sources/source.js'
import { type Prediction, predict } from '../../train/predict.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames } from '../../util/pattern.js'
import { readClassNames } from '../class-names.js'
import { counterOn } from '../counter.js'
import { checkNotOverwriting } from '../errors.js'
import { readRecipe } from '../inputs/read-recipe.js'
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
import { scoreKind } from '../prediction/top-classes.js'
import { csvRecords, type Form, jsonLines } from '../prediction/write-predictions.js'
import { formatCount, formatDuration } from '../text/format.js'

interface Options {
  readonly on: 'train' | 'validation'
  readonly set: readonly string[]
  readonly data?: string
  readonly output: string
  readonly outputs?: readonly string[]
  readonly classes?: true
  readonly classNames?: string
  readonly batchSize?: number
  readonly threads?: number
  readonly provider: CliProvider
  readonly quiet?: true
  readonly json?: true
}

export function definePredict(program: Command, io: Io): void {
  const command = program
    .command('predict')
    .description('write what a model gives for data, example by example')
    .argument('<model>', 'an ONNX file')
    .argument('[recipe]', 'the recipe that says which data')
    .requiredOption('-o, --output <file>', 'where to write: .jsonl for a line of JSON per example, or .csv')
    .option('--data <json>', "instead of a recipe: the data, as a recipe's data.train; labels may be left out")
    .addOption(
      new Option('--on <data>', "which of the recipe's data").choices(['train', 'validation']).default('validation'),
    )
    .option('--set <path=value>', 'change a field of the recipe; may be repeated', collect, [])
    .option(
      '--outputs <names>',
      'which outputs, with commas between; * stands for any characters (default: all)',
      parseList,
    )
    .option('--classes', 'the class with the highest score and its probability, in place of the scores')
    .option('--class-names <file>', 'the names of the classes: classes.json of a run folder, or a JSON list')
    .option('--batch-size <n>', 'examples per run', parsePositiveInteger)
    .option('--threads <n>', 'threads one operator may use', parsePositiveInteger)
    .addOption(providerOption())
    .option('--quiet', 'no progress')
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
A line of JSON is { "index": 0, "outputs": { "y": [0.1, 0.9] } }, or with --classes { "index": 0, "class": 1, "probability": 0.9 }
("classes" with a list where an example has several positions); "file" names the image or document, "name" the class.
Infinity and NaN are written as texts. A CSV file has a column per element, y[0], y[1], ..., or class and probability.
Scores of a model that ends in no Softmax or Sigmoid are taken for logits. The file is there when all of it is.

Examples:
  $ onnx-ire predict runs/recipe/tuned.onnx recipe.json --classes -o predictions.csv
  $ onnx-ire predict tuned.onnx --data '{ "kind": "image-folder", "folder": "photos", "image": { "size": 224 } }' \\
      --classes --class-names runs/recipe/classes.json -o photos.jsonl
  $ onnx-ire predict model.onnx --data '{ "kind": "csv", "file": "new.csv", "tensors": { "x": "*" } }' --outputs y -o y.csv`,
    )
    .action(async (path: string, recipePath: string | undefined, options: Options) => {
      const format = { '.jsonl': jsonLines, '.csv': csvRecords }[extname(options.output).toLowerCase()]
      if (format === undefined) {
        return command.error('error: --output has to end in .jsonl or .csv, which says what is written', {
          exitCode: 2,
        })
      }
      if (options.classNames !== undefined && !options.classes) {
        return command.error('error: --class-names goes with --classes', { exitCode: 2 })
      }
      const { place, source, split } = await chosen(recipePath, options, command)
      await write(io, path, { place, source, split }, options, format)
    })
}

interface Chosen {
  /** The source's path in the recipe, for messages. */
  readonly place: string
  readonly source: DataSource
  /** Which part of the source. */
  readonly split: { readonly part: 'train' | 'validation'; readonly validation: number; readonly seed: number } | null
}

async function write(
  io: Io,
  path: string,
  from: Chosen,
  options: Options,
  format: (predictions: AsyncIterable<Prediction>, form: Form) => AsyncIterable<Uint8Array>,
): Promise<void> {
  const { output, outputs, batchSize, threads, quiet = false } = options
  const model = await readModel(path)
  await checkNotOverwriting(path, output)
  const form = await formOf(model, options)
  const { data, files } = await openPart(from, model)
  const runtime = await createRuntime(options.provider, threads)
  const counter = counterOn(io.stderr, quiet, data.length)
  const interrupts = onInterrupt(io, () => {})
  const started = performance.now()
  let examples = 0
  const given = { ...(outputs ? { outputs } : {}), ...(batchSize === undefined ? {} : { batchSize }) }
  async function* counted(): AsyncGenerator<Prediction> {
    for await (const prediction of predict(model, data, { runtime, ...given })) {
      yield prediction
      examples += prediction.indices.length
      counter.at(examples)
      if (interrupts.signal.aborted) throw new Interrupted()
    }
  }
  try {
    await writeFileAtomic(output, format(counted(), { ...form, files }))
    counter.stop()
    const seconds = (performance.now() - started) / 1000
    const result = { model: path, output, examples, seconds, runtime: runtime.description }
    print(
      io,
      result,
      options.json,
      () => `wrote ${output}: ${formatCount(examples, 'example')} in ${formatDuration(seconds)}`,
    )
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    counter.stop()
    const text = `interrupted after ${formatCount(examples, 'example')}; nothing was written`
    print(io, { model: path, output: null, interrupted: true, examples }, options.json, () => text)
    throw error
  } finally {
    interrupts.release()
    counter.stop()
    await runtime.dispose()
  }
}

async function formOf(model: Model, { classes, outputs, classNames }: Options): Promise<Omit<Form, 'files'>> {
  if (!classes) return { classes: null, names: undefined }
  const all = (model.proto.graph?.output ?? []).map(({ name = '' }) => name)
  const names = matchNames(outputs ?? '*', all, 'output')
  if (names.length !== 1)
    throw new OnnxIreError(
      'invalid-option',
      `--classes reads the scores of one output, and there are ${names.join(', ')}; name it with --outputs`,
    )
  return {
    classes: scoreKind(model, names[0]!),
    names: classNames === undefined ? undefined : await readClassNames(classNames),
  }
}

async function openPart({ place, source, split: part }: Chosen, model: Model) {
  const { data, files } = await openData(place, source, { model, targets: null, classes: async () => ({}) })
  if (part === null) return { data, files }
  const parts: { readonly train: DatasetOrStream; readonly validation: DatasetOrStream } =
    'batch' in data ? split(data, part) : splitStream(data, part)
  return { data: parts[part.part], files: undefined }
}

async function chosen(recipePath: string | undefined, options: Options, command: Command): Promise<Chosen> {
  if (recipePath === undefined) {
    if (options.data === undefined) command.error('error: give a recipe, or --data', { exitCode: 2 })
    if (options.set.length > 0) command.error('error: --set changes a recipe, and none is given', { exitCode: 2 })
    const source = mapSourcePaths(checkSource(parseJson(options.data)), (path) => resolve(path))
    return { place: '--data', source, split: null }
  }
  if (options.data !== undefined) {
    command.error('error: --data stands in for a recipe; change a recipe with --set', { exitCode: 2 })
  }
  const { data } = await readRecipe(recipePath, options.set)
  if (data.split) {
    const { validation, seed = 0 } = data.split
    return { place: 'data.train', source: data.train, split: { part: options.on, validation, seed } }
  }
  const source = data[options.on]
  if (source === undefined) {
    command.error(`error: ${recipePath} has no data.${options.on}; add it, or use --on train`, { exitCode: 2 })
  }
  return { place: `data.${options.on}`, source, split: null }
}
