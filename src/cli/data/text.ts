import { arrays, labels } from '../../data/arrays.js'
import { concurrently } from '../../data/concurrent.js'
import type { Dataset } from '../../data/dataset.js'
import { datasetOf } from '../../data/examples.js'
import { type PadOptions, padRows } from '../../data/pad.js'
import type { Stream } from '../../data/stream.js'
import { transform } from '../../data/transform.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import { filesBelow } from '../../node/data/folders.js'
import { readLines, readText, streamLines } from '../../node/data/text.js'
import { textFolder } from '../../node/data/text-folder.js'
import type { TextSource } from '../../recipe/sources/text.js'
import { OnnxIreError } from '../../util/errors.js'
import { inputFor, targetFor } from './naming.js'
import type { Opened, Opening } from './opened.js'
import { streamWindows, windows } from './text-windows.js'

export async function openText(source: TextSource, opening: Opening): Promise<Opened> {
  const { folder, context } = source
  if (folder !== undefined) return openFolder(source, folder, opening)
  const input = inputFor(source, opening)
  if (context === undefined) return { data: encoded(await linesIn(source, input), input, source) }
  const target = targetFor(source, opening)
  const shape = {
    input,
    target: target?.name ?? null,
    context,
    stride: source.stride ?? context,
    offset: source.offset ?? 0,
  }
  return {
    data: source.stream
      ? streamWindows(filesOf(source), shape, source.shuffleBuffer)
      : await windows(filesOf(source), shape),
  }
}

const filesOf = ({ files = [] }: TextSource): readonly string[] => [files].flat()

async function linesIn(source: TextSource, text: string): Promise<Dataset | Stream> {
  const { stream = false, shuffleBuffer } = source
  if (stream) return streamLines(filesOf(source), { text, ...(shuffleBuffer === undefined ? {} : { shuffleBuffer }) })
  const lines = (await Promise.all(filesOf(source).map(readLines))).flat().filter((line) => line !== '')
  if (lines.length === 0) throw new OnnxIreError('invalid-data', `${filesOf(source).join(', ')}: there is no line`)
  return datasetOf(lines.map((line) => ({ [text]: line })))
}

async function openFolder(source: TextSource, folder: string, opening: Opening): Promise<Opened> {
  const { extensions = ['.txt'] } = source
  const text = inputFor(source, opening)
  const target = targetFor(source, opening)
  if (target === null) {
    const files = await filesBelow(folder, extensions)
    if (files.length === 0)
      throw new OnnxIreError('invalid-data', `${folder} holds no document (${extensions.join(', ')})`)
    const documents: Dataset = {
      length: files.length,
      batch: async (indices) => {
        const data = await concurrently(indices, 4, (index) => readText(files[index]!))
        return { [text]: { dtype: 'string', dims: [data.length], data } }
      },
    }
    return { data: encoded(documents, text, source), files }
  }
  const classes = source.classes ?? (await opening.classes())[target.name]
  const found = await textFolder(folder, { classes, extensions, text, label: target.name })
  return {
    data: encoded(found, text, source),
    labels: arrays({ [target.name]: labels(found.labels) }),
    classes: { [target.name]: found.classes },
    files: found.files,
  }
}

/** Texts as the numbers of their bytes, filled up within a batch. */
function encoded(data: Dataset | Stream, name: string, source: TextSource): Dataset | Stream {
  const { tokens, offset = 0, padding = {} } = source
  if (tokens === undefined) return data
  const encode = (batch: Tensors, indices: ArrayLike<number>): Tensors => {
    const texts = batch[name]!.data as readonly string[]
    const rows = texts.map((text) => bytesOf(text, offset, padding))
    return { ...batch, ...padRows(name, rows, padding, (i) => `text ${indices[i]}`) }
  }
  return transform(data, encode)
}

function bytesOf(text: string, offset: number, { maxLength }: PadOptions): Tensor {
  const data = BigInt64Array.from(Buffer.from(text).subarray(0, maxLength), (byte) => BigInt(byte + offset))
  return { dtype: 'int64', dims: [data.length], data }
}
