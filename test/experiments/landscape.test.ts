import { describe, expect, test } from 'vitest'
import { ire } from '../../src/optim/ire/ire.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { descend } from '../../tools/experiments/landscape/descend.js'

const flatU = { gamma: 0, interval: 1, curvature: 'empirical' } as const
const edge = [1, 0.01] as const
const steps = 400

/** The flat coordinate after gradient descent at the edge of stability, with IRE of this kappa. */
function endOf(kappa: number) {
  const base = sgd({ lr: 1 })
  return descend(kappa === 0 ? base : ire(base, { kappa, ...flatU }), edge, steps)
}

/** Steps that SAM, with IRE of this kappa, takes to a flat minimum. */
function stepsOf(kappa: number) {
  const base = sam(sgd({ lr: 0.3 }), { rho: 0.05 })
  const optimizer = kappa === 0 ? base : ire(base, { kappa, ...flatU })
  return descend(optimizer, [2, 0.5], 5000, (u, v) => Math.abs(u) < 0.1 && Math.abs(v) <= 0.5).u.length - 1
}

describe('landscape > gradient descent', () => {
  test('at the edge of stability > hardly moves along the flat coordinate', () => {
    const { u, divergedAt } = endOf(0)
    expect(divergedAt).toBeNull()
    expect(u.at(-1)).toBeGreaterThan(0.99)
    expect(u.at(-1)).toBeLessThan(1)
  })

  test('with twice the learning rate > diverges', () => {
    expect(descend(sgd({ lr: 2 }), edge, steps).divergedAt).toBeLessThan(20)
  })
})

describe('landscape > IRE', () => {
  test('a larger kappa > moves further along the flat coordinate, without diverging', () => {
    const runs = [0, 90, 900, 9000].map(endOf)
    expect(runs.map(({ divergedAt }) => divergedAt)).toEqual([null, null, null, null])
    const ends = runs.map(({ u }) => u.at(-1)!)
    expect(ends).toEqual([...ends].sort((a, b) => b - a))
    // The flat coordinate moves by 1 + kappa as much as without IRE.
    expect((1 - ends[1]!) / (1 - ends[0]!)).toBeGreaterThan(5)
    expect(ends[3]).toBeLessThan(0.02)
  })

  test.each([90, 900, 9000])('plain descent with the flat learning rate of kappa %i > diverges', (kappa) => {
    for (const factor of [1 + kappa, 1 + kappa / 2])
      expect(descend(sgd({ lr: factor }), edge, steps).divergedAt).toBeLessThan(4)
  })

  test('kappa v0^2 above 2 > diverges', () => {
    expect(endOf(25_000).divergedAt).not.toBeNull()
  })
})

describe('landscape > SAM with IRE', () => {
  test('a larger kappa > reaches the flat minimum in fewer steps', () => {
    const [plain, ...enhanced] = [0, 1, 5, 20].map(stepsOf)
    expect(plain).toBeLessThan(5000)
    expect(enhanced[0]! / plain!).toBeCloseTo(1 / 2, 1)
    expect(enhanced[1]).toBeLessThan(enhanced[0]! / 2)
    expect(enhanced[2]).toBeLessThan(enhanced[1]! / 2)
  })
})
