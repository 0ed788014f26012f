import type { ScoreKind } from '../analysis/snippet/score-kind.js'
import { numbersOf } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'

/** The class with the highest score (the lowest number among equals), and its probability. */
export interface TopClass {
  readonly class: number
  readonly probability: number
}

/**
 * Finds the top class of every row of `scores`; classes are on the last axis. A single column is a binary score: class
 * 1 or 0. Throws `invalid-data` for an output without classes.
 */
export function topClasses(name: string, scores: Tensor, kind: ScoreKind): TopClass[] {
  const classes = scores.dims.at(-1)
  if (scores.dims.length < 2 || classes === undefined || classes === 0 || scores.dtype === 'string')
    throw new OnnxIreError(
      'invalid-data',
      `the output '${name}' is ${scores.dtype} [${scores.dims.join(', ')}], which cannot be scores of classes; name another output with --outputs`,
    )
  const numbers = numbersOf(scores)
  return Array.from({ length: sizeOf(scores.dims) / classes }, (_, i) => {
    const row = numbers.slice(i * classes, (i + 1) * classes)
    return classes === 1 ? binaryClass(row[0]!, kind) : topClass(row, kind)
  })
}

function topClass(row: readonly number[], kind: ScoreKind): TopClass {
  const top = row.reduce((best, score, c) => (score > row[best]! ? c : best), 0)
  if (kind === 'probabilities') return { class: top, probability: row[top]! }
  if (kind === 'log-probabilities') return { class: top, probability: Math.exp(row[top]!) }
  // softmax(z)[top] = 1 / sum_c exp(z[c] - z[top])
  return { class: top, probability: 1 / row.reduce((sum, score) => sum + Math.exp(score - row[top]!), 0) }
}

function binaryClass(score: number, kind: ScoreKind): TopClass {
  const positive = kind === 'probabilities' ? score : kind === 'logits' ? 1 / (1 + Math.exp(-score)) : Math.exp(score)
  return positive > 0.5 ? { class: 1, probability: positive } : { class: 0, probability: 1 - positive }
}
