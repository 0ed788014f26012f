import type { FloatArray } from '../ir/float-array.js'
import { OnnxIreError } from '../util/errors.js'
import type { Order } from './histogram.js'
import { selectDouble } from './select-double.js'
import { selectSingle } from './select-single.js'

/**
 * The k-th largest number over all arrays together, exactly, in linear time, without sorting or copying; ranked by
 * magnitude it is the magnitude itself. Null where a number is infinite or NaN.
 *
 * IEEE bit patterns order like the magnitudes they stand for. A histogram over the upper 16 bits finds the bin of the k-th
 * largest, and a second one over the lower 16 bits of that bin's members the number itself; float64 needs four.
 * @param k from 1 (the largest) to the number of elements
 * @throws 'invalid-option' when there is no k-th element
 */
export function kthLargest(arrays: readonly FloatArray[], k: number, order: Order): number | null {
  const total = arrays.reduce((sum, array) => sum + array.length, 0)
  if (!Number.isInteger(k) || k < 1 || k > total)
    throw new OnnxIreError('invalid-option', `cannot select number ${k} of ${total} values`)
  const single = arrays.filter((array) => array instanceof Float32Array)
  const found = single.length === arrays.length ? selectSingle(single, k, order) : selectDouble(arrays, k, order)
  return found === null ? null : found + 0 // -0 and 0 are a tie, and 0 stands for both
}
