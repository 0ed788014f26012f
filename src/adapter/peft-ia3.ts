import type { Tensor } from '../ir/tensor.js'
import { isStringList } from '../util/check.js'
import type { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import type { Adapter, AdapterConfig, ScalingLayer } from './adapter.js'
import { isWholeMatch } from './peft-patterns.js'
import { toAdapterType } from './stored-layers.js'

/** Suffix of PEFT's name of the factors of a module. */
const factorSuffix = '.ia3_l'

/** The settings of PEFT's adapter_config.json for (IA)^3. */
export function toIa3Config({ scalings = [], saved = [], config }: Adapter): Record<string, unknown> {
  // Whole paths: PEFT requires feedforward_modules to be among target_modules.
  const paths = (of: readonly ScalingLayer[]) => of.map(({ module }) => module)
  return {
    peft_type: 'IA3',
    task_type: config.taskType ?? null,
    base_model_name_or_path: config.baseModel ?? null,
    revision: null,
    inference_mode: true,
    target_modules: paths(scalings),
    feedforward_modules: paths(scalings.filter(({ of }) => of === 'inputs')),
    fan_in_fan_out: false,
    modules_to_save: saved.length > 0 ? saved.map(({ module }) => module) : null,
    init_ia3_weights: true,
  }
}

/** The factors of an adapter by PEFT's names. */
export const toNamedFactors = ({ scalings = [] }: Adapter): (readonly [string, Tensor])[] =>
  scalings.map(({ module, factors }) => [`${module}${factorSuffix}`, factors])

/** Reads adapter_config.json of (IA)^3. */
export function readIa3Config(
  fields: Readonly<Record<string, unknown>>,
  fail: (field: string, expected: string) => OnnxIreError,
): {
  readonly config: AdapterConfig
  readonly modulesToSave: readonly string[]
  /** Ends of the paths of modules whose inputs are multiplied, or a regular expression of whole paths. */
  readonly feedforward: string | readonly string[]
} {
  const names = (field: string): readonly string[] => {
    const value = getOwn(fields, field) ?? []
    if (isStringList(value)) return value
    throw fail(field, 'a list of names')
  }
  const text = (field: string) => {
    const value = getOwn(fields, field)
    return typeof value === 'string' ? value : undefined
  }
  const [baseModel, taskType] = [text('base_model_name_or_path'), text('task_type')]
  return {
    config: {
      r: 0,
      alpha: 0,
      targets: text('target_modules') ?? names('target_modules'),
      ...(baseModel !== undefined && { baseModel }),
      ...(taskType !== undefined && { taskType }),
    },
    modulesToSave: names('modules_to_save'),
    feedforward: text('feedforward_modules') ?? names('feedforward_modules'),
  }
}

/**
 * The factors of a module from their tensor.
 * @param feedforward as `readIa3Config` returns it
 */
export function toScaling(
  name: string,
  tensor: Tensor,
  feedforward: string | readonly string[],
): ScalingLayer | undefined {
  if (!name.endsWith(factorSuffix) || tensor.dims.length < 2) return undefined
  const module = name.slice(0, -factorSuffix.length)
  const isFeedforward =
    typeof feedforward === 'string'
      ? isWholeMatch('feedforward_modules', feedforward, module)
      : feedforward.some((end) => module.endsWith(end))
  const of = isFeedforward ? 'inputs' : 'outputs'
  return { module, kind: tensor.dims.length > 2 ? 'conv' : 'linear', of, factors: toAdapterType(name, tensor) }
}
