import { findScoreKind } from '../../analysis/snippet/score-kind.js'
import type { FeatureStatistics, TableStatistics } from '../../data/table-statistics.js'
import { numbersOf } from '../../ir/leaf.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import { sizeOf } from '../../ir/tensor.js'
import { lossRegistry } from '../../loss/registry.js'
import { decodeGreedily } from '../../metric/sequences.js'
import type { Model } from '../../onnx/model.js'
import { isBinaryLoss, lossTarget, type TaskLoss } from '../../recipe/loss.js'
import { getOwn } from '../../util/record.js'
import { formatNumber } from '../format.js'
import { findClassAxis } from '../prediction/top-classes.js'
import { drawMask, drawTensor } from './draw-example.js'

/** The target of an example and its prediction, as text or, if they are masks or images, as PNG in data addresses. */
export interface DescribedPrediction {
  readonly given?: string
  readonly predicted?: string
  readonly givenImage?: string
  readonly predictedImage?: string
}

/** Largest number of elements that are written. */
const maxNumbers = 8

/** Descriptions of the data of a run: class names, and statistics of columns. */
interface Described {
  readonly names?: readonly string[] | undefined
  /** Statistics of scaled columns, by tensor: numbers are written in the units of the columns. */
  readonly statistics?: TableStatistics | undefined
}

/**
 * Describes the target of an example and its prediction; empty if both are neither images nor short.
 * @param tensors one example of the data
 * @param outputs outputs of the model for it, with the axis of the examples first
 */
export function describePrediction(
  model: Model,
  loss: TaskLoss,
  tensors: Tensors,
  outputs: Tensors,
  { names, statistics }: Described,
): DescribedPrediction {
  const options: Readonly<Record<string, unknown>> = { ...loss }
  const [only, ...others] = Object.keys(outputs)
  const output = options[lossRegistry[loss.kind].output] ?? (others.length === 0 ? only : undefined)
  const { name = '', isClasses } = lossTarget(loss) ?? {}
  const [scores, target] = [getOwn(outputs, String(output)), getOwn(tensors, name)]
  // Distributions are not comparable with scores.
  const isOther = loss.kind === 'kl' || options['probabilities'] === true
  if (!scores || !target || isOther) return {}
  if (loss.kind === 'ctc') return describeSequence(target, scores, loss, names)
  if (isClasses) {
    const { ignoreIndex } = options as { readonly ignoreIndex?: number }
    const predicted = largestAlong(scores, findClassAxis(model, String(output), loss) ?? -1)
    return describeClasses(numbersOf(target), predicted, target.dims, { names, ignoreIndex })
  }
  if (isBinaryLoss(loss)) {
    const threshold = findScoreKind(model, String(output)) === 'probabilities' ? 0.5 : 0
    const given = numbersOf(target).map((value) => Number(value > 0.5))
    const predicted = numbersOf(scores).map((value) => Number(value > threshold))
    return target.dims.length > 2
      ? describeClasses(given, predicted, target.dims)
      : { given: listPositives(given, names), predicted: listPositives(predicted, names) }
  }
  return describeValues(target, scores, Object.values(getOwn(statistics, name) ?? {}))
}

/** The labels of a sequence and those that `decodeGreedily` reads from the scores, as text. */
function describeSequence(
  target: Tensor,
  scores: Tensor,
  { blank = 0 }: { readonly blank?: number },
  names: readonly string[] | undefined,
): DescribedPrediction {
  const list = (labels: readonly number[]) => labels.map((label) => names?.[label] ?? label).join(names ? '' : ', ')
  const [labels = []] = decodeGreedily(scores, { blank })
  return { given: list(numbersOf(target).filter((label) => label !== blank)), predicted: list(labels) }
}

/** Index of the largest score along an axis, for every other position. */
function largestAlong({ dims, ...tensor }: Tensor, axis: number): number[] {
  const at = axis < 0 ? dims.length + axis : axis
  const [classes, inner] = [dims[at] ?? 1, sizeOf(dims.slice(at + 1))]
  const numbers = numbersOf({ dims, ...tensor })
  return Array.from({ length: numbers.length / classes }, (_, i) => {
    const start = Math.floor(i / inner) * classes * inner + (i % inner)
    let best = 0
    for (let c = 1; c < classes; c++) if (numbers[start + c * inner]! > numbers[start + best * inner]!) best = c
    return best
  })
}

function describeClasses(
  given: readonly number[],
  predicted: readonly number[],
  dims: readonly number[],
  {
    names,
    ignoreIndex,
  }: { readonly names?: readonly string[] | undefined; readonly ignoreIndex?: number | undefined } = {},
): DescribedPrediction {
  if (given.length !== predicted.length) return {}
  const list = (classes: readonly number[]) => classes.map((label) => names?.[label] ?? label).join(', ')
  if (given.length <= maxNumbers) return { given: list(given), predicted: list(predicted) }
  const [rows, columns, ...others] = dims.filter((length, i) => i > 0 && length !== 1)
  if (rows === undefined || columns === undefined || others.length > 0) return {}
  const draw = (classes: readonly number[]) => drawMask(classes, rows, columns, ignoreIndex)
  return { givenImage: draw(given), predictedImage: draw(predicted) }
}

/** The classes that are answered with yes. */
function listPositives(values: readonly number[], names: readonly string[] | undefined): string {
  const positive = values.flatMap((value, i) => (value === 1 ? [names?.[i] ?? i] : []))
  return positive.length === 0 ? 'none' : positive.join(', ')
}

function describeValues(target: Tensor, output: Tensor, scaled: readonly FeatureStatistics[]): DescribedPrediction {
  const [given, predicted] = [numbersOf(target), numbersOf(output)]
  const list = (values: readonly number[]) => {
    const inUnits = ({ divisor = 1, offset = 0 }: FeatureStatistics, i: number) => values[i]! * divisor + offset
    return (scaled.length === values.length ? scaled.map(inUnits) : values).map(formatNumber).join(', ')
  }
  if (given.length <= maxNumbers) return { given: list(given), predicted: list(predicted) }
  const [givenImage, predictedImage] = [drawTensor(target), drawTensor(output)]
  return givenImage === undefined || predictedImage === undefined ? {} : { givenImage, predictedImage }
}
