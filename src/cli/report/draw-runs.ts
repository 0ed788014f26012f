import type { TensorMeasures } from '../../train/tensor-measures.js'
import { getOwn } from '../../util/record.js'
import { metricsOf } from '../runs/compare-runs.js'
import type { EpochLine, StepLine, StoredRun } from '../runs/read-run.js'
import { type Chart, drawHeatMap, drawLines, type Line } from './draw-chart.js'

/** Draws the curves of all runs over their steps: losses, metrics, learning rate, gradient norm, time and memory. */
export function drawCurves(runs: readonly StoredRun[]): Chart[] {
  const ofSteps = (value: (step: StepLine) => number) => (run: StoredRun, color: number) =>
    toLine(run, color, run.steps, value)
  const ofEpochs = (value: (epoch: EpochLine) => number | undefined) => (run: StoredRun, color: number) =>
    toLine(run, color, run.epochs, value)
  const metric = (name: string) => ofEpochs((epoch) => getOwn(metricsOf(epoch), name))
  const heldOutLoss = (run: StoredRun, color: number) => ({ ...metric('held-out loss')(run, color), dashed: true })
  const metrics = new Set(runs.flatMap(({ epochs }) => epochs.flatMap((epoch) => Object.keys(metricsOf(epoch)))))
  const others = [...metrics].filter(
    (name) => !['loss', 'held-out loss', 'accuracy', 'held-out accuracy'].includes(name),
  )
  const accuracies = [
    ...runs.map(metric('accuracy')),
    ...runs.map((run, color) => ({ ...metric('held-out accuracy')(run, color), dashed: true })),
  ]
  const charts: readonly (readonly [title: string, lines: readonly Line[], log?: boolean])[] = [
    ['loss; dashed: held out', [...runs.map(ofSteps(({ loss }) => loss)), ...runs.map(heldOutLoss)]],
    ['accuracy; dashed: held out', accuracies],
    ...others.map((name) => [name, runs.map(metric(name))] as const),
    ['learning rate', runs.map(ofSteps(({ lr }) => lr))],
    ['gradient norm', runs.map(ofSteps(({ gradientNorm }) => gradientNorm)), true],
    ['seconds per step', runs.map(ofSteps(({ seconds }) => seconds))],
    [
      'memory of the process, MiB',
      runs.map(ofEpochs(({ memory }) => (memory === undefined ? memory : memory / 2 ** 20))),
    ],
  ]
  const filled = charts.map(
    ([title, lines, log]) => [title, lines.filter(({ points }) => points.length > 0), log] as const,
  )
  return filled.filter(([, lines]) => lines.length > 0).map(([title, lines, log]) => drawLines(title, lines, log))
}

function toLine<Entry extends { readonly step: number }>(
  { name }: StoredRun,
  color: number,
  entries: readonly Entry[],
  value: (entry: Entry) => number | undefined,
): Line {
  const points = entries.flatMap((entry) => {
    const y = value(entry)
    return y === undefined ? [] : [[entry.step, y] as const]
  })
  return { name, color, points }
}

const measures: readonly (readonly [key: keyof TensorMeasures, title: string, log: boolean])[] = [
  ['gradientNorm', 'gradient norm per tensor', true],
  ['updateRatio', 'update ratio per tensor', true],
  ['flatShare', 'flat share per tensor', false],
  ['maskOverlap', 'overlap of the mask with the last one', false],
  ['enhancement', 'share of the update that IRE adds', false],
]

/** Draws the measures of the tensors of a run, if `train --measure-every` has written some. */
export function drawTensors({ tensors }: StoredRun): Chart[] {
  const steps = tensors.map(({ step }) => step)
  const names = [...new Set(tensors.flatMap((line) => Object.keys(line.tensors)))]
  return measures.flatMap(([key, title, log]) => {
    const rows = names.map((name) => ({ name, values: tensors.map((line) => getOwn(line.tensors, name)?.[key]) }))
    const isMeasured = rows.some(({ values }) => values.some((value) => typeof value === 'number'))
    return isMeasured ? [drawHeatMap(title, steps, rows, log)] : []
  })
}
