import { describe, expect, test } from 'vitest'
import { takeStep, update } from '../../src/backend/step.js'
import { adamw } from '../../src/optim/adam.js'
import type { BaseOptimizer } from '../../src/optim/base-optimizer.js'
import { array, formula, scalar } from '../../src/optim/expr/expr.js'
import { ire } from '../../src/optim/ire/ire.js'
import type { ParameterSettings } from '../../src/optim/parameter-settings.js'
import { prodigy } from '../../src/optim/prodigy.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { initialState, loadState, saveState } from '../../src/optim/state.js'
import { curvatureOf, flatten, gradientOf, split, start } from './problem.js'

const parameters = { a: Float64Array.of(1, 2), b: Float64Array.of(3) }
const gradients = { a: Float64Array.of(0.5, -1), b: Float64Array.of(2) }

describe('per-parameter settings > values computed by hand', () => {
  const moved = (optimizer: BaseOptimizer, settings: Record<string, ParameterSettings>, more = {}) => {
    const next = update({ optimizer, parameters, gradients, settings, ...more }).parameters
    return Object.fromEntries(Object.entries(next).map(([name, x]) => [name, [...x].map((v) => Number(v.toFixed(9)))]))
  }
  test('factor on the learning rate', () =>
    expect(moved(sgd({ lr: 0.1 }), { b: { lrScale: 0.5 } })).toEqual({ a: [0.95, 2.1], b: [2.9] }))
  test('weight decay, also if the optimizer has none', () =>
    expect(moved(sgd({ lr: 0.1 }), { b: { weightDecay: 0.2 } })).toEqual({ a: [0.95, 2.1], b: [2.74] }))
  test('no weight decay on one tensor', () =>
    expect(moved(adamw({ lr: 0, weightDecay: 1 }), { b: { weightDecay: 0 } })).toEqual({ a: [1, 2], b: [3] }))
  test('clipping by value comes before the norm: (0.5, -1), (1) has the norm 1.5', () =>
    expect(moved(sgd({ lr: 3 }), {}, { clipValue: 1, clipNorm: 0.5 })).toEqual({
      a: [1 - 0.5 * (1.5 / 1.500001), 2 + 1.5 / 1.500001].map((x) => Number(x.toFixed(9))),
      b: [Number((3 - 1.5 / 1.500001).toFixed(9))],
    }))
  test('the reported norm is computed before clipping', () =>
    expect(update({ optimizer: sgd(), parameters, gradients, clipValue: 0.1 }).report.gradientNorm).toBe(
      Math.sqrt(0.25 + 1 + 4),
    ))
})

describe('tensor before its startStep', () => {
  const full = ire(sam(adamw({ lr: 0.05 }), { rho: 0.1 }), { kappa: 2, gamma: 0.6, interval: 3, beta: 0.5 })
  const settings = { embedding: { startStep: 4 }, bias: { enhanced: false } }

  test('value and moments > are unchanged, and no gradient is required', async () => {
    const at = split(start, Float32Array)
    const state = initialState(full, at)
    const before = structuredClone(at['embedding']!)
    for (let t = 0; t < 4; t++) {
      const report = await takeStep(
        full,
        at,
        state,
        (_, where) => {
          expect(where['embedding']).toBe(at['embedding'])
          const { embedding: _frozen, ...rest } = split(gradientOf(flatten(where)), Float32Array)
          return { gradients: rest }
        },
        { settings },
      )
      expect(report.flatShare).toBeGreaterThan(0.6) // of the coordinates that count
    }
    expect(at['embedding']).toEqual(before)
    for (const moment of Object.values(state.moments)) expect(moment['embedding']!.every((x) => x === 0)).toBe(true)
    expect(state.mask!.flat['embedding']!.every((n) => n === 0)).toBe(true)
    expect(state.mask!.flat['bias']!.every((n) => n === 0)).toBe(true)
  })

  test('missing gradient after startStep > rejects with the name', async () => {
    const at = split(start, Float32Array)
    const state = initialState(sgd(), at)
    const { embedding: _, ...some } = split(gradientOf(start), Float32Array)
    const step = (startStep: number) =>
      takeStep(sgd(), at, state, () => ({ gradients: some }), { settings: { embedding: { startStep } } })
    await step(1)
    await expect(step(1)).rejects.toThrow("no loss gradient for parameter 'embedding'")
  })

  test('steps before the first startStep > do not change the estimate of prodigy', () => {
    const settings = { a: { startStep: 2 }, b: { startStep: 2 } }
    const optimizer = prodigy()
    let last = update({ optimizer, parameters, gradients: {}, settings })
    last = update({ optimizer, ...last, gradients: {}, settings })
    expect(last.parameters).toEqual(parameters)
    last = update({ optimizer, ...last, gradients, settings })
    const first = update({ optimizer, parameters, gradients })
    expect(last.parameters).toEqual(first.parameters)
    expect(last.state.estimate).toEqual(first.state.estimate)
  })

  test('saved and resumed > equals bit for bit', async () => {
    const run = async (at: ReturnType<typeof split>, state: ReturnType<typeof initialState>, steps: number) => {
      for (let t = 0; t < steps; t++)
        await takeStep(
          full,
          at,
          state,
          (kind, where) => ({
            gradients: split((kind === 'loss' ? gradientOf : curvatureOf)(flatten(where)), Float32Array),
          }),
          { settings },
        )
    }
    const whole = split(start, Float32Array)
    const wholeState = initialState(full, whole)
    await run(whole, wholeState, 3)
    const resumed = structuredClone(whole)
    const loaded = loadState(full, resumed, structuredClone(saveState(wholeState)))
    await run(whole, wholeState, 6)
    await run(resumed, loaded, 6)
    expect(resumed).toEqual(whole)
    expect(loaded).toEqual(wholeState)
  })
})

test('custom base optimizer > receives t, learning rate and weight decay of each tensor', () => {
  const received: number[][] = []
  const own: BaseOptimizer = {
    kind: 'base',
    name: 'sign',
    lr: 0.1,
    weightDecay: 0.5,
    options: {},
    moments: [],
    formula: formula({ d: array('g').sign().mul(scalar('step')) }),
    coefficients: (t, lr, weightDecay) => {
      received.push([t, lr, weightDecay])
      return { step: -lr }
    },
  }
  const state = { ...initialState(own, parameters), step: 7 }
  const settings = { b: { startStep: 5, lrScale: 2, weightDecay: 0 } }
  const next = update({ optimizer: own, parameters, gradients, state, settings, clipNorm: 100 })
  expect(received).toEqual([
    [7, 0.1, 0.5],
    [2, 0.2, 0],
  ])
  expect(next.parameters).toEqual({ a: Float64Array.of(0.9, 2.1), b: Float64Array.of(2.8) })
})

describe('invalid per-parameter settings > rejects', () => {
  const refused: [string, string, RegExp][] = [
    ['an unknown tensor', '{ "c": {} }', /settings: there is no parameter 'c'/],
    ['a field', '{ "a": { "lr": 1 } }', /settings of 'a': there is no option 'lr'.*lrScale, weightDecay/],
    ['lrScale', '{ "a": { "lrScale": -1 } }', /settings of 'a': option 'lrScale' is -1; it must be a number >= 0/],
    ['weightDecay', '{ "b": { "weightDecay": "0" } }', /settings of 'b': option 'weightDecay' is '0'/],
    ['enhanced', '{ "b": { "enhanced": 0 } }', /'enhanced' is 0; it must be true or false/],
    ['startStep', '{ "b": { "startStep": 1.5 } }', /'startStep' is 1.5; it must be an integer >= 0/],
  ]
  for (const [name, text, message] of refused)
    test(name, () => {
      const take = () => update({ optimizer: sgd(), parameters, gradients, settings: JSON.parse(text) })
      expect(take).toThrow(message)
      expect(take).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    })
  test('clipValue', () => {
    for (const clipValue of [0, -1, Number.NaN])
      expect(() => update({ optimizer: sgd(), parameters, gradients, clipValue })).toThrow(/'clipValue' is/)
  })
})
