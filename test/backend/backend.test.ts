import { describe, expect, test } from 'vitest'
import type { AscentRequest, StepBackend, UpdateRequest } from '../../src/backend/backend.js'
import { HostStepBackend } from '../../src/backend/host.js'
import type { GradientReply } from '../../src/backend/step.js'
import { runStep, takeStep } from '../../src/backend/step.js'
import { adamw } from '../../src/optim/adam.js'
import type { ParameterArrays } from '../../src/optim/arrays.js'
import { ire } from '../../src/optim/ire/ire.js'
import type { MaskRequest } from '../../src/optim/ire/mask.js'
import { sam } from '../../src/optim/sam.js'
import { initialState, type OptimizerState } from '../../src/optim/state.js'
import { curvatureOf, flatten, gradientOf, split, start } from '../optim/problem.js'

const optimizer = ire(sam(adamw({ lr: 0.02 }), { rho: 0.1 }), { kappa: 2, gamma: 0.6, interval: 2, beta: 0.5 })
const later = async () => {
  await new Promise((resolve) => setTimeout(resolve, 1))
}

type Boxes = Readonly<Record<string, { readonly array: ParameterArrays[string] }>>

/** An asynchronous backend whose sets are not arrays. */
class RemoteBackend implements StepBackend<Boxes> {
  readonly calls: string[] = []
  readonly #inner: HostStepBackend

  constructor(parameters: ParameterArrays, state: OptimizerState) {
    this.#inner = new HostStepBackend(optimizer, { parameters, optimizer: state })
  }

  get rules() {
    return this.#inner.rules
  }

  get estimate() {
    return this.#inner.estimate
  }

  get parameters() {
    return boxed(this.#inner.parameters)
  }

  async refreshMask(request: MaskRequest, estimates: Boxes) {
    this.calls.push('refreshMask')
    await later()
    this.#inner.refreshMask(request, opened(estimates))
  }

  async ascend(request: AscentRequest, gradients: Boxes) {
    this.calls.push('ascend')
    await later()
    return boxed(this.#inner.ascend(request, opened(gradients)))
  }

  async applyUpdate(request: UpdateRequest, gradients: Boxes) {
    this.calls.push('applyUpdate')
    await later()
    this.#inner.applyUpdate(request, opened(gradients))
  }

  async stats() {
    this.calls.push('stats')
    await later()
    return this.#inner.stats()
  }

  async checkFinite(names: readonly string[], gradients: Boxes, place: string, what: string) {
    await later()
    this.#inner.checkFinite(names, opened(gradients), place, what)
  }
}

const boxed = (arrays: ParameterArrays) =>
  Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, { array }]))
const opened = (boxes: Boxes) => Object.fromEntries(Object.entries(boxes).map(([name, { array }]) => [name, array]))
const answer = (kind: string, at: ParameterArrays): GradientReply => ({
  gradients: split((kind === 'loss' ? gradientOf : curvatureOf)(flatten(at)), Float32Array),
  loss: 1,
})

describe('a step on an asynchronous backend', () => {
  const begin = () => {
    const parameters = split(start, Float32Array)
    return { parameters, state: initialState(optimizer, parameters) }
  }

  test('five steps > equal host steps, one call after the other', async () => {
    const [here, there] = [begin(), begin()]
    const remote = new RemoteBackend(there.parameters, there.state)
    for (let t = 0; t < 5; t++) {
      const report = await takeStep(optimizer, here.parameters, here.state, answer)
      const far = await runStep(remote, optimizer, t, async (kind, at) => {
        await later()
        const { gradients, ...reply } = answer(kind, opened(at))
        return { ...reply, gradients: boxed(gradients) }
      })
      expect(far).toEqual(report)
      expect(there.parameters).toEqual(here.parameters)
    }
    expect(there.state).toEqual({ ...here.state, step: 0 }) // to count is the caller's
    const usual = ['ascend', 'applyUpdate', 'stats']
    expect(remote.calls).toEqual([0, 1, 2, 3, 4].flatMap((t) => (t % 2 === 0 ? ['refreshMask', ...usual] : usual)))
  })

  test('a failing backend > rejects, changes nothing, and can be repeated', async () => {
    const { parameters, state } = begin()
    const before = structuredClone({ parameters, state })
    const remote = new RemoteBackend(parameters, state)
    const gradient = (bad?: string) => async (kind: string, at: RemoteBackend['parameters']) => {
      const { gradients } = answer(kind, opened(at))
      if (kind === bad) gradients['bias']![1] = Number.NaN
      return { gradients: boxed(gradients) }
    }
    for (const [kind, what] of [
      ['curvature', 'curvature gradient'],
      ['loss', 'loss gradient'],
    ])
      await expect(runStep(remote, optimizer, 0, gradient(kind))).rejects.toThrow(
        `step 0: the ${what} of 'bias' is NaN at element 1 of 4`,
      )
    expect({ parameters, state }).toEqual(before)
    const expected = begin()
    await takeStep(optimizer, expected.parameters, expected.state, answer)
    await runStep(remote, optimizer, 0, gradient())
    expect(parameters).toEqual(expected.parameters)
  })

  test('a NaN loss with finite gradients > rejects, naming the loss', async () => {
    const { parameters, state } = begin()
    const remote = new RemoteBackend(parameters, state)
    const step = runStep(remote, optimizer, 0, (kind, at) => ({
      gradients: boxed(answer(kind, opened(at)).gradients),
      loss: kind === 'loss' ? Number.NaN : 0,
    }))
    await expect(step).rejects.toThrow(/^step 0: the loss is NaN/)
  })
})

test('HostStepBackend > the mask of an abandoned step > is not used by a later step', () => {
  const parameters = split(start, Float32Array)
  const state = initialState(optimizer, parameters)
  const backend = new HostStepBackend(optimizer, { parameters, optimizer: state })
  const estimates = split(curvatureOf(start), Float32Array)
  const ranked = Object.keys(parameters)
  backend.refreshMask({ ire: optimizer, step: 4, batchSize: 1, ranked, what: 'estimate' }, estimates)
  const application = {
    tensors: [],
    kappa: 1,
    clipValue: Number.POSITIVE_INFINITY,
    clipNorm: Number.POSITIVE_INFINITY,
    what: 'loss gradient',
  }
  backend.applyUpdate({ ...application, step: 5 }, estimates)
  expect(state.mask).toBeNull()
  expect(backend.stats()).toEqual({ gradientNorm: 0, flatShare: 0, zeroShare: null, threshold: null })
})
