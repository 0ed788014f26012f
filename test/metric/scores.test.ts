import { afterAll, describe, expect, it } from 'vitest'
import {
  averagePrecision,
  binaryCrossEntropy,
  cohenKappa,
  createMetric,
  crossEntropy,
  ece,
  iou,
  rocAuc,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { errorWith } from '../thrown.js'
import { chunks, draws, float, int, measured } from './evaluate.js'

const { integers, normals } = draws()

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

/** Share of pairs of a true and a false answer in the right order. */
function plainAuc(scores: readonly number[], truth: readonly boolean[]): number {
  const [yes, no] = [true, false].map((side) => scores.filter((_, i) => truth[i] === side))
  return mean(yes!.flatMap((a) => no!.map((b) => (a > b ? 1 : a === b ? 0.5 : 0))))
}

/** Mean over true answers of the precision among scores that are at least as high. */
const plainPrecision = (scores: readonly number[], truth: readonly boolean[]): number =>
  mean(
    scores
      .filter((_, i) => truth[i])
      .map((score) => mean(scores.flatMap((other, i) => (other >= score ? [Number(truth[i])] : [])))),
  )

/** Scores of several classes with their labels, and the batches of them. */
function classified(n: number, classes: number, scale = 1) {
  const labels = integers(n, classes)
  const scores = labels.map((label) => normals(classes).map((v, c) => Math.fround(scale * (v + (c === label ? 1 : 0)))))
  const batches = chunks(
    labels.map((_, i) => i),
    16,
  ).map((rows) => ({
    y: float(
      [rows.length, classes],
      rows.flatMap((i) => scores[i]!),
    ),
    labels: int(
      [rows.length],
      rows.map((i) => labels[i]!),
    ),
  }))
  return { labels, scores, batches }
}

const softmax = (z: readonly number[]) => {
  const e = z.map(Math.exp)
  return e.map((v) => v / e.reduce((a, b) => a + b, 0))
}

describe('metrics of rankings equal plain arithmetic', () => {
  it.each([1, 1e-3, 50])('yes-or-no answers with a mask and equal scores, scores times %d', async (scale) => {
    const n = 200
    const z = normals(n).map((v) => Math.fround(scale * Math.round(v * 20) * 0.05))
    const t = z.map((v, i) => Number(normals(1)[0]! + v / scale > 0 && i % 7 !== 0))
    const mask = integers(n, 5).map((v) => Math.min(1, v))
    const batches = chunks(
      z.map((_, i) => i),
      32,
    ).map((rows) => ({
      y: float(
        [rows.length],
        rows.map((i) => z[i]!),
      ),
      targets: float(
        [rows.length],
        rows.map((i) => (mask[i] ? t[i]! : Number.NaN)),
      ),
      mask: float(
        [rows.length],
        rows.map((i) => mask[i]!),
      ),
    }))
    const loss = binaryCrossEntropy({ mask: 'mask' })
    const result = await measured(runtime, loss, [rocAuc(), averagePrecision()], ['N'], batches)
    const kept = z.map((_, i) => i).filter((i) => mask[i])
    const [scores, truth] = [kept.map((i) => z[i]!), kept.map((i) => t[i] === 1)]
    expect(result['rocAuc']).toBeCloseTo(plainAuc(scores, truth), 6)
    expect(result['averagePrecision']).toBeCloseTo(plainPrecision(scores, truth), 6)
  })

  it('several labels per example: the mean over the labels that have both answers', async () => {
    const [n, labels] = [60, 3]
    const z = normals(n * labels).map((v) => Math.fround(Math.round(v * 20) * 0.05))
    const t = z.map((v, i) => (i % labels === 2 ? 0 : Number(v + normals(1)[0]! > 0)))
    const batch = { y: float([n, labels], z), targets: float([n, labels], t) }
    const metrics = [rocAuc(), averagePrecision()]
    const result = await measured(runtime, binaryCrossEntropy(), metrics, ['N', labels], [batch])
    const column = (values: readonly number[], c: number) => values.filter((_, i) => i % labels === c)
    const each = (of: typeof plainAuc) => [0, 1].map((c) => of(column(z, c), column(t, c).map(Boolean)))
    expect(result['rocAuc']).toBeCloseTo(mean(each(plainAuc)), 6)
    expect(result['averagePrecision']).toBeCloseTo(mean(each(plainPrecision)), 6)
  })

  it.each([2, 4])('%d classes, each against the others', async (classes) => {
    const { labels, scores, batches } = classified(120, classes)
    const metrics = [rocAuc({ bins: 32768 }), averagePrecision({ bins: 32768 })]
    const result = await measured(runtime, crossEntropy(), metrics, ['N', classes], batches)
    const each = (of: typeof plainAuc) =>
      Array.from({ length: classes }, (_, c) =>
        of(
          scores.map((z) => softmax(z)[c]!),
          labels.map((label) => label === c),
        ),
      )
    expect(result['rocAuc']).toBeCloseTo(mean(each(plainAuc)), 3)
    expect(result['averagePrecision']).toBeCloseTo(mean(each(plainPrecision)), 3)
  })

  /** z_c - log of the sum of e^z over the other classes. */
  const logOdds = (z: readonly number[], c: number) => {
    const others = z.filter((_, i) => i !== c)
    const most = Math.max(...others)
    return most === -Infinity
      ? z[c]! - most
      : z[c]! - most - Math.log(others.reduce((sum, v) => sum + Math.exp(v - most), 0))
  }

  /** Measures classes of given logits, and computes the same in plain arithmetic. */
  async function ranked(scores: readonly (readonly number[])[], labels: readonly number[], bins = 65536) {
    const classes = scores[0]!.length
    const batch = { y: float([labels.length, classes], scores.flat()), labels: int([labels.length], labels) }
    const metrics = [rocAuc({ bins }), averagePrecision({ bins })]
    const result = await measured(runtime, crossEntropy(), metrics, ['N', classes], [batch])
    const columns = Array.from({ length: classes }, (_, c) => c).filter((c) => labels.includes(c))
    const each = (of: typeof plainAuc) =>
      mean(
        columns.map((c) =>
          of(
            scores.map((z) => logOdds(z, c)),
            labels.map((label) => label === c),
          ),
        ),
      )
    return { result, rocAuc: each(plainAuc), averagePrecision: each(plainPrecision) }
  }

  it.each([2, 3, 5])('%d classes of a confident model, whose probabilities round to 1', async (classes) => {
    const n = 150
    for (const gap of [5, 17, 25, 300]) {
      const labels = integers(n, classes)
      // The more confident, the more often right.
      const scores = labels.map((label, i) => {
        const z = normals(classes)
        const top = 3 * Math.abs(normals(1)[0]!) + i / 20 > 5 ? label : integers(1, classes)[0]!
        z[top] = gap * (1 + i / 150)
        return z.map(Math.fround)
      })
      const { result, ...expected } = await ranked(scores, labels)
      expect(Math.abs((result['rocAuc'] as number) - expected.rocAuc)).toBeLessThan(1e-3)
      expect(Math.abs((result['averagePrecision'] as number) - expected.averagePrecision)).toBeLessThan(1e-3)
    }
  })

  it.each([2, 3])('%d classes with a logit of minus infinity', async (classes) => {
    const labels = [0, 0, 1, 0, 1, 1]
    const certain = [...normals(1), ...Array.from({ length: classes - 1 }, () => -Infinity)].map(Math.fround)
    const scores = [certain, certain, [...certain].reverse(), ...[0, 1, 2].map(() => normals(classes))]
    const { result, ...expected } = await ranked(scores, labels)
    expect(result['rocAuc']).toBeCloseTo(expected.rocAuc, 6)
    expect(result['averagePrecision']).toBeCloseTo(expected.averagePrecision, 6)
  })
})

describe('metrics of a model with a logit that is not a number', () => {
  const metrics = [rocAuc(), averagePrecision(), ece()]
  const names = ['rocAuc', 'averagePrecision', 'ece']

  it.each([2, 3])('%d classes > not a number, unless its label is ignored', async (classes) => {
    const logits = normals(6 * classes)
    logits[2 * classes + 1] = Number.NaN
    const batch = (label: number) => ({ y: float([6, classes], logits), labels: int([6], [0, 1, label, 1, 0, 1]) })
    const loss = crossEntropy({ ignoreIndex: -1 })
    const measure = (batches: ReturnType<typeof batch>[]) => measured(runtime, loss, metrics, ['N', classes], batches)
    const [counted, ignored] = [await measure([batch(-1), batch(0)]), await measure([batch(-1)])]
    const others = float(
      [5, classes],
      logits.filter((_, i) => Math.floor(i / classes) !== 2),
    )
    const without = await measure([{ y: others, labels: int([5], [0, 1, 1, 0, 1]) }])
    for (const name of names) {
      expect(counted[name]).toBeNaN()
      expect(ignored[name]).toBe(without[name])
      expect(without[name]).not.toBeNaN()
    }
  })

  it('yes-or-no answers > not a number', async () => {
    const batch = { y: float([4], [1, Number.NaN, -1, 2]), targets: float([4], [1, 0, 0, 1]) }
    const result = await measured(runtime, binaryCrossEntropy(), metrics, ['N'], [batch])
    for (const name of names) expect(result[name]).toBeNaN()
  })
})

describe('metrics of agreement equal plain arithmetic', () => {
  const { labels, scores, batches } = classified(90, 4, 2)
  const predicted = scores.map((z) => z.indexOf(Math.max(...z)))

  it('calibration error of classes', async () => {
    const result = await measured(runtime, crossEntropy(), [ece({ bins: 10 })], ['N', 4], batches)
    const confidence = scores.map((z) => Math.max(...softmax(z)))
    const gaps = Array.from({ length: 10 }, (_, bin) => {
      const rows = labels.map((_, i) => i).filter((i) => Math.min(9, Math.floor(confidence[i]! * 10)) === bin)
      if (rows.length === 0) return 0
      const right = mean(rows.map((i) => Number(predicted[i] === labels[i])))
      return (rows.length / labels.length) * Math.abs(mean(rows.map((i) => confidence[i]!)) - right)
    })
    expect(result['ece']).toBeCloseTo(
      gaps.reduce((a, b) => a + b, 0),
      5,
    )
  })

  it('calibration error of yes-or-no answers', async () => {
    const batch = { y: float([4], [2, 2, -2, 2]), targets: float([4], [1, 1, 0, 0]) }
    const result = await measured(runtime, binaryCrossEntropy(), [ece()], ['N'], [batch])
    expect(result['ece']).toBeCloseTo(1 / (1 + Math.exp(-2)) - 0.75, 6)
  })

  it.each(['none', 'linear', 'quadratic'] as const)('cohenKappa with weights %s', async (weights) => {
    const result = await measured(runtime, crossEntropy(), [cohenKappa({ weights })], ['N', 4], batches)
    const distance = (a: number, b: number) =>
      ({ none: Number(a !== b), linear: Math.abs(a - b), quadratic: (a - b) ** 2 })[weights]
    const observed = mean(labels.map((label, i) => distance(label, predicted[i]!)))
    const expected = mean(labels.flatMap((label) => predicted.map((other) => distance(label, other))))
    expect(result[weights === 'none' ? 'cohenKappa' : `cohenKappa-${weights}`]).toBeCloseTo(1 - observed / expected, 6)
  })

  it('intersection over union', async () => {
    const result = await measured(runtime, crossEntropy(), [iou(), iou({ average: 'micro' })], ['N', 4], batches)
    const counts = [0, 1, 2, 3].map((c) => {
      const count = (of: (label: number, said: number) => boolean) =>
        labels.filter((label, i) => of(label, predicted[i]!)).length
      return [count((a, b) => a === c && b === c), count((a, b) => a === c || b === c)] as const
    })
    expect(result['iou']).toBeCloseTo(mean(counts.map(([both, either]) => both / either)), 6)
    const [both, either] = [0, 1].map((i) => counts.reduce((sum, count) => sum + count[i]!, 0))
    expect(result['iou-micro']).toBeCloseTo(both! / either!, 6)
  })
})

it('metrics of rankings and agreement reject invalid options, with field and value', async () => {
  expect(() => rocAuc({ bins: 3 })).toThrow(errorWith('invalid-option', "'bins' is 3"))
  expect(() => ece({ bins: 0 })).toThrow(errorWith('invalid-option', "'bins' is 0"))
  expect(() => cohenKappa({ weights: 'cubic' as 'linear' })).toThrow(
    errorWith('invalid-option', "'weights' is 'cubic'"),
  )
  const many = measured(runtime, crossEntropy(), [rocAuc()], ['N', 1000], [])
  await expect(many).rejects.toThrow(errorWith('invalid-option', "'bins'"))
  expect(createMetric('cohenKappa-quadratic').name).toBe('cohenKappa-quadratic')
})
