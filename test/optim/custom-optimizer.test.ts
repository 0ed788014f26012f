import { expr } from 'onnx-ire/optim'
import { describe, expect, test } from 'vitest'
import { update } from '../../src/backend/step.js'
import { adamw } from '../../src/optim/adam.js'
import type { BaseOptimizer } from '../../src/optim/base-optimizer.js'
import { ire } from '../../src/optim/ire/ire.js'
import type { Optimizer } from '../../src/optim/optimizer.js'
import { sam } from '../../src/optim/sam.js'
import { errorWith } from '../thrown.js'

const { array, constant, formula, scalar } = expr

/** Lion (Chen et al. 2023, arXiv 2302.06675), written as a user of the package would. */
function lion({ lr = 1e-4, betas: [beta1, beta2] = [0.9, 0.99] as const, weightDecay = 0 } = {}): BaseOptimizer {
  const [theta, g, m] = [array('theta'), array('g'), array('momentum')]
  const mixed = (beta: string) => m.mul(scalar(beta)).add(g.mul(constant(1).sub(scalar(beta))))
  const direction = mixed('beta1')
    .sign()
    .add(theta.mul(scalar('weightDecay')))
  return {
    kind: 'base',
    name: 'lion',
    lr,
    weightDecay,
    options: { lr, betas: [beta1, beta2], weightDecay },
    moments: ['momentum'],
    formula: formula({ d: direction.mul(scalar('down')), momentum: mixed('beta2') }),
    coefficients: (_, lr, weightDecay) => ({ down: -lr, beta1, beta2, weightDecay }),
  }
}

describe('custom base optimizer', () => {
  const start = Array.from({ length: 37 }, (_, i) => Math.sin(3 * i))
  const gradientAt = (x: number, i: number) => Math.tanh(3 * (x - Math.cos(i))) + 0.1 * Math.sin(5 * i)

  for (const type of [Float32Array, Float64Array])
    for (const kappa of [0, 2])
      test(`Lion in ${type.name}${kappa ? ' with IRE' : ''} > equals the algorithm of its paper`, () => {
        const base = lion({ lr: 0.01, weightDecay: 0.1 })
        const optimizer = kappa ? ire(base, { kappa, gamma: 0.6, interval: 2, curvature: 'empirical' }) : base
        let at: Pick<ReturnType<typeof update>, 'parameters'> = { parameters: { w: type.from(start) } }
        let x = [...type.from(start)]
        let m = x.map(() => 0)
        let n = x.map(() => 0)
        for (let t = 0; t < 25; t++) {
          at = update({ optimizer, ...at, gradients: ({ w }) => ({ w: w!.map(gradientAt) }) })
          const g = [...type.from(x.map(gradientAt))]
          if (kappa && t % 2 === 0) {
            const threshold = g.map(Math.abs).sort((a, b) => b - a)[Math.floor(0.4 * 37) - 1]!
            n = g.map((y) => (Math.abs(y) <= threshold ? 1 : 0))
          }
          x = x.map((y, i) => {
            const d = -0.01 * (Math.sign(0.9 * m[i]! + 0.1 * g[i]!) + 0.1 * y)
            return y + (1 + kappa * n[i]!) * d
          })
          m = m.map((y, i) => 0.99 * y + 0.01 * g[i]!)
          for (const [i, y] of x.entries())
            expect(at.parameters['w']![i]).toBeCloseTo(y, type === Float32Array ? 5 : 12)
        }
      })
})

describe('inconsistent optimizers > are rejected', () => {
  const base = adamw()
  const { firstMoment, secondMoment, d } = base.formula.outputs as Record<string, expr.Expr>
  const whole = { d: d!, firstMoment: firstMoment!, secondMoment: secondMoment! }
  const renamed = (name: string): Partial<BaseOptimizer> => ({
    moments: [name],
    formula: formula({ d: array('g'), [name]: array(name) }),
  })
  const cases: [string, Partial<BaseOptimizer>, RegExp][] = [
    ['without d', { formula: formula({ firstMoment: whole.firstMoment, secondMoment: whole.secondMoment }) }, /no 'd'/],
    ['without a moment', { formula: formula({ d: whole.d, firstMoment: whole.firstMoment }) }, /no 'secondMoment'/],
    [
      'that gives more',
      { formula: formula({ ...whole, theta: d! }) },
      /returns 'theta'; it may return only d, firstMoment/,
    ],
    [
      'that reads more',
      { formula: formula({ ...whole, d: array('h') }) },
      /reads 'h'; it may read only theta, g, first/,
    ],
    ['with sums', { formula: formula(whole, { norm: array('g') }) }, /has sums/],
    ['with a scalar of the step', { formula: formula({ ...whole, d: scalar('kappa') }) }, /'kappa' is/],
    ['with a moment named n', renamed('n'), /'n' is/],
    ['with a moment named g', renamed('g'), /named 'g'/],
    ['whose coefficients lack one', { coefficients: () => ({}) }, /coefficient '\w+' of update 0 is undefined/],
    [
      'with a factor of NaN',
      { coefficients: (...of) => ({ ...base.coefficients(...of), eps: Number.NaN }) },
      /'eps' .* is NaN/,
    ],
  ]
  for (const [name, change, message] of cases)
    test(name, () => {
      const parameters = { w: Float32Array.of(1) }
      const take = () => update({ optimizer: { ...base, ...change }, parameters, gradients: parameters })
      expect(take).toThrow(message)
      expect(take).toThrow(expect.objectContaining({ code: 'invalid-option' }))
      expect(take).toThrow(/^optimizer 'adamw': /)
    })

  for (const [moment, wrap] of [
    ['flat', (own) => ire(own, { curvature: 'empirical' })],
    ['curvature', (own) => ire(own, { curvature: 'empirical', beta: 0.5 })],
    ['gradientMean', (own) => sam(own, { variant: 'friendly' })],
  ] as readonly [string, (own: BaseOptimizer) => Optimizer][])
    test(`with a moment named ${moment}, as an array of IRE or SAM`, () => {
      const own = { ...base, moments: [moment], formula: formula({ d: array('g'), [moment]: array('g') }) }
      const parameters = { w: Float32Array.of(1) }
      const take = (optimizer: Optimizer) => update({ optimizer, parameters, gradients: () => parameters })
      expect(() => take(wrap(own))).toThrow(errorWith('invalid-option', `'${moment}'`))
      expect(take(own).state.moments[moment]).toEqual(parameters)
    })
})
