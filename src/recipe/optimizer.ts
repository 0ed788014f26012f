import { type AdamOptions, adam, adamw } from '../optim/adam.js'
import type { BaseOptimizer } from '../optim/base-optimizer.js'
import { type IreOptions, ire } from '../optim/ire/ire.js'
import type { Optimizer } from '../optim/optimizer.js'
import { type SamOptions, sam } from '../optim/sam.js'
import { type SgdOptions, sgd } from '../optim/sgd.js'
import { OnnxIreError } from '../util/errors.js'
import { choice, either, flag, type JsonSchema, kind, kinds, list, object, real, whole } from '../util/json-schema.js'

type Around = { readonly sam?: SamOptions; readonly ire?: IreRecipe }

export interface IreRecipe extends Omit<IreOptions, 'warmup'> {
  /** In steps, or in epochs of the training data: IRE then starts with the first step of that epoch, counted from 0. */
  readonly warmup?: number | { readonly epochs: number }
}

/** A base optimizer, with SAM and IRE around it where they are given. */
export type OptimizerRecipe = (
  | ({ readonly kind: 'sgd' } & SgdOptions)
  | ({ readonly kind: 'adam' } & AdamOptions)
  | ({ readonly kind: 'adamw' } & AdamOptions)
) &
  Around

const bases = { sgd, adam, adamw } satisfies Record<OptimizerRecipe['kind'], unknown>

/** The optimizer of a recipe. Throws `invalid-option`, also for epochs that are still to be counted in steps. */
export function optimizerOf(recipe: OptimizerRecipe): Optimizer {
  const { kind, sam: samOptions, ire: ireOptions, ...options } = recipe
  // The kind ties the function to its options; the compiler does not follow that through a table.
  const base = (bases[kind] as (options: SgdOptions & AdamOptions) => BaseOptimizer)(options)
  const inner = samOptions ? sam(base, samOptions) : base
  return ireOptions ? ire(inner, counted(ireOptions)) : inner
}

function counted({ warmup, ...options }: IreRecipe): IreOptions {
  if (typeof warmup !== 'object') return warmup === undefined ? options : { ...options, warmup }
  throw new OnnxIreError(
    'invalid-option',
    'optimizer.ire.warmup: epochs are counted in steps of the training data, and there are none here; give steps',
  )
}

/**
 * An optimizer with what it says in epochs counted in steps.
 * Throws `invalid-option` for data of unknown length.
 * @param stepsPerEpoch asked for only where something is said in epochs; undefined where nobody knows
 */
export async function inSteps(
  optimizer: OptimizerRecipe,
  stepsPerEpoch: () => Promise<number | undefined>,
): Promise<OptimizerRecipe> {
  const { ire: options } = optimizer
  if (typeof options?.warmup !== 'object') return optimizer
  const steps = await stepsPerEpoch()
  if (steps === undefined)
    throw new OnnxIreError(
      'invalid-option',
      'optimizer.ire.warmup: how many steps an epoch of a stream has is not known; give warmup in steps',
    )
  return { ...optimizer, ire: { ...options, warmup: options.warmup.epochs * steps } }
}

const nonNegative = { minimum: 0 }
const belowOne = { minimum: 0, exclusiveMaximum: 1 }
const lr = real(nonNegative, 'the learning rate')
const weightDecay = real(nonNegative)

const around = {
  sam: object<SamOptions>({ rho: real(nonNegative, 'the length of the ascent'), adaptive: flag() }),
  ire: object<IreRecipe>(
    {
      kappa: real(nonNegative, 'the enhancement'),
      gamma: real({ minimum: 0, maximum: 1 }, 'the share of coordinates treated as flat'),
      interval: whole(1, 'steps between two refreshes of the mask'),
      warmup: either(
        [whole(0), object<{ epochs: number }>({ epochs: whole(0) }, ['epochs'])],
        'the steps before IRE starts, or { epochs }',
      ),
      beta: real(belowOne, 'the smoothing of the curvature'),
      kappaDecay: flag('whether kappa follows the schedule'),
      curvature: choice(['sampled', 'empirical', 'hutchinson'], 'where the curvature comes from'),
    },
    ['kappa', 'gamma'],
  ),
}

const adamLike = (name: 'adam' | 'adamw') =>
  object<{ kind: string } & AdamOptions & Around>(
    {
      kind: kind(name),
      lr,
      betas: list(real(belowOne), { minItems: 2, maxItems: 2 }, 'two numbers from 0 to below 1'),
      eps: real(nonNegative),
      weightDecay,
      ...around,
    },
    ['kind'],
  )

export const optimizerSchema: JsonSchema = kinds(
  object<{ kind: string } & SgdOptions & Around>(
    {
      kind: kind('sgd'),
      lr,
      momentum: real(nonNegative),
      dampening: real(nonNegative),
      nesterov: flag(),
      weightDecay,
      ...around,
    },
    ['kind'],
  ),
  adamLike('adam'),
  adamLike('adamw'),
)
