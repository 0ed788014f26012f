import { afterAll, expect, it } from 'vitest'
import { Random, transform } from '../../src/data/index.js'
import { input, modelOf, op, parameter, scalar } from '../../src/graph/index.js'
import { combine, crossEntropy, type Dataset, ire, type Model, mse, sgd, Trainer } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { clusters, flat, linear, normal } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const points = clusters(40, [6])
const w = normal(new Random(1), [6, 3])
const state = normal(new Random(2), [8, 1, 6])

/** A model whose first input has eight layers of state, the same for all examples. */
const stateful = (): Model => {
  const [h, x] = [input('h', 'float32', [8, 1, 6]), input('x', 'float32', ['N', 6])]
  const moved = op.Add(x, op.ReduceSum(h, [0], { keepdims: 0 }))
  const outputs = new Map([['logits', op.MatMul(moved, parameter('w', w))]])
  return modelOf({ name: 'stateful', inputs: new Map([...Object.entries({ h, x })]), outputs })
}
/** Two outputs to sample, after two Dropout layers. */
const twice = (): Model => {
  const x = input('u', 'float32', ['N', 6])
  const dropped = () => op.Dropout(x, scalar('float32', 0.3))[0]
  const outputs = new Map([
    ['logits', op.MatMul(dropped(), parameter('w', w))],
    ['y', op.MatMul(dropped(), parameter('v', normal(new Random(4), [6, 6])))],
  ])
  return modelOf({ name: 'twice', inputs: new Map([['u', x]]), outputs })
}

const withState: Dataset = {
  length: points.length,
  batch: async (indices) => ({ h: state, ...(await points.batch(indices)) }),
}

async function trained(model: Model, data: Dataset, batchSize: number, microBatch?: number): Promise<number[]> {
  const trainer = await Trainer.create(model, {
    loss: crossEntropy(),
    optimizer: sgd({ lr: 0.1 }),
    runtime,
    batchSize,
    ...(microBatch === undefined ? {} : { microBatch }),
  })
  for await (const _ of trainer.fit(data, { totalEpochs: 1 }));
  await trainer.dispose()
  return flat(await trainer.parameters())
}

const closeTo = (expected: readonly number[]) => expected.map((value) => expect.closeTo(value, 5))

it('have the size that the file fixes, for any microBatch', async () => {
  for (const batchSize of [4, 8])
    expect(await trained(linear(4), points, batchSize, 2)).toEqual(closeTo(await trained(linear(), points, batchSize)))
})

it('do not split inputs without an example axis, even if their length is the batch size', async () => {
  for (const batchSize of [8, 20])
    expect(await trained(stateful(), withState, batchSize, 3)).toEqual(
      closeTo(await trained(stateful(), withState, batchSize)),
    )
})

it('sample the numbers of the whole batch, for several random inputs', async () => {
  const optimizer = ire(sgd({ lr: 0.1 }), { kappa: 2, gamma: 0.7, interval: 1 })
  const tasks = combine({
    kind: { loss: crossEntropy({ logits: 'logits' }) },
    size: { loss: mse({ output: 'y', targets: 'x' }), weight: 0.3 },
  })
  const data = transform(points, (batch) => ({ ...batch, u: batch['x']! }))
  const run = async (microBatch: number) => {
    const trainer = await Trainer.create(twice(), {
      loss: tasks,
      optimizer,
      runtime,
      batchSize: 8,
      microBatch,
      dropout: 'on',
    })
    for await (const _ of trainer.fit(data, { totalEpochs: 1 }));
    return flat(await trainer.parameters())
  }
  const whole = await run(8)
  for (const microBatch of [1, 3]) expect(await run(microBatch)).toEqual(closeTo(whole))
})
