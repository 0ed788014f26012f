import { accuracy, adamw, crossEntropy, ire, type Optimizer, type Runtime, type TrainerOptions } from 'onnx-ire'

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
