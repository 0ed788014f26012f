import { describe, expect, test } from 'vitest'
import { takeStep, update } from '../../src/backend/step.js'
import type { Optimizer } from '../../src/optim/optimizer.js'
import { type BaseOptimizerRecipe, createBaseOptimizer } from '../../src/optim/registry.js'
import { initialState } from '../../src/optim/state.js'
import {
  bases,
  createOptimizer,
  ireOptions,
  type OptimizerSpec,
  pairwiseOptimizers,
  sams,
  samVariants,
} from '../optim/optimizers.js'
import { type OracleBase, type OracleOptions, oracleTrajectory } from '../optim/oracle.js'
import {
  curvatureOf,
  flatten,
  gradientOf,
  hessianOf,
  lrFactorOf,
  nameOf,
  settings,
  split,
  start,
} from '../optim/problem.js'

const steps = 40
const lrFactor = lrFactorOf(steps)

/** The oracle's form of a base optimizer. A new kind needs its formula in the oracle. */
const oracleBase = (recipe: BaseOptimizerRecipe): OracleBase => {
  const { lr, weightDecay, options } = createBaseOptimizer(recipe)
  return { ...options, kind: recipe.kind, lr, weightDecay }
}

const oracleOptions = ({ base, sam, ire }: OptimizerSpec): OracleOptions => ({
  base: oracleBase(base),
  sam: sam ? { rho: sam.rho!, adaptive: sam.adaptive ?? false } : null,
  ire: ire ? { kappa: 1, gamma: 0.6, interval: 10, warmup: 0, beta: 0, kappaDecay: false, ...ire } : null,
})

const withSam = { sam: { rho: 0.1 } } as const
const enhanced = { ire: ireOptions } as const

/** The reference implementation rounds stored values only; a float32 update also rounds every operation. */
const tolerance = (type: Float32ArrayConstructor | Float64ArrayConstructor) => (type === Float32Array ? 5e-6 : 1e-11)

/** The step size that Prodigy estimates carries the rounding of all elements into every element. */
const withinOf = (kind: string, type: Float32ArrayConstructor | Float64ArrayConstructor) =>
  (kind === 'prodigy' ? 10 : 1) * tolerance(type)

async function agree(
  optimizer: Optimizer,
  options: OracleOptions,
  type: Float32ArrayConstructor | Float64ArrayConstructor,
  far = 0.3,
  within = tolerance(type),
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
    expect(worst, `step ${t}`).toBeLessThan(within)
  }
  const moved = Math.max(...expected.at(-1)!.map((x, i) => Math.abs(x - start[i]!)))
  expect(moved).toBeGreaterThan(far)
  return expected.at(-1)!
}

const group = (i: number) => settings[nameOf(i)] ?? {}

for (const type of [Float32Array, Float64Array])
  describe(`40 steps in ${type.name} > equal the reference implementation to ${tolerance(type)}`, () => {
    const run = (spec: OptimizerSpec, extra: Partial<OracleOptions> = {}, far?: number) =>
      agree(createOptimizer(spec), { ...oracleOptions(spec), ...extra }, type, far, withinOf(spec.base.kind, type))
    const ends = new Set<string>()
    for (const [name, spec] of pairwiseOptimizers())
      test(name, async () => {
        const end = await run(spec)
        ends.add(end.map((x) => x.toFixed(5)).join())
      })
    test('all optimizers > end of the trajectory > differs for each', () => {
      expect(ends.size).toBe(pairwiseOptimizers().length)
    })
    for (const [name, base] of Object.entries(bases)) {
      test(`${name} > clipNorm with SAM and IRE > clips the second gradient`, async () => {
        await run({ base, ...withSam, ...enhanced }, { clip: 3 })
      })
      test(`${name} > clipValue > is applied alone and before clipNorm`, async () => {
        for (const clips of [{ clipValue: 0.4 }, { clipValue: 0.4, clip: 1 }, { clipValue: 3, clip: 0.5 }])
          await run({ base, ...withSam, ...enhanced }, clips, 0.1)
      })
      test(`${name} > per-parameter settings`, async () => {
        for (const [around, enhancement] of [
          [sams[''], enhanced],
          [sams[', sam'], { ire: { ...ireOptions, beta: 0.6, curvature: 'empirical' } }],
          [sams[', adaptive sam'], { ire: { ...ireOptions, beta: 0.6, curvature: 'hutchinson' } }],
        ] as const)
          await run({ base, ...around, ...enhancement }, { clip: 2, clipValue: 1, group }, 0.1)
      })
    }
  })

describe('friendly SAM and LookSAM > equal the reference implementation', () => {
  const variants = {
    friendly: [samVariants.friendly, { friendly: { sigma: 0.8, meanDecay: 0.7 } }],
    look: [samVariants.look, { look: { alpha: 0.5, interval: 3 } }],
  } as const
  const ends = new Set<string>()
  for (const type of [Float32Array, Float64Array])
    for (const [variant, [sam, oracle]] of Object.entries(variants))
      for (const name of ['sgd with momentum', 'adamw', 'schedule-free-adamw'])
        for (const [around, enhancement] of Object.entries({ '': {}, ', ire': enhanced }))
          test(`${name}, ${variant}${around} in ${type.name}`, async () => {
            const base = bases[name]!
            const optimizer = createOptimizer({ base, sam, ...enhancement })
            const options = oracleOptions({ base, sam: { rho: 0.1 }, ...enhancement })
            const own = { ...options, sam: { ...options.sam!, ...oracle } }
            // LookSAM lengthens a small difference of two gradients, with its rounding.
            const within = (variant === 'look' && type === Float32Array ? 10 : 1) * tolerance(type)
            const end = await agree(optimizer, own, type, 0.3, within)
            if (type === Float64Array) ends.add(end.map((x) => x.toFixed(5)).join())
            await agree(optimizer, { ...own, clip: 2, group }, type, 0.1, within)
          })
  test('the ends > differ for each', () => expect(ends.size).toBe(12))
})

test('update > arrays of the caller > same steps, input unchanged', async () => {
  const optimizer = createOptimizer({
    base: bases['adamw']!,
    ...withSam,
    ire: { ...ireOptions, beta: 0.6, kappaDecay: true },
  })
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
