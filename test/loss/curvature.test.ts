import { afterAll, expect, it } from 'vitest'
import { fromArrays, ire, sgd, Trainer } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { positionLosses, positionModel } from './sequence-problem.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

it.each(positionLosses)('$name > IRE with the curvature of docs/losses-and-metrics.md lowers the loss', async (of) => {
  const { data, options, curvature } = of
  const optimizer = ire(sgd({ lr: 0.01 }), { kappa: 1, gamma: 0.5, interval: 1, curvature })
  const trainer = await Trainer.create(positionModel(), { ...options, optimizer, runtime, batchSize: 6 })
  const examples = fromArrays(data)
  const before = await trainer.evaluate(examples)
  const shares: unknown[] = []
  await trainer.train(examples, { totalSteps: 2, onStep: ({ flatShare }) => shares.push(flatShare) && undefined })
  expect((await trainer.evaluate(examples)).loss).toBeLessThan(before.loss)
  for (const share of shares) expect(share).toBeCloseTo(0.5, 1)
  await trainer.dispose()
})
