import { type ConfusionOptions, confusion } from '../metric/confusion.js'
import type { Metric } from '../metric/metric.js'
import { metricNamed, metrics } from '../metric/named.js'
import {
  type AverageOptions,
  f1,
  type PerClassOptions,
  perClass,
  precision,
  recall,
} from '../metric/precision-recall.js'
import { type R2Options, r2 } from '../metric/r2.js'
import { topK } from '../metric/top-k.js'
import { OnnxIreError } from '../util/errors.js'
import { choice, either, type JsonSchema, kind, kinds, list, object, real, text, whole } from './json-schema.js'
import { closest } from './suggestion.js'

interface OptionsOf {
  precision: AverageOptions
  recall: AverageOptions
  f1: AverageOptions
  confusion: ConfusionOptions
  perClass: PerClassOptions
  r2: R2Options
  topK: { readonly k: number }
}

type MetricOf<Kind extends keyof OptionsOf> = { readonly kind: Kind } & OptionsOf[Kind]

/** A name of `metrics`, `top<k>`, or a metric with options of its own. */
export type MetricRecipe = string | { [Kind in keyof OptionsOf]: MetricOf<Kind> }[keyof OptionsOf]

/** Throws `invalid-option` for a name that no metric has. */
export function metricOf(recipe: MetricRecipe): Metric {
  if (typeof recipe === 'string') return known(recipe)
  switch (recipe.kind) {
    case 'precision':
      return precision(recipe)
    case 'recall':
      return recall(recipe)
    case 'f1':
      return f1(recipe)
    case 'confusion':
      return confusion(recipe)
    case 'perClass':
      return perClass(recipe)
    case 'r2':
      return r2(recipe)
    case 'topK':
      return topK(recipe.k)
  }
}

function known(name: string): Metric {
  try {
    return metricNamed(name)
  } catch (cause) {
    const meant = closest(name, Object.keys(metrics))
    if (meant === undefined || !(cause instanceof OnnxIreError)) throw cause
    throw new OnnxIreError(cause.code, `did you mean '${meant}'? ${cause.message}`, { cause })
  }
}

const threshold = real({ exclusiveMinimum: 0, exclusiveMaximum: 1 }, 'the probability above which an answer is yes')
const average = choice(['macro', 'micro', 'weighted'], 'how the numbers of several classes become one')
const averaged = <Kind extends 'precision' | 'recall' | 'f1'>(name: Kind) =>
  object<{ kind: string } & AverageOptions>({ kind: kind(name), average, threshold }, ['kind'])

const metricSchema = either(
  [
    text(),
    kinds(
      averaged('precision'),
      averaged('recall'),
      averaged('f1'),
      object<MetricOf<'confusion'>>({ kind: kind('confusion'), threshold }, ['kind']),
      object<MetricOf<'perClass'>>({ kind: kind('perClass'), threshold }, ['kind']),
      object<MetricOf<'r2'>>(
        {
          kind: kind('r2'),
          shift: real({}, "a number near the targets' mean"),
          precision: choice(['float32', 'float64'], 'the type of the sums'),
        },
        ['kind'],
      ),
      object<MetricOf<'topK'>>({ kind: kind('topK'), k: whole(1, 'how many classes are looked at') }, ['kind', 'k']),
    ),
  ],
  `the name of a metric (${Object.keys(metrics).join(', ')}), or { kind, ... }`,
)

export const metricsSchema: JsonSchema = list(metricSchema, {}, 'what is measured beside the loss')
