import { describe, expect, it } from 'vitest'
import { update } from '../../src/backend/step.js'
import { crossEntropy, evaluateModel, scheduleFreeAdamw, scheduleFreeSgd } from '../../src/index.js'
import type { BaseOptimizer } from '../../src/optim/base-optimizer.js'
import { evaluatedWeights } from '../../src/optim/state.js'
import { rejectedMessage } from '../thrown.js'
import { clusters } from './problem.js'
import { startTrainers } from './small-trainer.js'

const { runtime, create } = startTrainers()

/** y and x after each update, for the gradient y - 1 + y^3 / 4. */
function trajectory(optimizer: BaseOptimizer, steps: number) {
  let at: Pick<ReturnType<typeof update>, 'parameters'> = { parameters: { w: Float64Array.of(3) } }
  return Array.from({ length: steps }, () => {
    const next = update({ optimizer, ...at, gradients: ({ w }) => ({ w: w!.map((y) => y - 1 + y ** 3 / 4) }) })
    at = next
    const x = evaluatedWeights(optimizer, next.parameters, next.state.moments)['w']![0]!
    return { y: next.parameters['w']![0]!, x }
  })
}

describe('Schedule-Free SGD > x, y and z', () => {
  it('follow the recursions of the paper', () => {
    const [lr, beta, warmup] = [0.3, 0.8, 4]
    const got = trajectory(scheduleFreeSgd({ lr, momentum: beta, warmup, weightPower: 0.5 }), 20)
    let [x, z, total] = [3, 3, 0]
    for (const [t, { y, x: average }] of got.entries()) {
      const step = lr * Math.min(1, (t + 1) / warmup)
      const weight = Math.sqrt(t + 1) * step ** 2
      total += weight
      const at = (1 - beta) * z + beta * x
      z -= step * (at - 1 + at ** 3 / 4)
      x += (weight / total) * (z - x)
      expect(average).toBeCloseTo(x, 12)
      expect(y).toBeCloseTo((1 - beta) * z + beta * x, 12)
    }
  })
})

describe('Schedule-Free in a trainer', () => {
  const optimizer = scheduleFreeAdamw({ lr: 0.05 })
  const data = clusters(32, [6])

  it('evaluates and exports the average', async () => {
    const trainer = await create({ optimizer, best: { metric: 'loss' } })
    await trainer.train(data, { totalSteps: 6, validation: data })
    const exported = await evaluateModel(trainer.export(), data, { loss: crossEntropy(), runtime })
    const evaluated = await trainer.evaluate(data)
    expect(evaluated['loss']).toBeCloseTo(exported['loss']!, 6)
    const best = await evaluateModel(trainer.export({ weights: 'best' }), data, { loss: crossEntropy(), runtime })
    expect(best['loss']).toBeCloseTo(exported['loss']!, 6)
    await trainer.dispose()
  })

  it('schedule and ema > are rejected with the reason', async () => {
    for (const [option, value] of Object.entries({ schedule: { kind: 'cosine' }, ema: 0.9 } as const)) {
      const message = await rejectedMessage('invalid-option', () => create({ optimizer, [option]: value }))
      expect(message).toMatch(`'${option}'`)
      expect(message).toMatch('average')
    }
  })

  it('interpolation of 0 > is rejected', () => {
    for (const make of [() => scheduleFreeAdamw({ betas: [0, 0.9] }), () => scheduleFreeSgd({ momentum: 0 })])
      expect(make).toThrow(expect.objectContaining({ code: 'invalid-option' }))
  })
})
