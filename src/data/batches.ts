import { dtypes } from '../ir/dtype.js'
import type { Tensors } from '../ir/tensor.js'
import { checkBoolean, checkNumber, count, describeValue, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { Random } from '../util/random.js'
import { isObject } from '../util/record.js'
import type { BatchContext, Dataset } from './dataset.js'
import type { DataExample } from './examples.js'
import { collateExamples, type DatasetOrStream, type ExampleStream } from './stream.js'

/** Options that divide data into batches. */
export interface BatchOptions {
  /** Examples per batch. */
  readonly batchSize: number
  /** Whether to drop the last batch of an epoch if it is not full. Default false. */
  readonly dropLast?: boolean | undefined
}

/** Options of `batches`. */
export interface EpochOptions extends BatchOptions {
  /**
   * Generator that shuffles the examples; without it they keep the order of the data set. Epoch e is a permutation
   * sampled from the generator's stream 'epoch e', which depends only on the seed and e, so that a resumed run reads
   * the same batches as an uninterrupted one. A stream of examples is shuffled through its buffer. Augmentation of
   * batch b of epoch e uses the stream 'batch e/b'.
   */
  readonly shuffle?: Random | undefined
  /** Index of the epoch, from 0. Default 0. */
  readonly epoch?: number | undefined
  /** Index of the first batch within the epoch, from 0. Default 0. */
  readonly start?: number | undefined
  /** The part of every batch that is loaded, for one of several processes. Default: the whole batch. */
  readonly part?: BatchPart | undefined
}

/**
 * One of several consecutive parts of a batch, of about equal size. Augmentation of each part has a random stream of
 * its own. A part without examples is loaded as the last ones of the batch, with `first` at its end.
 */
export interface BatchPart {
  /** Index of the part, from 0. */
  readonly index: number
  /** Number of parts. */
  readonly of: number
  /** Parts begin at multiples of this number of examples. Default 1. */
  readonly unit?: number | undefined
}

/** Batch of examples with its position in the epoch. */
export interface Batch {
  readonly tensors: Tensors
  /** Indices of its examples in the data set, or in the order of the stream. */
  readonly indices: Uint32Array
  /** Index of the batch in the epoch, from 0: resume with `start: number + 1`. */
  readonly number: number
  /** Number of examples. */
  readonly size: number
  /** Number of examples of the whole batch, if this is a part of it; else `size`. */
  readonly whole: number
  /** Index of the first of these examples in the whole batch: `whole` if none of them belongs to this part. */
  readonly first: number
  /** Whether the batch is the last one of the epoch. */
  readonly last: boolean
}

/**
 * Number of batches in an epoch; undefined for a stream of unknown length.
 * @param data the data, or their number of examples
 * @throws OnnxIreError `invalid-data` if the epoch has no batch
 */
export function batchCount(data: number | Dataset, options: BatchOptions): number
export function batchCount(data: number | DatasetOrStream, options: BatchOptions): number | undefined
export function batchCount(
  data: number | DatasetOrStream,
  { batchSize, dropLast = false }: BatchOptions,
): number | undefined {
  checkNumber('batches', 'batchSize', batchSize, positiveCount)
  checkBoolean('batches', 'dropLast', dropLast)
  const length = typeof data === 'number' ? data : data.length
  if (length === undefined) return undefined
  checkNumber('a data set', 'length', length, count)
  const batches = dropLast ? Math.floor(length / batchSize) : Math.ceil(length / batchSize)
  if (batches > 0) return batches
  throw tooFewExamples(length, batchSize)
}

const tooFewExamples = (length: number, batchSize: number) =>
  new OnnxIreError(
    'invalid-data',
    length === 0
      ? 'the data set has no examples'
      : `the data set has ${length} examples, fewer than one batch of ${batchSize}, which dropLast drops; lower batchSize`,
  )

/**
 * Iterates over one epoch of a data set or stream in batches. The next batch is loaded while the caller uses the
 * current one; if loading fails, the error is thrown when that batch is due. Leaving the loop early waits for the
 * pending batch and drops it. With `shuffle`, batches are augmented.
 *
 * A stream is read one example (with dropLast, one batch) ahead, to detect the last batch; for `start` > 0 the
 * preceding examples are read and dropped.
 * @throws OnnxIreError `invalid-option`, or `invalid-data` if the epoch has no batch or the data set returns a wrong
 * number of examples
 * @example
 * ```ts
 * for await (const { tensors } of batches(data, { batchSize: 32, shuffle: new Random(0), epoch: 1 })) {
 *   // ...
 * }
 * ```
 */
export function batches(data: DatasetOrStream, options: EpochOptions): AsyncGenerator<Batch, void, undefined> {
  const { shuffle, epoch = 0, start = 0 } = options
  const total = batchCount(data, options)
  checkNumber('batches', 'epoch', epoch, count)
  checkNumber('batches', 'start', start, { min: 0, max: total ?? Number.MAX_SAFE_INTEGER, integer: true })
  const { index = 0, of = 1 } = options.part ?? {}
  const context = (number: number): BatchContext | undefined => {
    if (!shuffle) return undefined
    const random = shuffle.stream(`batch ${epoch}/${number}`)
    return { random: of === 1 ? random : random.stream(`part ${index}/${of}`) }
  }
  const source =
    'batch' in data ? datasetBatches(data, options, context, total ?? 0) : streamBatches(data, options, context)
  return readAhead(source, start)
}

/** Source of the batches of an epoch. `load` is called in the order of their indices and returns null past the end. */
interface BatchSource {
  load(number: number): Promise<Batch | null>
  close(): Promise<void>
}

/** Context of a batch (its random generator) by index. */
type BatchContextOf = (number: number) => BatchContext | undefined

function datasetBatches(
  data: Dataset,
  { batchSize, shuffle, epoch = 0, part }: EpochOptions,
  context: BatchContextOf,
  total: number,
): BatchSource {
  const order = shuffle?.stream(`epoch ${epoch}`).permutation(data.length)
  return {
    async load(number) {
      if (number >= total) return null
      const start = number * batchSize
      const whole = Math.min(batchSize, data.length - start)
      const { from, size, first } = rangeOf(part, whole)
      const at = start + from
      const indices = order?.slice(at, at + size) ?? Uint32Array.from({ length: size }, (_, i) => at + i)
      const tensors = await data.batch(indices, context(number))
      checkBatch(tensors, size)
      return { tensors, indices, number, size, whole, first, last: number === total - 1 }
    },
    close: async () => {},
  }
}

/** The examples of a part of a batch of `whole` examples, and `first` of `Batch`. */
function rangeOf({ index, of, unit = 1 }: BatchPart = { index: 0, of: 1 }, whole: number) {
  const units = Math.ceil(whole / unit)
  const boundary = (i: number) => Math.min(whole, unit * Math.floor((units * i) / of))
  const [from, to] = [boundary(index), boundary(index + 1)]
  if (to > from) return { from, size: to - from, first: from }
  const size = Math.min(unit, whole)
  return { from: whole - size, size, first: whole }
}

async function* readAhead(source: BatchSource, start: number): AsyncGenerator<Batch, void, undefined> {
  let ahead: Promise<Batch | null> | null = null
  const load = (number: number) => {
    ahead = source.load(number)
    ahead.catch(() => {}) // thrown when the batch is due; not an unhandled rejection until then
    return ahead
  }
  try {
    let batch = await load(start)
    while (batch) {
      const next: Promise<Batch | null> | null = batch.last ? null : load(batch.number + 1)
      yield batch
      batch = next && (await next)
    }
  } finally {
    await Promise.allSettled([ahead])
    await source.close()
  }
}

/**
 * Checks what a data set returned: tensors, of which some has one entry per example; others may be constant (a sample
 * rate, an initial state).
 */
function checkBatch(tensors: Tensors, size: number): void {
  const form = "{ dtype: 'float32', dims: [n, 3], data }"
  if (!isObject(tensors))
    throw new OnnxIreError(
      'invalid-data',
      `batch(indices) of the data set returned ${describeValue(tensors)}; it must return tensors by name, such as { x: ${form} }`,
    )
  for (const [name, tensor] of Object.entries(tensors)) {
    if (isObject(tensor) && Object.hasOwn(dtypes, String(tensor['dtype'])) && Array.isArray(tensor['dims'])) continue
    const hint = isObject(tensor) && 'type' in tensor ? ", and the 'type' of a tensor of onnxruntime is its dtype" : ''
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' of the data set is no tensor: a tensor is an object such as ${form}${hint}`,
    )
  }
  const shapes = Object.entries(tensors).map(([name, { dims }]) => `'${name}' [${dims.join(', ')}]`)
  if (Object.values(tensors).some(({ dims }) => dims[0] === size)) return
  throw new OnnxIreError(
    'invalid-data',
    `the data set returned ${shapes.join(', ') || 'no tensors'} for ${size} examples; at least one tensor must have a leading axis of ${size}`,
  )
}

function streamBatches(data: ExampleStream, options: EpochOptions, context: BatchContextOf): BatchSource {
  const buffer = checkNumber('a stream', 'shuffleBuffer', data.shuffleBuffer ?? 1024, positiveCount)
  const { batchSize, dropLast = false, shuffle, epoch = 0, start = 0, part } = options
  const plain = readExamples(data, epoch)
  const order = shuffle ? shuffleBuffered(plain, buffer, shuffle.stream(`epoch ${epoch}`)) : plain
  const waiting: Numbered[] = []
  let [taken, ended] = [0, false]
  const fill = async (size: number) => {
    while (waiting.length < size && !ended) {
      const { done, value } = await order.next()
      if (done) ended = true
      else waiting.push(value)
    }
  }
  const take = (size: number) => {
    const examples = waiting.splice(0, size)
    taken += examples.length
    return examples
  }
  const skip = async () => {
    while (taken < start * batchSize && !ended) {
      await fill(1)
      take(1)
    }
    await fill(1)
    const whole =
      taken === start * batchSize || (waiting.length === 0 && Math.ceil(taken / batchSize) === start && !dropLast)
    if (whole) return
    throw new OnnxIreError('invalid-data', `cannot start at batch ${start}: the stream ended after ${taken} examples`)
  }
  return {
    async load(number) {
      if (number === start && start > 0) await skip()
      await fill(batchSize + (dropLast ? batchSize : 1))
      if (taken === 0 && waiting.length < (dropLast ? batchSize : 1)) throw tooFewExamples(waiting.length, batchSize)
      if (waiting.length < (dropLast ? batchSize : 1)) return null
      const all = take(batchSize)
      const { from, size, first } = rangeOf(part, all.length)
      const taking = all.slice(from, from + size)
      const last = waiting.length < (dropLast ? batchSize : 1)
      const indices = Uint32Array.from(taking, ([index]) => index)
      const examples = taking.map(([, example]) => example)
      const tensors = await collateExamples(data, examples, indices, context(number))
      checkBatch(tensors, size)
      return { tensors, indices, number, size, whole: all.length, first, last }
    },
    close: async () => void (await order.return()),
  }
}

/** Example with its index in the source, from 0. */
type Numbered = readonly [number: number, example: DataExample]

/** Reads an epoch in the order of the source, at most `length` examples. */
async function* readExamples(stream: ExampleStream, epoch: number): AsyncGenerator<Numbered, void, undefined> {
  const { length = Number.POSITIVE_INFINITY } = stream
  checkNumber('a stream', 'length', Math.min(length, Number.MAX_SAFE_INTEGER), count)
  let number = 0
  if (length > 0)
    for await (const example of stream.examples(epoch)) {
      yield [number++, example]
      if (number === length) break
    }
  if (number !== length && stream.length !== undefined)
    throw new OnnxIreError('invalid-data', `the stream ended after ${number} examples, but its length is ${length}`)
}

/**
 * Shuffles a stream through a buffer of n examples: a random one is yielded and replaced by the next of the source. An
 * example can be yielded at most n - 1 positions early, and arbitrarily late.
 */
async function* shuffleBuffered(
  source: AsyncIterable<Numbered>,
  n: number,
  random: Random,
): AsyncGenerator<Numbered, void, undefined> {
  const buffer: Numbered[] = []
  for await (const example of source) {
    if (buffer.length < n) {
      buffer.push(example)
      continue
    }
    const at = random.integer(n)
    const chosen = buffer[at]!
    buffer[at] = example
    yield chosen
  }
  yield* random.shuffle(buffer)
}
