import { afterAll, expect, it } from 'vitest'
import {
  crossEntropy,
  type Dataset,
  type Dim,
  input,
  type Model,
  modelOf,
  op,
  parameter,
  Random,
  sgd,
  Trainer,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { clusters, flat, normal } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const points = clusters(40, [6])
const w = normal(new Random(1), [6, 3])
const state = normal(new Random(2), [8, 1, 6])

const linear = (examples: Dim): Model => {
  const x = input('x', 'float32', [examples, 6])
  const outputs = new Map([['logits', op.MatMul(x, parameter('w', w))]])
  return modelOf({ name: 'linear', inputs: new Map([['x', x]]), outputs })
}

/** Its first input has eight layers of state, the same for all examples. */
const stateful = (): Model => {
  const [h, x] = [input('h', 'float32', [8, 1, 6]), input('x', 'float32', ['N', 6])]
  const moved = op.Add(x, op.ReduceSum(h, [0], { keepdims: 0 }))
  const outputs = new Map([['logits', op.MatMul(moved, parameter('w', w))]])
  return modelOf({ name: 'stateful', inputs: new Map([...Object.entries({ h, x })]), outputs })
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
  for await (const _ of trainer.fit(data, { epochs: 1 }));
  await trainer.dispose()
  return flat(trainer.parameters)
}

const closeTo = (expected: readonly number[]) => expected.map((value) => expect.closeTo(value, 5))

it('are as large as the file fixes, whatever microBatch says', async () => {
  for (const batchSize of [4, 8])
    expect(await trained(linear(4), points, batchSize, 2)).toEqual(
      closeTo(await trained(linear('N'), points, batchSize)),
    )
})

it('leave whole what does not count examples, also if it is as long as a batch', async () => {
  for (const batchSize of [8, 20])
    expect(await trained(stateful(), withState, batchSize, 3)).toEqual(
      closeTo(await trained(stateful(), withState, batchSize)),
    )
})
