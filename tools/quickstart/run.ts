import {
  adamw,
  crossEntropy,
  type IntervalMetrics,
  ire,
  type Measures,
  type Model,
  type Optimizer,
  type Runtime,
  type StepProgress,
  Trainer,
} from 'onnx-ire'
import type { Digits } from './digits.js'
import { withRandomWeights } from './random-weights.js'

/** A row of the table: one fine-tuning method. */
export interface Contender {
  readonly name: string
  readonly optimizer: Optimizer
  readonly weights: 'pretrained' | 'random'
}

export interface Outcome {
  readonly name: string
  readonly training: Measures
  readonly heldOut: Measures
  readonly secondsPerStep: number
  readonly tuned: Model
}

interface Plan {
  readonly epochs: number
  readonly batchSize: number
  readonly seed: number
  /** Default: that of a trainer. */
  readonly curvatureShare?: number
}

/** The best settings of each kind in sweep.md, by loss on digits that the table does not use. */
export const contenders = (steps: number): readonly Contender[] => [
  { name: 'AdamW, random weights', optimizer: adamw({ lr: 12e-3 }), weights: 'random' },
  { name: 'AdamW', optimizer: adamw({ lr: 3e-3 }), weights: 'pretrained' },
  {
    name: 'AdamW + IRE',
    optimizer: ire(adamw({ lr: 3e-3 }), { kappa: 2, gamma: 0.6, interval: 10, warmup: Math.ceil(steps / 10) }),
    weights: 'pretrained',
  },
]

/** Fine-tunes the model with a new ten-class head and evaluates it on held-out digits. */
export async function fineTune(
  model: Model,
  contender: Contender,
  { train, heldOut }: Digits,
  { epochs, batchSize, seed, curvatureShare }: Plan,
  runtime: Runtime,
  onStep: (progress: StepProgress) => void,
): Promise<Outcome> {
  const start = contender.weights === 'random' ? withRandomWeights(model, seed) : model
  const trainer = await Trainer.create(start, {
    loss: crossEntropy(),
    optimizer: contender.optimizer,
    runtime,
    head: { classes: 10, seed },
    // The batch statistics of the pretrained layers do not fit random layers.
    batchNorm: contender.weights === 'random' ? 'trained' : 'frozen',
    batchSize,
    ...(curvatureShare === undefined ? {} : { curvatureShare }),
    schedule: { kind: 'cosine', warmup: 5 },
    seed,
  })
  let last: IntervalMetrics | undefined
  for await (const metrics of trainer.fit(train, { totalEpochs: epochs, onStep })) last = metrics
  const outcome: Outcome = {
    name: contender.name,
    training: await trainer.evaluate(train),
    heldOut: await trainer.evaluate(heldOut),
    secondsPerStep: last!.secondsPerStep,
    tuned: trainer.export(),
  }
  await trainer.dispose()
  return outcome
}
