import { fromArrays, labelColumn } from '../../data/arrays.js'
import { checkClassNames } from '../../data/classes.js'
import { checkIndices, checksumSizes, type Dataset, deriveChecksum } from '../../data/dataset.js'
import { fromExamples } from '../../data/examples.js'
import { type PadOptions, padRows } from '../../data/padding.js'
import { type ExampleStream, stream } from '../../data/stream.js'
import { transform } from '../../data/transform.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import type { TextSource } from '../../recipe/sources/text.js'
import { checkNames } from '../../util/check.js'
import { mapConcurrently } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { readBytes, readByteWindows, streamByteWindows } from './bytes.js'
import { checksumFiles, sizeOfFile } from './checksum-files.js'
import type { OpenContext, OpenedSource } from './data-source.js'
import { inferInput, inferTarget } from './data-source.js'
import { type ClassFolder, identifyFiles, listFiles, listLabeledFiles } from './folders.js'
import { iterateLines } from './lines.js'

/** Largest number of bytes of a text in one string: JavaScript's strings end at half a billion characters. */
const maxTextBytes = 2 ** 28

/**
 * Reads a UTF-8 file, optionally gzipped, as one string without a byte order mark.
 * @throws OnnxIreError `io`, or `invalid-data` if the file is not UTF-8 or larger than 256 MiB
 */
export async function readText(path: string): Promise<string> {
  const bytes = await readBytes(path, maxTextBytes)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new OnnxIreError('invalid-data', `${path}: the file is not UTF-8; convert it`, { cause })
  }
}

/**
 * Reads the lines of a UTF-8 file, including empty lines, without line ends.
 * @throws OnnxIreError `io`, or `invalid-data` naming file and line that is not UTF-8
 */
export async function readLines(path: string): Promise<string[]> {
  const lines: string[] = []
  for await (const { text } of iterateLines(path)) lines.push(text)
  return lines
}

/**
 * Streams the lines of UTF-8 files of any size, one example each: a string under `text`, which `transform` and a
 * tokenizer convert to tokens. Empty lines are skipped.
 */
export function streamLines(
  paths: string | readonly string[],
  options: { readonly text?: string; readonly shuffleBuffer?: number } = {},
): ExampleStream {
  const { text: name = 'text', shuffleBuffer } = options
  async function* examples() {
    for (const path of [paths].flat())
      for await (const { text } of iterateLines(path)) if (text !== '') yield { [name]: text }
  }
  return { ...stream(examples, { shuffleBuffer }), checksum: checksumFiles([paths].flat()) }
}

/** Extensions of documents in a folder, unless others are given. */
export const textExtensions: readonly string[] = ['.txt']

/** Options of `textFolder`. */
export interface TextFolderOptions {
  /** The sub-folders in the order of their class numbers. Default: all, sorted by name. */
  readonly classes?: readonly string[] | undefined
  /** Extensions of the documents. Default ['.txt']. */
  readonly extensions?: readonly string[] | undefined
  /** Name of the texts, strings [n]. Default 'text'. */
  readonly text?: string | undefined
  /** Name of the class numbers, int64 [n]. Default 'labels'. */
  readonly label?: string | undefined
}

/**
 * Opens documents, one UTF-8 file each, in one sub-folder per class. Documents are read per batch.
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` naming a folder without documents or a file that is
 * not UTF-8
 */
export async function textFolder(path: string, options: TextFolderOptions = {}): Promise<ClassFolder> {
  checkNames('textFolder', options, ['classes', 'extensions', 'text', 'label'])
  const { classes, extensions = textExtensions, text = 'text', label = 'labels' } = options
  if (classes) checkClassNames('textFolder', classes)
  const found = await listLabeledFiles(path, extensions, classes)
  return {
    ...found,
    length: found.files.length,
    async batch(indices) {
      checkIndices(indices, found.files.length)
      const data = await mapConcurrently(indices, 4, (index) => readText(found.files[index]!))
      return {
        [text]: { dtype: 'string', dims: [data.length], data },
        [label]: labelColumn(Array.from(indices, (index) => found.labels[index]!)),
      }
    },
    checksum: deriveChecksum({ checksum: checksumSizes(found.files, sizeOfFile) }, Uint32Array.from(found.labels)),
    identify: () => identifyFiles(path, found),
  }
}

/** Opens a folder of documents or files of text for a recipe. */
export async function openText(source: TextSource, context: OpenContext): Promise<OpenedSource> {
  if (source.folder !== undefined) return openDocuments(source, source.folder, context)
  const input = inferInput(source, context)
  if (source.context === undefined) return { data: encode(await openLines(source, input), input, source) }
  const windows = {
    input,
    target: inferTarget(source, context)?.name ?? null,
    context: source.context,
    stride: source.stride ?? source.context,
    offset: source.offset ?? 0,
  }
  return {
    data: source.stream
      ? streamByteWindows(filesOf(source), windows, source.shuffleBuffer)
      : await readByteWindows(filesOf(source), windows),
  }
}

const filesOf = ({ files = [] }: TextSource): readonly string[] => [files].flat()

async function openLines(source: TextSource, text: string): Promise<Dataset | ExampleStream> {
  const { stream = false, shuffleBuffer } = source
  if (stream) return streamLines(filesOf(source), { text, ...(shuffleBuffer === undefined ? {} : { shuffleBuffer }) })
  const lines = (await Promise.all(filesOf(source).map(readLines))).flat().filter((line) => line !== '')
  if (lines.length === 0) throw new OnnxIreError('invalid-data', `${filesOf(source).join(', ')}: there are no lines`)
  return fromExamples(lines.map((line) => ({ [text]: line })))
}

async function openDocuments(source: TextSource, folder: string, context: OpenContext): Promise<OpenedSource> {
  const { extensions = textExtensions } = source
  const text = inferInput(source, context)
  const target = inferTarget(source, context)
  if (target === null) {
    const files = await listFiles(folder, extensions)
    if (files.length === 0)
      throw new OnnxIreError('invalid-data', `${folder} has no documents: put files ${extensions.join(', ')} in it`)
    const documents: Dataset = {
      length: files.length,
      batch: async (indices) => {
        const data = await mapConcurrently(indices, 4, (index) => readText(files[index]!))
        return { [text]: { dtype: 'string', dims: [data.length], data } }
      },
      checksum: checksumSizes(files, sizeOfFile),
    }
    return { data: encode(documents, text, source), files }
  }
  const classes = source.classes ?? getOwn(await context.classes(), target.name)
  const found = await textFolder(folder, { classes, extensions, text, label: target.name })
  return {
    data: encode(found, text, source),
    labels: fromArrays({ [target.name]: labelColumn(found.labels) }),
    classes: { [target.name]: found.classes },
    files: found.files,
  }
}

/** Converts texts to the numbers of their bytes, padded within a batch. */
function encode(data: Dataset | ExampleStream, name: string, source: TextSource): Dataset | ExampleStream {
  const { tokens, offset = 0, padding = {} } = source
  if (tokens === undefined) return data
  const encodeBatch = (batch: Tensors, indices: ArrayLike<number>): Tensors => {
    const texts = batch[name]!.data as readonly string[]
    const rows = texts.map((text) => encodeBytes(text, offset, padding))
    return { ...batch, ...padRows(name, rows, padding, (i) => `text ${indices[i]}`) }
  }
  return transform(data, encodeBatch)
}

function encodeBytes(text: string, offset: number, { maxLength }: PadOptions): Tensor {
  const data = BigInt64Array.from(Buffer.from(text).subarray(0, maxLength), (byte) => BigInt(byte + offset))
  return { dtype: 'int64', dims: [data.length], data }
}
