import type { SweepValues } from '../../sweep/search.js'
import type { SweepTrial } from '../../sweep/sweep.js'
import { formatMetric } from '../format.js'

/** A value of a recipe's field as text. */
export const formatValue = (value: unknown): string =>
  typeof value === 'object' ? JSON.stringify(value) : String(value)

/** The values of a combination in one line. */
export const formatValues = (values: SweepValues): string =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${formatValue(value)}`)
    .join(', ')

/** The score of a trial as text. */
export const formatScore = ({ score, error }: SweepTrial, metric: string): string =>
  score !== null ? `${metric} ${formatMetric(metric, score)}` : error === undefined ? 'diverged' : `failed: ${error}`
