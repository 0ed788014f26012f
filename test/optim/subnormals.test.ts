import { expect, test } from 'vitest'
import { takeStep } from '../../src/backend/step.js'
import { adamw } from '../../src/optim/adam.js'
import { ire } from '../../src/optim/ire/ire.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { initialState } from '../../src/optim/state.js'
import { clearSubnormals } from '../../src/optim/subnormals.js'

const isSubnormal = (x: number): boolean => x !== 0 && Math.abs(x) < 2 ** -126

test('every 64th step > subnormal float32 numbers become 0, others remain', () => {
  const before = [2 ** -126, -(2 ** -126), 2 ** -127, -(2 ** -149), 0, 1, -3, Number.NaN, Infinity, -Infinity]
  const after = [2 ** -126, -(2 ** -126), 0, -0, 0, 1, -3, Number.NaN, Infinity, -Infinity]
  const moments = {
    firstMoment: { w: Float32Array.from(before), b: Float32Array.of(2 ** -140) },
    secondMoment: { w: Float64Array.of(2 ** -140), b: Uint8Array.of(1, 2) },
  }
  for (let step = 0; step < 63; step++) clearSubnormals(step, moments)
  expect([...moments.firstMoment.w]).toEqual(before)
  clearSubnormals(63, moments)
  expect([...moments.firstMoment.w]).toEqual(after)
  expect([...moments.firstMoment.b]).toEqual([0])
  expect([...moments.secondMoment.w]).toEqual([2 ** -140])
  expect([...moments.secondMoment.b]).toEqual([1, 2])
})

test.each([
  ['adamw', adamw({ betas: [0.9, 0.95] })],
  ['sgd with momentum', sgd({ lr: 0.01, momentum: 0.9 })],
  ['friendly SAM', sam(sgd({ lr: 0.01 }), { variant: 'friendly' })],
])('%s > moments become 0 if the gradient has become 0', async (_, optimizer) => {
  const parameters = { w: Float32Array.of(1, 1, 1) }
  const state = initialState(optimizer, parameters)
  const kept: number[] = []
  for (let step = 0; step < 1920; step++) {
    await takeStep(optimizer, parameters, state, () => ({
      gradients: { w: step < 10 ? Float32Array.of(1, -1, 0.5) : Float32Array.of(0, 0, 0.5) },
    }))
    kept.push(Math.abs(state.moments[Object.keys(state.moments)[0]!]!['w']![0]!))
  }
  // Shrinks by a factor of 0.9 per step, through the subnormal numbers.
  expect(kept.filter(isSubnormal).length).toBeGreaterThan(0)
  expect(kept.filter(isSubnormal).length).toBeLessThanOrEqual(64)
  for (const { w } of Object.values(state.moments)) {
    expect([...w!].slice(0, 2).map(Math.abs)).toEqual([0, 0])
    expect(isSubnormal(w![2]!)).toBe(false)
    expect(w![2]).not.toBe(0)
  }
})

test('ire with beta > the curvature becomes 0 if the gradient has become 0', async () => {
  const optimizer = ire(sgd({ lr: 0.01 }), { kappa: 1, gamma: 0.5, beta: 0.9, interval: 1, curvature: 'empirical' })
  const parameters = { w: Float32Array.of(1, 1, 1) }
  const state = initialState(optimizer, parameters)
  let subnormal = 0
  for (let step = 0; step < 1280; step++) {
    await takeStep(optimizer, parameters, state, () => ({
      gradients: { w: step < 10 ? Float32Array.of(1, -1, 0.5) : Float32Array.of(0, 0, 0.5) },
    }))
    if (isSubnormal(state.mask!.curvature!['w']![0]!)) subnormal++
  }
  expect(subnormal).toBeGreaterThan(0)
  expect([...state.mask!.curvature!['w']!]).toEqual([0, 0, expect.closeTo(0.25, 6)])
})
