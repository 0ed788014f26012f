import { describe, expect, test } from 'vitest'
import { ire, kappaAt, refreshesAt } from '../../src/optim/ire/ire.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'

describe('options of sam and ire', () => {
  const given = (text: string) => JSON.parse(text)
  const refused: [string, () => unknown, RegExp][] = [
    ['sam in sam', () => sam(given('{ "kind": "sam" }')), /ire\(sam\(sgd\(\)\)\)/],
    [
      'ire in ire',
      () => ire(given('{ "kind": "ire" }'), { kappa: 1, gamma: 0.5 }),
      /a base optimizer such as adamw\(\), or sam/,
    ],
    ['rho', () => sam(sgd(), { rho: -1 }), /sam: option 'rho' is -1/],
    ['adaptive', () => sam(sgd(), given('{ "adaptive": 1 }')), /'adaptive' is 1; it must be true or false/],
    [
      'friendly and adaptive',
      () => sam(sgd(), { variant: 'friendly', adaptive: true }),
      /'adaptive' is true.*friendly/,
    ],
    ['sigma of plain SAM', () => sam(sgd(), { sigma: 0.5 }), /'sigma' is 0.5.*friendly/],
    ['alpha of friendly SAM', () => sam(sgd(), { variant: 'friendly', alpha: 0.5 }), /'alpha' is 0.5.*look/],
    ['kappa', () => ire(sgd(), { kappa: -1, gamma: 0.5 }), /ire: option 'kappa' is -1; it must be a number >= 0/],
    ['gamma', () => ire(sgd(), { kappa: 1, gamma: 1.1 }), /'gamma' is 1.1; it must be a number in \[0, 1\]/],
    [
      'interval',
      () => ire(sgd(), { kappa: 1, gamma: 0.5, interval: 0 }),
      /'interval' is 0; it must be an integer >= 1/,
    ],
    ['half a step', () => ire(sgd(), { kappa: 1, gamma: 0.5, warmup: 1.5 }), /'warmup' is 1.5; it must be an integer/],
    ['beta', () => ire(sgd(), { kappa: 1, gamma: 0.5, beta: 1 }), /'beta' is 1; it must be a number in \[0, 1\)/],
    [
      'curvature',
      () => ire(sgd(), given('{ "kappa": 1, "gamma": 0.5, "curvature": "exact" }')),
      /'sampled', 'empirical' or 'hutchinson'/,
    ],
    ['misspelt', () => ire(sgd(), given('{ "kappa": 1, "gamma": 0.5, "intervall": 5 }')), /no option 'intervall'/],
  ]
  for (const [name, make, message] of refused)
    test(name, () => {
      expect(make).toThrow(message)
      expect(make).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    })

  test('defaults', () => {
    expect(sam(sgd())).toMatchObject({ rho: 0.05, adaptive: false })
    expect(ire(sgd())).toMatchObject({
      ...{ kappa: 1, gamma: 0.6, interval: 10, warmup: 0, beta: 0, kappaDecay: false, curvature: 'sampled' },
    })
  })
})

test('refresh schedule > T_w, T_w + K, ...; kappa is 0 before T_w and may follow the learning rate', () => {
  const plain = ire(sgd(), { kappa: 4, gamma: 0.5, interval: 3, warmup: 5 })
  const decaying = ire(sgd(), { kappa: 4, gamma: 0.5, interval: 3, warmup: 5, kappaDecay: true })
  const steps = Array.from({ length: 13 }, (_, t) => t)
  expect(steps.filter((t) => refreshesAt(plain, t))).toEqual([5, 8, 11])
  expect([4, 5, 9].map((t) => kappaAt(plain, t, 0.5))).toEqual([0, 4, 4])
  expect([4, 5, 9].map((t) => kappaAt(decaying, t, 0.5))).toEqual([0, 2, 2])
})
