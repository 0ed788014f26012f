import { sizeOf } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import type { Dataset } from './dataset.js'
import { transform } from './transform.js'

/**
 * Changes the dims of each example of the tensor `name`; the elements keep their order. Throws `invalid-data` when a
 * batch is read whose examples have another number of elements.
 */
export function reshapeExamples(data: Dataset, name: string, dims: readonly number[]): Dataset {
  return transform(data, (batch) => {
    const tensor = batch[name]!
    const [examples = 0, ...current] = tensor.dims
    if (sizeOf(current) === sizeOf(dims)) return { ...batch, [name]: { ...tensor, dims: [examples, ...dims] } }
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' cannot have the dims [${dims.join(', ')}]: an example is [${current.join(', ')}], which is ${sizeOf(current)} elements`,
    )
  })
}
