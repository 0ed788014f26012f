import { adamw, crossEntropy, type Graph, ire, type Optimizer, type Runtime } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { type LlamaOptions, llama, type TransformerOptions, transformer } from 'onnx-ire/models'
import { type RandomMask, withRandomMask } from '../random-mask.js'
import { computeSpread, type Spread } from '../statistics.js'
import { type Outcome, trainModel } from '../train.js'
import { type Text, windows } from './text.js'

/** Optimizer settings of a run, as numbers: AdamW, with IRE if kappa is set. */
export interface Contender {
  readonly lr: number
  readonly kappa?: number
  readonly gamma?: number
  readonly curvature?: 'sampled' | 'empirical'
  /** Steps between two refreshes of the mask; default 10. */
  readonly interval?: number
  readonly kappaDecay?: boolean
  /** False: IRE does not enhance the embedding and the head. */
  readonly outerLayers?: boolean
  /** Replaces the mask by a random mask. */
  readonly mask?: RandomMask
}

export type TextModel =
  | ({ readonly kind: 'llama' } & LlamaOptions)
  | ({ readonly kind: 'transformer' } & TransformerOptions)

export interface TextRun {
  readonly model: TextModel
  readonly steps: number
  /** Warm-up steps of the learning rate, after which IRE begins. */
  readonly warmup: number
  readonly evaluateEvery: number
  readonly batchSize: number
  readonly seed: number
  /** Default: the whole batch. */
  readonly curvatureShare?: number
}

export const graphOf = (model: TextModel, seed: number): Graph =>
  model.kind === 'llama' ? llama({ ...model, seed }) : transformer({ ...model, seed })

/** AdamW with the settings of the paper, with and without IRE. */
export function optimizerOf(
  { lr, kappa, gamma = 0.6, curvature = 'sampled', interval = 10, kappaDecay = false }: Contender,
  warmup: number,
): Optimizer {
  const base = adamw({ lr, betas: [0.9, 0.95], weightDecay: 0.1 })
  return kappa === undefined ? base : ire(base, { kappa, gamma, interval, warmup, curvature, kappaDecay })
}

/** Trains a language model: gradient norm clipped at 1, cosine schedule to a twentieth of the rate. */
export function trainText(
  contender: Contender,
  { model, steps, warmup, evaluateEvery, batchSize, seed, curvatureShare = 1 }: TextRun,
  text: Text,
  runtime: Runtime,
  signal: { readonly aborted: boolean },
  done: (share: number) => void,
): Promise<Outcome> {
  const { context = 64 } = model
  return trainModel(
    {
      model: modelOf(graphOf(model, seed)),
      train: windows(text.train, context),
      validation: windows(text.validation, context),
      test: windows(text.test, context),
      loss: crossEntropy(),
      optimizer: optimizerOf(contender, warmup),
      schedule: { kind: 'cosine', warmup, floor: 0.05 },
      clipNorm: 1,
      steps,
      evaluateEvery,
      batchSize,
      curvatureShare,
      ...(contender.outerLayers === false
        ? { groups: [{ tensors: ['embedding.weight', 'head.weight'], ire: false }] }
        : {}),
      seed,
    },
    contender.mask ? withRandomMask(runtime, contender.mask, seed) : runtime,
    signal,
    done,
  )
}

/**
 * Steps that AdamW needs to reach a loss, relative to N, if doubling the steps lowers the loss from `once` to `double`.
 */
export const speedUp = (loss: readonly number[], once: readonly number[], double: readonly number[]): Spread =>
  computeSpread(loss.map((x, i) => 2 ** ((once[i]! - x) / (once[i]! - double[i]!))))
