import { extname, resolve } from 'node:path'
import type { Command } from 'commander'
import { listSourceFiles, openData } from '../../node/data/open-data.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import { readRegularFile, writeFileAtomic } from '../../node/files/files.js'
import { listModelFiles, readModel } from '../../node/files/model.js'
import type { Model } from '../../onnx/model.js'
import { checkSource, parseJson } from '../../recipe/parse.js'
import type { DataSource, Recipe } from '../../recipe/recipe.js'
import { mapSourcePaths } from '../../recipe/sources/source.js'
import { type Prediction, predict } from '../../train/predict.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames } from '../../util/pattern.js'
import { usageError } from '../errors.js'
import { formatCount, formatDuration } from '../format.js'
import { readRecipe } from '../inputs/read-recipe.js'
import { type DataOptions, onOption } from '../inputs/select-data.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print } from '../io.js'
import { addRuntimeOptions, createRuntime, parseList, type RuntimeOptions, setOption } from '../options.js'
import { listRecipeFile, prepareOutputs } from '../outputs.js'
import { createExampleCounter } from '../progress.js'
import { findScoreKind } from '../top-classes.js'
import { type PredictionFormat, writeCsv, writeJsonLines } from '../write-predictions.js'

interface Options extends RuntimeOptions, Pick<DataOptions, 'on' | 'set' | 'data'> {
  readonly output: string
  readonly outputs?: readonly string[]
  readonly classes?: true
  readonly classNames?: string
}

/** Defines `onnx-ire predict`. */
export function definePredict(program: Command, io: Io): void {
  const command = program
    .command('predict')
    .description('write the outputs of a model for every example of a data set')
    .argument('<model>', 'an ONNX file')
    .argument('[recipe]', 'a recipe with the data')
    .requiredOption('-o, --output <file>', 'path of the predictions: .jsonl for a line of JSON per example, or .csv')
    .option('--data <json>', 'in place of a recipe: the data, like data.train of a recipe, labels optional')
    .addOption(onOption('validation'))
    .addOption(setOption('change a field of the recipe'))
    .option(
      '--outputs <names>',
      'outputs to write, comma-separated; * matches any characters (default: all)',
      parseList,
    )
    .option('--classes', 'write the class with the highest score and its probability in place of the scores')
    .option('--class-names <file>', 'names of the classes: classes.json of a run folder, or a JSON list')
  addRuntimeOptions(command)
  command
    .addHelpText(
      'after',
      `
A line of JSON is { "index": 0, "outputs": { "y": [0.1, 0.9] } }, or with --classes { "index": 0, "class": 1, "probability": 0.9 }
("classes" with a list if an example has several positions); "file" is the image or document, "name" the name of the class.
Infinity and NaN are written as strings. A CSV file has a column per element, y[0], y[1], ..., or class and probability.
Scores of a model that does not end in Softmax or Sigmoid are read as logits. The file appears when it is complete.

Examples:
  $ onnx-ire predict runs/recipe/tuned.onnx recipe.json --classes -o predictions.csv
  $ onnx-ire predict tuned.onnx --data '{ "kind": "image-folder", "folder": "photos", "image": { "size": 224 } }' \\
      --classes --class-names runs/recipe/classes.json -o photos.jsonl
  $ onnx-ire predict model.onnx --data '{ "kind": "csv", "file": "new.csv", "tensors": { "x": "*" } }' --outputs y -o y.csv`,
    )
    .action(async (path: string, recipePath: string | undefined, options: Options) => {
      const writer = { '.jsonl': writeJsonLines, '.csv': writeCsv }[extname(options.output).toLowerCase()]
      if (writer === undefined) return usageError(command, '--output must end in .jsonl or .csv, which sets the format')
      if (options.classNames !== undefined && !options.classes) usageError(command, '--class-names needs --classes')
      await writePredictions(io, path, recipePath, await selectSource(recipePath, options, command), options, writer)
    })
}

/** A data source, and the part of its examples to predict for. */
interface SelectedSource {
  /** Path of the source in the recipe, for messages. */
  readonly path: string
  readonly source: DataSource
  /** The recipe that splits the source, and the part; null for the whole source. */
  readonly split: { readonly recipe: Recipe; readonly part: 'train' | 'validation' } | null
}

async function selectSource(
  recipePath: string | undefined,
  options: Options,
  command: Command,
): Promise<SelectedSource> {
  if (recipePath === undefined) {
    if (options.data === undefined) return usageError(command, 'give a recipe, or --data')
    if (options.set.length > 0) usageError(command, '--set changes a recipe, but no recipe is given')
    const source = mapSourcePaths(checkSource(parseJson(options.data)), (path) => resolve(path))
    return { path: '--data', source, split: null }
  }
  if (options.data !== undefined) usageError(command, '--data replaces a recipe; change a recipe with --set')
  const recipe = await readRecipe(recipePath, options.set)
  const { data } = recipe
  if (data.split) return { path: 'data.train', source: data.train, split: { recipe, part: options.on } }
  const source = data[options.on]
  if (source === undefined)
    return usageError(command, `${recipePath} has no data.${options.on}; add it, or use --on train`)
  return { path: `data.${options.on}`, source, split: null }
}

async function writePredictions(
  io: Io,
  path: string,
  recipePath: string | undefined,
  selected: SelectedSource,
  options: Options,
  writer: (predictions: AsyncIterable<Prediction>, format: PredictionFormat) => AsyncIterable<Uint8Array>,
): Promise<void> {
  const { output, outputs, batchSize, threads, quiet = false } = options
  const model = await readModel(path)
  await prepareOutputs({ files: [output] }, async () => [
    ...listModelFiles(path, model),
    ...(recipePath === undefined ? [] : listRecipeFile(recipePath)),
    ...(options.classNames === undefined ? [] : [options.classNames]),
    ...(await listSourceFiles(selected.source)),
  ])
  const format = await readFormat(model, options)
  const { data, files } = await openSelected(selected, model)
  const runtime = await createRuntime(options.provider, threads)
  const counter = createExampleCounter(io.stderr, quiet, data.length)
  const interrupts = onInterrupt(io, () => {})
  const started = performance.now()
  let examples = 0
  async function* countedPredictions(): AsyncGenerator<Prediction> {
    const settings = { ...(outputs ? { outputs } : {}), ...(batchSize === undefined ? {} : { batchSize }) }
    for await (const prediction of predict(model, data, { runtime, ...settings })) {
      yield prediction
      examples += prediction.indices.length
      counter.at(examples)
      if (interrupts.signal.aborted) throw new Interrupted()
    }
  }
  try {
    await writeFileAtomic(output, writer(countedPredictions(), { ...format, files }))
    counter.stop()
    const seconds = (performance.now() - started) / 1000
    const result = { model: path, output, examples, seconds, runtime: runtime.description }
    const text = () => `wrote ${output}: ${formatCount(examples, 'example')} in ${formatDuration(seconds)}`
    print(io, result, options.json, text)
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

async function readFormat(
  model: Model,
  { classes, outputs, classNames }: Options,
): Promise<Omit<PredictionFormat, 'files'>> {
  if (!classes) return { scores: null, classNames: undefined }
  const all = (model.proto.graph?.output ?? []).map(({ name = '' }) => name)
  const names = matchNames(outputs ?? '*', all, 'output')
  if (names.length !== 1)
    throw new OnnxIreError(
      'invalid-option',
      `--classes reads the scores of one output, but ${names.join(', ')} are selected; name one with --outputs`,
    )
  return {
    scores: findScoreKind(model, names[0]!),
    classNames: classNames === undefined ? undefined : await readClassNames(classNames),
  }
}

/** Reads class names: a JSON list, or `classes.json` of a run folder with one list. Throws `io`, `invalid-data`. */
async function readClassNames(path: string): Promise<readonly string[]> {
  const value = parseJson((await readRegularFile('class names', path)).toString())
  const lists = Array.isArray(value) ? [value] : Object.values(Object(value))
  const [names] = lists
  if (lists.length === 1 && Array.isArray(names) && names.every((name) => typeof name === 'string')) return names
  throw new OnnxIreError('invalid-data', `${path} must hold exactly one list of class names: ["cat", "dog", ...]`)
}

async function openSelected({ path, source, split }: SelectedSource, model: Model) {
  // The labels decide which examples are held out.
  if (split) {
    const { mixup: _mixup, ...recipe } = split.recipe
    const { balance: _balance, ...data } = recipe.data
    const opened = await RecipeData.open({ ...recipe, data }, model, model)
    const part = split.part === 'train' ? await opened.train() : await opened.validation()
    return { data: part!, files: undefined }
  }
  const { data, files } = await openData(path, source, { model, targets: null, classes: async () => ({}) })
  return { data, files }
}
