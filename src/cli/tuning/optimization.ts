import { adamw } from '../../optim/adam.js'
import { adamw8bit } from '../../optim/adamw8bit.js'
import { ire } from '../../optim/ire/ire.js'
import type { TrainerOptions } from '../../train/options.js'

/** Options about the optimizer that the fine-tunings of every task share. */
export interface OptimizerRequest {
  /** Default: by task. */
  readonly lr?: number
  readonly ire?: true
  /** Settings of IRE. */
  readonly kappa: number
  readonly gamma: number
}

/** The optimizer of a fine-tuning, with its schedule and clipping. */
interface Optimization {
  readonly options: Pick<TrainerOptions, 'optimizer' | 'schedule' | 'clipNorm'>
  readonly about: string
}

/**
 * AdamW with a cosine schedule and clipped gradients, within IRE if it is requested.
 * @param settings `rate`: the default learning rate; `warmup`: share of the steps in which it rises; `delaysIre`: whether
 * IRE starts after a tenth of the steps, at most 50, as low-rank matrices A and B need it: A has no gradient while B is
 * 0, and all of A would count as flat
 */
export function createOptimization(
  { lr, ire: enhanced, kappa, gamma }: OptimizerRequest,
  steps: number,
  settings: {
    readonly rate: number
    readonly warmup: number
    readonly delaysIre: boolean
    readonly has8bitMoment?: boolean
    readonly curvature?: 'sampled' | 'empirical'
  },
): Optimization {
  const { warmup, delaysIre, has8bitMoment = false, curvature = 'sampled' } = settings
  const rate = lr ?? settings.rate
  const base = has8bitMoment ? adamw8bit({ lr: rate }) : adamw({ lr: rate })
  const start = delaysIre ? Math.min(50, Math.ceil(steps / 10)) : 0
  const about = `AdamW${has8bitMoment ? ' with an 8-bit first moment,' : ''} lr ${rate}, cosine, clip 1`
  const from = start === 0 ? '' : ` from step ${start} on`
  return {
    options: {
      optimizer: enhanced ? ire(base, { kappa, gamma, warmup: start, curvature }) : base,
      schedule: { kind: 'cosine', warmup: Math.min(Math.ceil(steps * warmup), Math.max(0, steps - 1)) },
      clipNorm: 1,
    },
    about: enhanced ? `${about}, IRE with kappa ${kappa}, gamma ${gamma}${from}` : about,
  }
}
