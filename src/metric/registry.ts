import { OnnxIreError } from '../util/errors.js'
import { choice, type JsonSchema, real, whole } from '../util/json-schema.js'
import { getOwn } from '../util/record.js'
import { accuracy, topK } from './accuracy.js'
import { cohenKappa, ece } from './agreement.js'
import { margin } from './margin.js'
import type { Metric } from './metric.js'
import { perplexity } from './perplexity.js'
import { type ClassAverageOptions, confusion, f1, iou, perClass, precision, recall } from './precision-recall.js'
import { averagePrecision, rocAuc } from './ranking.js'
import { mae, r2, rmse } from './regression.js'
import { cer, sequenceAccuracy, type WerOptions, wer } from './sequences.js'

/** Entry of `metricRegistry`: how a recipe and the command line create a metric. */
interface MetricEntry<Options extends object> {
  create(options: Options): Metric
  /** JSON Schema of every option. */
  readonly options: { readonly [K in keyof Options]-?: JsonSchema }
  /** Options that have no default; without them the metric has no name of its own. */
  readonly required?: readonly (keyof Options & string)[]
  /** Options that follow from the class names of the labels; undefined if the names do not have them. */
  readonly optionsOf?: (classNames: readonly string[]) => Options | undefined
  /** Names of the metric with other options than the defaults. */
  readonly variants?: Readonly<Record<string, Options>>
}

const entry = <Options extends object>(definition: MetricEntry<Options>) => definition
const withoutOptions = (create: () => Metric) => entry<object>({ create, options: {} })

const threshold = real({ exclusiveMinimum: 0, exclusiveMaximum: 1 }, 'the probability above which an answer is yes')
const rankingBins = whole(16, 'the number of intervals of the scores', 2 ** 16)
const averaged = (name: string, create: (options: ClassAverageOptions) => Metric) =>
  entry<ClassAverageOptions>({
    create,
    options: { average: choice(['macro', 'micro', 'weighted'], 'the average over the classes'), threshold },
    variants: { [`${name}-micro`]: { average: 'micro' }, [`${name}-weighted`]: { average: 'weighted' } },
  })

/** Table of all metrics. The metrics of recipes, of the command line and of the documentation are derived from it. */
export const metricRegistry = {
  accuracy: withoutOptions(accuracy),
  topK: entry<{ readonly k: number }>({
    create: ({ k }) => topK(k),
    options: { k: whole(1, 'the number of highest scores', 2 ** 20) },
    required: ['k'],
    variants: { top5: { k: 5 } },
  }),
  precision: averaged('precision', precision),
  recall: averaged('recall', recall),
  f1: averaged('f1', f1),
  iou: averaged('iou', iou),
  confusion: entry({ create: confusion, options: { threshold } }),
  perClass: entry({ create: perClass, options: { threshold } }),
  rocAuc: entry({ create: rocAuc, options: { bins: rankingBins } }),
  averagePrecision: entry({ create: averagePrecision, options: { bins: rankingBins } }),
  ece: entry({ create: ece, options: { bins: whole(1, 'the number of intervals of the confidence', 2 ** 16) } }),
  cohenKappa: entry({
    create: cohenKappa,
    options: { weights: choice(['none', 'linear', 'quadratic'], 'the weight of a wrong class') },
    variants: { 'cohenKappa-linear': { weights: 'linear' }, 'cohenKappa-quadratic': { weights: 'quadratic' } },
  }),
  perplexity: withoutOptions(perplexity),
  margin: withoutOptions(margin),
  cer: withoutOptions(cer),
  wer: entry<WerOptions>({
    create: wer,
    options: { space: whole(0, 'the class of the space between words') },
    required: ['space'],
    optionsOf: (names) => (names.includes(' ') ? { space: names.lastIndexOf(' ') } : undefined),
  }),
  sequenceAccuracy: withoutOptions(sequenceAccuracy),
  mae: withoutOptions(mae),
  rmse: withoutOptions(rmse),
  r2: entry({
    create: r2,
    options: {
      shift: real({}, "a number near the targets' mean"),
      precision: choice(['float32', 'float64'], 'the type of the sums'),
    },
  }),
}

/** Name of a metric in `metricRegistry`. */
export type MetricKind = keyof typeof metricRegistry

/** Metrics by name, created with their default options. */
export const metrics: Readonly<Record<string, () => Metric>> = Object.fromEntries(
  (Object.entries(metricRegistry) as [string, MetricEntry<object>][]).flatMap(
    ([name, { create, required = [], variants = {} }]) => [
      ...(required.length === 0 ? [[name, () => create({})] as const] : []),
      ...Object.entries(variants).map(([variant, options]) => [variant, () => create(options)] as const),
    ],
  ),
)

/**
 * Creates a metric by name: one of `metrics`, or `top<k>` for any k.
 * @throws OnnxIreError `invalid-option` with the available names
 * @example
 * ```ts
 * createMetric('f1-weighted')
 * ```
 */
export function createMetric(name: string): Metric {
  const create = getOwn(metrics, name)
  if (create) return create()
  const top = /^top([1-9]\d*)$/.exec(name)
  if (top) return topK(Number(top[1]))
  throw new OnnxIreError(
    'invalid-option',
    `there is no metric '${name}'; available: ${Object.keys(metrics).join(', ')} (and top<k> for any k)`,
  )
}
