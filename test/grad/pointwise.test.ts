import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { constant, scalar, tensorFrom } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'
import { evaluate, vector } from './evaluate.js'

/** The error function, by its series. */
function erf(x: number): number {
  let [term, sum] = [x, x]
  for (let n = 1; n < 60; n++) {
    term *= -(x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
const softplus = (x: number) => Math.log1p(Math.exp(x))
const clamp = (x: number) => Math.min(1, Math.max(0, x))
const elu = (x: number, alpha: number) => (x > 0 ? x : alpha * Math.expm1(x))
const geluTanh = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

const pointwise: Record<string, [build: (x: Value) => Value, formula: (x: number) => number, within?: number]> = {
  Tan: [(x) => op.Tan(x), Math.tan, 1.5],
  Asin: [(x) => op.Asin(x), Math.asin, 0.8],
  Acos: [(x) => op.Acos(x), Math.acos, 0.8],
  Atan: [(x) => op.Atan(x), Math.atan],
  Sinh: [(x) => op.Sinh(x), Math.sinh, 2],
  Cosh: [(x) => op.Cosh(x), Math.cosh, 2],
  Asinh: [(x) => op.Asinh(x), Math.asinh],
  Acosh: [(x) => op.Acosh(op.Add(op.Abs(x), 1)), (x) => Math.acosh(Math.abs(x) + 1)],
  Atanh: [(x) => op.Atanh(x), Math.atanh, 0.8],
  Erf: [(x) => op.Erf(x), erf, 3],
  Relu: [(x) => op.Relu(x), (x) => Math.max(x, 0)],
  LeakyRelu: [(x) => op.LeakyRelu(x), (x) => (x > 0 ? x : 0.01 * x)],
  ThresholdedRelu: [(x) => op.ThresholdedRelu(x), (x) => (x > 1 ? x : 0)],
  Elu: [(x) => op.Elu(x, { alpha: 1.5 }), (x) => elu(x, 1.5)],
  Celu: [(x) => op.Celu(x, { alpha: 0.5 }), (x) => (x > 0 ? x : 0.5 * Math.expm1(x / 0.5))],
  Selu: [(x) => op.Selu(x), (x) => 1.0507009873554805 * elu(x, 1.6732632423543772)],
  Sigmoid: [(x) => op.Sigmoid(x), sigmoid],
  HardSigmoid: [(x) => op.HardSigmoid(x), (x) => clamp(0.2 * x + 0.5)],
  HardSwish: [(x) => op.HardSwish(x), (x) => x * clamp(x / 6 + 0.5)],
  Softplus: [(x) => op.Softplus(x), softplus],
  Softsign: [(x) => op.Softsign(x), (x) => x / (1 + Math.abs(x))],
  Mish: [(x) => op.Mish(x), (x) => x * Math.tanh(softplus(x))],
  Shrink: [(x) => op.Shrink(x, { bias: 0.25, lambd: 0.4 }), (x) => (Math.abs(x) > 0.4 ? x - Math.sign(x) * 0.25 : 0)],
  Gelu: [(x) => op.Gelu(x), (x) => 0.5 * x * (1 + erf(x / Math.SQRT2))],
  'Gelu, tanh': [(x) => op.Gelu(x, { approximate: 'tanh' }), geluTanh],
}

const onesLike = (y: Value) => op.Expand(scalar('float32', 1), op.Shape(y))
const points = [-4.2, -2.6, -1.3, -0.51, -0.09, 0.11, 0.7, 1.4, 2.3, 3.7]

// Their kernels are float32 only, where differences of the kernel are imprecise: compare with the formulas in float64.
describe.each(Object.entries(pointwise))('%s', (_, [build, formula, within = 5]) => {
  it('values and slopes > equal those of its formula', async () => {
    const at = points.filter((point) => Math.abs(point) < within)
    const x = vector('x', ...at)
    const y = build(x)
    const [dx] = gradients([[y, onesLike(y)]], [x])
    const [values, slopes] = await evaluate(y, dx!)
    const h = 1e-6
    at.forEach((point, i) => {
      expect(values![i], `value at ${point}`).toBeCloseTo(formula(point), 5)
      const slope = (formula(point + h) - formula(point - h)) / (2 * h)
      expect(slopes![i]! / Math.max(1, Math.abs(slope)), `slope at ${point}`).toBeCloseTo(
        slope / Math.max(1, Math.abs(slope)),
        5,
      )
    })
  })
})

async function slopesAt(build: (x: Value) => Value, ...elements: readonly number[]): Promise<number[]> {
  const x = vector('x', ...elements)
  const y = build(x)
  const [dx] = gradients([[y, onesLike(y)]], [x])
  return (await evaluate(dx!))[0]!
}

describe('derivatives at kinks > equal those of PyTorch', () => {
  it.each<[string, (x: Value) => Value, number[], number[]]>([
    ['Relu', (x) => op.Relu(x), [0, -0], [0, 0]],
    ['LeakyRelu', (x) => op.LeakyRelu(x, { alpha: 0.25 }), [0], [0.25]],
    ['PRelu', (x) => op.PRelu(x, vector('slope', 0.25)), [0], [0.25]],
    ['Abs', (x) => op.Abs(x), [0], [0]],
    ['Clip', (x) => op.Clip(x, -1, 1), [-1, 1, 1.5], [1, 1, 0]],
    ['Clip with max below min', (x) => op.Clip(x, vector('min', 0.8), vector('max', -0.75)), [-0.75], [0]],
    ['HardSigmoid', (x) => op.HardSigmoid(x, { alpha: 0.25, beta: 0.5 }), [-2, 2], [0, 0]],
    ['HardSwish', (x) => op.HardSwish(x), [-3, 3.5], [0, 1]],
    ['ThresholdedRelu', (x) => op.ThresholdedRelu(x, { alpha: 1 }), [1], [0]],
    ['Elu', (x) => op.Elu(x, { alpha: 2 }), [0], [2]],
    ['Max with itself', (x) => op.Max([x, x]), [0.5], [1]],
    ['Max with a number it equals', (x) => op.Max([x, 0]), [0], [1]],
    ['Min of a number it equals', (x) => op.Min([vector('zero', 0), x]), [0], [0]],
    ['ReduceMax', (x) => op.ReduceMax(x, { keepdims: 0 }), [2, 1, 2], [0.5, 0, 0.5]],
    ['ReduceL2 of zeros', (x) => op.ReduceL2(x), [0, 0], [0, 0]],
    ['ReduceProd with a zero', (x) => op.ReduceProd(x), [0, 3, 2], [6, 0, 0]],
    ['ReduceProd with two zeros', (x) => op.ReduceProd(x), [0, 3, 0], [0, 0, 0]],
    ['ReduceLogSumExp of minus infinities', (x) => op.ReduceLogSumExp(x), [-Infinity, -Infinity], [0, 0]],
    ['Sqrt of Relu', (x) => op.Sqrt(op.Relu(x)), [-1, 0, 4], [0, 0, 0.25]],
    ['Pow of Relu', (x) => op.Pow(op.Relu(x), 0.75), [-1, 0, 16], [0, 0, 0.375]],
    ['Sqrt of Clip', (x) => op.Sqrt(op.Clip(x, 0)), [-1, 4], [0, 0.25]],
    ['Sqrt of Max', (x) => op.Sqrt(op.Max([vector('zeros', 0, 0), x])), [-1, 4], [0, 0.25]],
    ['Acos of Clip', (x) => op.Acos(op.Clip(x, -1, 1)), [-2, 0, 2], [0, -1, 0]],
    ['Pow, exponent 0 at base 0', (x) => op.Pow(x, 0), [0], [0]],
    ['Pow, exponents of run time', (x) => op.Pow(x, vector('c', 0, 1, 2, 3)), [0, 0, 0, -2], [0, 1, 0, 12]],
    ['Pow, as the exponent', (c) => op.Pow(vector('x', 0, -2, 0, 1), c), [2, 3, 0, 5], [0, 0, 0, 0]],
  ])('%s', async (_, build, at, slopes) => {
    const got = await slopesAt(build, ...at)
    for (const [i, slope] of slopes.entries()) expect(got[i], `at ${at[i]}`).toBeCloseTo(slope, 5)
  })
})

describe('Dropout in training mode', () => {
  const ones = Array<number>(64).fill(1)
  const yes = constant(tensorFrom('bool', [], [1]))
  const decidedLater = op.Squeeze(op.Greater(vector('t', 1), 0), [0])

  it.each<[string, (x: Value) => Value, number]>([
    ['with a ratio', (x) => op.Dropout(x, 0.25, yes)[0], 4 / 3],
    ['without a ratio', (x) => op.Dropout(x, null, yes)[0], 2],
    ['when an input says so', (x) => op.Dropout(x, 0.25, decidedLater)[0], 4 / 3],
  ])('%s passes gradients where it passed elements', async (_, build, scale) => {
    const x = vector('x', ...ones)
    const y = build(x)
    const [dx] = gradients([[y, onesLike(y)]], [x])
    const [passed, slopes] = await evaluate(y, dx!)
    expect(slopes).toEqual(passed)
    expect([...new Set(slopes)].map((slope) => slope.toFixed(4)).toSorted()).toEqual(['0.0000', scale.toFixed(4)])
  })
})
