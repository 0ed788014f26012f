import { existsSync, statSync } from 'node:fs'
import { basename, dirname, extname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { findScoreKind } from '../../analysis/snippet/score-kind.js'
import { fromArrays } from '../../data/arrays.js'
import type { ImageOptions } from '../../data/image/image-column.js'
import { imageExtensions } from '../../data/image/image-files.js'
import { readUsage } from '../../data/model/model-usage.js'
import type { DatasetOrStream } from '../../data/stream.js'
import type { ClassNames, OpenContext } from '../../node/data/data-source.js'
import { openImages } from '../../node/data/image-folder.js'
import { listSourceFiles, openData } from '../../node/data/open-data.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import { readRegularFile, writeFileAtomic } from '../../node/files/files.js'
import { listModelFiles, readModel } from '../../node/files/model.js'
import type { Model } from '../../onnx/model.js'
import { isBinaryLoss } from '../../recipe/loss.js'
import { checkSource, parseJson } from '../../recipe/parse.js'
import type { DataSource, LossRecipe, Recipe } from '../../recipe/recipe.js'
import { mapSourcePaths } from '../../recipe/sources/source.js'
import { namesOfTargets } from '../../recipe/usage.js'
import { type Prediction, predict } from '../../train/predict.js'
import { isStringList } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { matchNames } from '../../util/pattern.js'
import { getOwn } from '../../util/record.js'
import { refuseOptions, usageError } from '../errors.js'
import { formatCount, formatDuration, quotePath } from '../format.js'
import { pathsOfSource, withPathAdvice } from '../inputs/moved-paths.js'
import { overrideSource, readRecipe } from '../inputs/read-recipe.js'
import { type DataOptions, isJsonObject, onOption, parseData, withDataPath } from '../inputs/select-data.js'
import {
  defaultTextLength,
  encodeTexts,
  findEncoderFolder,
  openEncoder,
  poolStates,
  warnOfCut,
} from '../inputs/text-encoder.js'
import { readRows, textOf } from '../inputs/text-rows.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print, writeText } from '../io.js'
import {
  addRuntimeOptions,
  createRuntime,
  jsonOption,
  parseList,
  parsePositiveInteger,
  type RuntimeOptions,
  setOption,
} from '../options.js'
import { listRecipeFile, prepareOutputs } from '../outputs.js'
import { createExampleCounter } from '../progress.js'
import { endsInSigmoid, findClassAxis, findLoss } from '../top-classes.js'
import { findRunFiles, type RunFiles, readTrainedModel } from '../training/run-record.js'
import { findTunedModel } from '../tuning/image-task.js'
import { type Origins, type PredictionFormat, writeCsv, writeJsonLines, writeTopClasses } from '../write-predictions.js'

interface Options extends RuntimeOptions, Pick<DataOptions, 'on' | 'set' | 'data'> {
  readonly output?: string
  readonly outputs?: readonly string[]
  readonly classes?: true
  readonly classNames?: string
  /** Field of the texts; default 'text'. */
  readonly text?: string
  /** Tokens of the longest text; default `defaultTextLength`. */
  readonly length?: number
}

/** Defines `onnx-ire predict`. */
export function definePredict(program: Command, io: Io): void {
  const command = program
    .command('predict')
    .description('write the outputs of a model for every example of a data set')
    .argument('<model>', 'an ONNX file, a run folder, or the output folder of tune image, classify or embed')
    .argument(
      '[inputs...]',
      'a recipe with the data; for a run folder, or a model that describes its images, also images and folders of images; for a model of tune classify or embed texts, or .jsonl files',
    )
    .option(
      '-o, --output <file>',
      'path of the predictions: .jsonl for a line of JSON per example, or .csv (default: printed)',
    )
    .option(
      '--data <path|json>',
      'new path of the data of a recipe or run, whose held-out examples are predicted (to predict all of a file, give it as an input of a run folder); without a recipe: the data as JSON, like data.train of a recipe, labels optional',
    )
    .addOption(onOption('validation'))
    .addOption(setOption('change a field of the recipe'))
    .option(
      '--outputs <names>',
      'outputs to write, comma-separated; * matches any characters (default: all)',
      parseList,
    )
    .option('--classes', 'write the class with the highest score and its probability in place of the scores')
    .option('--class-names <file>', 'names of the classes: classes.json of a run folder, or a JSON list')
    .option('--text <field>', 'field of the texts in a .jsonl file (default: text)')
    .option(
      '--length <tokens>',
      `longest text, the rest is cut (default: ${defaultTextLength}, as of tune classify)`,
      parsePositiveInteger,
    )
  const json = 'write JSON to standard output: a line per example, or with --output one document'
  addRuntimeOptions(command, jsonOption(json))
  command
    .addHelpText(
      'after',
      `
A line of JSON is { "index": 0, "outputs": { "y": [0.1, 0.9] } }, or with --classes { "index": 0, "class": 1,
"probability": 0.9 } ("classes" with a list if an example has several positions); "file" is the image or
document, "text" the text, "name" the name of the class. Infinity and NaN are written as strings; scores
without a probability, such as NaN, have the class null. A CSV file has a column per element, y[0], y[1], ...,
or class and probability. If the loss of the recipe or run reads several scores as a yes or no each, as
binary-cross-entropy does, "labels" has "class": 1 or 0 for each, with the probability of that answer, and
printed lines name the labels with the answer yes; without a loss, several scores of a Sigmoid are read so.
Scores of a model that does not end in Softmax or Sigmoid are read as logits of one class. The file appears
when it is complete. A run folder gives the model, the form of its inputs and the names of its classes,
which imply --classes; so do the metadata of a model that train, export or tune image wrote from image data,
and of one that tune classify wrote. A model of tune embed gives one embedding per text, pooled as in its
training.

Examples:
  $ onnx-ire predict runs/recipe photo.jpg more/*.png
  $ onnx-ire predict runs/recipe -o held-out.jsonl
  $ onnx-ire predict tuned.onnx photo.jpg
  $ onnx-ire predict tuned photo.jpg
  $ onnx-ire predict moods "A wonderful film" "Dull and badly acted"
  $ onnx-ire predict moods reviews.jsonl --text review -o moods.csv
  $ onnx-ire predict runs/recipe/tuned.onnx recipe.json --classes -o predictions.csv
  $ onnx-ire predict tuned.onnx --data '{ "kind": "image-folder", "folder": "photos", "image": { "size": 224 } }' \\
      --classes --class-names runs/recipe/classes.json -o photos.jsonl
  $ onnx-ire predict model.onnx --data '{ "kind": "csv", "file": "new.csv", "tensors": { "x": "*" } }' --outputs y -o y.csv`,
    )
    .action(async (given: string, inputs: readonly string[], typed: Options) => {
      const run = findRunFiles(given)
      const encoder = run ? undefined : findEncoderFolder(given)
      if (encoder !== undefined) return predictTexts(io, command, encoder, inputs, typed)
      refuseOptions(
        command,
        ['text', 'length'],
        `is for texts, and ${given} is no folder with config.json and tokenizer.json`,
      )
      const isRecipe = inputs.length === 1 && inputs[0]!.toLowerCase().endsWith('.json')
      const path = run?.model ?? findTunedModel(given)
      const model = await (run ? readTrainedModel(run, io.stderr) : readModel(path))
      const usage = run ? {} : readUsage(model)
      const describesImages =
        !run && !isRecipe && inputs.length > 0 && typed.data === undefined && usage.image !== undefined
      const names = run ? await readRunClasses(run) : usage.classes
      const isNamed = names !== undefined && (run ? typed.classNames === undefined : describesImages)
      const options = { ...typed, ...(isNamed ? { classes: true as const } : {}) }
      if (!run && !describesImages && !isRecipe) refuseInputs(command, path, inputs, usage.image !== undefined)
      const recipePath = run && !isRecipe ? run.recipe : describesImages ? undefined : inputs[0]
      const writer = selectWriter(command, options)
      const files = run && !isRecipe ? inputs : []
      if (files.length > 0) refuseOptions(command, ['on', 'data'], 'selects the data of the run, and files are given')
      if (describesImages) refuseOptions(command, ['on', 'set'], 'is for a recipe, and images are given')
      const selected = describesImages
        ? imagesOf(usage.image, inputs)
        : await selectSource(recipePath, files, options, command)
      const { source, train } = selected
      const paths = [
        ...pathsOfSource(selected.path, source, true),
        ...(train && train !== source ? pathsOfSource('data.train', train, false) : []),
      ]
      const isOfRecipe = recipePath !== undefined && files.length === 0
      const examples: ExampleSource = {
        listFiles: async () => [
          ...(recipePath === undefined ? [] : listRecipeFile(recipePath)),
          ...(selected.files.length > 0 ? selected.files : await listSourceFiles(source)),
        ],
        open: async () => {
          if (!selected.split || options.data === undefined) return openSelected(selected, model)
          const all = run ? 'give it as an argument' : 'add --set data.split=null --on train'
          const advice = `to predict all of ${options.data}, ${all}`
          const opened = await withAdvice(
            `--data is the place of the data of the recipe, labels included; ${advice}`,
            () => openSelected(selected, model),
          )
          if (!options.quiet) writeText(io.stderr, `${describePart(options.on, opened)}; ${advice}\n`)
          return opened
        },
      }
      await withPathAdvice(isOfRecipe ? paths : [], () =>
        writePredictions(io, { path, model, names, loss: selected.loss }, examples, options, writer),
      )
    })
}

/** Runs `action`; an `OnnxIreError` that it throws gets a sentence at the end of its message. */
async function withAdvice<T>(advice: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    throw new OnnxIreError(cause.code, `${cause.message}. ${advice}`, { cause })
  }
}

/** The part of the data that is predicted. */
function describePart(part: Options['on'], { data, total }: OpenedExamples): string {
  const name = part === 'train' ? 'training' : 'held-out'
  return data.length === undefined || total === undefined
    ? `predicts the ${name} examples`
    : `predicts the ${name} ${data.length.toLocaleString('en-US')} of ${formatCount(total, 'example')}`
}

type Writer = (predictions: AsyncIterable<Prediction>, format: PredictionFormat) => AsyncIterable<Uint8Array>

/** The writer for the format of the output. */
function selectWriter(command: Command, { output, classes, classNames, json }: Options): Writer {
  if (classNames !== undefined && !classes) usageError(command, '--class-names needs --classes')
  if (output === undefined) return classes && !json ? writeTopClasses : writeJsonLines
  const writers: Readonly<Record<string, Writer>> = { '.jsonl': writeJsonLines, '.csv': writeCsv }
  return (
    getOwn(writers, extname(output).toLowerCase()) ??
    usageError(command, '--output must end in .jsonl or .csv, which sets the format')
  )
}

/** Predicts for texts on the command line, or for those of the rows of a file. */
async function predictTexts(
  io: Io,
  command: Command,
  folder: string,
  inputs: readonly string[],
  typed: Options,
): Promise<void> {
  refuseOptions(command, ['data', 'on', 'set'], `is for a recipe; ${folder} takes texts, or .jsonl files`)
  if (inputs.length === 0) return usageError(command, 'give texts, or .jsonl files with texts')
  const files = inputs.every((input) => /\.jsonl?$/i.test(input)) ? inputs : []
  const path = files.length === 0 ? inputs.find(isFile) : undefined
  if (path !== undefined)
    usageError(command, `${path} is a file: give texts, or .jsonl files alone, with a text in each row`)
  if (files.length === 0) refuseOptions(command, ['text'], 'names a field of a .jsonl file, and texts are given')
  const { text = 'text', length = defaultTextLength } = typed
  const encoder = await openEncoder(folder)
  const { task, classes, pooling } = readUsage(encoder.model)
  if (task === 'feature-extraction')
    refuseOptions(
      command,
      ['classes', 'classNames'],
      `is for scores of classes, and ${folder} gives embeddings: omit it`,
    )
  const model = pooling === undefined ? encoder.model : poolStates(encoder.model, pooling)
  const options = classes ? { ...typed, classes: true as const } : typed
  const writer = selectWriter(command, options)
  const texts = files.length === 0 ? inputs : await readTexts(files, text)
  const blank = texts.findIndex((each) => each.trim() === '')
  if (blank >= 0) usageError(command, `text ${blank + 1} is empty`)
  const { columns, cut } = encodeTexts(encoder, texts, length)
  for (const warning of warnOfCut(cut, length, encoder)) writeText(io.stderr, `warning: ${warning}\n`)
  const examples: ExampleSource = {
    listFiles: async () => files,
    open: async () => ({ data: fromArrays(columns), origins: { kind: 'text', names: texts } }),
  }
  await writePredictions(io, { path: join(folder, encoder.file), model, names: classes }, examples, options, writer)
}

/** Reads the texts in a field of the rows of files. */
async function readTexts(files: readonly string[], field: string): Promise<string[]> {
  const texts: string[] = []
  for (const file of files)
    for (const [i, row] of (await readRows(file)).entries()) texts.push(textOf(row, field, file, i))
  return texts
}

const isFile = (path: string): boolean => existsSync(path) && statSync(path).isFile()

const isImageOrFolder = (path: string): boolean =>
  imageExtensions.includes(extname(path).toLowerCase()) ||
  statSync(path, { throwIfNoEntry: false })?.isDirectory() === true

/**
 * Ends the command if inputs of a model without a recipe are no recipe.
 * @param isDescribed whether the metadata of the model describe images
 */
function refuseInputs(command: Command, path: string, inputs: readonly string[], isDescribed: boolean): void {
  const folder = dirname(path)
  // A folder with recipe.json may be that of a recipe to train.
  const isOfRun = findRunFiles(folder)?.model === join(folder, basename(path))
  const ofRun = isOfRun && `name the run folder: onnx-ire predict ${[folder, ...inputs].map(quotePath).join(' ')}`
  if (inputs.some(isImageOrFolder)) {
    if (isDescribed) usageError(command, '--data and images are both given: omit --data, or the images')
    usageError(
      command,
      ofRun
        ? `the metadata of ${path} do not describe its images; train writes them if the recipe has image.size. Instead ${ofRun}`
        : `the metadata of ${path} do not describe its images, as train, export and tune image write them: give a recipe, or --data with the images and their form`,
    )
  }
  const data = inputs.find((input) => /\.(csv|tsv|txt|jsonl)$/i.test(input))
  if (data !== undefined)
    usageError(command, `${data} is no recipe: ${ofRun || 'give a recipe, or the data as JSON with --data'}`)
  if (inputs.length > 1) usageError(command, 'give one recipe')
}

/** The class names of the labels of a run; undefined unless exactly one tensor of labels has names. */
async function readRunClasses({ classes, recipe }: RunFiles): Promise<readonly string[] | undefined> {
  if (classes === undefined) return undefined
  const all = Object(parseJson((await readRegularFile('class names', classes)).toString())) as ClassNames
  const [names, ...others] = Object.values(namesOfTargets(await readRecipe(recipe), all))
  return others.length === 0 && isStringList(names) ? names : undefined
}

/** The images of files or folders, converted as the metadata of the model say. */
const imagesOf = (image: ImageOptions | undefined, files: readonly string[]): SelectedSource => ({
  ...{ path: 'the metadata of the model', split: null, files },
  source: { kind: 'image-folder', folder: '.', ...(image ? { image } : {}) },
})

/** A model, and the names of its classes in its metadata or its run. */
interface GivenModel {
  readonly path: string
  readonly model: Model
  readonly names: readonly string[] | undefined
  /** The loss of the recipe, if one is given. */
  readonly loss?: LossRecipe | undefined
}

/** Examples to predict for. */
interface ExampleSource {
  /** Lists the files that are read. */
  listFiles(): Promise<readonly string[]>
  open(): Promise<OpenedExamples>
}

interface OpenedExamples {
  readonly data: DatasetOrStream
  readonly origins: Origins | undefined
  /** Number of the examples of which `data` are a part, if both are known. */
  readonly total?: number | undefined
}

/** A data source, and the part of its examples to predict for. */
interface SelectedSource {
  /** Files in place of those of the source. */
  readonly files: readonly string[]
  /** Path of the source in the recipe, for messages. */
  readonly path: string
  readonly source: DataSource
  /** The recipe that splits the source, and the part; null for the whole source. */
  readonly split: { readonly recipe: Recipe; readonly part: 'train' | 'validation' } | null
  /** The loss of the recipe, if one is given. */
  readonly loss?: LossRecipe
  /** The training data, whose statistics the columns of a table are converted with. */
  readonly train?: DataSource
}

async function selectSource(
  recipePath: string | undefined,
  files: readonly string[],
  options: Options,
  command: Command,
): Promise<SelectedSource> {
  if (recipePath === undefined) {
    if (options.data === undefined) return usageError(command, 'give a recipe, or --data')
    refuseOptions(command, ['on'], 'selects data of a recipe, but no recipe is given')
    if (options.set.length > 0) usageError(command, '--set changes a recipe, but no recipe is given')
    const source = mapSourcePaths(checkSource(parseData(options.data, command)), (path) => resolve(path))
    return { path: '--data', source, files, split: null }
  }
  if (isJsonObject(options.data)) usageError(command, '--data as JSON replaces a recipe; change a recipe with --set')
  const recipe = withDataPath(await readRecipe(recipePath, options.set), options)
  const { data, loss } = recipe
  if (files.length > 0) {
    const { start: _start, end: _end, ...source } = data.train
    const takesImages = source.kind === 'image-folder' || source.kind === 'image-masks'
    if (!takesImages && files.length > 1)
      usageError(command, `the run has data of the kind ${source.kind}, of which one file can be given`)
    const own = takesImages ? source : overrideSource('data.train', source, files[0]!)
    return { path: 'data.train', source: own, files, split: null, loss }
  }
  if (data.split) return { path: 'data.train', source: data.train, files, split: { recipe, part: options.on }, loss }
  const source = data[options.on]
  if (source === undefined)
    return usageError(command, `${recipePath} has no data.${options.on}; add it, or use --on train`)
  return { path: `data.${options.on}`, source, files, split: null, train: data.train, loss }
}

async function writePredictions(
  io: Io,
  given: GivenModel,
  source: ExampleSource,
  options: Options,
  writer: Writer,
): Promise<void> {
  const { path, model } = given
  const { output, outputs, batchSize, threads, quiet = false } = options
  await prepareOutputs({ files: output === undefined ? [] : [output] }, async () => [
    ...listModelFiles(path, model),
    ...(options.classNames === undefined ? [] : [options.classNames]),
    ...(await source.listFiles()),
  ])
  const format = await readFormat(model, options, given)
  const { data, origins } = await source.open()
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
    const content = writer(countedPredictions(), { ...format, origins })
    if (output === undefined) {
      for await (const chunk of content) writeText(io.stdout, Buffer.from(chunk).toString())
      return
    }
    await writeFileAtomic(output, content)
    counter.stop()
    const seconds = (performance.now() - started) / 1000
    const result = { model: path, output, examples, seconds, runtime: runtime.description }
    const text = () => `wrote ${output}: ${formatCount(examples, 'example')} in ${formatDuration(seconds)}`
    print(io, result, options.json, text)
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    counter.stop()
    const after = `interrupted after ${formatCount(examples, 'example')}`
    if (output === undefined) {
      writeText(io.stderr, `${after}, whose predictions were printed\n`)
      throw error
    }
    const text = `${after}; nothing was written`
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
  { names: described, loss }: GivenModel,
): Promise<Omit<PredictionFormat, 'origins'>> {
  if (!classes) return { scores: null, classAxis: undefined, isBinary: false, classNames: undefined }
  const all = (model.proto.graph?.output ?? []).map(({ name = '' }) => name)
  const names = matchNames(outputs ?? '*', all, 'output')
  if (names.length !== 1)
    throw new OnnxIreError(
      'invalid-option',
      `--classes reads the scores of one output, but ${names.join(', ')} are selected; name one with --outputs`,
    )
  const own = findLoss(names[0]!, loss)
  return {
    scores: findScoreKind(model, names[0]!),
    isBinary: own === undefined ? endsInSigmoid(model, names[0]!) : isBinaryLoss(own),
    classAxis: findClassAxis(model, names[0]!, loss),
    classNames: classNames === undefined ? described : await readClassNames(classNames),
  }
}

/** Reads class names: a JSON list, or `classes.json` of a run folder with one list. Throws `io`, `invalid-data`. */
async function readClassNames(path: string): Promise<readonly string[]> {
  const value = parseJson((await readRegularFile('class names', path)).toString())
  const lists = Array.isArray(value) ? [value] : Object.values(Object(value))
  const [names] = lists
  if (lists.length === 1 && isStringList(names)) return names
  throw new OnnxIreError('invalid-data', `${path} must hold exactly one list of class names: ["cat", "dog", ...]`)
}

async function openSelected(
  { path, source, files: given, split, train }: SelectedSource,
  model: Model,
): Promise<OpenedExamples> {
  const plain: OpenContext = { model, targets: null, classes: async () => ({}) }
  const statistics = async () => train && (await openData('data.train', train, plain)).data.statistics
  const context: OpenContext = source === train ? plain : { ...plain, statistics }
  const takesImages = source.kind === 'image-folder' || source.kind === 'image-masks'
  if (takesImages && given.length > 0) {
    const { data, files } = await openImages(source, given, context)
    return { data, origins: originsOf(files) }
  }
  // The labels decide which examples are held out.
  if (split) {
    const { mixup: _mixup, ...recipe } = split.recipe
    const { balance: _balance, ...data } = recipe.data
    const opened = await RecipeData.open({ ...recipe, data }, model, model)
    const parts = { train: await opened.train(), validation: (await opened.validation())! }
    const [some, others] = [parts.train.length, parts.validation.length]
    const total = some === undefined || others === undefined ? undefined : some + others
    return { data: parts[split.part], origins: originsOf(await opened.files(split.part)), total }
  }
  const { data, files } = await openData(path, source, context)
  return { data, origins: originsOf(files) }
}

const originsOf = (files: readonly string[] | undefined): Origins | undefined => files && { kind: 'file', names: files }
