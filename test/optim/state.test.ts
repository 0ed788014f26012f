import { describe, expect, test } from 'vitest'
import { takeStep } from '../../src/backend/step.js'
import { adamw } from '../../src/optim/adam.js'
import { ire } from '../../src/optim/ire/ire.js'
import type { Optimizer } from '../../src/optim/optimizer.js'
import { prodigy } from '../../src/optim/prodigy.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { initialState, loadState, type OptimizerState, type SavedState, saveState } from '../../src/optim/state.js'
import { curvatureOf, flatten, gradientOf, split, start } from './problem.js'

const optimizers: Record<string, Optimizer> = {
  sgd: sgd({ lr: 0.01 }),
  'sgd with momentum': sgd({ lr: 0.01, momentum: 0.9 }),
  'adamw and ire before its first refresh': ire(adamw(), { kappa: 2, gamma: 0.6, warmup: 20 }),
  'adamw and ire by the Hessian': ire(adamw(), {
    kappa: 2,
    gamma: 0.6,
    interval: 3,
    beta: 0.5,
    curvature: 'hutchinson',
  }),
  'prodigy and ire': ire(prodigy({ d0: 1e-3 }), { kappa: 2, gamma: 0.6, interval: 3 }),
  'adamw, sam and ire with beta': ire(sam(adamw()), { kappa: 2, gamma: 0.6, interval: 3, beta: 0.5 }),
}

async function run(optimizer: Optimizer, parameters: ReturnType<typeof split>, state: OptimizerState, steps: number) {
  const type = parameters['bias'] instanceof Float64Array ? Float64Array : Float32Array
  for (let t = 0; t < steps; t++)
    await takeStep(optimizer, parameters, state, (kind, at) => ({
      gradients: split((kind === 'loss' ? gradientOf : curvatureOf)(flatten(at)), type),
    }))
}

describe('saved state > resumed > equals an uninterrupted run bit for bit', () => {
  for (const [name, optimizer] of Object.entries(optimizers))
    for (const type of [Float32Array, Float64Array])
      test(`${name}, ${type.name}`, async () => {
        const parameters = split(start, type)
        const state = initialState(optimizer, parameters)
        await run(optimizer, parameters, state, 8)

        const { arrays, numbers } = structuredClone(saveState(state))
        const resumed = structuredClone(parameters)
        const loaded = loadState(optimizer, resumed, { arrays, numbers: JSON.parse(JSON.stringify(numbers)) })
        expect(loaded).toEqual(state)
        await run(optimizer, parameters, state, 8)
        await run(optimizer, resumed, loaded, 8)
        expect(resumed).toEqual(parameters)
        expect(loaded).toEqual(state)
      })
})

describe('state that does not match > rejects', () => {
  const optimizer = optimizers['adamw, sam and ire with beta']!
  const saved = async () => {
    const parameters = split(start, Float32Array)
    const state = initialState(optimizer, parameters)
    await run(optimizer, parameters, state, 2)
    return structuredClone(saveState(state))
  }
  const withArray = (
    { arrays, numbers }: SavedState,
    name: string,
    array?: Float32Array | Float64Array | Uint8Array,
  ) => {
    const { [name]: _, ...rest } = arrays
    return { arrays: array ? { ...rest, [name]: array } : rest, numbers }
  }
  const edits: [string, (saved: SavedState) => SavedState, RegExp][] = [
    ['missing', (s) => withArray(s, 'firstMoment/bias'), /'firstMoment\/bias' .*missing/],
    ['short', (s) => withArray(s, 'flat/bias', new Uint8Array(3)), /'flat\/bias' .*4 elements.*3/],
    ['of another precision', (s) => withArray(s, 'curvature/bias', new Float64Array(4)), /Float32Array.*Float64Array/],
    [
      'left over',
      (s) => withArray(s, 'momentum/bias', new Float32Array(4)),
      /no place 'momentum\/bias'|'momentum\/bias'/,
    ],
    ['not a mask', (s) => withArray(s, 'flat/bias', Uint8Array.of(0, 1, 2, 0)), /'flat\/bias' should contain 0 and 1/],
    ['without a step', (s) => ({ ...s, numbers: { ...s.numbers, step: -1 } }), /step/],
    [
      'without a threshold',
      (s) => ({ ...s, numbers: { ...s.numbers, mask: { ...s.numbers.mask!, threshold: Number.NaN } } }),
      /mask.threshold/,
    ],
  ]
  for (const [name, edit, message] of edits)
    test(name, async () => {
      const bad = edit(await saved())
      const load = () => loadState(optimizer, split(start, Float32Array), bad)
      expect(load).toThrow(message)
      expect(load).toThrow(expect.objectContaining({ code: 'checkpoint' }))
    })
})
