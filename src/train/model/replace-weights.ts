import { tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { type Model, namedTensors, replaceTensors } from '../../onnx/model.js'
import type { ParameterArrays } from '../../optim/arrays.js'

/**
 * Replaces the elements of model tensors by copies of trained arrays, rounded to the element types of the file.
 * Everything else of the model is unchanged.
 * @param trained arrays by tensor name
 */
export function replaceWeights(model: Model, trained: ParameterArrays): Model {
  const originals = namedTensors(model)
  const tensors = Object.entries(trained).map(([name, array]): [string, Tensor] => {
    const { dtype, dims } = originals.get(name)!
    if (dtype === 'float32') return [name, { dtype, dims, data: Float32Array.from(array) }]
    return [
      name,
      dtype === 'float64' ? { dtype, dims, data: Float64Array.from(array) } : tensorFrom(dtype, dims, array),
    ]
  })
  return replaceTensors(model, new Map(tensors))
}
