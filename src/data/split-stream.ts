import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import type { DatasetSplit } from './dataset.js'
import type { DataExample } from './examples.js'
import type { ExampleStream } from './stream.js'

/** The examples of a stream from index `start` up to, but excluding, `end`. Throws `invalid-option`. */
export function streamSubset(data: ExampleStream, start: number, end: number | undefined): ExampleStream {
  const { length: available = Number.POSITIVE_INFINITY } = data
  if (start >= (end ?? available))
    throw new OnnxIreError('invalid-option', `subset: start is ${start}; it must be below the end, ${end ?? available}`)
  if (end !== undefined && end > available)
    throw new OnnxIreError('invalid-option', `subset: end is ${end}, but there are only ${available} examples`)
  const length = Math.min(end ?? available, available) - start
  return {
    ...data,
    length: Number.isFinite(length) ? length : undefined,
    async *examples(epoch) {
      let index = 0
      for await (const example of data.examples(epoch)) {
        if (index++ >= start) yield example
        if (index === end) return
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
 * Splits a stream into training and validation examples, like `split` for a data set. Each example goes to the validation part
 * with probability `validation`, independently of the others.
 */
export function splitStream(
  data: ExampleStream,
  options: { readonly validation: number; readonly seed: number },
): { readonly [Part in keyof DatasetSplit]: ExampleStream } {
  const createSelector = () => {
    const random = new Random(options.seed).stream('split')
    return () => random.uniform() < options.validation
  }
  const part = (validation: boolean): ExampleStream => {
    const isValidation = createSelector()
    const { length } = data
    return {
      ...data,
      length:
        length === undefined
          ? undefined
          : Array.from({ length }, isValidation).filter((selected) => selected === validation).length,
      async *examples(epoch): AsyncGenerator<DataExample> {
        const isValidation = createSelector()
        for await (const example of data.examples(epoch)) if (isValidation() === validation) yield example
      },
    }
  }
  return { train: part(false), validation: part(true) }
}
