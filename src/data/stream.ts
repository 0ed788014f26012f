import type { Tensors } from '../ir/tensor.js'
import { checkNames, checkNumber, describeValue, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { type BatchContext, type DataChecksum, type Dataset, type DatasetSplit, deriveChecksum } from './dataset.js'
import { type DataExample, stackExamples } from './examples.js'
import { checkPad, type PadOptions } from './padding.js'
import type { TableStatistics } from './table-statistics.js'

/**
 * Stream of examples that are read in order: data that do not fit in memory, or are generated. `batches` shuffles an
 * epoch through a buffer and collects its examples into batches.
 */
export interface ExampleStream {
  /** Number of examples per epoch, if known: a longer source is cut there, a shorter one is an error. */
  readonly length?: number | undefined
  /**
   * Size of the shuffle buffer, in examples stored in memory: the next example is a random one of the buffer; 1 keeps
   * the order of the source. A sorted source (by class, for instance) should be shuffled beforehand. Default 1024.
   */
  readonly shuffleBuffer?: number | undefined
  /** Reads the examples of an epoch, from 0. The same epoch must give the same examples, or a resumed run differs. */
  examples(epoch: number): AsyncIterable<DataExample> | Iterable<DataExample>
  /** Collates examples to a batch. Default: tensors of equal shape are stacked along a new leading axis. */
  collate?(
    examples: readonly DataExample[],
    indices: ArrayLike<number>,
    context?: BatchContext,
  ): Tensors | Promise<Tensors>
  /** Computes a checksum of the source; see `Dataset`. */
  readonly checksum?: DataChecksum | undefined
  /** Statistics of the columns of a table; see `Dataset`. */
  readonly statistics?: TableStatistics | undefined
}

/** Data to train or evaluate on: a data set, or a stream of examples. */
export type DatasetOrStream = Dataset | ExampleStream

/** Options of `stream`. */
export interface StreamOptions {
  /** Number of examples per epoch, if known. */
  readonly length?: number | undefined
  /** Size of the shuffle buffer, in examples. Default 1024. */
  readonly shuffleBuffer?: number | undefined
  /** Padding of the tensors whose examples differ in length, by name. */
  readonly padding?: Readonly<Record<string, PadOptions>> | undefined
}

/** Iterable of examples. */
export type ExampleIterable = AsyncIterable<DataExample> | Iterable<DataExample>

/**
 * Creates a stream of examples from an array, an async iterable that restarts on each iteration, or a function that
 * returns an iterable for an epoch, such as an async generator function.
 * @throws OnnxIreError `invalid-option`; when iterated, `invalid-data` if a generator is read a second time
 * @example
 * ```ts
 * stream(async function* () {
 *   for await (const row of rows()) yield { input: row.values, label: BigInt(row.label) }
 * })
 * ```
 */
export function stream(
  source: ExampleIterable | ((epoch: number) => ExampleIterable),
  options: StreamOptions = {},
): ExampleStream {
  checkNames('stream', options, ['length', 'shuffleBuffer', 'padding'])
  const { length, shuffleBuffer, padding } = options
  if (length !== undefined) checkNumber('stream', 'length', length, positiveCount)
  if (shuffleBuffer !== undefined) checkNumber('stream', 'shuffleBuffer', shuffleBuffer, positiveCount)
  for (const [name, pad] of Object.entries(padding ?? {})) checkPad(`stream: padding of '${name}'`, pad)
  return {
    length,
    shuffleBuffer,
    examples: typeof source === 'function' ? source : checkRestart(source),
    collate: (examples, indices) => stackExamples(examples, indices, padding),
  }
}

/** Detects a second read of a generator, which is its own iterator; an array returns a new iterator each time. */
function checkRestart(source: ExampleIterable): () => ExampleIterable {
  let spent = false
  return () => {
    const once = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    if (Object.is(once, source)) {
      if (spent)
        throw new OnnxIreError(
          'invalid-data',
          'the stream reads a generator object, which can be read only once; pass the generator function to stream(...)',
        )
      spent = true
    }
    return source
  }
}

/** Collates examples with the stream's own function, or by stacking them. */
export function collateExamples(
  stream: ExampleStream,
  examples: readonly DataExample[],
  indices: ArrayLike<number>,
  context?: BatchContext,
): Tensors | Promise<Tensors> {
  return stream.collate ? stream.collate(examples, indices, context) : stackExamples(examples, indices)
}

/** Throws `invalid-data` for a value that is neither a data set nor a stream. */
export function checkData(what: string, data: unknown): asserts data is DatasetOrStream {
  const given = Object(data) as Partial<Dataset & ExampleStream>
  if (typeof given.batch === 'function' || typeof given.examples === 'function') return
  throw new OnnxIreError(
    'invalid-data',
    `${what} is ${describeValue(data)}: pass a data set such as fromArrays(...), a part of one from split(...), or stream(...)`,
  )
}

/** Subset of a stream: its examples from index `start` up to, but excluding, `end`. Throws `invalid-option`. */
export function streamSubset(data: ExampleStream, start: number, end: number | undefined): ExampleStream {
  const { length: whole = Number.POSITIVE_INFINITY } = data
  if (start >= (end ?? whole))
    throw new OnnxIreError('invalid-option', `subset: start is ${start}; it must be below the end, ${end ?? whole}`)
  if (end !== undefined && end > whole)
    throw new OnnxIreError('invalid-option', `subset: end is ${end}, but the stream has ${whole} examples`)
  const length = Math.min(end ?? whole, whole) - start
  return {
    ...data,
    length: Number.isFinite(length) ? length : undefined,
    async *examples(epoch) {
      let number = 0
      for await (const example of data.examples(epoch)) {
        if (number++ >= start) yield example
        if (number === end) return
      }
    },
    checksum: deriveChecksum(data, `${start} ${end ?? ''}`),
  }
}

/** Stream of the first examples of a stream, at most `count`. */
export const takeExamples = (data: ExampleStream, count: number): ExampleStream => ({
  ...data,
  length: undefined,
  async *examples(epoch) {
    let left = count
    for await (const example of data.examples(epoch)) {
      yield example
      if (--left === 0) return
    }
  },
  checksum: deriveChecksum(data, `${count}`),
})

/**
 * Splits a stream at random into two disjoint parts. Every example is held out independently, with the probability
 * `validation`.
 */
export function splitStream(
  data: ExampleStream,
  options: { readonly validation: number; readonly seed: number },
): { readonly [Part in keyof DatasetSplit]: ExampleStream } {
  const createSampler = () => {
    const random = new Random(options.seed).stream('split')
    return () => random.uniform() < options.validation
  }
  const part = (heldOut: boolean): ExampleStream => {
    const isHeldOut = createSampler()
    const { length } = data
    return {
      ...data,
      length:
        length === undefined ? undefined : Array.from({ length }, isHeldOut).filter((is) => is === heldOut).length,
      async *examples(epoch): AsyncGenerator<DataExample> {
        const isHeldOut = createSampler()
        for await (const example of data.examples(epoch)) if (isHeldOut() === heldOut) yield example
      },
      checksum: deriveChecksum(data, `${options.validation} ${options.seed} ${heldOut}`),
    }
  }
  return { train: part(false), validation: part(true) }
}
