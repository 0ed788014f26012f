import { crossEntropy } from '../loss/cross-entropy.js'
import type { Loss } from '../loss/loss.js'
import { mse } from '../loss/mse.js'
import { type AdamOptions, adam, adamw } from '../optim/adam.js'
import type { BaseOptimizer } from '../optim/base.js'
import { type SgdOptions, sgd } from '../optim/sgd.js'
import { ire } from '../step/ire.js'
import type { Optimizer } from '../step/optimizer.js'
import { sam } from '../step/sam.js'
import type { FitOptions, TrainerOptions } from '../train/options.js'
import type { LossRecipe, OptimizerRecipe, Recipe } from './recipe.js'

/** A recipe's options for `Trainer.create`, but for where it runs. Throws `invalid-option`. */
export function trainerOptions(recipe: Recipe): Omit<TrainerOptions, 'runtime'> {
  const { head, trainable, batchNorm, schedule, clipNorm, batchSize, seed } = recipe
  return {
    loss: lossOf(recipe.loss),
    optimizer: optimizerOf(recipe.optimizer),
    ...present({ head, trainable, batchNorm, schedule, clipNorm, batchSize, seed }),
  }
}

/** How long a recipe trains. */
export const lengthOf = ({ epochs, steps }: Recipe): Pick<FitOptions, 'epochs' | 'steps'> => present({ epochs, steps })

export const lossOf = (recipe: LossRecipe): Loss => {
  if (recipe.kind === 'mse') {
    const { kind: _, ...options } = recipe
    return mse(options)
  }
  const { kind: _, ...options } = recipe
  return crossEntropy(options)
}

/** The name under which the loss expects the labels or targets. */
export const targetNameOf = (recipe: LossRecipe): string =>
  recipe.kind === 'mse' ? (recipe.targets ?? 'targets') : (recipe.labels ?? 'labels')

const bases = { sgd, adam, adamw } satisfies Record<OptimizerRecipe['kind'], unknown>

export function optimizerOf(recipe: OptimizerRecipe): Optimizer {
  const { kind, sam: samOptions, ire: ireOptions, ...options } = recipe
  // The kind ties the function to its options; the compiler does not follow that through a table.
  const base = (bases[kind] as (options: SgdOptions & AdamOptions) => BaseOptimizer)(options)
  const inner = samOptions ? sam(base, samOptions) : base
  return ireOptions ? ire(inner, ireOptions) : inner
}

type Present<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> }

const present = <T extends object>(fields: T): Present<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>
