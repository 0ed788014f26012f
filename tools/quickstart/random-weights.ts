import { type Model, replaceTensors, type Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { findTrainable, importGraph } from 'onnx-ire/graph'

/**
 * The same network without what it learned: the elements of every weight tensor shuffled, so that each layer keeps the scale
 * of its weights (the fair random start of Raghu et al. 2019, arXiv 1902.07208) and nothing else.
 */
export function withRandomWeights(model: Model, seed: number): Model {
  const random = new Random(seed).stream('random weights')
  const shuffled = [...findTrainable(importGraph(model))].map(([name, { source }]): [string, Tensor] => {
    const { tensor } = source as { readonly tensor: Tensor }
    return [name, { ...tensor, data: random.shuffle(Float32Array.from(tensor.data as Float32Array)) }]
  })
  return replaceTensors(model, new Map(shuffled))
}
