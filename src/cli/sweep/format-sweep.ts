import { rankTrials, type SweepTrial } from '../../sweep/sweep.js'
import { getOwn } from '../../util/record.js'
import { formatMetric, formatTable } from '../format.js'
import { formatValue } from './format-trial.js'
import type { FinishedSweep } from './run-sweep.js'

/** A table of the trials, the best first, and the longest ones before those that successive halving ended. */
export function formatTrials({ trials, metric, mode }: Pick<FinishedSweep, 'trials' | 'metric' | 'mode'>): string {
  const names = Object.keys(trials[0]?.values ?? {})
  const hasShares = trials.some(({ share }) => share < 1)
  const shares = [...new Set(trials.map(({ share }) => share))].sort((a, b) => b - a)
  const ranked = shares.flatMap((share) => {
    const rung = trials.filter((trial) => trial.share === share)
    return [...rankTrials(rung, mode), ...rung.filter(({ score }) => score === null)]
  })
  return formatTable(
    ['trial', ...names, ...(hasShares ? ['trained'] : []), metric],
    ranked.map(({ index, values, share, score, error }) => [
      index + 1,
      ...names.map((name) => formatValue(getOwn(values, name))),
      ...(hasShares ? [`${Math.round(100 * share)} %`] : []),
      score !== null ? formatMetric(metric, score) : error === undefined ? 'diverged' : 'failed',
    ]),
  )
}

/** The best scores by the values of two axes; null where all trials have failed, or none was tried. */
interface HeatMap {
  /** Names of the settings: of the rows, of the columns. */
  readonly axes: readonly [rows: string, columns: string]
  readonly rows: readonly unknown[]
  readonly columns: readonly unknown[]
  readonly scores: readonly (readonly (number | null)[])[]
}

/**
 * Arranges the scores of the trials by two axes, with the best over all others. After successive halving, scores are
 * those of runs of different length.
 * @param names two settings of the sweep. Default: the last two with several values
 * @returns null for fewer than two axes
 */
export function createHeatMap(
  trials: readonly SweepTrial[],
  mode: 'min' | 'max',
  names?: readonly string[],
): HeatMap | null {
  const known = Object.keys(trials[0]?.values ?? {})
  const valuesOf = (name: string): unknown[] => {
    const distinct = new Map(trials.map(({ values }) => [JSON.stringify(getOwn(values, name)), getOwn(values, name)]))
    const values = [...distinct.values()]
    return values.every((value) => typeof value === 'number') ? values.sort((a, b) => a - b) : values
  }
  const [rowName, columnName] = names ?? known.filter((name) => valuesOf(name).length > 1).slice(-2)
  if (rowName === undefined || columnName === undefined) return null
  const [rows, columns] = [valuesOf(rowName), valuesOf(columnName)]
  const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
  const scores = rows.map((row) =>
    columns.map((column) => {
      const cell = trials.filter(
        ({ values }) => isSame(getOwn(values, rowName), row) && isSame(getOwn(values, columnName), column),
      )
      return rankTrials(cell, mode)[0]?.score ?? null
    }),
  )
  return { axes: [rowName, columnName], rows, columns, scores }
}

const shades = ['  ', '░░', '▒▒', '▓▓', '██']

/** A heat map as text: the darker a cell, the better its rank. */
export function formatHeatMap({ axes, rows, columns, scores }: HeatMap, metric: string, mode: 'min' | 'max'): string {
  const found = scores.flat().filter((score) => score !== null)
  const sorted = [...new Set(found)].sort((a, b) => (mode === 'min' ? b - a : a - b))
  const shade = (score: number) =>
    shades[sorted.length < 2 ? 4 : Math.round((4 * sorted.indexOf(score)) / (sorted.length - 1))]!
  const table = formatTable(
    ['', ...columns.map(formatValue)],
    rows.map((row, i) => [
      formatValue(row),
      ...scores[i]!.map((score) => (score === null ? '-' : `${shade(score)} ${formatMetric(metric, score)}`)),
    ]),
  )
  return `${metric} by ${axes[0]} (down) and ${axes[1]} (across), the darker the better:\n${table}`
}
