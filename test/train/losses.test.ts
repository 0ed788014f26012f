import { afterAll, describe, expect, it } from 'vitest'
import { HostBackend } from '../../src/backend/host.js'
import { Random } from '../../src/data/index.js'
import { buildTrainingGraphs, importGraph, input, modelOf, op, parameter, scalar } from '../../src/graph/index.js'
import {
  binaryCrossEntropy,
  combine,
  crossEntropy,
  f1,
  fromArrays,
  type Graph,
  huber,
  ire,
  type Loss,
  labelColumn,
  mae,
  mse,
  sgd,
  type Tensor,
  Trainer,
} from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { node } from '../../src/node/index.js'
import { Programs } from '../../src/train/programs.js'
import { errorWith } from '../thrown.js'
import { argMax, crossEntropyOf, normal } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const [examples, features, classes] = [5, 4, 3]
const random = new Random(6)
const w = normal(random, [features, classes])
const x = normal(random, [examples, features])

/** x W */
const regression = (): Graph => {
  const features_ = input('x', 'float32', ['N', features])
  const model = modelOf({
    name: 'regression',
    inputs: new Map([['x', features_]]),
    outputs: new Map([['y', op.MatMul(features_, parameter('w', w))]]),
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

/** Loss and the gradient of W on the five examples. */
async function measured(
  graph: Graph,
  loss: Loss,
  target: Record<string, Tensor>,
  kind: 'loss' | 'curvature' = 'loss',
  { microBatch = 5, curvature = 'sampled' }: { microBatch?: number; curvature?: 'sampled' | 'hutchinson' } = {},
) {
  const graphs = buildTrainingGraphs(graph, { loss, trainable: 'w', curvature })
  const programs = new Programs(graphs, HostBackend.forEvaluation(runtime, graphs.parameters), microBatch)
  const parameters = { w: w.data as Float32Array }
  const batch = { x, ...target }
  const result = await programs.gradient({
    kind,
    batch,
    size: x.dims[0]!,
    parameters,
    statistics: {},
    random: new Random(1),
  })
  await programs.release()
  return result
}

/** x^T d / count, d the derivative of each example's loss by its logits. */
const gradientOf = (d: readonly (readonly number[])[], count: number): number[] =>
  Array.from({ length: features * classes }, (_, i) => {
    const [f, c] = [Math.floor(i / classes), i % classes]
    return d.reduce((sum, row, n) => sum + (Number(x.data[n * features + f]) * row[c]!) / count, 0)
  })

function expectClose(actual: ArrayLike<number>, wanted: readonly number[]): void {
  expect(actual.length).toBe(wanted.length)
  wanted.forEach((value, i) => {
    expect(actual[i]).toBeCloseTo(value, 5)
  })
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

describe('losses in training', () => {
  it.each([
    ['loss', 'sampled'],
    ['curvature', 'sampled'],
    ['curvature', 'hutchinson'],
  ] as const)('weighted, %s (%s) > a batch in micro-batches equals the whole batch', async (kind, curvature) => {
    const loss = crossEntropy({ classWeights: [1, 5, 0.5], sampleWeights: 'weights', ignoreIndex: 9 })
    const weights: Tensor = { dtype: 'float32', dims: [examples], data: Float32Array.of(1, 2, 0, 1, 3) }
    const target = { labels: labelColumn([0, 2, 9, 1, 0]), weights }
    const whole = await measured(regression(), loss, target, kind, { curvature })
    for (const microBatch of [1, 2, 3]) {
      const parts = await measured(regression(), loss, target, kind, { microBatch, curvature })
      expect([parts.count, parts.weight]).toEqual([4, 1 + 2 * 0.5 + 5 + 3])
      expect(parts.loss).toBeCloseTo(whole.loss, 6)
      expectClose(parts.gradients['w']!, Array.from(whole.gradients['w']!))
    }
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
      fromArrays({ x: pixels, labels: { dtype: 'int64', dims: [2, 2, 2], data: BigInt64Array.from(marks, BigInt) } }),
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

  it('several tasks with IRE, with metrics per task', async () => {
    const features_ = input('x', 'float32', ['N', features])
    const z = op.MatMul(features_, parameter('w', normal(random, [features, 2])))
    const [size, flag] = op.Split(z, { axis: 1, num_outputs: 2 })
    const model = modelOf({
      name: 'two tasks',
      inputs: new Map([['x', features_]]),
      outputs: new Map([
        ['size', size!],
        ['flag', op.Sigmoid(flag!)],
      ]),
    })
    const loss = combine({
      size: { loss: huber({ output: 'size', targets: 'sizes', delta: 0.5 }), weight: 2 },
      flag: { loss: binaryCrossEntropy({ logits: 'flag', targets: 'flags' }) },
    })
    const inputs = normal(random, [64, features])
    const column = (of: (row: readonly number[]) => number): Tensor => {
      const rows = Array.from({ length: 64 }, (_, n) =>
        Array.from(inputs.data.slice(n * features, (n + 1) * features) as Float32Array),
      )
      return { dtype: 'float32', dims: [64, 1], data: Float32Array.from(rows, of) }
    }
    const data = fromArrays({
      x: inputs,
      sizes: column(([a, b]) => 2 * a! - b!),
      flags: column(([a, b]) => Number(a! + b! > 0)),
    })
    const optimizer = ire(sgd({ lr: 0.1 }), { kappa: 1, gamma: 0.5, interval: 2, warmup: 0 })
    const trainer = await Trainer.create(model, { loss, optimizer, runtime, batchSize: 16, metrics: [mae(), f1()] })
    const before = await trainer.evaluate(data)
    for await (const _ of trainer.fit(data, { totalEpochs: 20 }));
    const after = await trainer.evaluate(data)
    expect(Object.keys(after).sort()).toEqual(['count', 'flag/f1', 'loss', 'size/mae'])
    expect(after.count).toBe(128)
    expect(after.loss).toBeLessThan(before.loss / 2)
    expect(Number(after['size/mae'])).toBeLessThan(0.2)
    expect(Number(after['flag/f1'])).toBeGreaterThan(0.9)
    await trainer.dispose()
  })

  it('a loss of a float64 model', async () => {
    const x64 = input('x', 'float64', ['N', 2])
    const weight = parameter('w', tensorFrom('float64', [2, 1], [1, 2]))
    const model = modelOf({
      name: 'double',
      inputs: new Map([['x', x64]]),
      outputs: new Map([['y', op.MatMul(x64, weight)]]),
    })
    const trainer = await Trainer.create(model, { loss: mse(), optimizer: sgd({ lr: 0.25 }), runtime, batchSize: 1 })
    const data = fromArrays({
      x: { dims: [1, 2], data: Float64Array.of(1, 0) },
      targets: { dims: [1, 1], data: Float64Array.of(1 / 3) },
    })
    for await (const _ of trainer.fit(data, { totalSteps: 1 }));
    expect((await trainer.parameters())['w']).toEqual(Float64Array.of(1 - 0.25 * 2 * (1 - 1 / 3), 2))
    await trainer.dispose()
  })

  it('a custom loss written with op: the absolute error, weighted by a tensor of the data', async () => {
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
    await expect(measured(regression(), loss, { targets, weight }, 'curvature')).rejects.toMatchObject({
      code: 'invalid-option',
    })
  })
})

it('a sampled loss may have an operator that is in neither the model nor the loss', async () => {
  const loss: Loss = {
    name: 'own',
    build(outputs) {
      const built = mse().build(outputs)
      const { loss, noise } = built.sampled!
      const norms = op.ReduceSum(op.LpNormalization(outputs.get('y')!), { keepdims: 0 })
      return { ...built, sampled: { loss: op.Add(loss, norms), noise } }
    },
  }
  const trainer = await Trainer.create(modelOf(regression()), {
    loss,
    optimizer: ire(sgd({ lr: 0.1 }), { kappa: 1, gamma: 0.5, interval: 1 }),
    runtime,
  })
  const refreshed: boolean[] = []
  const data = fromArrays({ x, targets: normal(new Random(2), [examples, classes]) })
  for await (const _ of trainer.fit(data, { totalSteps: 2, onStep: (step) => void refreshed.push(step.refreshed) }));
  await trainer.dispose()
  expect(refreshed).toContain(true)
})

it('parameters that the loss does not depend on are not trained, also not by weight decay; their names are refused', async () => {
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
  expect([...buildTrainingGraphs(graph, { loss }).parameters.keys()]).toEqual(['w'])
  expect([...buildTrainingGraphs(graph, { loss, trainable: '*' }).parameters.keys()]).toEqual(['w'])
  for (const trainable of [['*', 'other'], 'oth*', { include: 'other' }])
    expect(() => buildTrainingGraphs(graph, { loss, trainable })).toThrow(
      errorWith('invalid-option', "trainable: 'oth"),
    )
})
