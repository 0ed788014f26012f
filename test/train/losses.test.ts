import { afterAll, describe, expect, it } from 'vitest'
import {
  arrays,
  crossEntropy,
  type Graph,
  importGraph,
  input,
  type Loss,
  labels,
  modelOf,
  mse,
  OnnxIreError,
  op,
  parameter,
  Random,
  scalar,
  sgd,
  type Tensor,
  Trainer,
  trainingGraphs,
} from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { node } from '../../src/node/index.js'
import { Programs } from '../../src/train/programs.js'
import { argMax, crossEntropyOf, normal, softmaxOf } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const [examples, features, classes] = [5, 4, 3]
const random = new Random(6)
const w = normal(random, [features, classes])
const x = normal(random, [examples, features])
const truth = [0, 2, 1, 1, 0]

/** x W, and whatever is made of it. */
const regression = (head: (z: ReturnType<typeof op.MatMul>) => ReturnType<typeof op.MatMul> = (z) => z): Graph => {
  const features_ = input('x', 'float32', ['N', features])
  const model = modelOf({
    name: 'regression',
    inputs: new Map([['x', features_]]),
    outputs: new Map([['y', head(op.MatMul(features_, parameter('w', w)))]]),
  })
  return importGraph(model)
}

const logits = Array.from({ length: examples }, (_, n) =>
  Array.from({ length: classes }, (_, c) =>
    Array.from(
      { length: features },
      (_, f) => Number(x.data[n * features + f]) * Number(w.data[f * classes + c]),
    ).reduce((a, b) => a + b, 0),
  ),
)

/** Loss, accuracy and the gradient of W on the five examples. */
async function measured(
  graph: Graph,
  loss: Loss,
  target: Record<string, Tensor>,
  kind: 'loss' | 'curvature' = 'loss',
  seed = 0,
) {
  const programs = new Programs(trainingGraphs(graph, { loss, trainable: 'w' }), runtime)
  const parameters = { w: w.data as Float32Array }
  const result = await programs.gradient(kind, { x, ...target }, parameters, {}, new Random(seed))
  await programs.release()
  return result
}

/** x^T d / count, d the derivative of each example's loss by its logits. */
const gradientOf = (d: readonly (readonly number[])[], count: number): number[] =>
  Array.from({ length: features * classes }, (_, i) => {
    const [f, c] = [Math.floor(i / classes), i % classes]
    return d.reduce((sum, row, n) => sum + (Number(x.data[n * features + f]) * row[c]!) / count, 0)
  })

const byLogits = (label: readonly number[], weight: (n: number) => number = () => 1) =>
  logits.map((z, n) => softmaxOf(z).map((p, c) => weight(n) * (p - Number(c === label[n]))))

function expectClose(actual: ArrayLike<number>, wanted: readonly number[]): void {
  expect(actual.length).toBe(wanted.length)
  wanted.forEach((value, i) => {
    expect(actual[i]).toBeCloseTo(value, 5)
  })
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

describe('cross-entropy against plain arithmetic', () => {
  it('value, gradient, accuracy', async () => {
    const { loss, count, correct, gradients } = await measured(regression(), crossEntropy(), { labels: labels(truth) })
    expect(loss).toBeCloseTo(mean(logits.map((z, n) => crossEntropyOf(z, truth[n]!))), 6)
    expect([count, correct]).toEqual([5, logits.filter((z, n) => argMax(z) === truth[n]).length])
    expectClose(gradients['w']!, gradientOf(byLogits(truth), 5))
  })

  it('labelSmoothing', async () => {
    const { loss, gradients } = await measured(regression(), crossEntropy({ labelSmoothing: 0.1 }), {
      labels: labels(truth),
    })
    expect(loss).toBeCloseTo(mean(logits.map((z, n) => crossEntropyOf(z, truth[n]!, 0.1))), 6)
    const d = logits.map((z, n) => softmaxOf(z).map((p, c) => p - 0.9 * Number(c === truth[n]) - 0.1 / classes))
    expectClose(gradients['w']!, gradientOf(d, 5))
  })

  it.each([-100, 1])('ignoreIndex %i', async (ignoreIndex) => {
    const marked = truth.map((label) => (label === 1 ? ignoreIndex : label))
    const kept = [0, 1, 4]
    const { loss, count, correct, gradients } = await measured(regression(), crossEntropy({ ignoreIndex }), {
      labels: labels(marked),
    })
    expect(loss).toBeCloseTo(mean(kept.map((n) => crossEntropyOf(logits[n]!, truth[n]!))), 6)
    expect([count, correct]).toEqual([3, kept.filter((n) => argMax(logits[n]!) === truth[n]).length])
    expectClose(
      gradients['w']!,
      gradientOf(
        byLogits(truth, (n) => Number(kept.includes(n))),
        3,
      ),
    )
  })

  it('every label ignored: nothing to learn, nothing infinite', async () => {
    const { loss, count, gradients } = await measured(regression(), crossEntropy({ ignoreIndex: 9 }), {
      labels: labels([9, 9, 9, 9, 9]),
    })
    expect([loss, count]).toEqual([0, 0])
    expectClose(gradients['w']!, Array(12).fill(0))
  })

  it.each([
    ['Softmax', (z: ReturnType<typeof op.MatMul>) => op.Softmax(z, { axis: 1 })],
    ['LogSoftmax', (z: ReturnType<typeof op.MatMul>) => op.LogSoftmax(z, { axis: -1 })],
    ['Softmax and Identity', (z: ReturnType<typeof op.MatMul>) => op.Identity(op.Softmax(z, { axis: -1 }))],
  ])('a trailing %s is bypassed', async (_, head) => {
    const { loss } = await measured(regression(head), crossEntropy(), { labels: labels(truth) })
    expect(loss).toBeCloseTo(mean(logits.map((z, n) => crossEntropyOf(z, truth[n]!))), 6)
  })

  it('a Softmax along another axis than the classes is a part of the model', async () => {
    const { loss } = await measured(
      regression((z) => op.Softmax(z, { axis: 0 })),
      crossEntropy({ axis: 1 }),
      { labels: labels(truth) },
    )
    const columns = Array.from({ length: classes }, (_, c) => softmaxOf(logits.map((z) => z[c]!)))
    expect(loss).toBeCloseTo(
      mean(
        logits.map((_, n) =>
          crossEntropyOf(
            columns.map((column) => column[n]!),
            truth[n]!,
          ),
        ),
      ),
      6,
    )
  })

  it('classes along axis 1 of [N, C, H, W], one label per pixel', async () => {
    const pixels = normal(random, [2, 3, 2, 2])
    const image = input('x', 'float32', ['N', 3, 'H', 'W'])
    const weight = normal(random, [3, 3, 1, 1])
    const model = modelOf({
      name: 'pixels',
      inputs: new Map([['x', image]]),
      outputs: new Map([['y', op.Conv(image, parameter('weight', weight))]]),
    })
    const loss = crossEntropy({ axis: 1, ignoreIndex: 255 })
    const trainer = await Trainer.create(model, { loss, optimizer: sgd({ lr: 0.1 }), runtime })
    const marks = [0, 1, 2, 255, 2, 0, 1, 1]
    const result = await trainer.evaluate(
      arrays({ x: pixels, labels: { dtype: 'int64', dims: [2, 2, 2], data: BigInt64Array.from(marks, BigInt) } }),
    )
    const each = marks.flatMap((mark, i) => {
      const [n, at] = [Math.floor(i / 4), i % 4]
      const z = [0, 1, 2].map((c) =>
        [0, 1, 2].reduce(
          (sum, k) => sum + Number(weight.data[3 * c + k]) * Number(pixels.data[12 * n + 4 * k + at]),
          0,
        ),
      )
      return mark === 255 ? [] : [{ loss: crossEntropyOf(z, mark), hit: Number(argMax(z) === mark) }]
    })
    expect(result.count).toBe(7)
    expect(result.loss).toBeCloseTo(mean(each.map(({ loss }) => loss)), 6)
    expect(result.accuracy).toBeCloseTo(mean(each.map(({ hit }) => hit)), 6)
    await trainer.dispose()
  })

  it('what it cannot work on', () => {
    const outputs = regression().outputs
    const two = new Map([...outputs, ['z', outputs.get('y')!]])
    expect(() => crossEntropy().build(two)).toThrow(/name one of the model's outputs: 'y', 'z'/)
    expect(() => crossEntropy({ labelSmoothing: 1 })).toThrow(/labelSmoothing is 1/)
    expect(() => crossEntropy().build(new Map([['k', op.ArgMax(outputs.get('y')!)]]))).toThrow(/floating-point/)
    expect(() => crossEntropy({ axis: 2 }).build(outputs)).toThrow(/axis 2/)
    expect(() => mse().build(new Map([['k', op.ArgMax(outputs.get('y')!)]]))).toThrow(OnnxIreError)
  })
})

describe('the gradient against sampled targets', () => {
  it('is that of labels drawn by Gumbel noise from the softmax, without label smoothing', async () => {
    const options = { labelSmoothing: 0.3, ignoreIndex: 7 }
    const marked = truth.map((label, n) => (n === 3 ? 7 : label))
    const { gradients, count } = await measured(
      regression(),
      crossEntropy(options),
      { labels: labels(marked) },
      'curvature',
      12,
    )
    const noise = new Random(12)
    const sampled = logits.map((z) => argMax(z.map((value) => value + noise.gumbel())))
    expect(sampled).not.toEqual(truth)
    expect(count).toBe(4)
    expectClose(
      gradients['w']!,
      gradientOf(
        byLogits(sampled, (n) => Number(n !== 3)),
        4,
      ),
    )
  })

  it('its labels follow the softmax', async () => {
    const programs = new Programs(trainingGraphs(regression(), { loss: crossEntropy(), trainable: 'w' }), runtime)
    const draws = new Random(1)
    const sum = new Float64Array(features * classes)
    const rounds = 400
    for (let i = 0; i < rounds; i++) {
      const { gradients } = await programs.gradient(
        'curvature',
        { x, labels: labels(truth) },
        { w: w.data as Float32Array },
        {},
        draws,
      )
      gradients['w']!.forEach((g, k) => {
        sum[k]! += g / rounds
      })
    }
    // E[p - onehot(label)] = 0 when labels are drawn from p: means of 400 draws stay within a few standard errors of it.
    for (const g of sum) expect(Math.abs(g)).toBeLessThan(0.1)
    await programs.release()
  })

  it('of squared errors is -2 noise / n through the output', async () => {
    const targets: Tensor = normal(new Random(2), [examples, classes])
    const { gradients } = await measured(regression(), mse(), { targets }, 'curvature', 4)
    const noise = new Random(4)
    const d = logits.map((z) => z.map(() => -2 * Math.fround(noise.normal())))
    expectClose(gradients['w']!, gradientOf(d, examples * classes))
  })
})

describe('other losses', () => {
  it('the mean squared error', async () => {
    const targets: Tensor = normal(new Random(2), [examples, classes])
    const { loss, count, correct, gradients } = await measured(regression(), mse(), { targets })
    const error = logits.map((z, n) => z.map((value, c) => value - Number(targets.data[n * classes + c])))
    expect(loss).toBeCloseTo(mean(error.flat().map((e) => e * e)), 6)
    expect([count, correct]).toEqual([15, undefined])
    expectClose(
      gradients['w']!,
      gradientOf(
        error.map((row) => row.map((e) => 2 * e)),
        15,
      ),
    )
  })

  it('one of a float64 model', async () => {
    const x64 = input('x', 'float64', ['N', 2])
    const weight = parameter('w', tensorFrom('float64', [2, 1], [1, 2]))
    const model = modelOf({
      name: 'double',
      inputs: new Map([['x', x64]]),
      outputs: new Map([['y', op.MatMul(x64, weight)]]),
    })
    const trainer = await Trainer.create(model, { loss: mse(), optimizer: sgd({ lr: 0.25 }), runtime, batchSize: 1 })
    const data = arrays({
      x: { dims: [1, 2], data: Float64Array.of(1, 0) },
      targets: { dims: [1, 1], data: Float64Array.of(1 / 3) },
    })
    for await (const _ of trainer.fit(data, { steps: 1 }));
    expect(trainer.parameters['w']).toEqual(Float64Array.of(1 - 0.25 * 2 * (1 - 1 / 3), 2))
    await trainer.dispose()
  })

  it('a user’s own, written with op: the absolute error, weighted by a tensor of the data', async () => {
    const loss: Loss = {
      name: 'weighted absolute error',
      build(outputs) {
        const y = outputs.get('y')!
        const targets = input('targets', 'float32', y.shape)
        const weight = input('weight', 'float32', [y.shape![0]!, 1])
        return {
          loss: op.ReduceMean(op.Mul(op.Abs(op.Sub(y, targets)), weight), { keepdims: 0 }),
          targets: new Map([
            ['targets', targets],
            ['weight', weight],
          ]),
          count: scalar('float32', 1),
        }
      },
    }
    const targets: Tensor = normal(new Random(2), [examples, classes])
    const weight: Tensor = { dtype: 'float32', dims: [examples, 1], data: Float32Array.of(1, 2, 0, 1, 3) }
    const result = await measured(regression(), loss, { targets, weight })
    const error = logits.map((z, n) =>
      z.map((value, c) => (value - Number(targets.data[n * classes + c])) * Number(weight.data[n])),
    )
    expect(result.loss).toBeCloseTo(mean(error.flat().map(Math.abs)), 6)
    expectClose(
      result.gradients['w']!,
      gradientOf(
        error.map((row, n) => row.map((e) => Math.sign(e) * Number(weight.data[n]))),
        15,
      ),
    )
    await expect(measured(regression(), loss, { targets, weight }, 'curvature')).rejects.toThrow(
      /cannot be sampled.*'empirical'/,
    )
  })
})

it('what the loss does not depend on is not trained by default, and is left alone by weight decay', async () => {
  const features_ = input('x', 'float32', ['N', features])
  const other = parameter('other', normal(random, [features, 2]))
  const graph = importGraph(
    modelOf({
      name: 'two heads',
      inputs: new Map([['x', features_]]),
      outputs: new Map([
        ['y', op.MatMul(features_, parameter('w', w))],
        ['aside', op.MatMul(features_, other)],
      ]),
    }),
  )
  const loss = crossEntropy({ logits: 'y' })
  expect([...trainingGraphs(graph, { loss }).parameters.keys()]).toEqual(['w'])
  expect([...trainingGraphs(graph, { loss, trainable: '*' }).parameters.keys()]).toEqual(['w', 'other'])
})
