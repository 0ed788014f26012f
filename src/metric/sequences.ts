import { dtypes } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import type { Tensor, Tensors } from '../ir/tensor.js'
import { op } from '../op/op.js'
import { checkNames, checkNumber, count } from '../util/check.js'
import type { Metric } from './metric.js'

/**
 * Decodes steps of `ctc` greedily: the class of the highest score of every step, equal classes of adjacent steps once,
 * without blanks.
 * @param logits scores [N, T, C]
 * @returns the labels of every example
 * @throws OnnxIreError `invalid-option`
 */
export function decodeGreedily(logits: Tensor, { blank = 0 }: { readonly blank?: number } = {}): number[][] {
  checkNumber('decodeGreedily', 'blank', blank, count)
  const [n = 0, steps = 0, classes = 1] = logits.dims
  const values = numbersOf(logits)
  return Array.from({ length: n }, (_, i) => {
    const best = Array.from({ length: steps }, (_, t) => {
      const from = (i * steps + t) * classes
      let top = 0
      for (let c = 1; c < classes; c++) if (values[from + c]! > values[from + top]!) top = c
      return top
    })
    return collapse(best, blank)
  })
}

/** The steps of a path that begin a label: those with neither the blank nor the label of the step before. */
export const labelSteps = (path: readonly number[], blank: number): number[] =>
  path.flatMap((label, t) => (label !== blank && label !== path[t - 1] ? [t] : []))

/** The labels of a path, without blanks and repetitions. */
const collapse = (path: readonly number[], blank: number): number[] => labelSteps(path, blank).map((t) => path[t]!)

/**
 * Character error rate of `ctc`: insertions, deletions and substitutions that turn the greedily decoded labels into the
 * true ones, over the number of true labels. Reported as `cer`.
 */
export const cer = (): Metric => sequenceMetric('cer', errorRate)

/** Options of `wer`. */
export interface WerOptions {
  /** Class of the space between words. */
  readonly space: number
}

/**
 * Word error rate of `ctc`: as `cer`, of words, which are separated by a class. Reported as `wer`.
 * @throws OnnxIreError `invalid-option`
 */
export function wer(options: WerOptions): Metric {
  checkNames('wer', options, ['space'])
  const { space } = options
  checkNumber('wer', 'space', space, count)
  const toWords = (labels: readonly number[]) => {
    const words: number[][] = [[]]
    for (const label of labels) {
      if (label === space) words.push([])
      else words.at(-1)!.push(label)
    }
    return words.filter((word) => word.length > 0).map((word) => word.join())
  }
  return sequenceMetric('wer', (decoded, truth) => errorRate(toWords(decoded), toWords(truth)))
}

/** Share of sequences of `ctc` that are decoded without an error. Reported as `sequenceAccuracy`. */
export const sequenceAccuracy = (): Metric =>
  sequenceMetric('sequenceAccuracy', (decoded, truth) => [Number(decoded.join() === truth.join()), 1])

const errorRate = <T>(decoded: readonly T[], truth: readonly T[]): readonly [number, number] => [
  editDistance(decoded, truth),
  truth.length,
]

/** Builds a metric that is a sum over examples divided by another one. */
const sequenceMetric = (
  name: string,
  compare: (decoded: readonly number[], truth: readonly number[]) => readonly [part: number, whole: number],
): Metric => ({
  name,
  build(comparison) {
    if (comparison.kind !== 'sequences') return null
    const { logits, labels, blank, inputLengths, targetLengths } = comparison
    // Sums are floats; integers up to 2^24 are exact.
    const toFloat = (x: typeof labels) => op.Cast(x, { to: dtypes.float32.onnx })
    return {
      sums: new Map([
        ['best', toFloat(op.ArgMax(logits, { axis: 2, keepdims: 0 }))],
        ['labels', toFloat(labels)],
        ['steps', toFloat(inputLengths)],
        ['lengths', toFloat(targetLengths)],
      ]),
      reduce: {
        names: ['part', 'whole'],
        compute(tensors) {
          let [part, whole] = [0, 0]
          for (const { path, truth } of readExamples(tensors)) {
            const [p, w] = compare(collapse(path, blank), truth)
            part += p
            whole += w
          }
          return { part, whole }
        },
      },
      measure: ({ part, whole }) => ({ [name]: part![0]! / whole![0]! }),
    }
  },
})

function readExamples({ best, labels, steps, lengths }: Tensors): { path: number[]; truth: number[] }[] {
  const row = ({ dims: [, width = 0], data }: Tensor, i: number, length: number) =>
    Array.from((data as Float32Array).subarray(i * width, i * width + length))
  return Array.from(steps!.data as Float32Array, (stepCount, i) => ({
    path: row(best!, i, stepCount),
    truth: row(labels!, i, (lengths!.data as Float32Array)[i]!),
  }))
}

/** Smallest number of insertions, deletions and substitutions that turn one list into another. */
function editDistance<T>(a: readonly T[], b: readonly T[]): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (const [i, x] of a.entries()) {
    const next = [i + 1]
    for (const [j, y] of b.entries()) next.push(Math.min(row[j + 1]! + 1, next[j]! + 1, row[j]! + Number(x !== y)))
    row = next
  }
  return row.at(-1)!
}
