import {
  adafactor,
  adagrad,
  adamw,
  adamw8bit,
  ademamix,
  type BaseOptimizer,
  ire,
  lion,
  muon,
  nadam,
  type Optimizer,
  prodigy,
  radam,
  rmsprop,
  type Schedule,
  scheduleFreeAdamw,
  scheduleFreeSgd,
  sgd,
} from 'onnx-ire'
import type { RandomMask } from '../random-mask.js'

/** A run of a given length with AdamW's weight decay. */
export interface Plan {
  readonly steps: number
  readonly weightDecay: number
}

interface Base {
  /** Expected best learning rate, in that of AdamW: the grid starts there and at half and twice of it. */
  readonly rate: number
  /** Whether the optimizer has a warm-up of its own, and takes no schedule. */
  readonly scheduleFree?: true
  create(lr: number, plan: Plan): BaseOptimizer
}

/** The base optimizers of the comparison. Decoupled weight decay times learning rate is that of AdamW. */
export const bases = {
  adamw: { rate: 1, create: (lr, { weightDecay }) => adamw({ lr, betas: [0.9, 0.95], weightDecay }) },
  sgd: { rate: 64, create: (lr) => sgd({ lr, momentum: 0.9 }) },
  lion: { rate: 1 / 8, create: (lr, { weightDecay }) => lion({ lr, weightDecay: 8 * weightDecay }) },
  muon: { rate: 1, create: (lr, { weightDecay }) => muon({ lr, weightDecay }) },
  'schedule-free-adamw': {
    rate: 2,
    scheduleFree: true,
    create: (lr, { steps, weightDecay }) =>
      scheduleFreeAdamw({ lr, betas: [0.9, 0.95], weightDecay: weightDecay / 2, warmup: warmupOf(steps) }),
  },
  rmsprop: { rate: 1 / 2, create: (lr) => rmsprop({ lr }) },
  adagrad: { rate: 4, create: (lr) => adagrad({ lr }) },
  nadam: { rate: 1, create: (lr, { weightDecay }) => nadam({ lr, weightDecay, decoupled: true }) },
  radam: { rate: 1, create: (lr, { weightDecay }) => radam({ lr, weightDecay, decoupled: true }) },
  ademamix: {
    rate: 1 / 2,
    create: (lr, { steps, weightDecay }) =>
      ademamix({ lr, weightDecay: 2 * weightDecay, alphaWarmup: steps, beta3Warmup: steps }),
  },
  amsgrad: { rate: 1, create: (lr, { weightDecay }) => adamw({ lr, betas: [0.9, 0.95], weightDecay, amsgrad: true }) },
  'adamw-8bit': { rate: 1, create: (lr, { weightDecay }) => adamw8bit({ lr, betas: [0.9, 0.95], weightDecay }) },
  adafactor: { rate: 4, create: (lr, { weightDecay }) => adafactor({ lr, weightDecay: weightDecay / 4 }) },
  // The learning rate is a factor on the estimated step size, about 1.
  prodigy: { rate: 256, create: (lr, { weightDecay }) => prodigy({ lr, weightDecay, safeguardWarmup: true }) },
  'schedule-free-sgd': {
    rate: 128,
    scheduleFree: true,
    create: (lr, { steps }) => scheduleFreeSgd({ lr, warmup: warmupOf(steps) }),
  },
} satisfies Record<string, Base>

export type BaseName = keyof typeof bases
export const baseNames = Object.keys(bases) as BaseName[]

/** Settings of a run: the base alone, or with IRE if kappa is set. */
export interface Contender {
  readonly base: BaseName
  readonly lr: number
  readonly kappa?: number
  readonly gamma?: number
  /** Replaces the mask. */
  readonly mask?: RandomMask
}

const warmupOf = (steps: number): number => Math.round(steps / 10)

/** Creates the optimizer of a run; IRE begins after the warm-up and refreshes its mask every 10 steps. */
export function optimizerOf({ base, lr, kappa, gamma = 0.6 }: Contender, plan: Plan): Optimizer {
  const inner = (bases[base] as Base).create(lr, plan)
  return kappa === undefined ? inner : ire(inner, { kappa, gamma, interval: 10, warmup: warmupOf(plan.steps) })
}

/** Half a cosine to a twentieth of the learning rate after the warm-up; nothing if the optimizer takes no schedule. */
export const scheduleOf = (base: BaseName, steps: number): { readonly schedule?: Schedule } =>
  (bases[base] as Base).scheduleFree ? {} : { schedule: { kind: 'cosine', warmup: warmupOf(steps), floor: 0.05 } }
