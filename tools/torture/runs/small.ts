import type { TrainerOptions } from 'onnx-ire'
import {
  adamw,
  crossEntropy,
  type Dataset,
  fromArrays,
  ire,
  labelColumn,
  type Model,
  type Runtime,
  Trainer,
} from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { modelOf } from 'onnx-ire/graph'
import { build } from 'onnx-ire/models'

const [features, classes] = [6, 3]

/** A perceptron: x [N, 6] to logits [N, 3]. */
export const smallModel = (hidden: readonly number[] = [5]): Model =>
  modelOf(build({ kind: 'mlp', features, hidden, classes }))

/** Examples for `smallModel`. */
export function smallData(examples = 32): Dataset {
  const random = new Random(3)
  return fromArrays({
    x: { dims: [examples, features], data: random.fill(new Float32Array(examples * features), 'normal') },
    labels: labelColumn(Array.from({ length: examples }, () => random.integer(classes))),
  })
}

/** A trainer that uses moments, mask, averages and best weights. */
export const createTrainer = (
  model: Model,
  runtime: Runtime,
  options: Partial<Omit<TrainerOptions, 'runtime'>> = {},
): Promise<Trainer> =>
  Trainer.create(model, {
    loss: crossEntropy(),
    optimizer: ire(adamw({ lr: 0.01 }), { kappa: 2, gamma: 0.8, interval: 3 }),
    batchSize: 8,
    ema: 0.9,
    best: {},
    seed: 5,
    ...options,
    runtime,
  })
