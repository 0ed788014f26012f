import { adafactor, adafactorOptions } from './adafactor.js'
import { adagrad, adagradOptions } from './adagrad.js'
import { adam, adamL2Options, adamw, adamwOptions } from './adam.js'
import { adamw8bit, adamw8bitOptions } from './adamw8bit.js'
import { ademamix, ademamixOptions } from './ademamix.js'
import type { BaseOptimizer } from './base-optimizer.js'
import { lion, lionOptions } from './lion.js'
import { muon, muonOptions } from './muon.js'
import { nadam, nadamOptions } from './nadam.js'
import type { OptionSpecs } from './option-specs.js'
import { prodigy, prodigyOptions } from './prodigy.js'
import { radam, radamOptions } from './radam.js'
import { rmsprop, rmspropOptions } from './rmsprop.js'
import {
  scheduleFreeAdamw,
  scheduleFreeAdamwOptions,
  scheduleFreeSgd,
  scheduleFreeSgdOptions,
} from './schedule-free.js'
import { sgd, sgdOptions } from './sgd.js'

/** A base optimizer: its factory, its options, and a summary for help texts. */
interface RegisteredOptimizer<Options extends object> {
  readonly create: (options?: Options) => BaseOptimizer
  readonly options: OptionSpecs<Options>
  readonly summary: string
}

const register = <Options extends object>(
  create: (options?: Options) => BaseOptimizer,
  options: OptionSpecs<Options>,
  summary: string,
): RegisteredOptimizer<Options> => ({ create, options, summary })

/**
 * All base optimizers by kind. Recipes, their JSON schema, the help of the command line and the tests are derived from
 * this table: a new optimizer needs its file, a row here and an export.
 */
export const baseOptimizers = {
  sgd: register(sgd, sgdOptions, 'gradient descent with momentum'),
  adam: register(adam, adamL2Options, 'Adam with L2'),
  adamw: register(adamw, adamwOptions, 'Adam with decoupled weight decay'),
  'adamw-8bit': register(adamw8bit, adamw8bitOptions, 'AdamW with a first moment of 8 bits'),
  adafactor: register(adafactor, adafactorOptions, 'second moments of rows and columns only'),
  nadam: register(nadam, nadamOptions, 'Adam with Nesterov momentum'),
  radam: register(radam, radamOptions, 'Adam with a rectified start'),
  ademamix: register(ademamix, ademamixOptions, 'Adam with a second, slow momentum'),
  prodigy: register(prodigy, prodigyOptions, 'Adam with an estimated step size'),
  'schedule-free-adamw': register(scheduleFreeAdamw, scheduleFreeAdamwOptions, 'AdamW with an average, no schedule'),
  'schedule-free-sgd': register(scheduleFreeSgd, scheduleFreeSgdOptions, 'SGD with an average, no schedule'),
  muon: register(muon, muonOptions, 'orthogonal updates of matrices, AdamW for other tensors'),
  lion: register(lion, lionOptions, 'the sign of the momentum'),
  rmsprop: register(rmsprop, rmspropOptions, 'gradients by their root mean square'),
  adagrad: register(adagrad, adagradOptions, 'gradients by the root of their sum of squares'),
} as const

/** The kind of a base optimizer in a recipe. */
type OptimizerKind = keyof typeof baseOptimizers

/** A base optimizer as plain data: its kind and options. */
export type BaseOptimizerRecipe = {
  [Kind in OptimizerKind]: { readonly kind: Kind } & NonNullable<Parameters<(typeof baseOptimizers)[Kind]['create']>[0]>
}[OptimizerKind]

/** Creates a base optimizer from its kind and options. Throws `invalid-option`. */
export function createBaseOptimizer({ kind, ...options }: BaseOptimizerRecipe): BaseOptimizer {
  // The type of a recipe ties the options to the kind; the compiler does not follow this through the table.
  const { create } = baseOptimizers[kind] as RegisteredOptimizer<object>
  return create(options)
}
