import { type FoldMetric, summarizeFolds } from '../../train/cross-validate.js'
import { getOwn } from '../../util/record.js'
import { formatCount, formatMetric, formatTable } from '../format.js'
import type { TrainingResult } from './training-request.js'

/** Result of `train --folds`, printed with --json. */
export interface FoldsResult {
  /** The folder with a run folder per fold. */
  readonly folder: string
  /** The runs so far, in the order of the folds. */
  readonly folds: readonly TrainingResult[]
  /** Mean and spread of the metrics on the held-out parts. */
  readonly metrics: Readonly<Record<string, FoldMetric>>
  readonly interrupted: boolean
}

/** Summarizes the runs of a cross-validation. */
export const summarizeRuns = (folder: string, folds: readonly TrainingResult[]): FoldsResult => ({
  ...{ folder, folds },
  metrics: summarizeFolds(folds.flatMap(({ validation }) => validation ?? [])),
  interrupted: folds.some(({ interrupted }) => interrupted),
})

/** A table with a row per fold, and mean and standard deviation below. */
export function formatFolds({ folder, folds, metrics, interrupted }: FoldsResult): string {
  const names = Object.keys(metrics)
  const row = (name: string, value: (metric: string) => unknown) => {
    const cells = names.map((metric) => [metric, value(metric)] as const)
    return [name, ...cells.map(([metric, cell]) => (typeof cell === 'number' ? formatMetric(metric, cell) : '-'))]
  }
  const rows = [
    ...folds.map(({ validation }, fold) => row(String(fold), (metric) => getOwn(validation, metric))),
    row('mean', (metric) => metrics[metric]!.mean),
    row('deviation', (metric) => metrics[metric]!.deviation),
  ]
  const end = interrupted
    ? `interrupted in fold ${folds.length - 1}; continue with the same command and --resume`
    : `${formatCount(folds.length, 'fold')} done; their runs are in ${folder}`
  return [...(names.length === 0 ? [] : [formatTable(['fold', ...names], rows)]), end].join('\n')
}
