import { checkIndices, type Dataset } from '../../data/dataset.js'
import type { DataExample } from '../../data/examples.js'
import { type ExampleStream, stream } from '../../data/stream.js'
import type { Tensors } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'
import { iterateBytes } from './bytes.js'

/** How files of bytes become the examples of a language model. */
export interface WindowShape {
  readonly input: string
  /** Null to leave out what follows. */
  readonly target: string | null
  /** Tokens per example; what follows them is one more. */
  readonly context: number
  /** Tokens between the beginnings of two examples. */
  readonly stride: number
  readonly offset: number
}

/** Every run of `context` bytes of a file, `stride` apart: tokens [n, context], and as labels the bytes one further on. */
export async function readByteWindows(paths: readonly string[], shape: WindowShape): Promise<Dataset> {
  const { input, target, context, stride, offset } = shape
  const files = await Promise.all(paths.map(wholeFile))
  const starts = files.flatMap((bytes) =>
    Array.from({ length: countOf(bytes.length, shape) }, (_, i) => ({ bytes, at: i * stride })),
  )
  if (starts.length === 0) throw tooShort(paths, context)
  const rows = (indices: ArrayLike<number>, shift: number): Tensors[string] => {
    const data = new BigInt64Array(indices.length * context)
    for (let i = 0; i < indices.length; i++) {
      const { bytes, at } = starts[indices[i]!]!
      for (let t = 0; t < context; t++) data[i * context + t] = BigInt(bytes[at + shift + t]! + offset)
    }
    return { dtype: 'int64', dims: [indices.length, context], data }
  }
  return {
    length: starts.length,
    batch(indices) {
      checkIndices(indices, starts.length)
      return { [input]: rows(indices, 0), ...(target === null ? {} : { [target]: rows(indices, 1) }) }
    },
  }
}

/** The same examples as `windows`, read as they are trained on. */
export function streamByteWindows(paths: readonly string[], shape: WindowShape, shuffleBuffer?: number): ExampleStream {
  const { input, target, context, stride, offset } = shape
  const tokens = (bytes: Uint8Array) => BigInt64Array.from(bytes, (byte) => BigInt(byte + offset))
  async function* examples(): AsyncGenerator<DataExample> {
    let made = 0
    for (const path of paths)
      for await (const bytes of runsOf(path, context + 1, stride)) {
        made++
        const following = target === null ? {} : { [target]: tokens(bytes.subarray(1)) }
        yield { [input]: tokens(bytes.subarray(0, context)), ...following }
      }
    if (made === 0) throw tooShort(paths, context)
  }
  return stream(examples, { shuffleBuffer })
}

/** Runs of `length` bytes of a file that begin `stride` bytes apart, whatever pieces it comes in. */
async function* runsOf(path: string, length: number, stride: number): AsyncGenerator<Uint8Array> {
  let held = Buffer.alloc(0)
  let skip = 0
  for await (const block of iterateBytes(path)) {
    held = Buffer.concat([held, block])
    const dropped = Math.min(skip, held.length)
    let at = dropped
    skip -= dropped
    while (skip === 0 && at + length <= held.length) {
      yield held.subarray(at, at + length)
      skip = Math.max(0, at + stride - held.length)
      at = Math.min(at + stride, held.length)
    }
    held = held.subarray(at)
  }
}

/** An example takes one byte more than its context. */
const countOf = (size: number, { context, stride }: WindowShape): number =>
  size < context + 1 ? 0 : Math.floor((size - context - 1) / stride) + 1

async function wholeFile(path: string): Promise<Uint8Array> {
  const blocks: Uint8Array[] = []
  for await (const block of iterateBytes(path)) blocks.push(block)
  return Buffer.concat(blocks)
}

const tooShort = (paths: readonly string[], context: number): OnnxIreError =>
  new OnnxIreError(
    'invalid-data',
    `${paths.join(', ')}: no file has ${context + 1} bytes, which an example of ${context} tokens takes; lower context`,
  )
