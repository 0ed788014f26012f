import { OnnxIreError } from '../util/errors.js'
import type { Dataset } from './dataset.js'
import type { Data, Stream } from './stream.js'

/** Throws `invalid-data` for what is no data set, naming what makes one. */
export function checkData(what: string, data: unknown): asserts data is Data {
  const given = Object(data) as Partial<Dataset & Stream>
  if (typeof given.batch === 'function' || typeof given.examples === 'function') return
  const shown = typeof data === 'object' && data !== null ? `an object of the class ${data.constructor?.name}` : data
  throw new OnnxIreError(
    'invalid-data',
    `${what} is ${String(shown)}: give a data set such as arrays(...), a part of one from split(...), or stream(...)`,
  )
}
