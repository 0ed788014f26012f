import type { Dataset } from '../../data/dataset.js'
import { transform } from '../../data/transform.js'
import { sizeOf } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'

/** A data set in which the examples of a tensor have other dims, their elements in the same order. */
export function inDims(data: Dataset, name: string, dims: readonly number[] | undefined): Dataset {
  if (dims === undefined) return data
  return transform(data, (batch) => {
    const tensor = batch[name]!
    const [examples = 0, ...own] = tensor.dims
    if (sizeOf(own) === sizeOf(dims)) return { ...batch, [name]: { ...tensor, dims: [examples, ...dims] } }
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' cannot have the dims [${dims.join(', ')}]: an example is [${own.join(', ')}], which is ${sizeOf(own)} elements`,
    )
  })
}
