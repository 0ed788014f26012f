import { afterAll, describe, expect, it } from 'vitest'
import { Random } from '../../../src/data/index.js'
import {
  buildTrainingGraphs,
  importGraph,
  input,
  modelOf,
  op,
  parameter,
  tensor,
  type Value,
} from '../../../src/graph/index.js'
import {
  crossEntropy,
  type Dataset,
  decodeModel,
  encodeModel,
  fromArrays,
  ire,
  labelColumn,
  type Model,
  modelFromCheckpoint,
  type Optimizer,
  sam,
  sgd,
  type Tensor,
  Trainer,
} from '../../../src/index.js'
import { node } from '../../../src/node/index.js'
import { separateStatistics } from '../../../src/train/model/separate-statistics.js'
import { float, floats32, info, modelBytes, node as protoNode } from '../../onnx/build.js'
import { normal } from '../problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const [examples, channels, size, momentum, epsilon] = [6, 3, 4, 0.8, 1e-3]
const vector = (name: string, ...values: readonly number[]) =>
  parameter(name, tensor('float32', [values.length], Float32Array.from(values)))

/** Pixels mixed by a 1 x 1 kernel, normalized, pooled, to two classes. */
function model(): Model {
  const x = input('x', 'float32', ['N', channels, size, size])
  const [y] = op.BatchNormalization(
    op.Conv(x, parameter('kernel', normal(new Random(7), [channels, channels, 1, 1]))),
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
const data: Dataset = fromArrays({ x, labels: labelColumn([0, 1, 0, 1, 1, 0]) })

/** Mean and population variance over examples and pixels of one channel of what the kernel gives. */
function statisticsOf(channel: number, kernel: ArrayLike<number>): { mean: number; variance: number } {
  const area = size * size
  const values = Array.from({ length: examples * area }, (_, i) => {
    const [n, at] = [Math.floor(i / area), i % area]
    const terms = [0, 1, 2].map((k) => kernel[channel * channels + k]! * Number(x.data[(n * channels + k) * area + at]))
    return terms.reduce((a, b) => a + b, 0)
  })
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  return { mean, variance: values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length }
}

const create = (batchNorm: 'frozen' | 'trained', optimizer: Optimizer): Promise<Trainer> =>
  Trainer.create(model(), { loss: crossEntropy(), optimizer, runtime, batchSize: examples, batchNorm })

const trainTo = async (trainer: Trainer, steps: number, on: Dataset = data): Promise<void> => {
  for await (const _ of trainer.fit(on, { totalSteps: steps }));
}

/** Elements of the exported model's tensors, by name. */
function exported(trainer: Trainer): Record<string, number[]> {
  const { parameters } = importGraph(decodeModel(encodeModel(trainer.export())))
  const elements = ({ source }: Value) => Array.from((source as { tensor: Tensor }).tensor.data as Float32Array)
  return Object.fromEntries([...parameters].map(([name, value]) => [name, elements(value)]))
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
      const trainer = await create('trained', optimizer)
      const [means, variances] = [
        [0.5, 0, -0.5],
        [1, 2, 3],
      ]
      for (const steps of [1, 2, 3]) {
        const kernel = Array.from((await trainer.parameters())['kernel']!)
        await trainTo(trainer, steps)
        expect(Array.from((await trainer.parameters())['kernel']!)).not.toEqual(kernel)
        const now = exported(trainer)
        for (let c = 0; c < channels; c++) {
          const { mean, variance } = statisticsOf(c, kernel)
          means![c] = momentum * means![c]! + (1 - momentum) * mean
          variances![c] = momentum * variances![c]! + (1 - momentum) * variance
          expect(now['mean']![c]).toBeCloseTo(means![c]!, 5)
          expect(now['var']![c]).toBeCloseTo(variances![c]!, 5)
        }
      }
    },
  )

  it('normalize by the batch in training and by the running statistics in evaluation', async () => {
    const trainer = await create('trained', sgd({ lr: 0 }))
    await trainTo(trainer, 200)
    let last = Number.NaN
    for await (const { loss } of trainer.fit(data, { totalSteps: 201 })) last = loss
    // After 200 steps the running statistics are those of the one batch there is.
    expect((await trainer.evaluate(data)).loss).toBeCloseTo(last, 5)
    const fresh = await create('trained', sgd({ lr: 0 }))
    expect(Math.abs((await fresh.evaluate(data)).loss - last)).toBeGreaterThan(1e-3)
  })

  it('do not train their statistics, even if a pattern matches them', () => {
    const graph = importGraph(model())
    const { parameters, statistics } = buildTrainingGraphs(graph, {
      loss: crossEntropy(),
      batchNorm: 'trained',
      trainable: '*',
    })
    expect([...statistics.keys()]).toEqual(['mean', 'var'])
    expect([...parameters.keys()].sort()).toEqual(['bias', 'kernel', 'scale', 'w'])
  })
})

describe('statistics that an exporter merged with equal tensors', () => {
  /** Two norms of x [N, 3] whose means and biases are one tensor, and whose variances and scales are another one. */
  function merged(domain = ''): Model {
    const parts = {
      nodes: [
        ...['mean1', 'mean2', 'bias2'].map((name) => protoNode('Identity', 'bias1', name, {}, domain)),
        ...['var1', 'scale2'].map((name) => protoNode('Identity', 'scale1', name, {}, domain)),
        protoNode('Identity', 'var1', 'var2', {}, domain),
        protoNode('BatchNormalization', 'x scale1 bias1 mean1 var1', 'a', { momentum: float(momentum) }, domain),
        protoNode('MatMul', 'a w', 'b'),
        protoNode('BatchNormalization', 'b scale2 bias2 mean2 var2', 'logits', { momentum: float(momentum) }, domain),
      ],
      inputs: [info('x', ['N', channels])],
      outputs: [info('logits', ['N', channels])],
      initializers: {
        bias1: floats32([channels], [0, 0, 0]),
        scale1: floats32([channels], [1, 1, 1]),
        w: normal(new Random(3), [channels, channels]),
      },
    }
    return decodeModel(modelBytes(parts))
  }
  const rows = normal(new Random(2), [examples, channels])
  const labeled = fromArrays({ x: rows, labels: labelColumn([0, 1, 2, 1, 2, 0]) })
  const options = { loss: crossEntropy(), optimizer: sgd({ lr: 0 }), runtime, batchSize: examples } as const

  it("of nodes of domain 'ai.onnx' > are separated, too", () => {
    const named = (domain: string) =>
      separateStatistics(merged(domain)).proto.graph!.initializer.map(({ name }) => name)
    expect(named('ai.onnx')).toEqual(named(''))
  })

  it('are trained apart, exported, restored and used in inference', async () => {
    const trainer = await Trainer.create(merged(), { ...options, batchNorm: 'trained' })
    await trainTo(trainer, 1, labeled)
    /** Mean and variance of each column. */
    const of = (values: readonly number[]) => {
      const columns = Array.from({ length: channels }, (_, c) => values.filter((_, i) => i % channels === c))
      const means = columns.map((column) => column.reduce((a, b) => a + b, 0) / examples)
      const variances = columns.map((column, c) => column.reduce((a, b) => a + (b - means[c]!) ** 2, 0) / examples)
      return { means, variances }
    }
    const first = of(Array.from(rows.data as Float32Array))
    const tensors = exported(trainer)
    const normalized = Array.from(
      rows.data as Float32Array,
      (value, i) => (value - first.means[i % channels]!) / Math.sqrt(first.variances[i % channels]! + 1e-5),
    )
    const products = normalized.map((_, i) => {
      const row = Math.floor(i / channels) * channels
      return [0, 1, 2].reduce((sum, k) => sum + normalized[row + k]! * tensors['w']![k * channels + (i % channels)]!, 0)
    })
    const second = of(products)
    const moved = (initial: number, batch: readonly number[]) =>
      batch.map((value) => expect.closeTo(momentum * initial + (1 - momentum) * value, 4))
    expect(tensors).toMatchObject({
      ...{ mean1: moved(0, first.means), var1: moved(1, first.variances) },
      ...{ mean2: moved(0, second.means), var2: moved(1, second.variances) },
      ...{ scale1: [1, 1, 1], bias1: [0, 0, 0], scale2: [1, 1, 1], bias2: [0, 0, 0] },
    })
    // The exported model as a frozen one has the loss of the trainer's evaluation, which the initial one has not.
    const evaluate = async (model: Model) => (await (await Trainer.create(model, options)).evaluate(labeled)).loss
    const { loss } = await trainer.evaluate(labeled)
    expect(await evaluate(trainer.export())).toBeCloseTo(loss, 5)
    expect(Math.abs((await evaluate(merged())) - loss)).toBeGreaterThan(1e-3)
    const fromCheckpoint = modelFromCheckpoint(merged(), trainer.checkpoint())
    expect(Buffer.compare(encodeModel(fromCheckpoint), encodeModel(trainer.export()))).toBe(0)
  })

  it('leave a model whose statistics are not merged, and one with frozen norms, as they are', async () => {
    const frozen = await Trainer.create(merged(), options)
    expect(Buffer.compare(encodeModel(frozen.export()), encodeModel(merged()))).toBe(0)
    const plain = model()
    expect(separateStatistics(plain)).toBe(plain)
  })
})

describe('norms that the loss does not depend on', () => {
  it('are not trained, and their inputs are not required in the data', async () => {
    const x = input('x', 'float32', ['N', channels])
    const aside = input('aside', 'float32', ['N', channels])
    const norm = (of: Value, name: string) =>
      op.BatchNormalization(
        of,
        vector(`${name}.scale`, 1, 1, 1),
        vector(`${name}.bias`, 0, 0, 0),
        vector(`${name}.mean`, 0, 0, 0),
        vector(`${name}.var`, 1, 1, 1),
      )[0]
    const trainer = await Trainer.create(
      modelOf({
        name: 'two outputs',
        inputs: new Map([
          ['x', x],
          ['aside', aside],
        ]),
        outputs: new Map([
          ['logits', norm(x, 'first')],
          ['other', norm(aside, 'second')],
        ]),
      }),
      { loss: crossEntropy({ logits: 'logits' }), optimizer: sgd(), runtime, batchNorm: 'trained' },
    )
    const rows = fromArrays({ x: normal(new Random(2), [examples, channels]), labels: labelColumn([0, 1, 0, 1, 1, 0]) })
    await trainTo(trainer, 1, rows)
    const tensors = exported(trainer)
    expect(tensors['first.mean']).not.toEqual([0, 0, 0])
    expect(tensors['second.mean']).toEqual([0, 0, 0])
  })
})

describe('frozen norms', () => {
  it.each(optimizers)('%s: train scale and bias, and keep the running statistics', async (_, optimizer) => {
    const trainer = await create('frozen', optimizer)
    await trainTo(trainer, 2)
    const tensors = exported(trainer)
    expect(tensors['mean']).toEqual([0.5, 0, -0.5])
    expect(tensors['var']).toEqual([1, 2, 3])
    expect(tensors['scale']).not.toEqual([1, 2, 3])
    expect(tensors['bias']).not.toEqual([0, 1, 2])
  })
})
