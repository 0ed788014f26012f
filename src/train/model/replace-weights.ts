import type { DType } from '../../ir/dtype.js'
import { findTooLarge, tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { type Model, namedTensors, replaceTensors } from '../../onnx/model.js'
import type { ParameterArrays } from '../../optim/arrays.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Replaces the elements of model tensors by copies of trained arrays, rounded to the element types of the file.
 * Everything else of the model is unchanged.
 * @param trained arrays by tensor name
 * @throws OnnxIreError `not-finite` naming a tensor with a finite element that would be rounded to infinity
 */
export function replaceWeights(model: Model, trained: ParameterArrays): Model {
  const originals = namedTensors(model)
  const tensors = Object.entries(trained).map(([name, array]): [string, Tensor] => {
    const { dtype, dims } = originals.get(name)!
    if (dtype === 'float32') return [name, { dtype, dims, data: Float32Array.from(array) }]
    checkRange(name, array, dtype)
    return [
      name,
      dtype === 'float64' ? { dtype, dims, data: Float64Array.from(array) } : tensorFrom(dtype, dims, array),
    ]
  })
  return replaceTensors(model, new Map(tensors))
}

/** Throws `not-finite` for a finite number that would be rounded to infinity. */
function checkRange(name: string, array: ParameterArrays[string], dtype: DType): void {
  const large = findTooLarge(dtype, array)
  if (large === undefined) return
  throw new OnnxIreError(
    'not-finite',
    `the tensor '${name}' has the element ${large}, which is too large for its type, ${dtype}: train a float32 file of the model, or with a smaller learning rate or more weight decay`,
  )
}
