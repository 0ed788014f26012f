import { afterAll, expect, it } from 'vitest'
import { subset } from '../../src/data/index.js'
import { adamw, crossEntropy, type DatasetOrStream, stream, Trainer } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { clusters, smallMlp } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const points = clusters(40, [6])
const few = subset(points, { end: 24 })
const streamed = stream(async function* () {
  for (let i = 0; i < 24; i++) {
    const { x, labels } = await few.batch([i])
    yield { x: { ...x!, dims: [6] }, labels: { ...labels!, dims: [] } }
  }
})

/** Steps and epochs of the rounds that follow after `steps` steps over 5 batches. */
async function after(steps: number, data: DatasetOrStream): Promise<number[][]> {
  const trainer = await Trainer.create(smallMlp(), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 1e-2 }),
    runtime,
    batchSize: 8,
  })
  for await (const _ of trainer.fit(points, { totalSteps: steps }));
  const rounds: number[][] = []
  for await (const { step, epoch } of trainer.fit(data, { totalEpochs: 2 })) rounds.push([step, epoch])
  return rounds
}

it('data with no batch left in this epoch starts with the next epoch', async () => {
  expect(await after(3, few)).toEqual([[6, 1]])
  expect(await after(4, few)).toEqual([[7, 1]])
  expect(await after(3, streamed)).toEqual([[6, 1]])
})

it('data with more batches continues within the epoch', async () => {
  expect(await after(2, few)).toEqual([
    [3, 0],
    [6, 1],
  ])
})
