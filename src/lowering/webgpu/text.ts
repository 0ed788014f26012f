import { constant, int64s, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import type { textual } from '../../op/definitions/text.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/** The sequences of one length that are counted, and their positions in the list of all. */
interface Grams {
  readonly length: number
  readonly sequences: readonly (readonly number[])[]
  readonly first: number
}

/** The pool, cut at `starts` into sequences of 1, 2, ... numbers. */
function gramsOf(pool: readonly number[], starts: readonly number[]): readonly Grams[] {
  let first = 0
  return starts.map((start, i) => {
    const length = i + 1
    const numbers = pool.slice(start, starts[i + 1])
    const sequences = Array.from({ length: Math.floor(numbers.length / length) }, (_, at) =>
      numbers.slice(at * length, (at + 1) * length),
    )
    const grams = { length, sequences, first }
    first += sequences.length
    return grams
  })
}

/** Counts each sequence along the last axis of x, its numbers `distance` apart: [..., sequences]. */
function countGrams(x: Value, width: number, { length, sequences }: Grams, distance: number): Value {
  const places = width - (length - 1) * distance
  const matches = Array.from({ length }, (_, i) => {
    const numbers = op.Slice(x, [i * distance], [i * distance + places], [-1])
    const wanted = sequences.map((sequence) => sequence[i]!)
    return op.Equal(op.Unsqueeze(numbers, [-1]), constant(tensorFrom('int32', [wanted.length], wanted)))
  }).reduce((a, b) => op.And(a, b))
  return op.ReduceSum(cast(matches, 'float32'), [-2], { keepdims: 0 })
}

/** Counts of sequences as scores: 'IDF' is the weight of each sequence that occurs, 'TFIDF' weight times count. */
function weigh(counts: Value, mode: string, weights: readonly number[] | undefined): Value {
  if (mode === 'TF' || !weights) return mode === 'IDF' ? cast(op.Greater(counts, 0), 'float32') : counts
  const factors = constant(tensorFrom('float32', [weights.length], weights))
  return mode === 'IDF' ? op.Where(op.Greater(counts, 0), factors, 0) : op.Mul(counts, factors)
}

export const textLowerings = {
  TfIdfVectorizer: ([x], attributes) => {
    const { min_gram_length, max_gram_length, max_skip_count, mode, weights } = attributes
    const { pool_int64s, ngram_counts, ngram_indexes } = attributes
    const width = x.shape?.at(-1)
    if (x.dtype !== 'int32' || !pool_int64s || typeof width !== 'number') return null
    const counts: Value[] = []
    const columns: number[] = []
    for (const grams of gramsOf(pool_int64s, ngram_counts)) {
      const { length, sequences, first } = grams
      if (length < min_gram_length || length > max_gram_length || sequences.length === 0) continue
      // A sequence of one number has no gaps.
      const distances = Array.from({ length: length === 1 ? 1 : max_skip_count + 1 }, (_, skipped) => skipped + 1)
      const sums = distances
        .filter((distance) => (length - 1) * distance < width)
        .map((distance) => countGrams(x, width, grams, distance))
      if (sums.length === 0) return null
      counts.push(sums.reduce((a, b) => op.Add(a, b)))
      columns.push(...ngram_indexes.slice(first, first + sequences.length))
    }
    // Every column of the result has to count one sequence.
    const order = columns.map((_, column) => columns.indexOf(column))
    if (order.length !== Math.max(...ngram_indexes) + 1 || order.includes(-1)) return null
    const all = op.Concat(counts, { axis: -1 })
    const isOrdered = order.every((from, column) => from === column)
    if (weights && !isOrdered) return null
    return weigh(isOrdered ? all : op.Gather(all, int64s(order), { axis: -1 }), mode, weights)
  },
} satisfies Lowerings<typeof textual>
