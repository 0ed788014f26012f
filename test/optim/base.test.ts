import { describe, expect, test } from 'vitest'
import { update } from '../../src/backend/step.js'
import { adam, adamw } from '../../src/optim/adam.js'
import type { BaseOptimizer } from '../../src/optim/base-optimizer.js'
import { clipFactor, finiteNorm } from '../../src/optim/gradient-norm.js'
import { sgd } from '../../src/optim/sgd.js'

/** The one parameter after each gradient, from 1. */
function values(optimizer: BaseOptimizer, gradients: number[], context: { clipNorm?: number } = {}) {
  let at: Pick<ReturnType<typeof update>, 'parameters'> = { parameters: { w: Float64Array.of(1) } }
  return gradients.map((g) => {
    at = update({ optimizer, ...at, gradients: { w: Float64Array.of(g) }, ...context })
    return at.parameters['w']![0]!
  })
}

const close = (got: number[], expected: number[]) => {
  expect(got).toHaveLength(expected.length)
  for (const [i, x] of expected.entries()) expect(got[i]).toBeCloseTo(x, 12)
}

describe('base optimizers > values computed by hand from the formulas of the PyTorch manual', () => {
  test('SGD', () => close(values(sgd({ lr: 0.1 }), [0.5, -0.2]), [0.95, 0.97]))
  test('SGD with weight decay: g + 0.1 w = 0.6, then 0.094', () =>
    close(values(sgd({ lr: 0.1, weightDecay: 0.1 }), [0.5, 0]), [0.94, 0.9306]))
  test('momentum: b = 0.5, then 0.9 * 0.5 + 0.5', () =>
    close(values(sgd({ lr: 0.1, momentum: 0.9 }), [0.5, 0.5]), [0.95, 0.855]))
  test('dampening does not apply to the first step: b = 0.5, then 0.9 * 0.5 + 0.6 * 0.5', () =>
    close(values(sgd({ lr: 0.1, momentum: 0.9, dampening: 0.4 }), [0.5, 0.5]), [0.95, 0.875]))
  test('Nesterov: 0.5 + 0.9 * 0.5, then 0.5 + 0.9 * 0.95', () =>
    close(values(sgd({ lr: 0.1, momentum: 0.9, nesterov: true }), [0.5, 0.5]), [0.905, 0.7695]))

  const root = (x: number) => Math.sqrt(x)
  test('Adam: the first step is lr times the sign of g, the second has m = 0.025, v = 0.00028975', () =>
    close(values(adam({ lr: 0.01 }), [0.5, -0.2]), [
      1 - (0.01 * 0.5) / (0.5 + 1e-8),
      1 - (0.01 * 0.5) / (0.5 + 1e-8) - (0.01 * (0.025 / 0.19)) / (root(0.00028975 / 0.001999) + 1e-8),
    ]))
  test('Adam with L2: g = 0.5 + 0.1 * 1 = 0.6, the same first step', () =>
    close(values(adam({ lr: 0.01, weightDecay: 0.1 }), [0.5]), [1 - (0.01 * 0.6) / (0.6 + 1e-8)]))
  test('AdamW with its default decay: 1 - 0.01 * 0.01 first', () =>
    close(values(adamw({ lr: 0.01 }), [0.5]), [0.9999 - (0.01 * 0.5) / (0.5 + 1e-8)]))
  test('AdamW: decay does not enter the moments', () =>
    close(values(adamw({ lr: 0.01, weightDecay: 0.5 }), [0, 0]), [0.995, 0.990025]))
  test('clipping to norm 1: g = 2 becomes 2 / (2 + 1e-6)', () =>
    close(values(sgd({ lr: 0.1 }), [2, 0.5], { clipNorm: 1 }), [1 - 0.2 / (2 + 1e-6), 1 - 0.2 / (2 + 1e-6) - 0.05]))
})

describe('base optimizers > options', () => {
  test('defaults > equal those of PyTorch', () => {
    expect(sgd().options).toEqual({ lr: 1e-3, momentum: 0, dampening: 0, nesterov: false, weightDecay: 0 })
    expect(adam().options).toEqual({ lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 })
    expect(adamw().options).toEqual({ lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 })
  })

  const refused: [string, () => unknown, RegExp][] = [
    ['negative rate', () => sgd({ lr: -1 }), /sgd: option 'lr' is -1; it must be a number >= 0/],
    ['no number', () => adamw({ lr: Number.NaN }), /adamw: option 'lr' is NaN/],
    ['beta of 1', () => adam({ betas: [0.9, 1] }), /adam: option 'betas\[1\]' is 1; it must be a number in \[0, 1\)/],
    ['Nesterov alone', () => sgd({ nesterov: true }), /'nesterov'/],
    ['Nesterov dampened', () => sgd({ nesterov: true, momentum: 0.9, dampening: 0.1 }), /'nesterov'/],
    ['misspelt', () => adamw(JSON.parse('{ "weight_decay": 0.1 }')), /no option 'weight_decay'.*lr, betas/],
    ['no pair', () => adamw(JSON.parse('{ "betas": 0.9 }')), /two numbers/],
    ['a string', () => sgd(JSON.parse('{ "lr": "0.1" }')), /'lr' is '0.1'/],
  ]
  for (const [name, make, message] of refused)
    test(name, () => {
      expect(make).toThrow(message)
      expect(make).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    })
})

describe('global norm', () => {
  test('several tensors and precisions > are combined', () => {
    const g = { a: Float32Array.of(3, 0, 0, 0, 0), b: new Float64Array(0), c: Float64Array.of(-4) }
    expect(finiteNorm(g, g, 'step 0', 'loss gradient')).toBe(5)
  })
  test('float64 values whose squares overflow > norm is finite', () => {
    const g = { a: Float64Array.of(3e200, -4e200) }
    expect(finiteNorm(g, g, 'step 0', 'loss gradient') / 5e200).toBeCloseTo(1, 12)
  })
  test('norm below the limit > gradients are unchanged', () => {
    expect(clipFactor(0, 1)).toBe(1)
    expect(clipFactor(0.5, 1)).toBe(1)
    expect(clipFactor(10, Number.POSITIVE_INFINITY)).toBe(1)
    expect(clipFactor(4, 1)).toBeCloseTo(0.25, 6)
  })
})
