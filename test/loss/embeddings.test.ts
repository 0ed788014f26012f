import { afterAll, describe, expect, it } from 'vitest'
import { gradients, input, op, parameter, scalar } from '../../src/graph/index.js'
import {
  accuracy,
  arcFace,
  cosineEmbedding,
  cosineSimilarity,
  type Loss,
  multipleNegatives,
  topK,
  triplet,
} from '../../src/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { buildMetrics } from '../../src/metric/metric.js'
import { node } from '../../src/node/index.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { errorWith } from '../thrown.js'
import { classes, features, float, int, logSoftmax, mean, normals, rowsOf, sum, w } from './problem.js'

const normal = normals(5)

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

type Rows = readonly (readonly number[])[]
const dot = (a: readonly number[], b: readonly number[]) => sum(a.map((v, i) => v * b[i]!))
const cos = (a: readonly number[], b: readonly number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
const distance = (a: readonly number[], b: readonly number[]) =>
  Math.sqrt(sum(a.map((v, i) => (v - b[i]! + 1e-6) ** 2)))
const transpose = (rows: Rows) => rows[0]!.map((_, c) => rows.map((row) => row[c]!))

/** Embeddings x w of several passes, the loss on them and its gradient by the w that they share. */
async function measure(loss: Loss, passes: readonly string[], data: Tensors) {
  const weight = parameter('w', w)
  const inputs = passes.map((pass) => input(`${pass}/x`, 'float32', ['N', features]))
  const outputs = new Map(passes.map((pass, i) => [`${pass}/y`, op.MatMul(inputs[i]!, weight)]))
  const built = loss.build(outputs)
  const metrics = buildMetrics([accuracy(), topK(5)], built, false)
  const program = await runtime.compile(
    encode(
      'ModelProto',
      exportGraph({
        name: 'passes',
        inputs: new Map([...inputs.map((x): [string, typeof x] => [x.name!, x]), ['w', weight], ...built.targets]),
        outputs: new Map([
          ['loss', built.loss],
          ['weight', built.weight ?? built.count],
          ['gradient', gradients([[built.loss, scalar('float32', 1)]], [weight])[0]!],
          ...metrics.outputs,
        ]),
      }),
    ),
  )
  const results = await program.run({ w, ...data })
  await program.release()
  const of = (name: string) => numbersOf(results[name]!)
  const sums = (metric: string) => of(`sum/${metric}/correct`)[0]! / of(`sum/${metric}/count`)[0]!
  return { loss: of('loss')[0]!, weight: of('weight')[0]!, gradient: of('gradient'), sums }
}

/** The gradient by w of a function of the embeddings of all passes, from differences. */
function differences(xs: readonly ReturnType<typeof normal>[], of: (...rows: Rows[]) => number): number[] {
  const at = numbersOf(w)
  const step = 1e-5
  const moved = (i: number, by: number) => of(...xs.map((x) => rowsOf(x, at.with(i, at[i]! + by))))
  return at.map((_, i) => (moved(i, step) - moved(i, -step)) / (2 * step))
}

const [a, p, n] = [normal(6, features), normal(6, features), normal(6, features)]
const crossEntropies = (z: Rows) => mean(z.map((row, i) => -logSoftmax(row)[i]!))
const similarities = (scale: number, left: Rows, right: Rows) => left.map((x) => right.map((y) => scale * cos(x, y)))
const targets = [0.9, 0.1, 0.5, 0, 1, 0.3]
const sides = [1, -1, 1, -1, -1, 1]
const weights = [1, 2, 0, 0.5, 1, 3]
const weighted = (each: readonly number[]) => sum(each.map((v, i) => v * weights[i]!)) / sum(weights)
const zip = <T>(left: Rows, right: Rows, of: (x: readonly number[], y: readonly number[]) => T) =>
  left.map((x, i) => of(x, right[i]!))

const pairs = ['a', 'b'] as const
const cases: readonly [
  name: string,
  loss: Loss,
  passes: readonly string[],
  data: Tensors,
  plain: (...rows: Rows[]) => number,
][] = [
  ['multiple negatives', multipleNegatives(), pairs, {}, (x, y) => crossEntropies(similarities(20, x!, y!))],
  [
    'multiple negatives, symmetric, scale 3',
    multipleNegatives({ symmetric: true, scale: 3, embedding: 'y' }),
    pairs,
    {},
    (x, y) => {
      const z = similarities(3, x!, y!)
      return (crossEntropies(z) + crossEntropies(transpose(z))) / 2
    },
  ],
  [
    'multiple negatives with hard negatives',
    multipleNegatives(),
    ['a', 'b', 'c'],
    {},
    (x, y, z) => crossEntropies(similarities(20, x!, [...y!, ...z!])),
  ],
  [
    'triplet',
    triplet(),
    ['a', 'b', 'c'],
    {},
    (x, y, z) => mean(zip(x!, y!, distance).map((d, i) => Math.max(0, d - distance(x![i]!, z![i]!) + 1))),
  ],
  [
    'triplet of cosine distances with sample weights',
    triplet({ distance: 'cosine', margin: 0.4, sampleWeights: 's' }),
    ['a', 'b', 'c'],
    { s: float([6], weights) },
    (x, y, z) => weighted(zip(x!, y!, cos).map((c, i) => Math.max(0, cos(x![i]!, z![i]!) - c + 0.4))),
  ],
  [
    'cosine similarity',
    cosineSimilarity(),
    pairs,
    { targets: float([6], targets) },
    (x, y) => mean(zip(x!, y!, cos).map((c, i) => (c - targets[i]!) ** 2)),
  ],
  [
    'cosine similarity with a mask',
    cosineSimilarity({ mask: 'm' }),
    pairs,
    { targets: float([6], targets.with(2, Number.NaN)), m: float([6], weights) },
    (x, y) => weighted(zip(x!, y!, cos).map((c, i) => (c - targets[i]!) ** 2)),
  ],
  [
    'cosine embedding',
    cosineEmbedding({ margin: 0.1, sampleWeights: 's' }),
    pairs,
    { targets: float([6], sides), s: float([6], weights) },
    (x, y) => weighted(zip(x!, y!, cos).map((c, i) => (sides[i] === 1 ? 1 - c : Math.max(0, c - 0.1)))),
  ],
]

describe('losses of embeddings', () => {
  it.each(cases)('%s: value and gradient equal plain arithmetic', async (_, loss, passes, data, plain) => {
    const xs = [a, p, n].slice(0, passes.length)
    const inputs = Object.fromEntries(passes.map((pass, i) => [`${pass}/x`, xs[i]!]))
    const result = await measure(loss, passes, { ...inputs, ...data })
    expect(result.loss).toBeCloseTo(plain(...xs.map((x) => rowsOf(x))), 5)
    for (const [i, value] of differences(xs, plain).entries()) expect(result.gradient[i]).toBeCloseTo(value, 4)
  })

  it('accuracy and top5 of multiple negatives are recalls, also of fewer candidates than 5', async () => {
    const inputs = { 'a/x': a, 'b/x': p }
    const z = similarities(20, rowsOf(a), rowsOf(p))
    const rank = (row: readonly number[], i: number) => row.filter((v) => v > row[i]!).length
    const recall = (k: number) => mean(z.map((row, i) => Number(rank(row, i) < k)))
    const result = await measure(multipleNegatives(), pairs, inputs)
    expect([result.sums('accuracy'), result.sums('top5')]).toEqual([
      expect.closeTo(recall(1)),
      expect.closeTo(recall(5)),
    ])
    const few = {
      'a/x': float([2, features], numbersOf(a).slice(0, 8)),
      'b/x': float([2, features], numbersOf(p).slice(0, 8)),
    }
    expect((await measure(multipleNegatives(), pairs, few)).sums('top5')).toBe(1)
  })

  it('embeddings of zeros have a finite gradient', async () => {
    const zeros = float([2, features], Array(2 * features).fill(0))
    for (const [loss, passes] of [
      [multipleNegatives(), pairs],
      [triplet(), ['a', 'b', 'c']],
    ] as const) {
      const data = Object.fromEntries(passes.map((pass) => [`${pass}/x`, zeros]))
      const { loss: value, gradient } = await measure(loss, passes, data)
      expect([value, ...gradient].every(Number.isFinite)).toBe(true)
    }
  })

  it('invalid options and outputs are rejected, with field and value', () => {
    const y = input('y', 'float32', ['N', 3])
    expect(() => multipleNegatives({ scale: 0 })).toThrow(errorWith('invalid-option', "'scale' is 0"))
    expect(() => triplet({ margin: -1 })).toThrow(errorWith('invalid-option', "'margin' is -1"))
    expect(() => triplet({ distance: 'l1' as 'cosine' })).toThrow(errorWith('invalid-option', "'distance' is 'l1'"))
    expect(() => cosineEmbedding({ margin: 2 })).toThrow(errorWith('invalid-option', "'margin' is 2"))
    expect(() => multipleNegatives().build(new Map([['y', y]]))).toThrow(errorWith('invalid-option', "'passes'"))
    const positions = input('h', 'float32', ['N', 'T', 3])
    const both = new Map([
      ['a/h', positions],
      ['b/h', positions],
    ])
    expect(() => cosineSimilarity().build(both)).toThrow(errorWith('invalid-option', "'pooling'"))
    expect(() => triplet({ embedding: 'z' }).build(both)).toThrow(errorWith('invalid-option', "'/z'"))
    const clip = new Map([
      ['logits_per_text', input('logits_per_text', 'float32', ['N', 'M'])],
      ['text_embeds', y],
    ])
    expect(() => multipleNegatives().build(clip)).toThrow(errorWith('invalid-option', "'logits_per_text' [N, M]"))
    const several = new Map(['a/h', 'a/y', 'b/h', 'b/y'].map((name) => [name, y]))
    expect(() => multipleNegatives().build(several)).toThrow(
      errorWith('invalid-option', "'embedding' to one of 'h', 'y'"),
    )
    expect(multipleNegatives({ embedding: 'y' }).build(several).count).toBeDefined()
    expect(multipleNegatives().build(new Map([...several].slice(0, 2))).count).toBeDefined()
  })
})

describe('ArcFace', () => {
  const truth = [0, 2, 1, 1, 0, 2]
  const columns = (weights: ArrayLike<number>) =>
    Array.from({ length: classes }, (_, c) => Array.from({ length: features }, (_, f) => weights[f * classes + c]!))
  const x = numbersOf(a)
  const row = (i: number) => x.slice(i * features, (i + 1) * features)

  /** Cross-entropy of the scores by the angle to the column of every class. */
  function plain(weights: ArrayLike<number>, margin: number, scale: number): number {
    return mean(
      truth.map((label, i) => {
        const scores = columns(weights).map((column, c) => {
          const angle = Math.acos(cos(row(i), column))
          if (c !== label) return scale * Math.cos(angle)
          return (
            scale * (angle + margin < Math.PI ? Math.cos(angle + margin) : Math.cos(angle) - margin * Math.sin(margin))
          )
        })
        return -logSoftmax(scores)[label]!
      }),
    )
  }

  it.each([
    [0.5, 8, 'MatMul'],
    [1.4, 4, 'Gemm'],
  ] as const)('margin %d, scale %d, %s: value and gradient equal plain arithmetic', async (margin, scale, operator) => {
    const weight = parameter('w', w)
    const input_ = input('x', 'float32', ['N', features])
    const bias = parameter('b', float([classes], [1, 2, 3]))
    const y =
      operator === 'Gemm'
        ? op.Softmax(op.Gemm(input_, op.Transpose(weight, { perm: [1, 0] }), bias, { transB: 1 }), { axis: 1 })
        : op.Add(op.MatMul(input_, weight), bias)
    const built = arcFace({ margin, scale }).build(new Map([['y', y]]))
    const program = await runtime.compile(
      encode(
        'ModelProto',
        exportGraph({
          name: 'arc',
          inputs: new Map([['x', input_], ['w', weight], ['b', bias], ...built.targets]),
          outputs: new Map([
            ['loss', built.loss],
            ['gradient', gradients([[built.loss, scalar('float32', 1)]], [weight])[0]!],
          ]),
        }),
      ),
    )
    const results = await program.run({
      w,
      x: a,
      labels: int([6], truth),
      ...(program.inputNames.includes('b') && { b: float([classes], [1, 2, 3]) }),
    })
    await program.release()
    const at = numbersOf(w)
    expect(numbersOf(results['loss']!)[0]).toBeCloseTo(plain(at, margin, scale), 5)
    for (const [i, g] of numbersOf(results['gradient']!).entries()) {
      const moved = (by: number) => plain(at.with(i, at[i]! + by), margin, scale)
      expect(g).toBeCloseTo((moved(1e-5) - moved(-1e-5)) / 2e-5, 3)
    }
  })

  it('rejects an output without a last layer, and invalid options', () => {
    const y = op.Relu(input('x', 'float32', ['N', 3]))
    expect(() => arcFace().build(new Map([['y', y]]))).toThrow(errorWith('invalid-option', "'head'"))
    expect(() => arcFace({ margin: 2 })).toThrow(errorWith('invalid-option', "'margin' is 2"))
    expect(() => arcFace({ scale: 0 })).toThrow(errorWith('invalid-option', "'scale' is 0"))
  })
})
