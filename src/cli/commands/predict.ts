import { statSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import type { Command } from 'commander'
import { imageExtensions } from '../../data/image/image-files.js'
import { readUsage } from '../../data/model/model-usage.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { listSourceFiles } from '../../node/data/open-data.js'
import { readRegularFile } from '../../node/files/files.js'
import { readModel } from '../../node/files/model.js'
import { parseJson } from '../../recipe/parse.js'
import { namesOfTargets } from '../../recipe/usage.js'
import { isStringList } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { refuseOptions, usageError } from '../errors.js'
import { formatCount, quotePath } from '../format.js'
import { pathsOfSource, type ReplaceablePath, withPathAdvice } from '../inputs/moved-paths.js'
import { readRecipe } from '../inputs/read-recipe.js'
import { onOption } from '../inputs/select-data.js'
import { defaultTextLength, findEncoderFolder } from '../inputs/text-encoder.js'
import { type Io, writeText } from '../io.js'
import { addRuntimeOptions, jsonOption, parseList, parsePositiveInteger, setOption } from '../options.js'
import { listRecipeFile } from '../outputs.js'
import { predictTexts } from '../prediction/predict-texts.js'
import { imagesOf, openSelected, type SelectedSource, selectSource } from '../prediction/select-source.js'
import {
  type ExampleSource,
  type OpenedExamples,
  type PredictOptions,
  selectWriter,
  writePredictions,
} from '../prediction/write-predictions.js'
import { findRunFiles, type RunFiles, readTrainedModel } from '../training/run-record.js'
import { findTunedModel } from '../tuning/image-task.js'

/** Defines `onnx-ire predict`. */
export function definePredict(program: Command, io: Io): void {
  const command = program
    .command('predict')
    .description('write the outputs of a model for every example of a data set')
    .argument('<model>', 'an ONNX file, a run folder, or the output folder of tune image, classify or embed')
    .argument(
      '[inputs...]',
      'a recipe with the data; for a run folder, or a model that describes its images, also images and folders of images; for a model of tune classify or embed texts, or .jsonl or .csv files',
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
    .option(
      '--classes',
      'write the class with the highest score, or the text that ctc reads, and its probability in place of the scores',
    )
    .option('--class-names <file>', 'names of the classes: classes.json of a run folder, or a JSON list')
    .option('--text <field>', 'field of the texts in a .jsonl or .csv file (default: text)')
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
"probability": 0.9 } ("classes" with a list if an example has several positions); "index" is the number of the
example in the data, from 0, also of those that are held out; "file" is the image or document, "text" the
text, "name" the name of the class. Infinity and NaN are written as strings; scores without a probability,
such as NaN, have the class null. A CSV file has a column per element, y[0], y[1], ..., or class and
probability. If the loss of the recipe or run is ctc, "text" is the text that the model reads, decoded
greedily, with the mean of the probabilities of its characters. If the loss reads several scores as a yes or
no each, as binary-cross-entropy does, "labels" has "class": 1 or 0 for each, with the probability of that
answer, and printed lines name the labels with the answer yes; without a loss, several scores of a Sigmoid are
read so. Scores of a model that does not end in Softmax or Sigmoid are read as logits of one class. The file
appears when it is complete. A run folder gives the model, the form of its inputs and the names of its
classes, which imply --classes; so do the metadata of a model that train, export or tune image wrote from
image data, and of one that tune classify wrote. A model of tune embed gives one embedding per text, pooled as
in its training.

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
    .action(async (given: string, inputs: readonly string[], options: PredictOptions) => {
      const encoder = findRunFiles(given) ? undefined : findEncoderFolder(given)
      if (encoder !== undefined) return predictTexts(io, command, encoder, inputs, options)
      refuseOptions(
        command,
        ['text', 'length'],
        `is for texts, and ${given} is no folder with config.json and tokenizer.json`,
      )
      return predictData(io, command, given, inputs, options)
    })
}

/** Predicts for the data of a recipe, for those of a run or files in their place, or for images. */
async function predictData(
  io: Io,
  command: Command,
  given: string,
  inputs: readonly string[],
  typed: PredictOptions,
): Promise<void> {
  const run = findRunFiles(given)
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
    ? imagesOf(usage, inputs)
    : await selectSource(recipePath, files, options, command, usage)
  const isPart = selected.split !== null && options.data !== undefined
  const forAll = run ? 'give it as an argument' : 'add --set data.split=null --on train'
  const advice = `to predict all of ${options.data}, ${forAll}`
  const examples: ExampleSource = {
    listFiles: async () => [
      ...(recipePath === undefined ? [] : listRecipeFile(recipePath)),
      ...(selected.files.length > 0 ? selected.files : await listSourceFiles(selected.source)),
    ],
    open: async () => {
      if (!isPart) return openSelected(selected, model)
      const opened = await withAdvice(`--data is the path of the data of the recipe, labels included; ${advice}`, () =>
        openSelected(selected, model),
      )
      if (!options.quiet) writeText(io.stderr, `${describePart(options.on, opened)}; ${advice}\n`)
      return opened
    },
  }
  await withPathAdvice(recipePath !== undefined && files.length === 0 ? pathsOf(selected) : [], () =>
    writePredictions(io, { path, model, names, loss: selected.loss }, examples, options, writer),
  )
}

/** The paths of a source, and of the training data whose statistics it needs. */
const pathsOf = ({ path, source, train }: SelectedSource): readonly ReplaceablePath[] => [
  ...pathsOfSource(path, source, true),
  ...(train && train !== source ? pathsOfSource('data.train', train, false) : []),
]

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
function describePart(part: PredictOptions['on'], { data, total }: OpenedExamples): string {
  const name = part === 'train' ? 'training' : 'held-out'
  return data.length === undefined || total === undefined
    ? `predicts the ${name} examples`
    : `predicts the ${name} ${data.length.toLocaleString('en-US')} of ${formatCount(total, 'example')}`
}

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
