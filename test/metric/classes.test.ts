import { afterAll, describe, expect, it } from 'vitest'
import { input, op } from '../../src/graph/index.js'
import {
  accuracy,
  confusion,
  createMetric,
  crossEntropy,
  f1,
  metrics,
  mse,
  perClass,
  perplexity,
  precision,
  recall,
  topK,
} from '../../src/index.js'
import { histogram } from '../../src/metric/decisions.js'
import { buildMetrics } from '../../src/metric/metric.js'
import { node } from '../../src/node/index.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { errorWith } from '../thrown.js'
import { chunks, draws, float, int, measured } from './evaluate.js'

const { integers, normals } = draws()

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const all = [
  accuracy(),
  topK(2),
  topK(3),
  confusion(),
  perClass(),
  perplexity(),
  ...(['macro', 'micro', 'weighted'] as const).flatMap((average) => [
    precision({ average }),
    recall({ average }),
    f1({ average }),
  ]),
]

interface Example {
  readonly scores: readonly number[]
  readonly label: number
}

/** All of it in plain arithmetic, from the examples that count. */
function plain(examples: readonly Example[], classes: number) {
  const order = ({ scores }: Example) => scores.map((_, c) => c).sort((a, b) => scores[b]! - scores[a]! || a - b)
  const n = examples.length
  const matrix = Array.from({ length: classes }, () => Array<number>(classes).fill(0))
  for (const example of examples) matrix[example.label]![order(example)[0]!]! += 1
  const range = Array.from({ length: classes }, (_, c) => c)
  const add = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
  const hits = range.map((c) => matrix[c]![c]!)
  const actual = range.map((c) => add(matrix[c]!))
  const predicted = range.map((c) => add(matrix.map((row) => row[c]!)))
  const safe = (a: number, b: number) => (b === 0 ? 0 : a / b)
  const p = range.map((c) => safe(hits[c]!, predicted[c]!))
  const r = range.map((c) => safe(hits[c]!, actual[c]!))
  const f = range.map((c) => safe(2 * p[c]! * r[c]!, p[c]! + r[c]!))
  const present = range.filter((c) => actual[c]! + predicted[c]! > 0)
  const macro = (each: readonly number[]) => add(present.map((c) => each[c]!)) / present.length
  const weighted = (each: readonly number[]) => add(each.map((value, c) => value * actual[c]!)) / n
  const right = add(hits) / n
  const nll = ({ scores, label }: Example) => {
    const total = Math.log(add(scores.map(Math.exp)))
    return total - scores[label]!
  }
  return {
    accuracy: right,
    top2: examples.filter((e) => order(e).slice(0, 2).includes(e.label)).length / n,
    top3: examples.filter((e) => order(e).slice(0, 3).includes(e.label)).length / n,
    confusion: matrix,
    precisionPerClass: p,
    recallPerClass: r,
    f1PerClass: f,
    supportPerClass: actual,
    perplexity: Math.exp(add(examples.map(nll)) / n),
    precision: macro(p),
    recall: macro(r),
    f1: macro(f),
    'precision-micro': right,
    'recall-micro': right,
    'f1-micro': right,
    'precision-weighted': weighted(p),
    'recall-weighted': weighted(r),
    'f1-weighted': weighted(f),
  }
}

function expectSame(actual: Readonly<Record<string, unknown>>, wanted: Readonly<Record<string, unknown>>): void {
  const { loss: _, count: __, ...rest } = actual
  expect(Object.keys(rest).sort()).toEqual(Object.keys(wanted).sort())
  for (const [name, value] of Object.entries(wanted)) {
    const [got, want] = [[rest[name]].flat(2) as number[], [value].flat(2) as number[]]
    expect(got.length, name).toBe(want.length)
    for (const [i, number] of want.entries()) expect(got[i], name).toBeCloseTo(number, 5)
  }
}

describe('metrics of classes equal plain arithmetic', () => {
  it('over several batches of different sizes, with classes that never occur', async () => {
    const [n, classes] = [50, 7]
    // Whole numbers: many scores are equal. Class 6 neither occurs nor is predicted, class 5 is predicted only.
    const examples = Array.from({ length: n }, () => ({
      scores: normals(classes).map((v, c) => (c === 6 ? -9 : Math.round(2 * v))),
      label: integers(1, 5)[0]!,
    }))
    const batches = chunks(examples, 16).map((batch) => ({
      y: float(
        [batch.length, classes],
        batch.flatMap(({ scores }) => scores),
      ),
      labels: int(
        [batch.length],
        batch.map(({ label }) => label),
      ),
    }))
    const result = await measured(runtime, crossEntropy(), all, ['N', classes], batches)
    expect(result.count).toBe(n)
    const wanted = plain(examples, classes)
    expectSame(result, wanted)
    expect(wanted.supportPerClass[6]! + wanted.confusion.reduce((sum, row) => sum + row[6]!, 0)).toBe(0)
  })

  it('tokens with padding and a mask', async () => {
    const [n, length, classes] = [9, 5, 4]
    const positions = Array.from({ length: n * length }, () => ({
      scores: normals(classes),
      label: integers(1, classes)[0]!,
      state: integers(1, 3)[0]!, // 0: padding, 1: masked, 2: counts
    }))
    const batches = chunks(positions, 3 * length).map((batch) => ({
      y: float(
        [3, length, classes],
        batch.flatMap(({ scores }) => scores),
      ),
      labels: int(
        [3, length],
        batch.map(({ label, state }) => (state === 0 ? -100 : label)),
      ),
      mask: float(
        [3, length],
        batch.map(({ state }) => (state === 1 ? 0 : 1)),
      ),
    }))
    const loss = crossEntropy({ ignoreIndex: -100, mask: 'mask' })
    const result = await measured(runtime, loss, all, ['N', 'T', classes], batches)
    const counting = positions.filter(({ state }) => state === 2)
    expect(result.count).toBe(counting.length)
    expectSame(result, plain(counting, classes))
  })

  it('probabilities with classes along axis 1', async () => {
    const [n, classes, length] = [6, 4, 3]
    const z = normals(n * classes * length)
    const t = normals(n * classes * length).map((v) => v * v)
    const at = (values: readonly number[], i: number, c: number, k: number) => values[(i * classes + c) * length + k]!
    const range = Array.from({ length: classes }, (_, c) => c)
    const examples = Array.from({ length: n * length }, (_, i) => {
      const [row, k] = [Math.floor(i / length), i % length]
      const column = (values: readonly number[]) => range.map((c) => at(values, row, c, k))
      return { scores: column(z), label: column(t).indexOf(Math.max(...column(t))) }
    })
    const loss = crossEntropy({ probabilities: true, axis: 1 })
    const batch = { y: float([n, classes, length], z), labels: float([n, classes, length], t) }
    expectSame(await measured(runtime, loss, all, ['N', classes, 'T'], [batch]), plain(examples, classes))
  })

  it('equal scores predict the first class', async () => {
    const batch = { y: float([4, 3], Array(12).fill(1)), labels: int([4], [0, 1, 2, 2]) }
    const result = await measured(runtime, crossEntropy(), [accuracy(), topK(1), topK(2)], ['N', 3], [batch])
    expect([result.accuracy, result['top1'], result['top2']]).toEqual([0.25, 0.25, 0.5])
  })
})

describe('creating and building metrics', () => {
  const classes = (length: number | string) =>
    crossEntropy().build(new Map([['y', input('y', 'float32', ['N', length])]]))

  it('createMetric accepts every name of `metrics` and top<k>, and rejects others by name', () => {
    for (const name of Object.keys(metrics)) expect(createMetric(name).name).toBe(name)
    expect(createMetric('top10').name).toBe('top10')
    for (const name of ['top0', 'f2', 'toString'])
      expect(() => createMetric(name)).toThrow(errorWith('invalid-option', `'${name}'`))
  })

  it('buildMetrics rejects duplicates and metrics that do not apply, by name', () => {
    expect(() => buildMetrics([f1(), f1()], classes(3), true)).toThrow(errorWith('invalid-option', "'f1'"))
    const values = mse().build(new Map([['y', input('y', 'float32', ['N', 3])]]))
    expect(() => buildMetrics([f1()], values, true)).toThrow(errorWith('invalid-option', "'f1'"))
    expect(buildMetrics(all, values, false).parts).toEqual([])
  })

  it('buildMetrics rejects a symbolic or unsuitable number of classes, by metric', () => {
    for (const metric of [confusion(), perClass(), f1()])
      expect(() => buildMetrics([metric], classes('C'), true)).toThrow(errorWith('invalid-option', metric.name))
    expect(() => buildMetrics([confusion()], classes(2001), true)).toThrow(errorWith('invalid-option', 'confusion'))
    expect(buildMetrics([perClass(), f1()], classes(50_000), true).outputs.size).toBe(6)
    expect(() => buildMetrics([topK(5)], classes(3), true)).toThrow(errorWith('invalid-option', 'top5'))
  })

  it('rejects invalid options, with field and value', () => {
    expect(() => topK(0)).toThrow(errorWith('invalid-option', "'k' is 0"))
    expect(() => f1({ average: 'samples' as 'macro' })).toThrow(errorWith('invalid-option', "'average' is 'samples'"))
    for (const make of [precision, perClass, confusion])
      expect(() => make({ threshold: 1 })).toThrow(errorWith('invalid-option', "'threshold' is 1"))
  })
})

it('more than 2^24 decisions of one kind in a batch > are counted', async () => {
  // Large images whose pixels all have the same class, made in the graph.
  const examples = input('x', 'int64', ['N', 1, 1])
  const side = 2400
  const labels = op.Mul(op.Expand(examples, [1, side, side]), 0)
  const numbers = op.Add(labels, 1)
  const weights = op.Cast(numbers, { to: 1 })
  const logits = input('logits', 'float32', ['N', 3, side, side])
  const counts = histogram(numbers, weights, 3, { kind: 'classes', logits, axis: 1, labels, mask: null })
  expect(counts.shape).toEqual([3])
  const graph = { name: 'counts', inputs: new Map([['x', examples]]), outputs: new Map([['counts', counts]]) }
  const program = await runtime.compile(encode('ModelProto', exportGraph(graph)))
  const { counts: found } = await program.run({ x: int([3, 1, 1], [0, 1, 2]) })
  await program.release()
  expect([...(found!.data as Float32Array)]).toEqual([0, 3 * side ** 2, 0])
})
