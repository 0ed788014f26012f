import { describe, expect, test } from 'vitest'
import { takeStep } from '../../src/backend/step.js'
import { ire } from '../../src/optim/ire/ire.js'
import type { Optimizer } from '../../src/optim/optimizer.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { initialState } from '../../src/optim/state.js'

/** L(u, v) = (1 + u^2) v^2 / 2, the paper's picture: v = 0 is a valley, flattest at u = 0. */
const gradient = (_: string, { u, v }: Readonly<Record<string, Float32Array | Float64Array>>) => {
  const [x, y] = [u![0]!, v![0]!]
  return { gradients: { u: Float64Array.of(x * y * y), v: Float64Array.of((1 + x * x) * y) } }
}

/** u and v after `steps`, or the first step after which `until` holds. */
async function descend(optimizer: Optimizer, from: [number, number], steps: number, until?: (u: number) => boolean) {
  const parameters = { u: Float64Array.of(from[0]), v: Float64Array.of(from[1]) }
  const state = initialState(optimizer, parameters)
  for (let t = 0; t < steps; t++) {
    if (until?.(parameters.u[0]!)) return { steps: t, u: parameters.u[0]!, v: parameters.v[0]!, state }
    await takeStep(optimizer, parameters, state, gradient)
  }
  return { steps, u: parameters.u[0]!, v: parameters.v[0]!, state }
}

// gamma 0 of two coordinates: only the flatter one, u, is flat.
const enhance = (inner: Parameters<typeof ire>[0], kappa: number) =>
  ire(inner, { kappa, gamma: 0, interval: 1, curvature: 'empirical' })

describe('drift towards the flat end of the valley', () => {
  for (const [kappa, u] of [
    [0, 0.9929],
    [90, 0.9285],
    [900, 0.7426],
    [9000, 0.01],
  ] as const)
    test(`kappa ${kappa} > u = ${u} after 400 steps`, async () => {
      const end = await descend(enhance(sgd({ lr: 1 }), kappa), [1, 0.01], 400)
      expect(end.u).toBeCloseTo(u, 4)
      const { flat } = end.state.mask!
      expect([flat['u']![0], flat['v']![0]]).toEqual([1, end.v === 0 ? 1 : 0]) // kappa 9000 ends in v = 0 exactly: a tie
    })

  test('twice the learning rate > diverges', async () => {
    const end = await descend(sgd({ lr: 2 }), [1, 0.01], 9)
    expect(Math.abs(end.v)).toBeGreaterThan(10)
  })

  for (const [kappa, steps] of [
    [0, 2303],
    [1, 1130],
    [5, 287],
    [20, 4],
  ] as const)
    test(`SAM with kappa ${kappa} > |u| < 0.1 in ${steps} steps`, async () => {
      const optimizer = enhance(sam(sgd({ lr: 0.3 }), { rho: 0.05 }), kappa)
      const end = await descend(optimizer, [2, 0.5], 3000, (u) => Math.abs(u) < 0.1)
      expect(end.steps).toBe(steps)
    })
})
