import type { IntervalMetrics } from '../../train/options.js'
import type { TrainingResult } from '../training/run-training.js'
import { formatCount, formatTable } from './format.js'
import { formatMetric, formatMetricTables, scalarMetrics } from './metrics.js'

/** Table of metrics and outcome of a training run. */
export function formatTrainingResult(result: TrainingResult): string {
  const { run, model, step, epochs, validation, classes } = result
  const end =
    model === null
      ? `interrupted after ${formatCount(step, 'step')}, saved in ${run}; resume it with onnx-ire train --resume`
      : `${formatCount(step, 'step')} done; the trained model is ${model}${weightsText[result.weights]}`
  return [
    ...(epochs.length === 0 ? [] : [metricsTable(epochs)]),
    ...(validation ? formatMetricTables(validation, classes) : []),
    ...formatBest(result),
    end,
  ].join('\n')
}

const weightsText = {
  last: '',
  ema: ', with the moving average of its weights',
  best: ', with its best weights',
} as const

function formatBest({ best, stoppedAfter }: TrainingResult): string[] {
  if (best === null) return []
  const value = `${best.metric} ${formatMetric(best.metric, best.value)}`
  return [
    ...(stoppedAfter === null ? [] : [`stopped early: no better in ${formatCount(stoppedAfter, 'evaluation')}`]),
    `best on held-out data: ${value} at step ${best.step.toLocaleString('en-US')}`,
  ]
}

type Column = readonly [name: string, cell: (metrics: IntervalMetrics) => string | number]

function metricsTable(epochs: readonly IntervalMetrics[]): string {
  const percent = (share: number | undefined) => (share === undefined ? '-' : `${(100 * share).toFixed(2)} %`)
  const optional: readonly (readonly [...Column, shown: (metrics: IntervalMetrics) => unknown])[] = [
    ['accuracy', ({ accuracy }) => percent(accuracy), ({ accuracy }) => accuracy],
    ...validationColumns(epochs),
    ['flat', ({ flatShare }) => percent(flatShare), ({ flatShare }) => flatShare],
  ]
  const columns: readonly Column[] = [
    ['epoch', ({ epoch }) => epoch + 1],
    ['step', ({ step }) => step],
    ['loss', ({ loss }) => loss],
    ...optional.flatMap(([name, cell, shown]): Column[] =>
      epochs.some((metrics) => shown(metrics) !== undefined) ? [[name, cell]] : [],
    ),
    ['s/step', ({ secondsPerStep }) => secondsPerStep],
  ]
  return formatTable(
    columns.map(([name]) => name),
    epochs.map((metrics) => columns.map(([, cell]) => cell(metrics))),
  )
}

/** A column per validation metric that is one number. */
function validationColumns(
  epochs: readonly IntervalMetrics[],
): (readonly [...Column, shown: (metrics: IntervalMetrics) => unknown])[] {
  const names = new Set(
    epochs.flatMap(({ validation }) => (validation ? scalarMetrics(validation).map(([name]) => name) : [])),
  )
  return [...names].map((name) => {
    const value = ({ validation }: IntervalMetrics) => validation?.[name]
    const cell = (metrics: IntervalMetrics) => {
      const found = value(metrics)
      if (typeof found !== 'number') return '-'
      return name === 'loss' ? found : formatMetric(name, found)
    }
    return [`held-out ${name}`, cell, value] as const
  })
}
