import type { Recipe } from '../../recipe/recipe.js'
import { MetricMonitor } from '../../train/metric-monitor.js'
import { getOwn } from '../../util/record.js'
import {
  deviation,
  estimateDifference,
  estimateMean,
  estimatePairedDifference,
  type IntervalEstimate,
} from '../../util/statistics.js'
import { scalarMetrics } from '../format.js'
import type { EpochLine, StoredRun } from './read-run.js'

/** Recipe fields that do not describe a run. */
const ignored = ['$schema', 'about', 'output', 'checkpoints', 'threads']

/** Statistics of the training examples, which a run computes: other splits have other ones. */
const computed = /^data\.\w+\.statistics$/

/** Recipe fields that repeat a run: those with equal other fields form a group. */
const repeated = ['seed', 'data.split.fold', 'data.split.seed']

/** A field of the recipes, with its value in every run; undefined where it is not set. */
export interface RecipeDifference {
  readonly field: string
  readonly values: readonly unknown[]
}

/** Lists the fields in which the recipes of runs differ. */
export function diffRuns(runs: readonly StoredRun[]): RecipeDifference[] {
  const fields = runs.map(({ recipe }) => flatten(recipe))
  const names = new Set(fields.flatMap((each) => [...each.keys()]))
  return [...names].flatMap((field) => {
    const values = fields.map((each) => each.get(field))
    return new Set(values.map((value) => JSON.stringify(value))).size > 1 ? [{ field, values }] : []
  })
}

/** The fields of a recipe that are no objects, by path. */
function flatten(recipe: Recipe): Map<string, unknown> {
  const fields = new Map<string, unknown>()
  const add = (value: unknown, path: string) => {
    if (ignored.includes(path) || computed.test(path)) return
    if (typeof value !== 'object' || value === null || Array.isArray(value)) fields.set(path, value)
    // {} differs from an absent field: "ire": {} switches IRE on.
    else if (Object.keys(value).length === 0) fields.set(path, {})
    else for (const [name, inner] of Object.entries(value)) add(inner, path === '' ? name : `${path}.${name}`)
  }
  add(recipe, '')
  return fields
}

/** Values of the metrics of a run. */
export interface RunNumbers {
  readonly run: string
  readonly status: StoredRun['status']
  readonly step: number
  /** Sum of the durations of all steps. */
  readonly seconds: number
  readonly secondsPerStep: number | null
  /** Metrics of the last evaluation. Held-out metrics have the prefix 'held-out '. */
  readonly last: Readonly<Record<string, number>>
  /** The best value of every held-out metric, and its step. */
  readonly best: Readonly<Record<string, { readonly value: number; readonly step: number }>>
}

const heldOut = 'held-out '

/** Metrics of an evaluation that are one number: of training, and with a prefix of held-out data. */
export function metricsOf({ loss, count, accuracy, validation }: EpochLine): Record<string, number> {
  const training = scalarMetrics({ loss, count, ...(accuracy === undefined ? {} : { accuracy }) })
  const measured = validation ? scalarMetrics(validation).map(([name, value]) => [heldOut + name, value] as const) : []
  return Object.fromEntries([...training, ...measured])
}

/** Summarizes a run in numbers. */
export function summarizeNumbers({ name, status, steps, epochs }: StoredRun): RunNumbers {
  const last = epochs.at(-1)
  const metrics = last ? metricsOf(last) : {}
  const best = Object.keys(metrics).flatMap((metric) => {
    if (!metric.startsWith(heldOut)) return []
    const monitor = new MetricMonitor({ metric: metric.slice(heldOut.length) })
    for (const { validation, step } of epochs)
      if (validation && typeof getOwn(validation, metric.slice(heldOut.length)) === 'number')
        monitor.add(validation, step)
    return monitor.state && Math.abs(monitor.state.value) < Number.MAX_VALUE
      ? [[metric, { value: monitor.state.value, step: monitor.state.step }] as const]
      : []
  })
  const seconds = steps.reduce((sum, step) => sum + step.seconds, 0)
  return {
    run: name,
    status,
    step: Math.max(steps.at(-1)?.step ?? 0, last?.step ?? 0),
    seconds,
    secondsPerStep: steps.length === 0 ? null : seconds / steps.length,
    last: metrics,
    best: Object.fromEntries(best),
  }
}

/** Runs whose recipes differ in the seed or the fold only. */
export interface RunGroup {
  readonly runs: readonly string[]
  /** Runs with the seed and the fold of a run of the group: they are no repetitions, and not counted. */
  readonly copies: readonly string[]
  /** Values of the group's recipes in the fields in which groups differ. */
  readonly recipe: Readonly<Record<string, unknown>>
  /** Means of the metrics of the last evaluation, and the standard deviations of the runs. */
  readonly metrics: Readonly<Record<string, IntervalEstimate & { readonly deviation: number }>>
}

/** The difference of a metric between two groups: the mean of the second one minus that of the first one. */
export interface GroupComparison {
  /** Indices of the groups. */
  readonly groups: readonly [number, number]
  readonly metric: string
  readonly difference: IntervalEstimate
  /** 'paired' if the groups have the same seeds and folds, else 'welch'. */
  readonly method: 'paired' | 'welch'
  /** Whether the 95 % interval of the difference excludes 0; null if a group is too small for an interval. */
  readonly significant: boolean | null
}

/** A line about a group: its number, fields of its recipe, and its runs. */
export function describeGroup({ recipe, runs, copies }: RunGroup, index: number): string {
  const fields = Object.entries(recipe).map(([field, value]) => `${field} ${JSON.stringify(value)}`)
  const shown = [...(fields.length === 0 ? [] : [fields.join(', ')]), runs.join(', ')]
  if (copies.length > 0) shown.push(`not counted, with the seed of another run: ${copies.join(', ')}`)
  return `group ${index + 1}: ${shown.join('; ')}`
}

/** Groups runs by their recipes without seed and fold, and compares every group with the first one. */
export function compareGroups(runs: readonly StoredRun[]): {
  readonly groups: RunGroup[]
  readonly comparisons: GroupComparison[]
} {
  const byRecipe = new Map<string, StoredRun[]>()
  for (const run of runs) {
    const others = [...flatten(run.recipe)].filter(([field]) => !repeated.includes(field))
    const key = JSON.stringify(others.sort(([a], [b]) => (a < b ? -1 : 1)))
    byRecipe.set(key, [...(byRecipe.get(key) ?? []), run])
  }
  const all = [...byRecipe.values()]
  const sets = all.map(dropCopies)
  const fields = diffRuns(sets.map(([first]) => first!)).filter(({ field }) => !repeated.includes(field))
  const groups = sets.map((set, i): RunGroup => {
    const values = lastValues(set)
    return {
      runs: set.map(({ name }) => name),
      copies: all[i]!.filter((run) => !set.includes(run)).map(({ name }) => name),
      recipe: Object.fromEntries(fields.map(({ field, values }) => [field, values[i] ?? null])),
      metrics: Object.fromEntries(
        [...values].map(([metric, found]) => {
          const numbers = [...found.values()]
          return [metric, { ...estimateMean(numbers), deviation: deviation(numbers) }]
        }),
      ),
    }
  })
  const comparisons = sets.slice(1).flatMap((set, i) => compareSets(sets[0]!, set, [0, i + 1]))
  return { groups, comparisons: sets.some((set) => set.length > 1) ? comparisons : [] }
}

/** The runs with different seeds or folds: of several with the same ones the one that was evaluated last. */
function dropCopies(runs: readonly StoredRun[]): StoredRun[] {
  const kept = new Map<string, StoredRun>()
  const reached = (run: StoredRun | undefined) => run?.epochs.at(-1)?.step ?? -1
  for (const run of runs) {
    const repetition = repetitionOf(run)
    if (!kept.has(repetition) || reached(run) > reached(kept.get(repetition))) kept.set(repetition, run)
  }
  return [...kept.values()]
}

/** The seeds and the fold of a run, as a key. */
function repetitionOf({ recipe }: StoredRun): string {
  const fields = flatten(recipe)
  return JSON.stringify(repeated.map((field) => fields.get(field) ?? (field.endsWith('seed') ? 0 : null)))
}

/** Values of the last evaluation by metric and repetition. */
function lastValues(runs: readonly StoredRun[]): Map<string, Map<string, number>> {
  const values = new Map<string, Map<string, number>>()
  for (const run of runs)
    for (const [metric, value] of Object.entries(run.epochs.length === 0 ? {} : metricsOf(run.epochs.at(-1)!)))
      values.set(metric, (values.get(metric) ?? new Map<string, number>()).set(repetitionOf(run), value))
  return values
}

function compareSets(
  first: readonly StoredRun[],
  second: readonly StoredRun[],
  groups: readonly [number, number],
): GroupComparison[] {
  const [a, b] = [lastValues(first), lastValues(second)]
  return [...b].flatMap(([metric, values]): GroupComparison[] => {
    const others = a.get(metric)
    if (!others) return []
    const keys = [...values.keys()]
    const isPaired = keys.length === others.size && keys.every((key) => others.has(key))
    const difference = isPaired
      ? estimatePairedDifference(
          keys.map((key) => values.get(key)!),
          keys.map((key) => others.get(key)!),
        )
      : estimateDifference([...values.values()], [...others.values()])
    const { value, half } = difference
    const significant = Number.isNaN(half) ? null : Math.abs(value) > half
    return [{ groups, metric, difference, method: isPaired ? 'paired' : 'welch', significant }]
  })
}
