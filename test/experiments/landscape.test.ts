import { describe, expect, test } from 'vitest'
import { ire } from '../../src/optim/ire/ire.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { descend } from '../../tools/experiments/landscape/descend.js'

// What tools/experiments/landscape/RESULTS.md says of seed 0.
const flatU = { gamma: 0, interval: 1, curvature: 'empirical' } as const
const edge = [1, 0.01] as const

describe('landscape', () => {
  test('gradient descent at the edge of stability is slow', () => {
    expect(descend(sgd({ lr: 1 }), edge, 400).u.at(-1)).toBeCloseTo(0.9929, 4)
  })

  test('twice its learning rate diverges', () => {
    expect(descend(sgd({ lr: 2 }), edge, 400).divergedAt).toBe(8)
  })

  test.each([
    [90, 0.9285],
    [900, 0.7426],
    [9000, 0.01],
  ])('IRE with kappa %i is stable and gets to u = %f', (kappa, u) => {
    const end = descend(ire(sgd({ lr: 1 }), { kappa, ...flatU }), edge, 400)
    expect(end.divergedAt).toBeNull()
    expect(end.u.at(-1)).toBeCloseTo(u, 4)
    // The larger learning rates it might be confused with.
    for (const factor of [1 + kappa, 1 + kappa / 2])
      expect(descend(sgd({ lr: factor }), edge, 400).divergedAt).toBeLessThan(4)
  })

  test('IRE diverges too, past kappa v0^2 = 2', () => {
    expect(descend(ire(sgd({ lr: 1 }), { kappa: 25_000, ...flatU }), edge, 400).divergedAt).not.toBeNull()
  })

  test.each([
    [0, 2303],
    [1, 1130],
    [5, 287],
    [20, 4],
  ])('SAM with kappa %i is there in %i steps', (kappa, steps) => {
    const base = sam(sgd({ lr: 0.3 }), { rho: 0.05 })
    const optimizer = kappa === 0 ? base : ire(base, { kappa, ...flatU })
    expect(descend(optimizer, [2, 0.5], 5000, (u, v) => Math.abs(u) < 0.1 && Math.abs(v) <= 0.5).u.length - 1).toBe(
      steps,
    )
  })
})
