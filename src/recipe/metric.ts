import type { Metric } from '../metric/metric.js'
import { createMetric, type MetricKind, metricRegistry, metrics } from '../metric/registry.js'
import { closest } from '../util/closest.js'
import { OnnxIreError } from '../util/errors.js'
import { either, type JsonSchema, kind, kinds, list, object, text } from '../util/json-schema.js'
import { getOwn } from '../util/record.js'

type MetricOptions = { readonly [Kind in MetricKind]: Parameters<(typeof metricRegistry)[Kind]['create']>[0] }

/** Metric of a recipe: a name of `metrics`, `top<k>`, or the kind of a metric that has options, with its options. */
export type MetricRecipe =
  | string
  | {
      [Kind in MetricKind]: keyof MetricOptions[Kind] extends never
        ? never
        : { readonly kind: Kind } & MetricOptions[Kind]
    }[MetricKind]

/** Options of a metric that follow from class names; undefined for a metric without such options. */
const classOptionsOf = (metric: MetricRecipe) =>
  typeof metric === 'string'
    ? (getOwn(metricRegistry, metric) as { optionsOf?: (names: readonly string[]) => object | undefined } | undefined)
        ?.optionsOf
    : undefined

/** Whether options of a metric, given by its name, follow from the class names of the data. */
export const needsClassNames = (metric: MetricRecipe): boolean => classOptionsOf(metric) !== undefined

/**
 * Adds the options of a metric that follow from class names. Throws `invalid-option` if the names do not have them.
 * @param names names of the classes of the labels, if the data have them
 */
export function addClassOptions(metric: MetricRecipe, names: readonly string[] | undefined): MetricRecipe {
  const optionsOf = classOptionsOf(metric)
  if (!optionsOf) return metric
  const options = names && optionsOf(names)
  if (options) return { kind: metric, ...options } as MetricRecipe
  const [needed = ''] = (metricRegistry[metric as MetricKind] as { required?: readonly string[] }).required ?? []
  throw new OnnxIreError(
    'invalid-option',
    `metric '${String(metric)}': the class names of the data do not determine '${needed}': give it as { "kind": "${String(metric)}", "${needed}": 0 }, or remove the metric`,
  )
}

/** Creates the metric of a recipe. Throws `invalid-option` for an unknown name. */
export function createRecipeMetric(recipe: MetricRecipe): Metric {
  if (typeof recipe === 'string') return createNamedMetric(recipe)
  const { kind, ...options } = recipe
  // The kind ties the function to its options; the compiler does not follow that through a table.
  return (metricRegistry[kind].create as (options: object) => Metric)(options)
}

function createNamedMetric(name: string): Metric {
  addClassOptions(name, undefined)
  try {
    return createMetric(name)
  } catch (cause) {
    const meant = closest(name, Object.keys(metrics))
    if (meant === undefined || !(cause instanceof OnnxIreError)) throw cause
    throw new OnnxIreError(cause.code, `did you mean '${meant}'? ${cause.message}`, { cause })
  }
}

const metricSchema = either(
  [
    text(),
    kinds(
      ...Object.entries(metricRegistry).flatMap(([name, { options, required = [] }]) =>
        Object.keys(options).length === 0
          ? []
          : [object<object>({ kind: kind(name), ...options }, ['kind', ...required] as never[])],
      ),
    ),
  ],
  `the name of a metric (${Object.keys(metrics).join(', ')}), or { kind, ... }`,
)

/** JSON Schema of a recipe's list of metrics. */
export const metricsSchema: JsonSchema = list(metricSchema, {}, 'the metrics measured in addition to the loss')
