import type { Command } from 'commander'
import { getOwn } from '../../util/record.js'
import type { IntervalEstimate } from '../../util/statistics.js'
import { formatCount, formatDuration, formatMetric, formatNumber, formatTable } from '../format.js'
import { type Io, print } from '../io.js'
import { jsonOption } from '../options.js'
import {
  compareGroups,
  describeGroup,
  diffRuns,
  type GroupComparison,
  type RecipeDifference,
  type RunGroup,
  type RunNumbers,
  summarizeNumbers,
} from '../runs/compare-runs.js'
import { findRuns, readRuns } from '../runs/read-run.js'

/** Result of `show`, printed with --json. */
interface Shown {
  readonly runs: readonly RunNumbers[]
  readonly differences: readonly RecipeDifference[]
  readonly groups: readonly RunGroup[]
  readonly comparisons: readonly GroupComparison[]
}

/** Defines `onnx-ire show`. */
export function defineShow(program: Command, io: Io): void {
  program
    .command('show')
    .description('compare runs: what differs in their recipes, last and best numbers, significance')
    .argument('<runs...>', 'run folders, or folders with run folders in them')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Runs whose recipes differ only in seed, data.split.fold or data.split.seed form a group, whose mean
and spread are printed; copies of a run, with the same seeds and fold, are not counted. Every group
is compared with the first one, by the metrics of the last evaluation: with pairs, if both groups
have the same seeds and folds, else by Welch's interval. A difference is significant if its 95 %
interval excludes 0; of twenty comparisons without an effect one is on average.

Examples:
  $ onnx-ire show runs/a runs/b
  $ onnx-ire show runs
  $ for seed in 0 1 2; do
      onnx-ire train recipe.json --set seed=$seed --out runs/ire-$seed
      onnx-ire train recipe.json --set seed=$seed --set optimizer.ire=null --out runs/base-$seed
    done; onnx-ire show runs/base-* runs/ire-*`,
    )
    .action(async (paths: string[], { json }: { readonly json?: true }) => {
      const runs = await readRuns(await findRuns(paths))
      const shown: Shown = { runs: runs.map(summarizeNumbers), differences: diffRuns(runs), ...compareGroups(runs) }
      print(io, shown, json, () => formatShown(shown))
    })
}

const formatShown = ({ runs, differences, groups, comparisons }: Shown): string =>
  [
    ...(runs.length === 1 ? [] : formatDifferences(runs, differences)),
    formatNumbers(runs),
    ...(groups.some((group) => group.runs.length > 1) ? formatGroups(groups, comparisons) : []),
  ].join('\n')

function formatDifferences(runs: readonly RunNumbers[], differences: readonly RecipeDifference[]): string[] {
  if (differences.length === 0) return ['the recipes are the same']
  const head = ['run', ...differences.map(({ field }) => field)]
  const rows = runs.map(({ run }, i) => [run, ...differences.map(({ values }) => formatValue(values[i]))])
  return ['the recipes differ in:', formatTable(head, rows)]
}

const formatValue = (value: unknown): string | number =>
  typeof value === 'number'
    ? value
    : value === undefined
      ? '-'
      : typeof value === 'string'
        ? value
        : JSON.stringify(value)

function formatNumbers(runs: readonly RunNumbers[]): string {
  const metrics = [...new Set(runs.flatMap(({ last }) => Object.keys(last)))]
  const cell = ({ last, best }: RunNumbers, metric: string): string[] => {
    const [now, most] = [getOwn(last, metric), getOwn(best, metric)]
    const value = now === undefined ? '-' : format(metric, now)
    if (!metric.startsWith('held-out')) return [value]
    return [value, most ? `${format(metric, most.value)} at ${formatNumber(most.step)}` : '-']
  }
  const head = metrics.flatMap((metric) => (metric.startsWith('held-out') ? [metric, 'best'] : [metric]))
  return formatTable(
    ['run', '', 'steps', 'time', 's/step', ...head],
    runs.map((run) => [
      run.run,
      run.status,
      run.step,
      formatDuration(run.seconds),
      run.secondsPerStep ?? '-',
      ...metrics.flatMap((metric) => cell(run, metric)),
    ]),
  )
}

const format = (metric: string, value: number): string => formatMetric(metric.replace('held-out ', ''), value)

function formatGroups(groups: readonly RunGroup[], comparisons: readonly GroupComparison[]): string[] {
  const titles = groups.map(describeGroup)
  const metrics = [...new Set(groups.flatMap((group) => Object.keys(group.metrics)))]
  const row = (group: RunGroup, name: string, cell: (metric: string, value: RunGroup['metrics'][string]) => string) => [
    name,
    ...metrics.map((metric) => {
      const value = getOwn(group.metrics, metric)
      return value && !Number.isNaN(value.value) ? cell(metric, value) : '-'
    }),
  ]
  const means = groups.flatMap((group, i) => [
    row(group, `group ${i + 1}`, formatEstimate),
    ...(group.runs.length === 1
      ? []
      : [row(group, '  deviation', (metric, { deviation }) => format(metric, deviation))]),
  ])
  const differences = comparisons.map(({ groups: [a, b], metric, difference, method, significant }) => [
    `group ${b + 1} - group ${a + 1}`,
    metric,
    formatEstimate(metric, difference),
    method === 'paired' ? formatCount(difference.n, 'pair') : 'Welch',
    significant === null ? 'too few runs' : significant ? 'significant' : 'not significant',
  ])
  return [
    'means of the last evaluations with 95 % intervals, and standard deviations of the runs:',
    ...titles.map((title) => `  ${title}`),
    formatTable(['', ...metrics], means),
    ...(differences.length === 0 ? [] : [formatTable(['difference', 'metric', '', '', ''], differences)]),
  ]
}

const formatEstimate = (metric: string, { value, half }: IntervalEstimate): string =>
  Number.isNaN(half) ? format(metric, value) : `${format(metric, value)} ± ${format(metric, half)}`
