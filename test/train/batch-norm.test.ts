import { afterAll, describe, expect, it } from 'vitest'
import {
  arrays,
  crossEntropy,
  type Dataset,
  decodeModel,
  encodeModel,
  importGraph,
  input,
  ire,
  labels,
  type Model,
  modelOf,
  type Optimizer,
  op,
  parameter,
  Random,
  sam,
  sgd,
  type Tensor,
  Trainer,
  tensor,
  trainingGraphs,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { normal } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const [examples, channels, size, momentum, epsilon] = [6, 3, 4, 0.8, 1e-3]
const vector = (name: string, ...values: readonly number[]) =>
  parameter(name, tensor('float32', [values.length], Float32Array.from(values)))

/** Normalised pixels, pooled, to two classes. */
function model(): Model {
  const x = input('x', 'float32', ['N', channels, size, size])
  const [y] = op.BatchNormalization(
    x,
    vector('scale', 1, 2, 3),
    vector('bias', 0, 1, 2),
    vector('mean', 0.5, 0, -0.5),
    vector('var', 1, 2, 3),
    { momentum, epsilon },
  )
  const logits = op.MatMul(
    op.Flatten(op.GlobalAveragePool(op.Tanh(y))),
    parameter('w', normal(new Random(1), [channels, 2])),
  )
  return modelOf({ name: 'norm', inputs: new Map([['x', x]]), outputs: new Map([['logits', logits]]) })
}

const x = normal(new Random(2), [examples, channels, size, size])
const data: Dataset = arrays({ x, labels: labels([0, 1, 0, 1, 1, 0]) })

/** Mean and population variance of one channel over examples and pixels. */
function statisticsOf(channel: number): { mean: number; variance: number } {
  const values = Array.from(x.data as Float32Array).filter(
    (_, i) => Math.floor(i / (size * size)) % channels === channel,
  )
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  return { mean, variance: values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length }
}

async function exportedAfter(
  batchNorm: 'frozen' | 'trained',
  optimizer: Optimizer,
  steps = 1,
): Promise<{ trainer: Trainer; tensors: Record<string, number[]> }> {
  const trainer = await Trainer.create(model(), {
    loss: crossEntropy(),
    optimizer,
    runtime,
    batchSize: examples,
    batchNorm,
  })
  for await (const _ of trainer.fit(data, { steps }));
  const parameters = importGraph(decodeModel(encodeModel(trainer.export()))).parameters
  const tensors = [...parameters].map(([name, { source }]) => [
    name,
    Array.from((source as { tensor: Tensor }).tensor.data as Float32Array),
  ])
  return { trainer, tensors: Object.fromEntries(tensors) }
}

const optimizers: readonly (readonly [string, Optimizer])[] = [
  ['SGD', sgd({ lr: 0.1 })],
  ['SAM', sam(sgd({ lr: 0.1 }), { rho: 0.5 })],
  ['IRE around SAM', ire(sam(sgd({ lr: 0.1 })), { kappa: 2, gamma: 0.6, interval: 1 })],
]

describe('trained norms', () => {
  it.each(optimizers)(
    '%s: running statistics move once a step, by the batch at the unperturbed parameters',
    async (_, optimizer) => {
      for (const steps of [1, 3]) {
        const { tensors } = await exportedAfter('trained', optimizer, steps)
        const keep = momentum ** steps
        for (let c = 0; c < channels; c++) {
          const { mean, variance } = statisticsOf(c)
          expect(tensors['mean']![c]).toBeCloseTo(keep * [0.5, 0, -0.5][c]! + (1 - keep) * mean, 6)
          expect(tensors['var']![c]).toBeCloseTo(keep * [1, 2, 3][c]! + (1 - keep) * variance, 6)
        }
      }
    },
  )

  it('normalise by the batch in training and by the running statistics in evaluation', async () => {
    const { trainer } = await exportedAfter('trained', sgd({ lr: 0 }), 200)
    let last = Number.NaN
    for await (const { loss } of trainer.fit(data, { steps: 201 })) last = loss
    // After 200 steps the running statistics are those of the one batch there is.
    expect((await trainer.evaluate(data)).loss).toBeCloseTo(last, 5)
    const fresh = await exportedAfter('trained', sgd({ lr: 0 }))
    expect(Math.abs((await fresh.trainer.evaluate(data)).loss - last)).toBeGreaterThan(1e-3)
  })

  it('their statistics are no parameters, even when a pattern names them', () => {
    const graph = importGraph(model())
    const { parameters, statistics } = trainingGraphs(graph, {
      loss: crossEntropy(),
      batchNorm: 'trained',
      trainable: '*',
    })
    expect([...statistics.keys()]).toEqual(['mean', 'var'])
    expect([...parameters.keys()].sort()).toEqual(['bias', 'scale', 'w'])
  })
})

describe('frozen norms', () => {
  it.each(optimizers)('%s: scale and bias are trained, running statistics stay as they are', async (_, optimizer) => {
    const { tensors } = await exportedAfter('frozen', optimizer, 2)
    expect(tensors['mean']).toEqual([0.5, 0, -0.5])
    expect(tensors['var']).toEqual([1, 2, 3])
    expect(tensors['scale']).not.toEqual([1, 2, 3])
    expect(tensors['bias']).not.toEqual([0, 1, 2])
  })
})
