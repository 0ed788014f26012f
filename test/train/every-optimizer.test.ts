import { describe, expect, it } from 'vitest'
import { modelFromCheckpoint, namedTensors } from '../../src/index.js'
import { unwrap } from '../../src/optim/optimizer.js'
import { type BaseOptimizerRecipe, baseOptimizers } from '../../src/optim/registry.js'
import { type OptimizerRecipe, optimizerOf } from '../../src/recipe/optimizer.js'
import { clusters, flat, smallConvnet } from './problem.js'
import { startTrainers } from './small-trainer.js'

const { create } = startTrainers({ batchSize: 8, seed: 5 })
const groups = [{ tensors: '*bias*', weightDecay: 0, ire: false }]
/** Options with which seven steps on small tensors use all of an optimizer. */
const needed: Readonly<Record<string, object>> = { 'adamw-8bit': { minSize: 8 }, prodigy: { d0: 0.1 } }

/** Compares a run of seven steps with one that stops after four, and with the models made from both. */
async function compareWithResumed(recipe: OptimizerRecipe) {
  const optimizer = optimizerOf({ ...recipe, ire: { kappa: 1, gamma: 0.6, interval: 2 } })
  const data = clusters(24, [2, 8, 8])
  const options = { optimizer, groups }
  const whole = await create(options, smallConvnet())
  const before = flat(await whole.parameters())
  await whole.train(data, { totalSteps: 7 })
  const interrupted = await create(options, smallConvnet())
  await interrupted.train(data, { totalSteps: 4 })
  const resumed = await create(options, smallConvnet())
  resumed.restore(interrupted.checkpoint())
  await resumed.train(data, { totalSteps: 7 })
  const end = flat(await resumed.parameters())
  expect(end).toEqual(flat(await whole.parameters()))
  expect(end.every(Number.isFinite)).toBe(true)
  expect(Math.max(...end.map((x, i) => Math.abs(x - before[i]!)))).toBeGreaterThan(1e-3)
  const exported = namedTensors(resumed.export())
  const fromCheckpoint = namedTensors(modelFromCheckpoint(smallConvnet(), resumed.checkpoint()))
  for (const [tensor, { data }] of exported) expect(fromCheckpoint.get(tensor)!.data).toEqual(data)
  const isAverage = Object.entries(await resumed.parameters()).some(
    ([tensor, trained]) => exported.get(tensor)!.data[0] !== trained[0],
  )
  expect(isAverage).toBe(unwrap(optimizer).base.evaluation !== undefined)
  for (const trainer of [whole, interrupted, resumed]) await trainer.dispose()
}

describe('a run that was interrupted and resumed > equals an uninterrupted one, to the bit', () => {
  for (const kind of Object.keys(baseOptimizers))
    it(`${kind} with SAM and IRE`, async () => {
      await compareWithResumed({ kind, lr: 0.02, ...needed[kind], sam: {} } as OptimizerRecipe)
    })
  for (const variant of ['friendly', 'look'] as const)
    it(`variant of SAM: ${variant}`, async () => {
      const sam = { variant, ...(variant === 'look' ? { interval: 3 } : {}) }
      await compareWithResumed({ kind: 'adamw', lr: 0.02, sam })
    })

  it('recipes > create every base', () => {
    for (const kind of Object.keys(baseOptimizers))
      expect(optimizerOf({ kind, lr: 0.5 } as BaseOptimizerRecipe)).toMatchObject({ name: kind, lr: 0.5 })
  })
})
