import {
  accuracy,
  adamw,
  crossEntropy,
  fromArrays,
  ire,
  labelColumn,
  type Optimizer,
  type Runtime,
  Trainer,
  type TrainerOptions,
} from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { mlp } from 'onnx-ire/models'

export type Where = 'wasm' | 'webgpu'

/** A training task: files of the exchange, and options. */
export interface Task {
  readonly model: string
  readonly pixels: string
  readonly labels: string
  readonly size: number
  readonly classes?: number
  readonly batchSize: number
  readonly lr: number
  readonly ire?: boolean
  readonly ema?: number
  readonly steps: number
}

export function optionsOf(task: Task, runtime: Runtime): TrainerOptions {
  const base = adamw({ lr: task.lr })
  const optimizer: Optimizer = task.ire ? ire(base, { kappa: 2, gamma: 0.6, interval: 5, warmup: 5 }) : base
  return {
    loss: crossEntropy(),
    metrics: [accuracy()],
    optimizer,
    runtime,
    batchSize: task.batchSize,
    seed: 3,
    ...(task.ema === undefined ? {} : { ema: task.ema }),
    ...(task.classes ? { head: { classes: task.classes, seed: 5 } } : {}),
  }
}

/** Trains the head of a network whose other weights have 256 KB, and evaluates it; returns the losses. */
export async function trainHeadOn(runtime: Runtime): Promise<number[]> {
  const data = fromArrays({
    x: { dims: [32, 64], data: Float32Array.from({ length: 32 * 64 }, (_, i) => Math.sin(i)) },
    labels: labelColumn(Array.from({ length: 32 }, (_, i) => i % 4)),
  })
  const trainer = await Trainer.create(modelOf(mlp({ features: 64, hidden: [1024], classes: 4, seed: 3 })), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 1e-2 }),
    trainable: 'head.*',
    batchSize: 8,
    runtime,
  })
  const losses: number[] = []
  await trainer.train(data, { totalSteps: 4, onStep: ({ loss }) => void losses.push(loss) })
  losses.push((await trainer.evaluate(data)).loss)
  await trainer.dispose()
  return losses
}
