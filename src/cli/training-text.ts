import type { RoundMetrics } from '../train/options.js'
import { plural, table } from './output.js'
import type { TrainingResult } from './training.js'

/** What a run came to, for people. */
export function trainingText({ run, model, step, epochs }: TrainingResult): string {
  const end =
    model === null
      ? `interrupted after ${plural(step, 'step')}, saved in ${run}; onnx-ire train --resume goes on`
      : `${plural(step, 'step')} done; the trained model is ${model}`
  return epochs.length === 0 ? end : `${measures(epochs)}\n${end}`
}

type Column = readonly [name: string, cell: (metrics: RoundMetrics) => string | number]

function measures(epochs: readonly RoundMetrics[]): string {
  const percent = (share: number | undefined) => (share === undefined ? '-' : `${(100 * share).toFixed(2)} %`)
  const optional: readonly (readonly [...Column, shown: (metrics: RoundMetrics) => unknown])[] = [
    ['accuracy', ({ accuracy }) => percent(accuracy), ({ accuracy }) => accuracy],
    ['held-out loss', ({ validation }) => validation?.loss ?? '-', ({ validation }) => validation],
    ['held-out accuracy', ({ validation }) => percent(validation?.accuracy), ({ validation }) => validation?.accuracy],
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
  return table(
    columns.map(([name]) => name),
    epochs.map((metrics) => columns.map(([, cell]) => cell(metrics))),
  )
}
