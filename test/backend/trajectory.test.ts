import { describe, expect, test } from 'vitest'
import { takeStep, update } from '../../src/backend/step.js'
import { adam, adamw } from '../../src/optim/adam.js'
import type { BaseOptimizer } from '../../src/optim/base-optimizer.js'
import { ire } from '../../src/optim/ire/ire.js'
import type { Optimizer } from '../../src/optim/optimizer.js'
import type { ParameterSettings } from '../../src/optim/parameter-settings.js'
import { sam } from '../../src/optim/sam.js'
import { learningRateFactor } from '../../src/optim/schedule.js'
import { sgd } from '../../src/optim/sgd.js'
import { initialState } from '../../src/optim/state.js'
import { type OracleOptions, oracleTrajectory } from '../optim/oracle.js'
import { curvatureOf, flatten, gradientOf, hessianOf, nameOf, split, start } from '../optim/problem.js'

const steps = 40
const lrFactor = (t: number) => learningRateFactor({ kind: 'cosine', warmup: 4, floor: 0.1 }, t, steps)

const sgdOptions = { kind: 'sgd', lr: 0.02, momentum: 0, dampening: 0, nesterov: false, weightDecay: 0.01 } as const
const adamOptions = { lr: 0.03, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.05 }
const betas = [0.9, 0.99] as const
const bases: [string, BaseOptimizer, OracleOptions['base']][] = [
  ['sgd', sgd({ lr: 0.02, weightDecay: 0.01 }), sgdOptions],
  [
    'sgd with momentum',
    sgd({ lr: 0.02, momentum: 0.8, dampening: 0.1, weightDecay: 0.01 }),
    { ...sgdOptions, momentum: 0.8, dampening: 0.1 },
  ],
  [
    'nesterov',
    sgd({ lr: 0.02, momentum: 0.8, nesterov: true, weightDecay: 0.01 }),
    { ...sgdOptions, momentum: 0.8, nesterov: true },
  ],
  ['adam', adam({ lr: 0.03, betas, weightDecay: 0.05 }), { kind: 'adam', ...adamOptions }],
  ['adamw', adamw({ lr: 0.03, betas, weightDecay: 0.05 }), { kind: 'adamw', ...adamOptions }],
]
const sams: [string, OracleOptions['sam']][] = [
  ['', null],
  [', sam', { rho: 0.1, adaptive: false }],
  [', adaptive sam', { rho: 0.3, adaptive: true }],
]
const ireOptions = { kappa: 1.5, gamma: 0.7, interval: 3, warmup: 5, beta: 0, kappaDecay: false }
const ires: [string, OracleOptions['ire']][] = [
  ['', null],
  [', ire', ireOptions],
  [', ire with kappaDecay and beta', { ...ireOptions, beta: 0.6, kappaDecay: true }],
]

/** The plain implementation rounds what it stores; in single precision an update rounds every operation besides. */
const tolerance = (type: Float32ArrayConstructor | Float64ArrayConstructor) => (type === Float32Array ? 5e-6 : 1e-11)

async function agree(
  optimizer: Optimizer,
  options: OracleOptions,
  type: Float32ArrayConstructor | Float64ArrayConstructor,
  far = 0.3,
) {
  const store = type === Float32Array ? Math.fround : (x: number) => x
  const gradient = (x: readonly number[]) => gradientOf(x).map(store)
  const estimate = options.ire?.curvature === 'hutchinson' ? hessianOf : curvatureOf
  const curvature = (x: readonly number[]) => estimate(x).map(store)
  // In float32 a coordinate that crosses 0 carries the rounding of the larger values it came from.
  const small = type === Float32Array ? 0.1 : 1e-3
  const problem = { start: start.map(store), gradient, curvature, lrFactor, store }
  const expected = oracleTrajectory(options, problem, steps)

  const parameters = split(start, type)
  const state = initialState(optimizer, parameters)
  const context = {
    ...(options.clip === undefined ? {} : { clipNorm: options.clip }),
    ...(options.clipValue === undefined ? {} : { clipValue: options.clipValue }),
    ...(options.group === undefined ? {} : { settings }),
  }
  for (let t = 0; t < steps; t++) {
    const answer = (kind: string, at: typeof parameters) => {
      const gradients = split((kind === 'curvature' ? curvature : gradient)(flatten(at)), type)
      if (options.group)
        for (const [name, { startStep = 0 }] of Object.entries(settings)) if (t < startStep) delete gradients[name]
      return { gradients }
    }
    await takeStep(optimizer, parameters, state, answer, { lrFactor: lrFactor(t), ...context })
    const got = flatten(parameters)
    const worst = Math.max(...expected[t]!.map((x, i) => Math.abs(got[i]! - x) / Math.max(Math.abs(x), small)))
    expect(worst, `step ${t}`).toBeLessThan(tolerance(type))
  }
  const moved = Math.max(...expected.at(-1)!.map((x, i) => Math.abs(x - start[i]!)))
  expect(moved).toBeGreaterThan(far)
  return expected.at(-1)!
}

const settings: Readonly<Record<string, ParameterSettings>> = {
  weight: { lrScale: 0.5, weightDecay: 0.2 },
  bias: { weightDecay: 0, enhanced: false },
  scale: { startStep: 9, lrScale: 3 },
  embedding: { startStep: 7 },
}
const group = (i: number) => settings[nameOf(i)] ?? {}

const compose = (
  base: BaseOptimizer,
  samOptions: OracleOptions['sam'],
  enhancement: OracleOptions['ire'],
): Optimizer => {
  const inner = samOptions ? sam(base, samOptions) : base
  return enhancement ? ire(inner, enhancement) : inner
}

for (const type of [Float32Array, Float64Array])
  describe(`40 steps in ${type.name} agree with the plain implementation to ${tolerance(type)}`, () => {
    const ends = new Set<string>()
    for (const [baseName, base, oracleBase] of bases)
      for (const [samName, samOptions] of sams)
        for (const [ireName, enhancement] of ires)
          test(`${baseName}${samName}${ireName}`, async () => {
            const options = { base: oracleBase, sam: samOptions, ire: enhancement }
            const end = await agree(compose(base, samOptions, enhancement), options, type)
            ends.add(end.map((x) => x.toFixed(5)).join())
          })
    test('and no two of them are the same optimizer', () => {
      expect(ends.size).toBe(bases.length * sams.length * ires.length)
    })
    test('with clipping, which SAM applies to the second gradient', async () => {
      for (const [, base, oracleBase] of bases)
        await agree(
          compose(base, sams[1]![1], ires[1]![1]),
          { base: oracleBase, sam: sams[1]![1], ire: ires[1]![1], clip: 3 },
          type,
        )
    })
    test('with empirical curvature, which asks for no gradient of its own', async () => {
      const [, base, oracleBase] = bases[4]!
      const optimizer = ire(sam(base, { rho: 0.1 }), { ...ireOptions, curvature: 'empirical' })
      await agree(
        optimizer,
        { base: oracleBase, sam: { rho: 0.1, adaptive: false }, ire: { ...ireOptions, curvature: 'empirical' } },
        type,
      )
    })
    test('clipped by value, alone and before the norm', async () => {
      for (const [, base, oracleBase] of bases)
        for (const clips of [{ clipValue: 0.4 }, { clipValue: 0.4, clip: 1 }, { clipValue: 3, clip: 0.5 }])
          await agree(
            compose(base, sams[1]![1], ires[1]![1]),
            { base: oracleBase, sam: sams[1]![1], ire: ires[1]![1], ...clips },
            type,
            0.1,
          )
    })
    for (const beta of [0, 0.6])
      test(`with the Hessian's diagonal, smoothed by ${beta}`, async () => {
        const enhancement = { ...ireOptions, beta, curvature: 'hutchinson' } as const
        for (const [, base, oracleBase] of bases)
          await agree(compose(base, null, enhancement), { base: oracleBase, sam: null, ire: enhancement }, type)
      })
    for (const [baseName, base, oracleBase] of bases)
      test(`with settings per tensor: ${baseName}`, async () => {
        for (const [, samOptions] of sams)
          for (const enhancement of [
            null,
            ireOptions,
            { ...ireOptions, beta: 0.6, curvature: 'empirical' },
            { ...ireOptions, beta: 0.6, curvature: 'hutchinson' },
          ] as const) {
            const options = { base: oracleBase, sam: samOptions, ire: enhancement, clip: 2, clipValue: 1, group }
            await agree(compose(base, samOptions, enhancement), options, type, 0.1)
          }
      })
  })

test('update, the entry over plain arrays, takes the same steps and leaves its input alone', async () => {
  const optimizer = compose(bases[4]![1], sams[1]![1], ires[2]![1])
  const gradients = (at: ReturnType<typeof split>) => split(gradientOf(flatten(at)), Float32Array)
  const curvature = (at: ReturnType<typeof split>) => split(curvatureOf(flatten(at)), Float32Array)
  const inPlace = split(start, Float32Array)
  const state = initialState(optimizer, inPlace)
  let pure: { parameters: ReturnType<typeof split>; state?: typeof state } = { parameters: split(start, Float32Array) }
  for (let t = 0; t < 12; t++) {
    const answer = (kind: string, at: typeof inPlace) => ({ gradients: (kind === 'loss' ? gradients : curvature)(at) })
    const report = await takeStep(optimizer, inPlace, state, answer, { lrFactor: lrFactor(t) })
    const before = structuredClone(pure)
    const next = update({ optimizer, ...pure, gradients, curvature, lrFactor: lrFactor(t) })
    expect(pure).toEqual(before)
    expect(next.report).toEqual(report)
    expect(next.parameters).toEqual(inPlace)
    expect(next.state).toEqual(state)
    pure = next
  }
})
