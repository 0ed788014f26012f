import { describe, expect, test } from 'vitest'
import type { AscentRequest, Residence, UpdateRequest } from '../../src/backend/backend.js'
import { ArrayResidence } from '../../src/backend/host.js'
import type { GradientReply } from '../../src/backend/step.js'
import { takeStep, takeStepIn } from '../../src/backend/step.js'
import { adamw } from '../../src/optim/adam.js'
import type { Gradients, ParameterArrays } from '../../src/optim/arrays.js'
import { ire } from '../../src/optim/ire/ire.js'
import type { MaskRequest } from '../../src/optim/ire/mask.js'
import { sam } from '../../src/optim/sam.js'
import { initialState, type OptimizerState } from '../../src/optim/state.js'
import { curvatureOf, flatten, gradientOf, split, start } from '../optim/problem.js'

const optimizer = ire(sam(adamw({ lr: 0.02 }), { rho: 0.1 }), { kappa: 2, gamma: 0.6, interval: 2, beta: 0.5 })
const later = async () => {
  await new Promise((resolve) => setTimeout(resolve, 1))
}

/** Arrays that are somewhere else: everything takes a while, and sets travel in boxes. */
class Distant implements Residence<Readonly<Record<string, { array: ParameterArrays[string] }>>, { box: Gradients }> {
  readonly calls: string[] = []
  private readonly inner: ArrayResidence

  constructor(parameters: ParameterArrays, state: OptimizerState) {
    this.inner = new ArrayResidence(optimizer, parameters, state)
  }

  get parameters() {
    return boxed(this.inner.parameters)
  }

  async refresh(refresh: MaskRequest, { box }: { box: Gradients }) {
    this.calls.push('refresh')
    await later()
    this.inner.refresh(refresh, box)
  }

  async ascend(ascent: AscentRequest, { box }: { box: Gradients }) {
    this.calls.push('ascend')
    await later()
    return boxed(this.inner.ascend(ascent, box))
  }

  async apply(application: UpdateRequest, { box }: { box: Gradients }) {
    this.calls.push('apply')
    await later()
    this.inner.apply(application, box)
  }

  async numbers() {
    this.calls.push('numbers')
    await later()
    return this.inner.numbers()
  }
}

const boxed = (arrays: ParameterArrays) =>
  Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, { array }]))
const opened = (boxes: Readonly<Record<string, { array: ParameterArrays[string] }>>) =>
  Object.fromEntries(Object.entries(boxes).map(([name, { array }]) => [name, array]))
const answer = (kind: string, at: ParameterArrays): GradientReply => ({
  gradients: split((kind === 'loss' ? gradientOf : curvatureOf)(flatten(at)), Float32Array),
  loss: 1,
})

describe('a step taken elsewhere', () => {
  const begin = () => {
    const parameters = split(start, Float32Array)
    return { parameters, state: initialState(optimizer, parameters) }
  }

  test('is the same step, and waits for each part of it', async () => {
    const [here, there] = [begin(), begin()]
    const distant = new Distant(there.parameters, there.state)
    for (let t = 0; t < 5; t++) {
      const report = await takeStep(optimizer, here.parameters, here.state, answer)
      const far = await takeStepIn(distant, optimizer, t, async (kind, at) => {
        await later()
        const { gradients, ...reply } = answer(kind, opened(at))
        return { ...reply, gradients: { box: gradients } }
      })
      expect(far).toEqual(report)
      expect(there.parameters).toEqual(here.parameters)
    }
    expect(there.state).toEqual({ ...here.state, step: 0 }) // to count is the caller's
    const usual = ['ascend', 'apply', 'numbers']
    expect(distant.calls).toEqual([0, 1, 2, 3, 4].flatMap((t) => (t % 2 === 0 ? ['refresh', ...usual] : usual)))
  })

  test('is given up where the residence fails, and can be taken anew', async () => {
    const { parameters, state } = begin()
    const before = structuredClone({ parameters, state })
    const distant = new Distant(parameters, state)
    const gradient = (bad?: string) => async (kind: string, at: Distant['parameters']) => {
      const { gradients } = answer(kind, opened(at))
      if (kind === bad) gradients['bias']![1] = Number.NaN
      return { gradients: { box: gradients } }
    }
    for (const [kind, what] of [
      ['curvature', 'curvature gradient'],
      ['loss', 'loss gradient'],
    ])
      await expect(takeStepIn(distant, optimizer, 0, gradient(kind))).rejects.toThrow(
        `step 0: the ${what} of 'bias' is NaN at element 1 of 4`,
      )
    expect({ parameters, state }).toEqual(before)
    const expected = begin()
    await takeStep(optimizer, expected.parameters, expected.state, answer)
    await takeStepIn(distant, optimizer, 0, gradient())
    expect(parameters).toEqual(expected.parameters)
  })

  test('names the loss where the residence cannot look into gradients', async () => {
    const { parameters, state } = begin()
    const distant = new Distant(parameters, state)
    const step = takeStepIn(distant, optimizer, 0, (kind, at) => ({
      gradients: { box: answer(kind, opened(at)).gradients },
      loss: kind === 'loss' ? Number.NaN : 0,
    }))
    await expect(step).rejects.toThrow(/^step 0: the loss is NaN/)
  })
})

test('the mask of an abandoned step is not that of a later one', () => {
  const parameters = split(start, Float32Array)
  const state = initialState(optimizer, parameters)
  const residence = new ArrayResidence(optimizer, parameters, state)
  const estimates = split(curvatureOf(start), Float32Array)
  const ranked = Object.keys(parameters)
  residence.refresh({ ire: optimizer, step: 4, batchSize: 1, ranked, what: 'estimate' }, estimates)
  const application = {
    formula: adamw().formula,
    tensors: [],
    kappa: 1,
    clipValue: Number.POSITIVE_INFINITY,
    clipNorm: Number.POSITIVE_INFINITY,
    what: 'loss gradient',
  }
  residence.apply({ ...application, step: 5 }, estimates)
  expect(state.mask).toBeNull()
  expect(residence.numbers()).toEqual({ gradientNorm: 0, flatShare: 0, zeroShare: null, threshold: null })
})
