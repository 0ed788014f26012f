import { afterAll, describe, expect, it } from 'vitest'
import {
  accuracy,
  averagePrecision,
  binaryCrossEntropy,
  confusion,
  f1,
  iou,
  margin,
  perClass,
  precision,
  recall,
  rocAuc,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { chunks, draws, float, measured } from './evaluate.js'

const { integers, normals } = draws()

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const averages = ['macro', 'micro', 'weighted'] as const
const probability = (z: number) => 1 / (1 + Math.exp(-z))

interface Answer {
  readonly z: number
  readonly t: number
  readonly mask: number
}
const answers = (n: number): Answer[] => {
  const [z, t, mask] = [normals(n), integers(n, 2), integers(n, 4)]
  return z.map((value, i) => ({ z: value, t: t[i]!, mask: Math.min(1, mask[i]!) }))
}

/** Counts of yes in plain arithmetic. */
function counts(given: readonly Answer[], threshold: number) {
  const kept = given.filter(({ mask }) => mask > 0)
  const number = (of: (said: boolean, meant: boolean) => boolean) =>
    kept.filter(({ z, t }) => of(probability(z) > threshold, t === 1)).length
  const [tp, fp, fn, tn] = [
    number((said, meant) => said && meant),
    number((said, meant) => said && !meant),
    number((said, meant) => !said && meant),
    number((said, meant) => !said && !meant),
  ]
  return { tp, fp, fn, tn, precision: tp / (tp + fp), recall: tp / (tp + fn), f1: (2 * tp) / (2 * tp + fp + fn) }
}

const batchesOf = (given: readonly Answer[], columns: number, tail: readonly number[]) =>
  chunks(given, 8 * columns).map((batch) => {
    const dims = [batch.length / columns, ...tail]
    return {
      y: float(
        dims,
        batch.map(({ z }) => z),
      ),
      targets: float(
        dims,
        batch.map(({ t, mask }) => (mask === 0 ? Number.NaN : t)),
      ),
      mask: float(
        dims,
        batch.map(({ mask }) => mask),
      ),
    }
  })

describe('metrics of binary predictions', () => {
  it.each([
    [0.5, ['N', 1], [1]],
    [0.7, ['N'], []],
  ] as const)('one per example, threshold %d, %o', async (threshold, shape, tail) => {
    const given = answers(30)
    const metrics = [
      accuracy(),
      confusion({ threshold }),
      perClass({ threshold }),
      margin(),
      ...averages.flatMap((average) => [precision({ average, threshold }), f1({ average, threshold })]),
    ]
    const loss = binaryCrossEntropy({ mask: 'mask' })
    const result = await measured(runtime, loss, metrics, shape, batchesOf(given, 1, tail))
    const { tp, fp, fn, tn, ...scores } = counts(given, threshold)
    const half = counts(given, 0.5)
    expect(result.accuracy).toBeCloseTo((half.tp + half.tn) / (tp + fp + fn + tn), 6)
    const sided = given.flatMap(({ z, t, mask }) => (mask > 0 ? [t === 1 ? z : -z] : []))
    expect(result['margin']).toBeCloseTo(sided.reduce((a, b) => a + b, 0) / sided.length, 5)
    expect(result['confusion']).toEqual([
      [tn, fp],
      [fn, tp],
    ])
    expect(result['precisionPerClass']).toEqual([scores.precision])
    expect(result['recallPerClass']).toEqual([scores.recall])
    expect(result['supportPerClass']).toEqual([tp + fn])
    // There is one class, so averages do not differ.
    for (const suffix of ['', '-micro', '-weighted']) {
      expect(result[`precision${suffix}`]).toBeCloseTo(scores.precision, 6)
      expect(result[`f1${suffix}`]).toBeCloseTo(scores.f1, 6)
    }
  })

  it('the masks of images of a fixed size are one class', async () => {
    const [rows, columns] = [5, 4]
    const given = answers(16 * rows * columns)
    const tail = [1, rows, columns]
    const metrics = [f1(), iou(), perClass(), rocAuc(), averagePrecision()]
    const loss = binaryCrossEntropy({ mask: 'mask' })
    const batches = batchesOf(given, rows * columns, tail)
    const result = await measured(runtime, loss, metrics, ['N', ...tail], batches)
    const { tp, fp, fn, ...scores } = counts(given, 0.5)
    expect(result['f1']).toBeCloseTo(scores.f1, 6)
    expect(result['iou']).toBeCloseTo(tp / (tp + fp + fn), 6)
    expect(result['supportPerClass']).toEqual([tp + fn])
    expect(result).toEqual(await measured(runtime, loss, metrics, ['N', 1, 'H', 'W'], batches))
  })

  it('several labels per example are counted as classes', async () => {
    const labels = 3
    // The last label is never true and never predicted: 0 in the mean over labels.
    const given = answers(24 * labels).map((answer, i) => (i % labels === 2 ? { z: -1, t: 0, mask: 1 } : answer))
    const metrics = [
      perClass(),
      confusion(),
      ...averages.flatMap((average) => [precision({ average }), recall({ average }), f1({ average })]),
    ]
    const loss = binaryCrossEntropy({ mask: 'mask' })
    const result = await measured(runtime, loss, metrics, ['N', labels], batchesOf(given, labels, [labels]))
    const columns = [0, 1].map((label) =>
      counts(
        given.filter((_, i) => i % labels === label),
        0.5,
      ),
    )
    const pooled = counts(given, 0.5)
    const support = columns.map(({ tp, fn }) => tp + fn)
    expect(result['f1PerClass']).toEqual([...columns.map(({ f1 }) => f1), 0])
    expect(result['supportPerClass']).toEqual([...support, 0])
    expect(result['confusion']).toEqual([
      [pooled.tn, pooled.fp],
      [pooled.fn, pooled.tp],
    ])
    for (const name of ['precision', 'recall', 'f1'] as const) {
      const [a, b] = columns.map((column) => column[name])
      expect(result[name]).toBeCloseTo((a! + b!) / labels, 6)
      expect(result[`${name}-micro`]).toBeCloseTo(pooled[name], 6)
      expect(result[`${name}-weighted`]).toBeCloseTo(
        (a! * support[0]! + b! * support[1]!) / (support[0]! + support[1]!),
        6,
      )
    }
  })
})
