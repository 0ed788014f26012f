import type { Tensors } from '../ir/tensor.js'
import { checkNames, checkNumber, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { BatchContext, Dataset } from './dataset.js'
import { type DataExample, stackExamples } from './examples.js'
import { checkPad, type PadOptions } from './padding.js'

/**
 * Examples of unknown or huge number, read in order: what does not fit in memory, or arises as it is read. An epoch is
 * shuffled through a buffer and gathered into batches by `batches`.
 */
export interface ExampleStream {
  /** Examples per epoch, if known: a longer source is left there, a shorter one is an error. */
  readonly length?: number | undefined
  /**
   * Examples among which the next one is drawn when the order is shuffled; 1 keeps the order of the source. They are held
   * in memory. Sources that are sorted, by class for instance, want to be shuffled before. Default 1024.
   */
  readonly shuffleBuffer?: number | undefined
  /** The examples of one epoch, from 0; the same again for the same epoch, or a resumed run sees others. */
  examples(epoch: number): AsyncIterable<DataExample> | Iterable<DataExample>
  /** Makes a batch of its examples. Default: tensors of one shape are stacked along a new leading axis. */
  collate?(
    examples: readonly DataExample[],
    indices: ArrayLike<number>,
    context?: BatchContext,
  ): Tensors | Promise<Tensors>
}

/** What can be trained on. */
export type DatasetOrStream = Dataset | ExampleStream

/** What is known of a stream, and how it is read. */
export interface StreamOptions {
  /** Examples per epoch, if known. */
  readonly length?: number | undefined
  /** Examples to shuffle among. Default 1024. */
  readonly shuffleBuffer?: number | undefined
  /** Names of which the examples differ in length, and how those are filled up in a batch. */
  readonly padding?: Readonly<Record<string, PadOptions>> | undefined
}

/** Examples one by one. */
export type ExampleIterable = AsyncIterable<DataExample> | Iterable<DataExample>

/**
 * A stream over what can be iterated: an array, an async iterable that starts anew each time, or a function that makes
 * one for an epoch, such as an async generator function.
 *
 * ```ts
 * stream(async function* () { for await (const row of rows()) yield { input: row.values, label: BigInt(row.label) } })
 * ```
 * @throws 'invalid-option'; when iterated, 'invalid-data' for a generator that is to be read a second time
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
    examples: typeof source === 'function' ? source : restartable(source),
    collate: (examples, indices) => stackExamples(examples, indices, padding),
  }
}

/** A generator is its own iterator and is spent after one epoch; an array makes a new iterator each time. */
function restartable(source: ExampleIterable): () => ExampleIterable {
  let spent = false
  return () => {
    const once = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    if (Object.is(once, source)) {
      if (spent)
        throw new OnnxIreError(
          'invalid-data',
          'the stream is over a generator, which can be read once, and was read: give stream(...) the function that makes it',
        )
      spent = true
    }
    return source
  }
}

export function collateExamples(
  stream: ExampleStream,
  examples: readonly DataExample[],
  indices: ArrayLike<number>,
  context?: BatchContext,
): Tensors | Promise<Tensors> {
  return stream.collate ? stream.collate(examples, indices, context) : stackExamples(examples, indices)
}

/** Throws `invalid-data` for what is no data set, naming what makes one. */
export function checkData(what: string, data: unknown): asserts data is DatasetOrStream {
  const given = Object(data) as Partial<Dataset & ExampleStream>
  if (typeof given.batch === 'function' || typeof given.examples === 'function') return
  const shown = typeof data === 'object' && data !== null ? `an object of the class ${data.constructor?.name}` : data
  throw new OnnxIreError(
    'invalid-data',
    `${what} is ${String(shown)}: give a data set such as arrays(...), a part of one from split(...), or stream(...)`,
  )
}
