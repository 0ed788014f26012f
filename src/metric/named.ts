import { OnnxIreError } from '../util/errors.js'
import { accuracy } from './accuracy.js'
import { confusion } from './confusion.js'
import { mae, rmse } from './errors.js'
import type { Metric } from './metric.js'
import { perplexity } from './perplexity.js'
import { f1, perClass, precision, recall } from './precision-recall.js'
import { r2 } from './r2.js'
import { topK } from './top-k.js'

/** Metrics by the name they are asked for, with their default options. */
export const metrics = {
  accuracy,
  top5: () => topK(5),
  precision,
  'precision-micro': () => precision({ average: 'micro' }),
  'precision-weighted': () => precision({ average: 'weighted' }),
  recall,
  'recall-micro': () => recall({ average: 'micro' }),
  'recall-weighted': () => recall({ average: 'weighted' }),
  f1,
  'f1-micro': () => f1({ average: 'micro' }),
  'f1-weighted': () => f1({ average: 'weighted' }),
  confusion,
  perClass,
  perplexity,
  mae,
  rmse,
  r2,
} satisfies Readonly<Record<string, () => Metric>>

/** The metric of a name: one of `metrics`, or `top<k>` of any k. Throws `invalid-option` listing those there are. */
export function metricNamed(name: string): Metric {
  const make = Object.hasOwn(metrics, name) ? metrics[name as keyof typeof metrics] : undefined
  if (make) return make()
  const top = /^top([1-9]\d*)$/.exec(name)
  if (top) return topK(Number(top[1]))
  throw new OnnxIreError(
    'invalid-option',
    `there is no metric '${name}'; there are ${Object.keys(metrics).join(', ')} (and top<k> of any k)`,
  )
}
