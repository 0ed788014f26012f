import { findScoreNode, type ScoreKind } from '../../analysis/snippet/score-kind.js'
import { numbersOf } from '../../ir/leaf.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { lossRegistry } from '../../loss/registry.js'
import type { Model } from '../../onnx/model.js'
import { isBinaryLoss, type LossRecipe, lossTarget, type TaskLoss, taskLosses } from '../../recipe/loss.js'
import { OnnxIreError } from '../../util/errors.js'

/** The class with the highest score (the lowest number among equals), and its probability. */
export interface TopClass {
  /** Null if the probability is NaN: no class is an answer then. */
  readonly class: number | null
  readonly probability: number
}

/**
 * Finds the top class of every position of `scores`, row by row. A single class is a binary score: class 1 or 0. Throws
 * `invalid-data` for an output without classes.
 * @param axis axis of the classes; undefined for the last one, if the output is no image
 */
export function topClasses(name: string, scores: Tensor, kind: ScoreKind, axis?: number): TopClass[] {
  const { dims } = scores
  const at = axisIn(name, dims, axis)
  const classes = dims[at]
  if (dims.length < 2 || classes === undefined || classes === 0 || scores.dtype === 'string')
    throw new OnnxIreError(
      'invalid-data',
      `the output '${name}' is ${scores.dtype} [${dims.join(', ')}], which cannot be scores of classes; name another output with --outputs`,
    )
  const numbers = numbersOf(scores)
  const inner = sizeOf(dims.slice(at + 1))
  return Array.from({ length: sizeOf(dims) / classes }, (_, i) => {
    const start = Math.floor(i / inner) * classes * inner + (i % inner)
    const row = Array.from({ length: classes }, (_, c) => numbers[start + c * inner]!)
    const top = classes === 1 ? binaryClass(row[0]!, kind) : topClass(row, kind)
    return Number.isNaN(top.probability) ? { ...top, class: null } : top
  })
}

/** The dims of the positions that have a class each: those of an output without its axis of classes. */
export const positionsOf = (name: string, dims: readonly number[], axis?: number): readonly number[] =>
  dims.toSpliced(axisIn(name, dims, axis), 1)

function axisIn(name: string, dims: readonly number[], axis: number | undefined): number {
  if (axis !== undefined) return axis < 0 ? dims.length + axis : axis
  if (dims.length < 4) return dims.length - 1
  if (dims[1] === 1) return 1 // yes or no for every pixel
  throw new OnnxIreError(
    'invalid-data',
    `the output '${name}' is [${dims.join(', ')}], and its classes may be along axis 1 or the last one: give a recipe, whose loss has the axis, or write the scores without --classes`,
  )
}

/**
 * Answers every score of an output with labels by yes or no: class 1 or 0. Throws `invalid-data` for an output without
 * scores.
 */
export const answerLabels = (name: string, scores: Tensor, kind: ScoreKind): TopClass[] =>
  topClasses(name, { ...scores, dims: [...scores.dims, 1] }, kind, -1)

/** Whether scores, each a yes or no, are labels along the last axis, as for the metric `perClass`. */
export const hasLabels = ({ dims }: Tensor): boolean => (dims.length === 2 || dims.length === 3) && dims.at(-1)! > 1

/** Finds the loss of an output; undefined if there is none. */
export const findLoss = (output: string, loss: LossRecipe | undefined): TaskLoss | undefined =>
  loss && taskLosses(loss).find(([, each]) => (outputOf(each) ?? output) === output)?.[1]

/**
 * Finds the axis of the classes of an output as its loss does: the option of the loss, else that of a Softmax at the
 * end of the model, else the last one. Undefined if no loss over classes is given and the model has no Softmax.
 */
export function findClassAxis(model: Model, output: string, loss: LossRecipe | undefined): number | undefined {
  const own = findLoss(output, loss)
  const { axis } = { ...own } as { readonly axis?: number }
  return axis ?? findSoftmaxAxis(model, output) ?? (own && lossTarget(own)?.isClasses ? -1 : undefined)
}

/** The class of the blank, if the scores of an output are steps of `ctc`. */
export function findBlank(output: string, loss: LossRecipe | undefined): number | undefined {
  const own = findLoss(output, loss)
  return own?.kind === 'ctc' ? (own.blank ?? 0) : undefined
}

/** Lists the outputs that are [T, N, ...]: the scores that `ctc` reads with `timeFirst`. */
export const timeFirstOutputs = ({ proto }: Model, loss: LossRecipe | undefined): readonly string[] =>
  (proto.graph?.output ?? []).flatMap(({ name = '' }) => {
    const own = findLoss(name, loss)
    return own?.kind === 'ctc' && own.timeFirst ? [name] : []
  })

const outputOf = (loss: { readonly kind: keyof typeof lossRegistry }): unknown =>
  (loss as Readonly<Record<string, unknown>>)[lossRegistry[loss.kind].output]

/** Operators that do not change the axes of their input. */
const sameAxes: ReadonlySet<string> = new Set(['Identity', 'Cast', 'Dropout'])

/** Whether each score of an output is a yes or no: by its loss, or without one if a Sigmoid computes the output. */
export function hasBinaryScores(model: Model, output: string, loss: LossRecipe | undefined): boolean {
  const own = findLoss(output, loss)
  return own === undefined ? findScoreNode(model, output, sameAxes)?.opType === 'Sigmoid' : isBinaryLoss(own)
}

/** The axis of the Softmax that computes an output, if the file has it. */
function findSoftmaxAxis(model: Model, output: string): number | undefined {
  const node = findScoreNode(model, output, sameAxes)
  const attribute = (key: string) => node?.attribute.find(({ name }) => name === key)
  if (node?.opType === 'Transpose') {
    const perm = Array.from(attribute('perm')?.ints ?? [], Number)
    const axis = findSoftmaxAxis(model, node.input[0]!)
    const at = axis === undefined ? -1 : perm.indexOf(axis < 0 ? axis + perm.length : axis)
    return at === -1 ? undefined : at
  }
  if (node?.opType !== 'Softmax' && node?.opType !== 'LogSoftmax') return undefined
  const axis = attribute('axis')?.i
  return axis === undefined ? undefined : Number(axis)
}

function topClass(row: readonly number[], kind: ScoreKind): TopClass {
  const top = row.reduce((best, score, c) => (score > row[best]! || Number.isNaN(score) ? c : best), 0)
  if (kind === 'probabilities') return { class: top, probability: row[top]! }
  if (kind === 'log-probabilities') return { class: top, probability: Math.exp(row[top]!) }
  // softmax(z)[top] = 1 / sum_c exp(z[c] - z[top])
  return { class: top, probability: 1 / row.reduce((sum, score) => sum + Math.exp(score - row[top]!), 0) }
}

function binaryClass(score: number, kind: ScoreKind): TopClass {
  const positive = kind === 'probabilities' ? score : kind === 'logits' ? 1 / (1 + Math.exp(-score)) : Math.exp(score)
  return positive > 0.5 ? { class: 1, probability: positive } : { class: 0, probability: 1 - positive }
}
