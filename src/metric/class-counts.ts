import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { classesOf, type Decided, type Decisions, decisionsOf, histogram } from './counted.js'

/** Per class: how often it was decided rightly, how often it was decided, how often it was true. */
export interface ClassCounts {
  readonly hits: Float64Array
  readonly predicted: Float64Array
  readonly actual: Float64Array
}

/** `ClassCounts` as sums of a graph, each [K]. */
export interface CountSums {
  readonly sums: ReadonlyMap<keyof ClassCounts, Value>
  /** Whether several yes-or-no labels are counted apart. */
  readonly columns: boolean
}

/**
 * Counts per class. For yes-or-no the only class is yes, or where the logits have several columns ([N, L], L known) yes of
 * each column: several labels per example. Throws `invalid-option` where the number of classes is not known.
 */
export function countsPerClass(compared: Decided, threshold: number, metric: string): CountSums {
  const decisions = decisionsOf(compared, threshold)
  if (compared.kind === 'classes') {
    const classes = classesOf(compared, metric)
    const { predicted, actual, counted } = decisions
    const hit = op.Mul(counted, op.CastLike(op.Equal(predicted, actual), counted))
    const perClass = (numbers: Value, of: Value) => histogram(numbers, of, classes)
    return {
      sums: named(perClass(actual, hit), perClass(predicted, counted), perClass(actual, counted)),
      columns: false,
    }
  }
  const { shape } = compared.logits
  const last = shape?.at(-1)
  const columns = shape !== undefined && shape.length > 1 && typeof last === 'number' && last > 1
  return { sums: ofYes(decisions, columns ? last : 1), columns }
}

function ofYes({ predicted, actual, counted }: Decisions, columns: number): CountSums['sums'] {
  const yes = (x: Value) => op.Mul(op.CastLike(x, counted), counted)
  const perColumn = (x: Value) => op.ReduceSum(op.Reshape(x, [-1, columns]), [0], { keepdims: 0 })
  const [said, meant] = [yes(predicted), yes(actual)]
  return named(perColumn(op.Mul(said, meant)), perColumn(said), perColumn(meant))
}

const named = (hits: Value, predicted: Value, actual: Value): CountSums['sums'] =>
  new Map([
    ['hits', hits],
    ['predicted', predicted],
    ['actual', actual],
  ])

/** What sums of `CountSums` come to. */
export const countsFrom = (sums: Readonly<Record<string, Float64Array>>): ClassCounts => ({
  hits: sums['hits']!,
  predicted: sums['predicted']!,
  actual: sums['actual']!,
})
