import { type Model, replaceTensors, type Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { findTrainable, importGraph } from 'onnx-ire/graph'

/**
 * Shuffles the elements of every weight tensor, which keeps the scale of the weights per layer and removes everything
 * that was learned (a fair random initialization, Raghu et al. 2019, arXiv 1902.07208).
 */
export function withRandomWeights(model: Model, seed: number): Model {
  const random = new Random(seed).stream('random weights')
  const shuffled = [...findTrainable(importGraph(model))].map(([name, { source }]): [string, Tensor] => {
    const { tensor } = source as { readonly tensor: Tensor }
    return [name, { ...tensor, data: random.shuffle(Float32Array.from(tensor.data as Float32Array)) }]
  })
  return replaceTensors(model, new Map(shuffled))
}
