import { describe, expect, test } from 'vitest'
import { HostStepBackend } from '../../src/backend/host.js'
import {
  type GradientReply,
  type GradientRequest,
  isCurvatureDue,
  optimizerStep,
  takeStep,
  update,
} from '../../src/backend/step.js'
import { adamw } from '../../src/optim/adam.js'
import { ire } from '../../src/optim/ire/ire.js'
import { describeOptimizer } from '../../src/optim/optimizer.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { initialState, loadState, saveState } from '../../src/optim/state.js'
import { curvatureOf, flatten, gradientOf, split, start } from '../optim/problem.js'
import { rejectedError } from '../thrown.js'

const answer = ({ kind, parameters }: Pick<GradientRequest, 'kind' | 'parameters'>) =>
  split((kind === 'loss' ? gradientOf : curvatureOf)(flatten(parameters)), Float32Array)
const full = ire(sam(adamw(), { rho: 0.1 }), { kappa: 2, gamma: 0.6, interval: 2, warmup: 1, beta: 0.5 })
const begin = () => {
  const parameters = split(start, Float32Array)
  return { parameters, state: initialState(full, parameters) }
}

async function refusal(run: () => unknown): Promise<string> {
  const { code, message } = await rejectedError(run)
  return `${code}: ${message}`
}

describe('requests of a step', () => {
  test('order > curvature if due, the loss, and with SAM the loss at theta + e', async () => {
    const { parameters, state } = begin()
    const asked: string[] = []
    const due: boolean[] = []
    for (let t = 0; t < 4; t++) {
      due.push(isCurvatureDue(full, state))
      const report = await takeStep(full, parameters, state, (kind, at) => {
        asked.push(`${t} ${kind}${at === parameters ? '' : ' at theta + e'}`)
        return { gradients: answer({ kind, parameters: at }), loss: asked.length }
      })
      expect(report).toMatchObject({ step: t, refreshed: t % 2 === 1, kappa: t === 0 ? 0 : 2 })
      expect(report.loss).toBe(asked.length - 1) // the loss at theta, not the one at theta + e
    }
    expect(asked).toEqual([
      '0 loss',
      '0 loss at theta + e',
      '1 curvature',
      '1 loss',
      '1 loss at theta + e',
      '2 loss',
      '2 loss at theta + e',
      '3 curvature',
      '3 loss',
      '3 loss at theta + e',
    ])
    expect(due).toEqual([false, true, false, true])
  })

  test('reply > its arrays may be reused for the next request', async () => {
    const [own, reused] = [begin(), begin()]
    const buffers = split(start, Float32Array)
    for (let t = 0; t < 6; t++) {
      await takeStep(full, own.parameters, own.state, (kind, at) => ({ gradients: answer({ kind, parameters: at }) }))
      await takeStep(full, reused.parameters, reused.state, (kind, at) => {
        for (const [name, array] of Object.entries(answer({ kind, parameters: at }))) buffers[name]!.set(array)
        return { gradients: buffers }
      })
    }
    expect(reused).toEqual(own)
  })
})

describe('failed step > leaves the state unchanged', () => {
  const requests = ['curvature', 'loss', 'loss at theta + e']
  const spoil = (reply: GradientReply, bad: number): GradientReply => {
    const bias = reply.gradients['bias']!.slice()
    bias[2] = bad
    return { gradients: { ...reply.gradients, bias } }
  }
  const failures: [string, (reply: GradientReply) => GradientReply, RegExp][] = [
    [
      'NaN',
      (reply) => spoil(reply, Number.NaN),
      /^not-finite: step 3: the .*gradient.* of 'bias' is NaN at element 2 of 4/,
    ],
    ['infinity', (reply) => spoil(reply, -1 / 0), /^not-finite: step 3: .*'bias' is -Infinity/],
    ['a loss of NaN', (reply) => ({ ...reply, loss: Number.NaN }), /^not-finite: step 3: the loss is NaN/],
    [
      'a loss of NaN with its tensor',
      (reply) => ({ ...spoil(reply, Number.NaN), loss: Number.NaN }),
      /^not-finite: step 3: the loss is NaN: .* of 'bias' is NaN/,
    ],
    ['a missing tensor', ({ gradients: { bias: _, ...gradients } }) => ({ gradients }), /^invalid-data: no .*'bias'/],
    [
      'a short tensor',
      ({ gradients }) => ({ gradients: { ...gradients, bias: new Float32Array(3) } }),
      /^invalid-data: .*'bias' has 3 elements, the parameter has 4/,
    ],
  ]
  for (const [at, request] of requests.entries()) {
    for (const [name, spoiled, message] of failures)
      test(`${name} from ${request}`, async () => {
        const { parameters, state } = begin()
        const good = (kind: GradientRequest['kind'], where: typeof parameters) => ({
          gradients: answer({ kind, parameters: where }),
        })
        for (let t = 0; t < 3; t++) await takeStep(full, parameters, state, good)
        const before = structuredClone({ parameters, state })
        let calls = 0
        const step = () =>
          takeStep(full, parameters, state, (kind, w) => (calls++ === at ? spoiled(good(kind, w)) : good(kind, w)))
        expect(await refusal(step)).toMatch(message)
        expect({ parameters, state }).toEqual(before)
      })
    test(`exception at ${request}, or step abandoned there`, async () => {
      const { parameters, state } = begin()
      const good = (kind: GradientRequest['kind'], where: typeof parameters) => ({
        gradients: answer({ kind, parameters: where }),
      })
      for (let t = 0; t < 3; t++) await takeStep(full, parameters, state, good)
      const before = structuredClone({ parameters, state })
      let calls = 0
      const failing = takeStep(full, parameters, state, (kind, where) => {
        if (calls++ === at) throw new RangeError('session lost')
        return good(kind, where)
      })
      await expect(failing).rejects.toThrow('session lost')
      expect({ parameters, state }).toEqual(before)
      const abandoned = optimizerStep(new HostStepBackend(full, { parameters, optimizer: state }), full, state.step)
      let next = abandoned.next()
      for (let i = 0; i < at && !next.done; i++)
        next = abandoned.next({ gradients: answer(next.value as GradientRequest) })
      expect(next.done).toBe(false)
      expect({ parameters, state }).toEqual(before)
    })
  }
})

describe('update > missing or invalid arguments > rejects', () => {
  const parameters = { w: Float32Array.of(1, 2) }
  const gradients = { w: Float32Array.of(0.5, -1) }

  test('curvature missing when due', async () => {
    const optimizer = ire(sgd(), { kappa: 1, gamma: 0.5 })
    expect(await refusal(() => update({ optimizer, parameters, gradients }))).toMatch(
      /^invalid-option: .*needs `curvature`/,
    )
    const first = update({ optimizer, parameters, gradients, curvature: gradients })
    expect(isCurvatureDue(optimizer, first.state)).toBe(false)
    expect(update({ optimizer, ...first, gradients }).report.refreshed).toBe(false)
  })

  test('Hessian diagonal missing when due', async () => {
    const optimizer = ire(sgd({ lr: 0.1 }), { kappa: 1, gamma: 0.5, curvature: 'hutchinson' })
    expect(isCurvatureDue(optimizer, initialState(optimizer, parameters))).toBe(true)
    expect(await refusal(() => update({ optimizer, parameters, gradients }))).toMatch(/needs `curvature`: v \* Hv/)
    const { report, state } = update({ optimizer, parameters, gradients, curvature: { w: Float32Array.of(-3, 2) } })
    expect(report).toMatchObject({ refreshed: true, threshold: 2, flatShare: 1 })
    const bad = { w: Float32Array.of(1, Number.NaN) }
    expect(await refusal(() => update({ optimizer, parameters, gradients, curvature: bad }))).toMatch(
      /^not-finite: step 0: the curvature estimate v \* Hv of 'w' is NaN at element 1/,
    )
    expect(loadState(optimizer, parameters, saveState(state))).toEqual(state)
  })

  test('second gradient for SAM missing', async () => {
    const optimizer = sam(sgd({ lr: 0.1 }))
    expect(await refusal(() => update({ optimizer, parameters, gradients }))).toMatch(/^invalid-option: .*SAM/)
    const seen: number[][] = []
    const record = ({ w }: Readonly<Record<string, Float32Array | Float64Array>>) => {
      seen.push([...w!])
      return gradients
    }
    update({ optimizer, parameters, gradients: record })
    expect(seen).toHaveLength(2)
    expect(seen[1]).not.toEqual(seen[0])
  })

  test('state of other parameters or of another optimizer', async () => {
    const { state } = update({ optimizer: adamw(), parameters, gradients })
    const other = { w: Float32Array.of(1, 2, 3) }
    expect(await refusal(() => update({ optimizer: adamw(), parameters: other, gradients: other, state }))).toMatch(
      /^invalid-data/,
    )
    expect(await refusal(() => update({ optimizer: sgd({ momentum: 0.9 }), parameters, gradients, state }))).toMatch(
      /^invalid-data: no momentum/,
    )
  })

  test('invalid context', async () => {
    const input = { optimizer: sgd(), parameters, gradients }
    expect(await refusal(() => update({ ...input, clipNorm: 0 }))).toMatch(/^invalid-option: .*clipNorm/)
    expect(await refusal(() => update({ ...input, lrFactor: Number.NaN }))).toMatch(/^invalid-option: .*lrFactor/)
  })

  test('no trainable parameters > does nothing', () => {
    expect(update({ optimizer: full, parameters: {}, gradients: () => ({}) }).parameters).toEqual({})
  })
})

test('kappa 0 > equals the base optimizer bit for bit', () => {
  const parameters = split(start, Float32Array)
  const gradients = answer({ kind: 'loss', parameters })
  const enhanced = ire(adamw(), { kappa: 0, gamma: 0.5, curvature: 'empirical' })
  expect(update({ optimizer: enhanced, parameters, gradients }).parameters).toEqual(
    update({ optimizer: adamw(), parameters, gradients }).parameters,
  )
})

test('tensors longer than a chunk > are updated like short tensors', () => {
  const long = Float32Array.from({ length: 10_007 }, (_, i) => Math.sin(i))
  const optimizer = ire(adamw(), { kappa: 3, gamma: 0.5, curvature: 'empirical' })
  const whole = update({ optimizer, parameters: { long }, gradients: { long } })
  const pieces: Record<string, Float32Array> = {}
  for (let from = 0; from < long.length; from += 7) pieces[from] = long.subarray(from, from + 7)
  const cut = update({ optimizer, parameters: pieces, gradients: pieces })
  expect(Object.keys(pieces).flatMap((name) => [...cut.parameters[name]!])).toEqual([...whole.parameters['long']!])
})

test('describe > returns plain data', () => {
  expect(JSON.parse(JSON.stringify(describeOptimizer(full)))).toEqual({
    base: { name: 'adamw', lr: 0.001, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
    sam: { rho: 0.1, adaptive: false },
    ire: { kappa: 2, gamma: 0.6, interval: 2, warmup: 1, beta: 0.5, kappaDecay: false, curvature: 'sampled' },
  })
  expect(describeOptimizer(sgd())).toMatchObject({ sam: null, ire: null })
})
