import { numbersOf } from '../../ir/leaf.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import type { Model } from '../../onnx/model.js'
import { OnnxIreError } from '../../util/errors.js'

/** What the numbers are that an output gives per class. */
export type ScoreKind = 'logits' | 'probabilities' | 'log-probabilities'

const kinds: Readonly<Record<string, ScoreKind>> = {
  Softmax: 'probabilities',
  Sigmoid: 'probabilities',
  LogSoftmax: 'log-probabilities',
}

/** Operators that leave numbers as they are. */
const views = new Set(['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Cast', 'Dropout'])

/** By the operator that an output comes from. Read from the file, so that any model will do. */
export function scoreKind({ proto }: Model, output: string): ScoreKind {
  const nodes = new Map((proto.graph?.node ?? []).flatMap((node) => node.output.map((name) => [name, node] as const)))
  let node = nodes.get(output)
  while (node && views.has(node.opType ?? '')) node = nodes.get(node.input[0] ?? '')
  return kinds[node?.opType ?? ''] ?? 'logits'
}

/** The class with the highest score, the first of equal ones, and its probability. */
export interface TopClass {
  readonly class: number
  readonly probability: number
}

/**
 * The top class of every row of scores, the classes along the last axis; of scores in a single column whether they say yes
 * (1) or no (0). Throws `invalid-data` for an output without classes.
 */
export function topClasses(name: string, scores: Tensor, kind: ScoreKind): TopClass[] {
  const classes = scores.dims.at(-1)
  if (scores.dims.length < 2 || classes === undefined || classes === 0 || scores.dtype === 'string')
    throw new OnnxIreError(
      'invalid-data',
      `the output '${name}' is ${scores.dtype} [${scores.dims.join(', ')}], which holds no scores of classes; name another one with --outputs`,
    )
  const numbers = numbersOf(scores)
  return Array.from({ length: sizeOf(scores.dims) / classes }, (_, i) => {
    const row = numbers.slice(i * classes, (i + 1) * classes)
    return classes === 1 ? yesOrNo(row[0]!, kind) : topOf(row, kind)
  })
}

function topOf(row: readonly number[], kind: ScoreKind): TopClass {
  const top = row.reduce((best, score, c) => (score > row[best]! ? c : best), 0)
  if (kind === 'probabilities') return { class: top, probability: row[top]! }
  if (kind === 'log-probabilities') return { class: top, probability: Math.exp(row[top]!) }
  // softmax(z)[top] = 1 / sum_c exp(z[c] - z[top])
  return { class: top, probability: 1 / row.reduce((sum, score) => sum + Math.exp(score - row[top]!), 0) }
}

function yesOrNo(score: number, kind: ScoreKind): TopClass {
  const yes = kind === 'probabilities' ? score : kind === 'logits' ? 1 / (1 + Math.exp(-score)) : Math.exp(score)
  return yes > 0.5 ? { class: 1, probability: yes } : { class: 0, probability: 1 - yes }
}
