import Table from 'cli-table3'
import type { Measures } from '../metric/accumulator.js'
import type { MetricValue } from '../metric/metric.js'
import type { ClassNames } from '../node/data/data-source.js'
import { limitName } from '../util/printable.js'
import { getOwn } from '../util/record.js'

/** A table without rules: columns of numbers are aligned to the right, and long names are shortened. */
export function formatTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const table = new Table({
    head: [...head],
    chars: { ...Object.fromEntries(borders.map((border) => [border, ''])), middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: head.map((_, i) =>
      rows.length > 0 && rows.every((row) => typeof row[i] === 'number') ? 'right' : 'left',
    ),
  })
  for (const row of rows)
    table.push(row.map((cell) => (typeof cell === 'number' ? formatNumber(cell) : limitName(cell))))
  return indent(table.toString())
}

const borders = [
  ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
  ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'],
]

/** Indents every line by two spaces and removes spaces at line ends. */
export const indent = (text: string): string => text.replace(/^/gm, '  ').replace(/[ \t]+$/gm, '')

/** An integer with thousands separators, another number with four significant digits. */
export const formatNumber = (value: number): string =>
  Number.isInteger(value) ? value.toLocaleString('en-US') : String(Number(value.toPrecision(4)))

/** Quotes a path for a shell, if it needs quotes. */
export const quotePath = (path: string): string =>
  /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`

/** A text in one line of at most 100 characters. */
export function shortenText(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length <= 100 ? line : `${line.slice(0, 97)}...`
}

/** A number and its noun: `1 step`, `2 steps`. */
export const formatCount = (value: number, noun: string): string =>
  `${formatNumber(value)} ${noun}${value === 1 ? '' : 's'}`

/** The first five names, and the number of the others. */
export const listFirst = (names: readonly string[]): string =>
  names.length <= 5 ? names.join(', ') : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`

/** A number of bytes in the largest unit that fits: `4.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = bytes === 0 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1)
  return power === 0 ? formatCount(bytes, 'byte') : `${(bytes / 1024 ** power).toFixed(1)} ${units[power]}`
}

/** Seconds as people read them: `42 s`, `3 min 5 s`, `2 h 10 min`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?'
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** Metrics between 0 and 1, shown in percent. */
const fractions = /(^|\/)(accuracy|top\d+|(precision|recall|f1)(-micro|-weighted)?)$/

/** The value of a metric as people read it. */
export const formatMetric = (name: string, value: number): string =>
  fractions.test(name) ? `${(100 * value).toFixed(2)} %` : formatNumber(value)

/** Metrics that are one number, the loss first. */
export function scalarMetrics({ loss, count: _, ...rest }: Measures): [name: string, value: number][] {
  const others = Object.entries(rest).flatMap(([name, value]): [string, number][] =>
    typeof value === 'number' ? [[name, value]] : [],
  )
  return [['loss', loss], ...others]
}

/** The metrics that are one number, in one line: `loss 0.52, accuracy 81.25 %`. */
export const formatMetricsLine = (measures: Measures): string =>
  scalarMetrics(measures)
    .map(([name, value]) => `${name} ${formatMetric(name, value)}`)
    .join(', ')

/** Names of the classes, if the data set has names. */
type Labels = readonly string[] | undefined

/**
 * Metrics that are lists or matrices, per task: a table of all classes, and the confusion matrix.
 * @param names class names by tensor; used if exactly one tensor has names
 */
export function formatMetricTables(measures: Measures, names: ClassNames = {}): string[] {
  const sets = Object.values(names)
  const labels = sets.length === 1 ? sets[0] : undefined
  const tasks = new Set(Object.keys(measures).map((name) => name.slice(0, name.lastIndexOf('/') + 1)))
  return [...tasks].flatMap((task) => {
    const rows = perClassRows(measures, task, labels)
    const matrix = getOwn(measures, `${task}confusion`)
    return [
      ...(rows
        ? [withTitle(task, 'per class', formatTable(['class', 'precision', 'recall', 'F1', 'examples'], rows))]
        : []),
      ...(isMatrix(matrix) ? [withTitle(task, 'confusion', confusionTable(matrix, labels))] : []),
    ]
  })
}

const withTitle = (task: string, title: string, text: string): string =>
  `${title}${task === '' ? '' : ` of ${task.slice(0, -1)}`}:\n${text}`

function perClassRows(measures: Measures, task: string, labels: Labels): (string | number)[][] | null {
  const list = (name: string): readonly number[] => {
    const value = getOwn(measures, `${task}${name}PerClass`)
    return Array.isArray(value) ? (value as readonly number[]) : []
  }
  const [precision, recall, f1, support] = ['precision', 'recall', 'f1', 'support'].map(list)
  if (support!.length === 0) return null
  const percent = (value: number | undefined) => formatMetric('f1', value ?? 0)
  return support!.map((examples, c) => [
    classLabel(labels, c, support!.length),
    percent(precision![c]),
    percent(recall![c]),
    percent(f1![c]),
    examples,
  ])
}

/** Largest number of classes whose matrix is printed: a larger one does not fit on a terminal. */
const maxPrintedClasses = 20

function confusionTable(matrix: readonly (readonly number[])[], labels: Labels): string {
  const classes = matrix.length
  if (classes > maxPrintedClasses) return `  ${classes} x ${classes}, too large to print; --json writes it`
  const name = (c: number) => classLabel(labels, c, classes)
  return formatTable(
    ['true \\ predicted', ...matrix.map((_, c) => name(c))],
    matrix.map((row, c) => [name(c), ...row]),
  )
}

/** The name of class `c`, or its number if the names do not match the number of classes. */
export const classLabel = (labels: Labels, c: number, classes: number): string =>
  labels?.length === classes ? labels[c]! : String(c)

/** Whether the value of a metric is a matrix. */
export const isMatrix = (value: MetricValue | undefined): value is readonly (readonly number[])[] =>
  Array.isArray(value) && Array.isArray(value[0])
