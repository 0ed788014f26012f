import { describe, expect, test } from 'vitest'
import { type Update, update } from '../../src/backend/step.js'
import { adagrad } from '../../src/optim/adagrad.js'
import { adam, adamw } from '../../src/optim/adam.js'
import { ademamix } from '../../src/optim/ademamix.js'
import type { BaseOptimizer } from '../../src/optim/base-optimizer.js'
import { clipFactor, finiteNorm } from '../../src/optim/gradient-norm.js'
import { nadam } from '../../src/optim/nadam.js'
import { prodigy } from '../../src/optim/prodigy.js'
import { radam } from '../../src/optim/radam.js'
import { rmsprop } from '../../src/optim/rmsprop.js'
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
  test('AdEMAMix without a fast moment: the decay of the slow one grows from 0 as 0.25^(2 / t)', () => {
    const optimizer = ademamix({ lr: 0.1, betas: [0, 0, 0.25], alpha: 1, beta3Warmup: 2, eps: 0 })
    // The slow moment is 0.25^2 * 0 + (1 - 0.25^2) * 0.5, then 0.25 of it + 0.75 * 0.5.
    const first = (1 - 0.25 ** 2) * 0.5
    close(values(optimizer, [0.5, 0.5]), [
      1 - 0.1 * (1 + first / 0.5),
      1 - 0.1 * (1 + first / 0.5) - 0.1 * (1 + (0.25 * first + 0.75 * 0.5) / 0.5),
    ])
  })
  test('clipping to norm 1: g = 2 becomes 2 / (2 + 1e-6)', () =>
    close(values(sgd({ lr: 0.1 }), [2, 0.5], { clipNorm: 1 }), [1 - 0.2 / (2 + 1e-6), 1 - 0.2 / (2 + 1e-6) - 0.05]))
})

/** The parameter after updates 1, 2 and 7 of torch.optim 2.15 in float64. */
const pytorch: readonly (readonly [string, BaseOptimizer, readonly number[]])[] = [
  [
    'Adam with amsgrad',
    adam({ lr: 0.01, betas: [0.9, 0.5], amsgrad: true }),
    [0.9900000002, 0.9867769874594958, 0.9699515427858217],
  ],
  [
    'AdamW with amsgrad',
    adamw({ lr: 0.01, betas: [0.9, 0.5], amsgrad: true, weightDecay: 0.1 }),
    [0.9890000002, 0.9847879874592959, 0.9630872645657577],
  ],
  ['NAdam', nadam(), [0.9978870964595885, 0.9985465113779701, 0.9953604692762837]],
  [
    'NAdam with L2',
    nadam({ lr: 0.01, weightDecay: 0.1, momentumDecay: 0.02 }),
    [0.98943446466616, 0.9905468449742783, 0.9679263154109362],
  ],
  [
    'NAdam with decoupled decay',
    nadam({ lr: 0.01, weightDecay: 0.1, decoupled: true }),
    [0.9884354822979425, 0.9907441214075525, 0.9698982524177714],
  ],
  ['RAdam', radam({ lr: 0.01 }), [0.995, 0.9936842105263158, 0.9895469384361387]],
  [
    'RAdam with L2',
    radam({ lr: 0.01, betas: [0.8, 0.95], weightDecay: 0.1 }),
    [0.994, 0.9918922222222222, 0.9829345385525066],
  ],
  [
    'RAdam with decoupled decay',
    radam({ lr: 0.01, betas: [0.8, 0.95], weightDecay: 0.1, decoupled: true }),
    [0.994, 0.9918948888888889, 0.9816646643172878],
  ],
  ['RMSprop', rmsprop(), [0.900000019999996, 0.9373002053730881, 0.8379069715620423]],
  [
    'RMSprop, centered, with momentum and decay',
    rmsprop({ lr: 0.02, alpha: 0.9, momentum: 0.5, centered: true, weightDecay: 0.1 }),
    [0.9333333370370368, 0.9119895653558809, 0.7326593964925984],
  ],
  ['Adagrad', adagrad(), [0.990000000002, 0.9937139067648513, 0.983851015866625]],
  [
    'Adagrad with every option',
    adagrad({ lr: 0.1, lrDecay: 0.05, weightDecay: 0.1, initialAccumulator: 0.3 }),
    [0.9261451054214913, 0.9386253489789123, 0.840716503732774],
  ],
]

describe('base optimizers > seven updates > equal PyTorch', () => {
  for (const [name, optimizer, expected] of pytorch)
    test(name, () => {
      const got = values(optimizer, [0.5, -0.2, 0.3, 0.1, -0.4, 0.7, 0.2])
      // PyTorch stores the product of NAdam's mu in float32.
      const digits = optimizer.name === 'nadam' ? 9 : 12
      for (const [i, x] of [got[0], got[1], got[6]].entries()) expect(x).toBeCloseTo(expected[i]!, digits)
    })

  test('centered RMSprop of a constant gradient > is finite', () => {
    const all = values(rmsprop({ centered: true, alpha: 0.5 }), Array<number>(60).fill(0.1))
    expect(all.every(Number.isFinite)).toBe(true)
  })
})

test('Prodigy > seven updates of two parameters > equal prodigyopt 1.1.2', () => {
  const cases = [
    [
      {},
      [
        [0.9999968377223398, -0.5000031622776602],
        [0.9999953690386012, -0.5000064738076274],
        [0.9999164832318246, -0.5001351385315639],
      ],
      2.1367422033674474e-5,
    ],
    [
      { d0: 0.01, weightDecay: 0.1, biasCorrection: true, betas: [0.8, 0.95], dCoefficient: 1.5 },
      [
        [0.9888819660112501, -0.509440983005625],
        [0.985078855171551, -0.5165392664926944],
        [0.9493080137518048, -0.5651329966175366],
      ],
      0.03686654293651642,
    ],
    [
      { d0: 0.01, safeguardWarmup: true, lr: 0.5 },
      [
        [0.9841886116991582, -0.5158113883008418],
        [0.9768451930060826, -0.5323690381372355],
        [0.8943234157192487, -0.6718519511376065],
      ],
      0.02909646443809353,
    ],
  ] as const
  for (const [options, expected, distance] of cases) {
    // The authors' code multiplies eps by the next distance, the paper by the current one.
    const optimizer = prodigy({ eps: 0, ...options })
    let at: Pick<Update, 'parameters'> & Partial<Update> = {
      parameters: { a: Float64Array.of(1), b: Float64Array.of(-0.5) },
    }
    const got = [0.5, -0.2, 0.3, 0.1, -0.4, 0.7, 0.2].map((g) => {
      const { parameters, state } = at
      const gradients = { a: Float64Array.of(g), b: Float64Array.of(2 * g * g) }
      at = update({ optimizer, parameters, ...(state ? { state } : {}), gradients })
      return [at.parameters['a']![0]!, at.parameters['b']![0]!]
    })
    close([...got[0]!, ...got[1]!, ...got[6]!], expected.flat())
    expect(at.state!.estimate!['distance']).toBeCloseTo(distance, 12)
  }
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
