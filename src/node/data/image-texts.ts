import { dirname, extname, resolve } from 'node:path'
import {
  addBlank,
  alphabetOf,
  createEncoder,
  parseCharacters,
  stepsOf,
  unknownCharacters,
} from '../../data/alphabet.js'
import { checkIndices, type Dataset, deriveChecksum } from '../../data/dataset.js'
import { parseJsonRow } from '../../data/formats/json-rows.js'
import type { ImageFilesOptions } from '../../data/image/image-files.js'
import { readUsage } from '../../data/model/model-usage.js'
import type { Tensor } from '../../ir/tensor.js'
import type { Model } from '../../onnx/model.js'
import type { ImageTextsSource } from '../../recipe/sources/images.js'
import { checkNames } from '../../util/check.js'
import { mapConcurrently } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { sizeOfFile } from './checksum-files.js'
import { iterateRecords } from './csv.js'
import { augmentAndReshape, inferInput, inferTarget, type OpenContext, type OpenedSource } from './data-source.js'
import { imageFiles } from './image-folder.js'
import { iterateLines } from './lines.js'
import { shapeOfScores } from './score-shape.js'
import { readText } from './text.js'

/** Data set of images of lines of text. */
export interface ImageTexts extends Dataset {
  /** Paths of the images. */
  readonly files: readonly string[]
  /** The text of every image. */
  readonly texts: readonly string[]
  /** The character of every class, and '' for the blank. */
  readonly classes: readonly string[]
}

/** Options of `imageTexts`. */
export interface ImageTextsOptions extends ImageFilesOptions {
  /** Folder that the paths of images are relative to. Default: the folder of the file. */
  readonly folder?: string | undefined
  /** Columns of a .csv file, or fields of a .jsonl file. Default: 'image' and 'text'. */
  readonly fields?: { readonly image?: string; readonly text?: string } | undefined
  /** The character of every class, and '' for the blank. Default: the blank, and the characters of the texts, sorted. */
  readonly classes?: readonly string[] | undefined
  /** Name of the classes of the characters, int64 [n, characters], padded with the blank. Default 'labels'. */
  readonly label?: string | undefined
}

/**
 * Opens images with their texts, for `ctc`: a file with lines of the path of an image, a tab and the text, as PaddleOCR
 * has them; or a .csv or .jsonl file. Images are decoded per batch and not cached.
 *
 * ```ts
 * const image = { size: [48, 320], fit: 'line', order: 'BGR', mean: 0.5, std: 0.5, background: 127.5 }
 * const data = await imageTexts('lines/rec_gt.txt', { image })
 * data.classes // ['', ' ', '0', '1', ...]
 * ```
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` naming file and line of a text that cannot be read, a
 * missing image or a character without a class and, when its batch is read, a damaged image
 */
export async function imageTexts(file: string, options: ImageTextsOptions = {}): Promise<ImageTexts> {
  checkNames('imageTexts', options, ['image', 'input', 'folder', 'fields', 'classes', 'label'])
  const { image, input, label = 'labels', folder, fields } = options
  const lines = await readLabeledImages(file, { folder, fields })
  const classes = options.classes ?? alphabetOf(lines.map(({ text }) => text))
  const origin = "option 'classes'"
  const labels = encodeLines(lines, classes, origin, 'add the characters to it')
  return labelImages(
    lines,
    labels,
    classes,
    imageFiles(
      lines.map((line) => line.file),
      { image, input },
    ),
    label,
  )
}

/** An image and its text. */
interface LabeledImage {
  readonly file: string
  /** Path of the image as in the list. */
  readonly key: string
  readonly text: string
  /** File and line of the list. */
  readonly place: string
}

function labelImages(
  lines: readonly LabeledImage[],
  labels: readonly (readonly number[])[],
  classes: readonly string[],
  images: Dataset,
  label: string,
): ImageTexts {
  const texts = lines.map(({ text }) => text)
  const column = labelColumns(labels, Math.max(0, classes.indexOf('')))
  return {
    files: lines.map(({ file }) => file),
    texts,
    classes,
    length: lines.length,
    batch: async (indices) => ({ ...(await images.batch(indices)), [label]: column(indices) }),
    checksum: deriveChecksum(images, texts.join('\n'), classes.join('\n')),
    identify: () => ({ keys: lines.map(({ key }) => key) }),
  }
}

/** Creates the function that returns the labels of examples, all as long as the longest, so that shapes stay the same. */
function labelColumns(labels: readonly (readonly number[])[], blank: number): (indices: ArrayLike<number>) => Tensor {
  const length = labels.reduce((most, own) => Math.max(most, own.length), 1)
  return (indices) => {
    checkIndices(indices, labels.length)
    const data = new BigInt64Array(indices.length * length).fill(BigInt(blank))
    for (let i = 0; i < indices.length; i++)
      for (const [k, each] of labels[indices[i]!]!.entries()) data[i * length + k] = BigInt(each)
    return { dtype: 'int64', dims: [indices.length, length], data }
  }
}

/** Converts texts to classes. Throws `invalid-data` if a character has none. */
function encodeLines(
  lines: readonly LabeledImage[],
  names: readonly string[],
  origin: string,
  advice: string,
): readonly (readonly number[])[] {
  const encode = createEncoder(names)
  const labels = lines.map(({ text }) => encode(text))
  const unknown = lines.filter((_, i) => labels[i]!.includes(null))
  if (unknown.length > 0) throw unknownCharacters(unknown, lines.length, names, origin, advice)
  return labels as readonly (readonly number[])[]
}

/** Reads the list of images and texts. Throws `invalid-data` for a missing image. */
async function readLabeledImages(
  file: string,
  { folder = dirname(file), fields = {} }: Pick<ImageTextsOptions, 'folder' | 'fields'>,
): Promise<readonly LabeledImage[]> {
  const { image = 'image', text = 'text' } = fields
  const extension = extname(file).toLowerCase()
  const read = extension === '.csv' ? readRecords : extension === '.jsonl' ? readJsonLines : readTabbedLines
  const lines: LabeledImage[] = []
  for await (const { path, ...line } of read(file, image, text))
    lines.push({ ...line, key: path, file: resolve(folder, path) })
  if (lines.length === 0) throw new OnnxIreError('invalid-data', `${file}: there are no images`)
  const sizes = await mapConcurrently(
    lines.map((_, i) => i),
    16,
    (i) => sizeOfFile(lines[i]!.file),
  )
  const missing = lines.filter((_, i) => sizes[i] === -1)
  if (missing.length === 0) return lines
  throw new OnnxIreError(
    'invalid-data',
    `${missing.length} of ${lines.length} images of ${file} do not exist (first: ${missing[0]!.place}, ${missing[0]!.file}); set 'folder' to the folder that their paths are relative to, or remove the lines`,
  )
}

type ListedImage = Pick<LabeledImage, 'text' | 'place'> & { readonly path: string }

async function* readTabbedLines(file: string): AsyncGenerator<ListedImage, void, undefined> {
  for await (const { number, text } of iterateLines(file)) {
    if (text.trim() === '') continue
    const [path = '', ...rest] = text.split('\t')
    const place = `${file}:${number}`
    if (rest.length === 0 || path === '')
      throw new OnnxIreError(
        'invalid-data',
        `${place}: the line must be the path of an image, a tab and its text; files with other forms must be named .csv or .jsonl`,
      )
    yield { path, text: rest.join('\t'), place }
  }
}

async function* readRecords(file: string, image: string, text: string): AsyncGenerator<ListedImage, void, undefined> {
  let header: readonly string[] | undefined
  let number = 0
  for await (const record of iterateRecords(file, ',')) {
    if (!header) {
      header = record
      continue
    }
    number++
    const fields = new Map(header.map((name, i) => [name, record[i]]))
    yield listed(fields.get(image), fields.get(text), `${file}, record ${number}`, image, text, 'column')
  }
}

async function* readJsonLines(file: string, image: string, text: string): AsyncGenerator<ListedImage, void, undefined> {
  for await (const line of iterateLines(file)) {
    if (line.text.trim() === '') continue
    const place = `${file}:${line.number}`
    const row = Object(parseJsonRow(line.text, place)) as Readonly<Record<string, unknown>>
    yield listed(getOwn(row, image), getOwn(row, text), place, image, text, 'field')
  }
}

function listed(
  path: unknown,
  value: unknown,
  place: string,
  image: string,
  text: string,
  what: 'column' | 'field',
): ListedImage {
  for (const [name, each] of [[image, path] as const, [text, value] as const])
    if (typeof each !== 'string' || (name === image && each === ''))
      throw new OnnxIreError(
        'invalid-data',
        `${place}: there is no text in the ${what} '${name}'; name the ${what}s as "fields": { "image": ..., "text": ... }`,
      )
  return { path: path as string, text: value as string, place }
}

/** Class names, and where they are from. */
interface Alphabet {
  readonly names: readonly string[]
  readonly origin: string
}

/** The class names of a source: of its dictionary, the training data or the metadata of the model. */
async function findAlphabet(
  { dictionary }: ImageTextsSource,
  { model, classes }: OpenContext,
  target: string,
  numbering: { readonly blank: number | undefined; readonly classes: number | undefined },
): Promise<Alphabet | undefined> {
  if (dictionary !== undefined) {
    const names = addBlank(parseCharacters(await readText(dictionary)), numbering)
    return { names, origin: `the dictionary ${dictionary}` }
  }
  const ofTraining = getOwn(await classes(), target)
  if (ofTraining) return { names: ofTraining, origin: 'the alphabet of the training data' }
  const names = alphabetOfModel(model, numbering)
  return names && { names, origin: 'the alphabet of the model' }
}

/** The class names in the metadata of a model: those of this library, or the characters of PP-OCR's in RapidOCR. */
function alphabetOfModel(model: Model, numbering: Parameters<typeof addBlank>[1]): readonly string[] | undefined {
  const { classes } = readUsage(model)
  if (classes?.includes('')) return classes
  const list = model.proto.metadataProps.find(({ key }) => key === 'character')?.value
  return list === undefined ? undefined : addBlank(parseCharacters(list), numbering)
}

/** Opens images with texts for a recipe. Without labels the images alone are opened. */
export async function openImageTexts(source: ImageTextsSource, context: OpenContext): Promise<OpenedSource> {
  const { file, folder, fields, image, dims } = source
  const input = inferInput(source, context)
  const target = inferTarget(source, context)
  const lines = await readLabeledImages(file, { folder, fields })
  const files = lines.map((line) => line.file)
  const images = imageFiles(files, { image, input })
  const label = target?.name ?? source.target ?? 'labels'
  const blank = target?.blank
  const { steps, classes } = shapeOfScores(context, label, input, dims ?? dimsOf(image))
  const texts = lines.map(({ text }) => text)
  const { names, origin } = (await findAlphabet(source, context, label, { blank, classes })) ?? {
    names: alphabetOf(texts, blank),
    origin: 'the texts',
  }
  if (classes !== undefined && names.length !== classes)
    throw new OnnxIreError(
      'invalid-data',
      `the model has ${classes} classes, but ${origin} has ${names.length}, the blank included: name the model's own list of characters as "dictionary", or give the model a new last layer for the characters: "head": { "classes": "data" }`,
    )
  if (target === null) return { data: augmentAndReshape(images, input, source), classes: { [label]: names }, files }
  const advice =
    'give the model a new last layer for the characters of the training texts: "head": { "classes": "data" }'
  const labels = encodeLines(lines, names, origin, advice)
  const data = labelImages(lines, labels, names, images, label)
  const column = labelColumns(labels, blank ?? 0)
  const tooLong = (positions: Uint32Array) =>
    steps === undefined ? undefined : describeTooLong(lines, labels, steps, positions)
  // Rejects a source without any text that fits.
  tooLong(Uint32Array.from(lines.keys()))
  return {
    data: augmentAndReshape(data, input, source),
    labels: { length: lines.length, batch: (indices) => ({ [label]: column(indices) }) },
    classes: { [label]: names },
    files,
    tooLong,
  }
}

/** Dims of one image in the model's input; undefined without a size. */
function dimsOf({ size, channels = 3, layout }: NonNullable<ImageTextsSource['image']> = {}) {
  if (size === undefined) return undefined
  const sides = typeof size === 'number' ? [size, size] : size
  return layout === 'NHWC' ? [...sides, channels] : [channels, ...sides]
}

/**
 * Describes the texts at these positions that need more steps than the model has; undefined if there are none. Throws
 * `invalid-data` if all do.
 */
function describeTooLong(
  lines: readonly LabeledImage[],
  labels: readonly (readonly number[])[],
  steps: number,
  positions: Uint32Array,
): string | undefined {
  const tooLong = positions.filter((i) => stepsOf(labels[i]!) > steps)
  const [first] = tooLong
  if (first === undefined) return undefined
  const { place, text } = lines[first]!
  const needed = stepsOf(labels[first]!)
  const message = `${tooLong.length} of ${positions.length} texts need more than the ${steps} steps of the model, one per character and one between equal ones (first: ${place}, ${JSON.stringify(text)} needs ${needed})`
  const advice = 'give image.size more columns, or remove these texts'
  if (tooLong.length === positions.length) throw new OnnxIreError('invalid-data', `${message}: ${advice}`)
  return `${message}; the loss leaves them out: ${advice}`
}
