import type { Measures } from '../../metric/accumulator.js'
import type { MetricValue } from '../../metric/metric.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { formatNumber, formatTable } from './format.js'

/** Measures that are shares of 1. */
const shares = /(^|\/)(accuracy|top\d+|(precision|recall|f1)(-micro|-weighted)?)$/

/** A number that was measured, as people read it. */
export const formatMetric = (name: string, value: number): string =>
  shares.test(name) ? `${(100 * value).toFixed(2)} %` : formatNumber(value)

/** The measures that are one number, the loss first. */
export function scalarMetrics({ loss, count: _, ...rest }: Measures): [name: string, value: number][] {
  const others = Object.entries(rest).flatMap(([name, value]): [string, number][] =>
    typeof value === 'number' ? [[name, value]] : [],
  )
  return [['loss', loss], ...others]
}

export const formatMetricsLine = (measures: Measures): string =>
  scalarMetrics(measures)
    .map(([name, value]) => `${name} ${formatMetric(name, value)}`)
    .join(', ')

/** The names of classes, where the data told them; else their numbers. */
type Labels = readonly string[] | undefined

/**
 * What takes more than a number: a table of all classes, and the confusion matrix, each for every task.
 * @param names class names by tensor; used where there is only one set of them
 */
export function formatMetricTables(measures: Measures, names: ClassNames = {}): string[] {
  const sets = Object.values(names)
  const labels = sets.length === 1 ? sets[0] : undefined
  const tasks = new Set(Object.keys(measures).map((name) => name.slice(0, name.lastIndexOf('/') + 1)))
  return [...tasks].flatMap((task) => {
    const rows = perClassRows(measures, task, labels)
    const matrix = measures[`${task}confusion`]
    return [
      ...(rows
        ? [titled(task, 'per class', formatTable(['class', 'precision', 'recall', 'F1', 'examples'], rows))]
        : []),
      ...(isMatrix(matrix) ? [titled(task, 'confusion', confusionTable(matrix, labels))] : []),
    ]
  })
}

const titled = (task: string, what: string, text: string): string =>
  `${what}${task === '' ? '' : ` of ${task.slice(0, -1)}`}:\n${text}`

function perClassRows(measures: Measures, task: string, labels: Labels): (string | number)[][] | null {
  const list = (name: string): readonly number[] => {
    const value = measures[`${task}${name}PerClass`]
    return Array.isArray(value) ? (value as readonly number[]) : []
  }
  const [precision, recall, f1, support] = ['precision', 'recall', 'f1', 'support'].map(list)
  if (support!.length === 0) return null
  const percent = (share: number | undefined) => formatMetric('f1', share ?? 0)
  return support!.map((examples, c) => [
    nameOf(labels, c, support!.length),
    percent(precision![c]),
    percent(recall![c]),
    percent(f1![c]),
    examples,
  ])
}

/** Wider matrices do not fit a terminal. */
const widest = 20

function confusionTable(matrix: readonly (readonly number[])[], labels: Labels): string {
  const classes = matrix.length
  if (classes > widest) return `  ${classes} x ${classes}, more than fits here: --json gives it`
  const name = (c: number) => nameOf(labels, c, classes)
  return formatTable(
    ['true \\ predicted', ...matrix.map((_, c) => name(c))],
    matrix.map((row, c) => [name(c), ...row]),
  )
}

/** Names count only where there is one for each class. */
const nameOf = (labels: Labels, c: number, classes: number): string =>
  labels?.length === classes ? labels[c]! : String(c)

const isMatrix = (value: MetricValue | undefined): value is readonly (readonly number[])[] =>
  Array.isArray(value) && Array.isArray(value[0])
