import { basename } from 'node:path'
import { type Command, Option } from 'commander'
import { findScoreKind } from '../../analysis/snippet/score-kind.js'
import { type Snippet, type SnippetInput, type SnippetTarget, writeSnippet } from '../../analysis/snippet/snippet.js'
import { batches } from '../../data/batches.js'
import { subset } from '../../data/dataset.js'
import { missingTexts } from '../../data/formats/table-features.js'
import { listColumns } from '../../data/model/model-columns.js'
import { readUsage } from '../../data/model/model-usage.js'
import { takeExamples } from '../../data/stream.js'
import type { TableStatistics } from '../../data/table-statistics.js'
import type { Shape } from '../../ir/shape.js'
import type { Tensor } from '../../ir/tensor.js'
import { streamCsv } from '../../node/data/csv.js'
import { inferInput } from '../../node/data/data-source.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import { readModel } from '../../node/files/model.js'
import { createInput, listInputs, readShape } from '../../onnx/import/declarations.js'
import type { Model } from '../../onnx/model.js'
import type { ValueInfoProto } from '../../onnx/proto/schema.js'
import type { LossRecipe } from '../../recipe/loss.js'
import type { Recipe } from '../../recipe/recipe.js'
import type { ImageFolderSource, ImageTextsSource } from '../../recipe/sources/images.js'
import type { DataSource } from '../../recipe/sources/source.js'
import type { CsvSource } from '../../recipe/sources/tables.js'
import { lossOfUsage, namesOfTargets } from '../../recipe/usage.js'
import { prepareBatch } from '../../train/prepare-batch.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { usageError } from '../errors.js'
import { quotePath } from '../format.js'
import { pathsOfSource, withPathAdvice } from '../inputs/moved-paths.js'
import { dataPathOption, overridePaths, readRecipe } from '../inputs/read-recipe.js'
import { findEncoderFolder } from '../inputs/text-encoder.js'
import { type Io, type Output, print } from '../io.js'
import { jsonOption, setOption } from '../options.js'
import { findLoss, hasBinaryScores } from '../prediction/top-classes.js'
import { findRunFiles, type RunFiles, readTrainedModel } from '../training/run-record.js'
import { findTunedModel } from '../tuning/image-task.js'

/** Options about the run of a model. */
interface RunOptions {
  readonly columns?: string
  readonly data?: string
  readonly set: readonly string[]
}

interface Options extends RunOptions {
  readonly for: SnippetTarget
  readonly json?: true
}

/** Defines `onnx-ire snippet`. */
export function defineSnippet(program: Command, io: Io): void {
  const command = program
    .command('snippet')
    .description('print the lines of code that run a trained model without this library')
    .argument(
      '<model>',
      'a run folder, the output folder of tune image, or an ONNX file whose metadata describe its images',
    )
    .addOption(
      new Option('--for <platform>', 'onnxruntime-node, onnxruntime-web, or onnxruntime of Python')
        .choices(['node', 'web', 'python'])
        .default('node'),
    )
    .option(
      '--columns <model>',
      'run the model that export --columns wrote from the run, on the columns of the CSV file',
    )
    .addOption(dataPathOption())
    .addOption(setOption('change a field of the recipe of the run, such as a path'))
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The lines contain the preprocessing of the run's images, the names of its classes, and the inputs and outputs
of its model. In Node they need sharp and print what predict prints; in Python they need numpy and Pillow.
Inputs that are not images have the values of an example of the run's data, as the run reads them: after
scaling, encoding and padding. With --columns they have the fields of a row of the CSV file, and the outputs
are in the units of the targets. A model without its run folder is described by the metadata that train,
export and tune image write for images. Save the lines beside the model: in Node and in Python they read it
from their own folder, in a page from the folder of the page.

Examples:
  $ onnx-ire snippet runs/recipe > runs/recipe/predict.mjs && node runs/recipe/predict.mjs photo.jpg
  $ onnx-ire snippet runs/recipe --for python > runs/recipe/predict.py
  $ onnx-ire snippet tuned/model.onnx > tuned/predict.mjs
  $ onnx-ire export runs/houses --columns -o houses.onnx && onnx-ire snippet runs/houses --columns houses.onnx > price.mjs`,
    )
    .action(async (path: string, { for: target, json, ...options }: Options) => {
      const run = findRunFiles(path)
      if (!run && (options.columns !== undefined || options.data !== undefined || options.set.length > 0))
        usageError(command, '--columns, --data and --set need the run folder of the model')
      const texts = run ? undefined : findEncoderFolder(path)
      if (texts !== undefined)
        throw new OnnxIreError(
          'invalid-option',
          `${texts} has a model of texts, whose tokenizer takes more than some lines of code: load the folder with transformers.js, or use onnx-ire predict`,
        )
      const described = await (run ? describeRun(run, options, io.stderr) : describeModel(findTunedModel(path)))
      const code = writeSnippet(target, described)
      print(io, { for: target, code }, json, () => code.trimEnd())
    })
}

/** Describes the model of a run by its recipe and its data. */
async function describeRun(run: RunFiles, { columns, data: path, set }: RunOptions, stderr: Output): Promise<Snippet> {
  const model = await readTrainedModel(run, stderr)
  const recipe = overridePaths(await readRecipe(run.recipe, set), path === undefined ? {} : { data: path })
  return withPathAdvice(pathsOfSource('data.train', recipe.data.train, true), async () => {
    const data = await RecipeData.open(recipe, model)
    const [names, ...others] = Object.values(namesOfTargets(recipe, await data.classes()))
    const described: Snippet = {
      ...{ model: basename(run.model), inputs: await describeInputs(model, recipe, data) },
      ...describeOutputs(model, others.length === 0 ? names : undefined, recipe.loss),
    }
    return columns === undefined ? described : takeFields(described, columns, recipe)
  })
}

/** Describes a model by its metadata alone. Throws `invalid-option` if they do not describe its images. */
async function describeModel(path: string): Promise<Snippet> {
  const model = await readModel(path)
  const usage = readUsage(model)
  const { classes, image } = usage
  if (image?.size === undefined)
    throw new OnnxIreError(
      'invalid-option',
      `the metadata of ${path} do not describe its images, as train, export and tune image write them: name the folder of the run`,
    )
  const { size, channels = 3, layout = 'NCHW' } = image
  const [rows, columns] = typeof size === 'number' ? [size, size] : size
  const dims = layout === 'NHWC' ? [rows, columns, channels] : [channels, rows, columns]
  const inputs = listInputs(model.proto).map((info): SnippetInput => {
    checkImages(info)
    return { kind: 'image', name: info.name ?? '', image: { ...image, size }, dims }
  })
  return { model: basename(path), inputs, ...describeOutputs(model, classes, lossOfUsage(usage)) }
}

/** @param loss loss of the run, which decides what the scores answer, as in `predict` */
function describeOutputs(
  model: Model,
  names: readonly string[] | undefined,
  loss?: LossRecipe,
): Pick<Snippet, 'outputs' | 'classes'> {
  const infos = model.proto.graph?.output ?? []
  const outputs = infos.map(({ name = '' }) => name)
  const shape = infos[0] && readShape(infos[0])
  const [output = ''] = outputs
  if (names !== undefined && infos.length === 1 && findLoss(output, loss)?.kind === 'ctc')
    return { outputs, classes: { scores: findScoreKind(model, output), names, answer: 'text' } }
  if (names === undefined || infos.length !== 1 || hasPositions(shape)) return { outputs, classes: null }
  const isBinary = shape?.at(-1) === 1
  const answer = isBinary ? 'binary' : hasBinaryScores(model, output, loss) ? 'labels' : 'class'
  return { outputs, classes: { scores: findScoreKind(model, output), names, answer } }
}

/** Whether a declared shape has several positions per example, each with scores, such as those of tokens or pixels. */
const hasPositions = (shape: Shape | undefined): boolean => (shape ?? []).slice(1).filter((dim) => dim !== 1).length > 1

/** Whether the examples of a source are image files of which each has one answer. */
const hasImageOptions = (source: DataSource): source is ImageFolderSource | ImageTextsSource =>
  source.kind === 'image-folder' || source.kind === 'image-texts'

/** Describes the inputs of a model by its first training example. */
async function describeInputs(model: Model, recipe: Recipe, data: RecipeData): Promise<SnippetInput[]> {
  const source = recipe.data.train
  const train = await data.train()
  const one = 'batch' in train ? subset(train, { end: 1 }) : takeExamples(train, 1)
  const image = hasImageOptions(source) ? inferInput(source, { model }) : undefined
  for await (const { tensors } of batches(one, { batchSize: 1 }))
    return listInputs(model.proto).map((info): SnippetInput => {
      const { name = '' } = info
      const example = getOwn(tensors, name)
      if (!example) throw new OnnxIreError('invalid-data', `the data of the run have no input '${name}' of the model`)
      if (name !== image || !hasImageOptions(source)) {
        const input = new Map([[name, createInput(info)]])
        return { kind: 'values', name, example: prepareBatch(tensors, input, undefined)[name]! }
      }
      checkImages(info)
      const dims = example.dims.slice(1)
      const planar = source.image?.layout !== 'NHWC'
      // Without image.size all images have the same size.
      const [rows = 0, columns = 0] = planar ? dims.slice(1) : dims
      const size = source.image?.size ?? [rows, columns]
      return { kind: 'image', name, image: { ...source.image, size }, dims }
    })
  throw new OnnxIreError('invalid-data', 'the data of the run have no example')
}

/** Throws `invalid-option` for an input of images that is not float32: JavaScript's half floats need a library. */
function checkImages(info: ValueInfoProto): void {
  const { name, dtype } = createInput(info)
  if (dtype !== 'float32')
    throw new OnnxIreError(
      'invalid-option',
      `the images of input '${name}' are ${dtype}, and the lines compute float32: use onnx-ire predict, or train the float32 file of the model`,
    )
}

/** Replaces the inputs that are computed from columns by the columns, as a model of `export --columns` takes them. */
async function takeFields(run: Snippet, path: string, recipe: Recipe): Promise<Snippet> {
  const source = recipe.data.train
  const statistics: TableStatistics = (source.kind === 'csv' && source.statistics) || {}
  const tensors = run.inputs.map(({ name }) => getOwn(statistics, name))
  const columns = [...listColumns(tensors.filter((each) => each !== undefined))]
  const others = run.inputs.filter(({ name }) => !getOwn(statistics, name))
  const inputs = listInputs((await readModel(path)).proto).map((info) => createInput(info))
  const isWritten =
    columns.length > 0 &&
    inputs.length === columns.length + others.length &&
    columns.every(([, dtype], i) => inputs[i]!.dtype === dtype) &&
    others.every(({ name }, i) => inputs[columns.length + i]!.name === name)
  if (source.kind !== 'csv' || !isWritten)
    throw new OnnxIreError(
      'invalid-option',
      `--columns: ${path} does not take the columns of the run: write it with onnx-ire export <run> --columns -o ${quotePath(path)}`,
    )
  const fields = await readRow(
    source,
    columns.map(([column]) => column),
  )
  const taken = columns.map(([, dtype], i): SnippetInput => {
    const number = missingTexts.has(fields[i]!) ? Number.NaN : Number(fields[i])
    const data = dtype === 'string' ? [fields[i]!] : Float64Array.of(number)
    return { kind: 'values', name: inputs[i]!.name!, example: { dtype, dims: [1], data } as Tensor }
  })
  return { ...run, model: basename(path), inputs: [...taken, ...others] }
}

/** Fields of the first row of a CSV file in which none of the columns is missing; of the first row if there is none. */
async function readRow(source: CsvSource, columns: readonly string[]): Promise<readonly string[]> {
  const { file, delimiter, header } = source
  const rows = await streamCsv(file, { tensors: { fields: { columns, as: 'text' } }, delimiter, header })
  let first: readonly string[] | undefined
  for await (const { tensors } of batches(rows, { batchSize: 1 })) {
    const fields = tensors['fields']!.data as readonly string[]
    first ??= fields
    if (!fields.some((field) => missingTexts.has(field))) return fields
  }
  return first!
}
