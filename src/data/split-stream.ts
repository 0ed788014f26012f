import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import type { DatasetSplit } from './dataset.js'
import type { DataExample } from './examples.js'
import type { ExampleStream } from './stream.js'

/** The examples of a stream from number `start` up to but without `end`. Throws `invalid-option`. */
export function streamSubset(data: ExampleStream, start: number, end: number | undefined): ExampleStream {
  const { length: whole = Number.POSITIVE_INFINITY } = data
  if (start >= (end ?? whole))
    throw new OnnxIreError('invalid-option', `subset: start is ${start}; it must be below ${end ?? whole}, the end`)
  if (end !== undefined && end > whole)
    throw new OnnxIreError('invalid-option', `subset: end is ${end}, and there are ${whole} examples`)
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
  }
}

/** The first examples of a stream, at most `count`. */
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
})

/**
 * Divides a stream into two parts, as `split` does a data set: an example is held out with the probability that is the
 * share, by a draw of its own.
 */
export function splitStream(
  data: ExampleStream,
  options: { readonly validation: number; readonly seed: number },
): { readonly [Part in keyof DatasetSplit]: ExampleStream } {
  const draws = () => {
    const random = new Random(options.seed).stream('split')
    return () => random.uniform() < options.validation
  }
  const part = (held: boolean): ExampleStream => {
    const isHeld = draws()
    const { length } = data
    return {
      ...data,
      length: length === undefined ? undefined : Array.from({ length }, isHeld).filter((is) => is === held).length,
      async *examples(epoch): AsyncGenerator<DataExample> {
        const isHeld = draws()
        for await (const example of data.examples(epoch)) if (isHeld() === held) yield example
      },
    }
  }
  return { train: part(false), validation: part(true) }
}
