import { adamw, crossEntropy, type Graph, ire, type Optimizer, type Runtime, sam, sgd } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { resnet, vit } from 'onnx-ire/models'
import { type RandomMask, withRandomMask } from '../random-mask.js'
import { type Outcome, trainModel } from '../train.js'
import type { Fashion } from './fashion.js'
import { hessianTrace } from './trace.js'

/** Optimizer settings of a run, as numbers. */
export interface Contender {
  readonly base: 'sgd' | 'sam' | 'adamw'
  readonly lr: number
  readonly kappa?: number
  readonly gamma?: number
  /** Fraction of the run after which IRE begins. */
  readonly from?: number
  /** Replaces the mask by a random mask. */
  readonly mask?: RandomMask
}

export interface ImageRun {
  readonly model: 'resnet' | 'vit'
  readonly epochs: number
  readonly examples: number
  readonly batchSize: number
  readonly seed: number
  /** Number of measurements of the trace of the Hessian; the last is at the end of the run. */
  readonly traces: number
}

/**
 * ResNet-8 with 8, 16 and 32 channels, 20,000 parameters; a vision transformer with four layers, 0.2 million
 * parameters.
 */
export const graphOf = (model: ImageRun['model'], seed: number): Graph =>
  model === 'resnet'
    ? resnet({ channels: 1, size: 28, stem: 'cifar', depths: [1, 1, 1], stages: [8, 16, 32], classes: 10, seed })
    : vit({ channels: 1, size: 28, patch: 7, width: 64, heads: 4, layers: 4, classes: 10, seed })

/** SGD and SAM with the settings of the paper on CIFAR, AdamW with those on vision transformers. */
export function optimizerOf({ base, lr, kappa, gamma = 0.9, from = 0.5 }: Contender, steps: number): Optimizer {
  const inner = {
    sgd: () => sgd({ lr, momentum: 0.9, weightDecay: 5e-4 }),
    sam: () => sam(sgd({ lr, momentum: 0.9, weightDecay: 5e-4 }), { rho: 0.05 }),
    adamw: () => adamw({ lr, weightDecay: 0.1 }),
  }[base]()
  return kappa === undefined ? inner : ire(inner, { kappa, gamma, interval: 10, warmup: Math.round(from * steps) })
}

/** Shape of the vision transformer. */
export const warmupEpochs = 2

export function trainImages(
  contender: Contender,
  { model, epochs, examples, batchSize, seed, traces }: ImageRun,
  data: Fashion,
  runtime: Runtime,
  signal: { readonly aborted: boolean },
  done: (share: number) => void,
): Promise<Outcome> {
  const perEpoch = Math.ceil(examples / batchSize)
  const steps = perEpoch * epochs
  const between = Math.max(1, Math.round(epochs / traces)) * perEpoch
  return trainModel(
    {
      model: modelOf(graphOf(model, seed)),
      train: data.train,
      validation: data.validation,
      test: data.test,
      loss: crossEntropy(),
      optimizer: optimizerOf(contender, steps),
      schedule: { kind: 'cosine', warmup: model === 'vit' ? warmupEpochs * perEpoch : 0 },
      ...(model === 'vit' ? { clipNorm: 1 } : {}),
      batchNorm: 'trained',
      steps,
      evaluateEvery: between,
      batchSize,
      seed,
    },
    contender.mask ? withRandomMask(runtime, contender.mask, seed) : runtime,
    signal,
    done,
    (trainer) => hessianTrace(trainer.export(), data.plain, runtime, { examples: 256, batchSize: 64, probes: 4 }),
  )
}
