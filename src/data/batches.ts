import type { Tensors } from '../ir/tensor.js'
import { checkBoolean, checkNumber, count, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { Random } from '../util/random.js'
import type { BatchContext, Dataset } from './dataset.js'
import type { DataExample } from './examples.js'
import { collateExamples, type DatasetOrStream, type ExampleStream } from './stream.js'

/** How data are divided into batches. */
export interface BatchOptions {
  /** Examples per batch. */
  readonly batchSize: number
  /** Leaves out the last batch of an epoch when it is not full. Default false. */
  readonly dropLast?: boolean | undefined
}

/** Options of `batches`. */
export interface EpochOptions extends BatchOptions {
  /**
   * Shuffles: the order of epoch e is a permutation drawn from this generator's stream 'epoch e', which depends on its
   * seed and e alone, so any epoch can be entered at any batch and sees what an uninterrupted run saw. Without it the
   * order is that of the data set. A stream is shuffled through its buffer. Batches b of epoch e draw augmentation from the
   * stream 'batch e/b'.
   */
  readonly shuffle?: Random | undefined
  /** Which epoch, from 0. Default 0. */
  readonly epoch?: number | undefined
  /** The batch of the epoch to begin with, from 0. Default 0. */
  readonly start?: number | undefined
}

/** Some examples, and where in the epoch they stand. */
export interface Batch {
  readonly tensors: Tensors
  /** The numbers of its examples in the data set, or in the order of the stream. */
  readonly indices: Uint32Array
  /** Its number in the epoch, from 0: resume with `start: number + 1`. */
  readonly number: number
  /** Examples in it. */
  readonly size: number
  /** Whether it is the last one of the epoch. */
  readonly last: boolean
}

/**
 * How many batches an epoch has; undefined for a stream of unknown length.
 * @param data what is trained on, or the number of its examples
 * @throws 'invalid-data' when there is none
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
  const batches = dropLast ? Math.floor(length / batchSize) : Math.ceil(length / batchSize)
  if (batches > 0) return batches
  throw tooFewExamples(length, batchSize)
}

export const tooFewExamples = (length: number, batchSize: number) =>
  new OnnxIreError(
    'invalid-data',
    length === 0
      ? 'the data set has no examples'
      : `the data set has ${length} examples, less than one batch of ${batchSize}, and dropLast leaves that out: lower batchSize`,
  )

/**
 * One epoch of a data set or stream, batch by batch. While the consumer works on a batch the next one is already asked for,
 * and no more than that one; should that fail, the error comes when it is the next one's turn. Leaving the loop early waits
 * for the batch that was asked for and drops it. With `shuffle`, batches are told what to draw augmentation from.
 *
 * A stream is read past the batch by one example (with dropLast, by one batch), which is how it is known to be the last; and
 * to begin at batch `start`, the examples before it are read and dropped.
 * @throws 'invalid-option', or 'invalid-data' when there are no batches or the data set returns something else than it was asked for
 */
export function batches(data: DatasetOrStream, options: EpochOptions): AsyncGenerator<Batch, void, undefined> {
  const { shuffle, epoch = 0, start = 0 } = options
  const total = batchCount(data, options)
  checkNumber('batches', 'epoch', epoch, count)
  checkNumber('batches', 'start', start, { min: 0, max: total ?? Number.MAX_SAFE_INTEGER, integer: true })
  const context = (number: number): BatchContext | undefined =>
    shuffle && { random: shuffle.stream(`batch ${epoch}/${number}`) }
  const source =
    'batch' in data ? datasetBatches(data, options, context, total ?? 0) : streamBatches(data, options, context)
  return readAhead(source, start)
}

/** Batches in the order of their numbers; null past the end. */
export interface BatchSource {
  load(number: number): Promise<Batch | null>
  close(): Promise<void>
}

/** What augmentation draws from in a batch, by its number. */
export type BatchContextOf = (number: number) => BatchContext | undefined

function datasetBatches(
  data: Dataset,
  { batchSize, shuffle, epoch = 0 }: EpochOptions,
  context: BatchContextOf,
  total: number,
): BatchSource {
  const order = shuffle?.stream(`epoch ${epoch}`).permutation(data.length)
  return {
    async load(number) {
      if (number >= total) return null
      const first = number * batchSize
      const size = Math.min(batchSize, data.length - first)
      const indices = order?.slice(first, first + size) ?? Uint32Array.from({ length: size }, (_, i) => first + i)
      const tensors = await data.batch(indices, context(number))
      checkBatch(tensors, size)
      return { tensors, indices, number, size, last: number === total - 1 }
    },
    close: async () => {},
  }
}

async function* readAhead(source: BatchSource, start: number): AsyncGenerator<Batch, void, undefined> {
  let ahead: Promise<Batch | null> | null = null
  const ask = (number: number) => {
    ahead = source.load(number)
    ahead.catch(() => {}) // looked at when its turn comes: until then a failure is nobody's unhandled rejection
    return ahead
  }
  try {
    let batch = await ask(start)
    while (batch) {
      const next: Promise<Batch | null> | null = batch.last ? null : ask(batch.number + 1)
      yield batch
      batch = next && (await next)
    }
  } finally {
    await Promise.allSettled([ahead])
    await source.close()
  }
}

/** Some tensor must have one entry per example; others may be the same for every batch (a sample rate, an initial state). */
export function checkBatch(tensors: Tensors, size: number): void {
  const shapes = Object.entries(tensors).map(([name, { dims }]) => `'${name}' [${dims.join(', ')}]`)
  if (Object.values(tensors).some(({ dims }) => dims[0] === size)) return
  throw new OnnxIreError(
    'invalid-data',
    `the data set was asked for ${size} examples and returned ${shapes.join(', ') || 'nothing'}; the leading axis of a tensor counts its examples, and none counts ${size}`,
  )
}

export function streamBatches(data: ExampleStream, options: EpochOptions, context: BatchContextOf): BatchSource {
  const buffer = checkNumber('a stream', 'shuffleBuffer', data.shuffleBuffer ?? 1024, positiveCount)
  const { batchSize, dropLast = false, shuffle, epoch = 0, start = 0 } = options
  const plain = inOrder(data, epoch)
  const order = shuffle ? shuffled(plain, buffer, shuffle.stream(`epoch ${epoch}`)) : plain
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
    throw new OnnxIreError('invalid-data', `cannot begin at batch ${start}: the stream ended after ${taken} examples`)
  }
  return {
    async load(number) {
      if (number === start && start > 0) await skip()
      await fill(batchSize + (dropLast ? batchSize : 1))
      if (taken === 0 && waiting.length < (dropLast ? batchSize : 1)) throw tooFewExamples(waiting.length, batchSize)
      if (waiting.length < (dropLast ? batchSize : 1)) return null
      const taking = take(batchSize)
      const last = waiting.length < (dropLast ? batchSize : 1)
      const indices = Uint32Array.from(taking, ([index]) => index)
      const examples = taking.map(([, example]) => example)
      const tensors = await collateExamples(data, examples, indices, context(number))
      checkBatch(tensors, examples.length)
      return { tensors, indices, number, size: examples.length, last }
    },
    close: async () => void (await order.return()),
  }
}

/** An example and its number in the source, from 0. */
type Numbered = readonly [number: number, example: DataExample]

/** An epoch in the order of the source, at most `length` examples of it. */
async function* inOrder(stream: ExampleStream, epoch: number): AsyncGenerator<Numbered, void, undefined> {
  const { length = Number.POSITIVE_INFINITY } = stream
  checkNumber('a stream', 'length', Math.min(length, Number.MAX_SAFE_INTEGER), count)
  let number = 0
  if (length > 0)
    for await (const example of stream.examples(epoch)) {
      yield [number++, example]
      if (number === length) break
    }
  if (number !== length && stream.length !== undefined)
    throw new OnnxIreError(
      'invalid-data',
      `the stream was to have ${length} examples (its length) and ended after ${number}`,
    )
}

/**
 * The order of a shuffled epoch: n examples wait in a buffer; one of them, drawn at random, goes and the next of the source
 * takes its place. An example comes at most n - 1 places early, and with no bound late.
 */
async function* shuffled(
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
