import { checkNumber, count } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { Random } from '../util/random.js'
import { type ContextOf, checkBatch, type EpochOptions, type Source, tooFew } from './batches.js'
import type { Example } from './collate.js'
import { collated, type Stream } from './stream.js'

/** @param buffer examples that are shuffled among */
export function streamBatches(data: Stream, buffer: number, options: EpochOptions, context: ContextOf): Source {
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
      if (taken === 0 && waiting.length < (dropLast ? batchSize : 1)) throw tooFew(waiting.length, batchSize)
      if (waiting.length < (dropLast ? batchSize : 1)) return null
      const taking = take(batchSize)
      const last = waiting.length < (dropLast ? batchSize : 1)
      const indices = Uint32Array.from(taking, ([index]) => index)
      const examples = taking.map(([, example]) => example)
      const tensors = await collated(data, examples, indices, context(number))
      checkBatch(tensors, examples.length)
      return { tensors, indices, number, size: examples.length, last }
    },
    close: async () => void (await order.return()),
  }
}

/** An example and its number in the source, from 0. */
type Numbered = readonly [number: number, example: Example]

/** An epoch in the order of the source, at most `length` examples of it. */
async function* inOrder(stream: Stream, epoch: number): AsyncGenerator<Numbered, void, undefined> {
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
