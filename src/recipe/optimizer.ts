import { type IreOptions, ire, ireOptions } from '../optim/ire/ire.js'
import type { Optimizer } from '../optim/optimizer.js'
import type { OptionSpec, OptionSpecs } from '../optim/option-specs.js'
import { type BaseOptimizerRecipe, baseOptimizers, createBaseOptimizer } from '../optim/registry.js'
import { type SamOptions, sam, samOptions } from '../optim/sam.js'
import { OnnxIreError } from '../util/errors.js'
import { choice, either, flag, type JsonSchema, kind, kinds, list, object, real, whole } from '../util/json-schema.js'

/** Options of IRE in a recipe. */
export interface IreRecipe extends Omit<IreOptions, 'warmup'> {
  /** In steps, or in epochs of the training data: IRE then starts with the first step of that epoch, counted from 0. */
  readonly warmup?: number | { readonly epochs: number }
}

/** A base optimizer, optionally with SAM and IRE around it. */
export type OptimizerRecipe = BaseOptimizerRecipe & { readonly sam?: SamOptions; readonly ire?: IreRecipe }

/** Creates the optimizer of a recipe. Throws `invalid-option`, also for a warm-up in epochs: see `inSteps`. */
export function optimizerOf(recipe: OptimizerRecipe): Optimizer {
  const { sam: samRecipe, ire: ireRecipe, ...baseRecipe } = recipe
  const base = createBaseOptimizer(baseRecipe)
  const inner = samRecipe ? sam(base, samRecipe) : base
  return ireRecipe ? ire(inner, toIreOptions(ireRecipe)) : inner
}

function toIreOptions({ warmup, ...options }: IreRecipe): IreOptions {
  if (typeof warmup !== 'object') return warmup === undefined ? options : { ...options, warmup }
  throw new OnnxIreError(
    'invalid-option',
    'optimizer.ire.warmup: epochs cannot be converted to steps without training data; give steps',
  )
}

/**
 * Converts the options of an optimizer that are given in epochs to steps.
 * Throws `invalid-option` for data of unknown length.
 * @param stepsPerEpoch called only if an option is given in epochs; returns undefined if the number is unknown
 */
export async function convertEpochsToSteps(
  optimizer: OptimizerRecipe,
  stepsPerEpoch: () => Promise<number | undefined>,
): Promise<OptimizerRecipe> {
  const { ire: options } = optimizer
  if (typeof options?.warmup !== 'object') return optimizer
  const steps = await stepsPerEpoch()
  if (steps === undefined)
    throw new OnnxIreError(
      'invalid-option',
      'optimizer.ire.warmup: the number of steps per epoch of a stream is unknown; give warmup in steps',
    )
  return { ...optimizer, ire: { ...options, warmup: options.warmup.epochs * steps } }
}

/** The JSON schema of one option of an optimizer. */
function optionSchema(spec: OptionSpec): JsonSchema {
  const { description } = spec
  if (spec.type === 'boolean') return flag(description)
  if (spec.type === 'choice') return choice(spec.choices, description)
  const { min, max, open, integer } = spec.range
  const bounds = {
    minimum: min,
    ...(max === Number.MAX_VALUE ? {} : open ? { exclusiveMaximum: max } : { maximum: max }),
  }
  if (spec.type === 'number')
    return integer ? whole(min, description, max < 1e9 ? max : undefined) : real(bounds, description)
  const length = spec.default.length
  return list(real(bounds), { minItems: length, maxItems: length }, description)
}

const optionSchemas = <Options extends object>(specs: OptionSpecs<Options>) =>
  Object.fromEntries(
    Object.entries(specs as Readonly<Record<string, OptionSpec>>).map(([name, spec]) => [name, optionSchema(spec)]),
  )

const around = {
  sam: object<Record<string, unknown>>(optionSchemas(samOptions)),
  ire: object<Record<string, unknown>>(
    {
      ...optionSchemas(ireOptions),
      warmup: either(
        [whole(0), object<{ epochs: number }>({ epochs: whole(0) }, ['epochs'])],
        'the steps before IRE starts, or { epochs }',
      ),
    },
    Object.entries(ireOptions).flatMap(([name, spec]) => (spec.default === undefined ? [name] : [])),
  ),
}

/** The JSON schema of an optimizer in a recipe, derived from the table of base optimizers. */
export const optimizerSchema: JsonSchema = kinds(
  ...Object.entries(baseOptimizers).map(([name, { options }]) =>
    object<Record<string, unknown>>({ kind: kind(name), ...optionSchemas(options as OptionSpecs<object>), ...around }, [
      'kind',
    ]),
  ),
)
