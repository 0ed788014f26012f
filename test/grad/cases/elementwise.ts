import { int64s, scalar } from '../../../src/ir/leaf.js'
import type { elementwise } from '../../../src/op/definitions/elementwise.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const single = 'only a float32 kernel'

type Binary = 'Add' | 'Sub' | 'Mul' | 'Div'
const binary = (operator: Binary): Case[] =>
  [
    [shape(2, 3), shape(2, 3)],
    [shape(2, 3), shape()],
    [shape(3), shape(2, 1)],
    [shape(2, 1, 3), shape(4, 1)],
  ].map((operands) => ({
    name: `${operator} [${operands.map((operand) => operand.shape.join(', ')).join('] and [')}]`,
    operands,
    build: (a, b) => op[operator](a, b),
  }))

type Unary = 'Neg' | 'Abs' | 'Exp' | 'Sin' | 'Cos' | 'Tanh' | 'Reciprocal' | 'Identity'
const unary = (operator: Unary | 'Sqrt' | 'Log', range?: Operand['range']): Case[] => [
  { name: operator, operands: [range ? { shape: [2, 3], range } : shape(2, 3)], build: (x) => op[operator](x) },
  {
    name: `${operator} of a scalar`,
    operands: [range ? { shape: [], range } : shape()],
    build: (x) => op[operator](x),
  },
]

type Single = 'Tan' | 'Asin' | 'Acos' | 'Atan' | 'Sinh' | 'Cosh' | 'Asinh' | 'Acosh' | 'Atanh' | 'Erf'
const singles = (operator: Single, low: number, high: number): Case[] => [
  { name: operator, operands: [{ shape: [2, 3], range: [low, high] }], build: (x) => op[operator](x), float32: single },
]

const power = (c: number, range?: Operand['range']): Case => ({
  name: `Pow with exponent ${c}`,
  operands: [range ? { shape: [2, 3], range } : shape(2, 3)],
  build: (x) => op.Pow(x, c),
})
const positive: Operand['range'] = [0.4, 1.6]

type Extremum = 'Min' | 'Max'
const extrema = (operator: Extremum): Case[] => [
  { name: `${operator} of one`, operands: [shape(3)], build: (x) => op[operator]([x]) },
  { name: `${operator} of two`, operands: [shape(2, 3), shape(2, 3)], build: (a, b) => op[operator]([a, b]) },
  { name: `${operator} with a number`, operands: [shape(2, 3)], build: (x) => op[operator]([x, 0.1]) },
  {
    name: `${operator} of three, broadcast`,
    operands: [shape(2, 3), { shape: [3], range: [-0.2, 0.2] }, shape(2, 1)],
    build: (a, b, c) => op[operator]([a, b, c]),
  },
  {
    name: `${operator} where operands tie`,
    operands: [shape(4), shape(4)],
    build: (a, b) => op[operator]([a, a, b, a]),
  },
]

export const elementwiseCases = {
  Add: binary('Add'),
  Sub: binary('Sub'),
  Mul: binary('Mul'),
  Div: binary('Div'),
  Mod: [
    {
      name: 'fmod with both signs',
      operands: [
        { shape: [4], values: [3.7, -3.7, 1.3, -0.4] },
        { shape: [4], values: [1.5, 1.5, -0.5, 2.1] },
      ],
      build: (a, b) => op.Mod(a, b, { fmod: 1 }),
    },
  ],
  Pow: [
    ...[2, 3, 1, 0, -1, -2].map((c) => power(c)),
    ...[0.5, -0.5, 1.7].map((c) => power(c, positive)),
    {
      name: 'Pow with an exponent per channel',
      operands: [{ shape: [2, 3], range: positive }, shape(3)],
      build: (x, c) => op.Pow(x, c),
    },
    {
      name: 'Pow with an exponent per row of 4',
      operands: [{ shape: [2, 4], range: positive }, shape(2, 1)],
      build: (x, c) => op.Pow(x, c),
    },
    {
      name: 'Pow of a negative base with whole exponents, 0 among them',
      operands: [shape(5), { shape: [5], values: [2, 3, 0, 1, -1], fixed: true }],
      build: (x, c) => op.Pow(x, c),
    },
    { name: 'Pow with an int64 exponent', operands: [shape(2)], build: (x) => op.Pow(x, int64s([2, 3])) },
    { name: 'Pow of a constant', operands: [shape(2, 3)], build: (c) => op.Pow(scalar(c.dtype, 1.3), c) },
    {
      name: 'Pow at base 0, where the exponent moves nothing',
      operands: [
        { shape: [2], values: [0, 0], fixed: true },
        { shape: [2], values: [1, 2.5] },
      ],
      build: (x, c) => op.Pow(x, c),
    },
  ],
  Neg: unary('Neg'),
  Abs: unary('Abs'),
  Sqrt: unary('Sqrt', positive),
  Reciprocal: unary('Reciprocal'),
  Exp: unary('Exp'),
  Log: unary('Log', positive),
  Sin: unary('Sin'),
  Cos: unary('Cos'),
  Tan: singles('Tan', -1, 1),
  Asin: singles('Asin', -0.7, 0.7),
  Acos: singles('Acos', -0.7, 0.7),
  Atan: singles('Atan', -1.5, 1.5),
  Sinh: singles('Sinh', -1, 1),
  Cosh: singles('Cosh', -1, 1),
  Tanh: unary('Tanh'),
  Asinh: singles('Asinh', -1, 1),
  Acosh: singles('Acosh', 1.5, 2.5),
  Atanh: singles('Atanh', -0.6, 0.6),
  Erf: singles('Erf', -1, 1),
  Min: extrema('Min'),
  Max: extrema('Max'),
  Sum: [
    { name: 'Sum of one', operands: [shape(3)], build: (x) => op.Sum([x]) },
    {
      name: 'Sum of three, broadcast',
      operands: [shape(2, 3), shape(3), shape(2, 1)],
      build: (...xs) => op.Sum(xs),
    },
  ],
  Mean: [
    {
      name: 'Mean of three, broadcast',
      operands: [shape(2, 3), shape(3), shape(2, 1)],
      build: (...xs) => op.Mean(xs),
      float32: single,
    },
  ],
  Clip: [
    { name: 'Clip to numbers', operands: [shape(3, 4)], build: (x) => op.Clip(x, -0.9, 0.9) },
    { name: 'Clip from below', operands: [shape(3, 4)], build: (x) => op.Clip(x, 0.1) },
    { name: 'Clip from above', operands: [shape(3, 4)], build: (x) => op.Clip(x, null, 0.1) },
    { name: 'Clip without bounds', operands: [shape(3, 4)], build: (x) => op.Clip(x) },
    {
      name: 'Clip to bounds that vary',
      operands: [shape(3, 4), { shape: [], values: [-0.8] }, { shape: [], values: [0.7] }],
      build: (x, min, max) => op.Clip(x, min, max),
    },
    {
      name: 'Clip with max below min',
      operands: [
        { shape: [5], values: [-2, -0.3, 0.1, 0.4, 2] },
        { shape: [], values: [0.8] },
        { shape: [], values: [-0.7] },
      ],
      build: (x, min, max) => op.Clip(x, min, max),
    },
  ],
  Where: [
    {
      name: 'Where, broadcast three ways',
      operands: [{ shape: [2, 1], dtype: 'bool', values: [1, 0] }, shape(3), shape(2, 3)],
      build: (condition, x, y) => op.Where(condition, x, y),
    },
    {
      name: 'Where with a number',
      operands: [{ shape: [3], dtype: 'bool', values: [1, 0, 1] }, shape(2, 3)],
      build: (condition, x) => op.Where(condition, x, -1),
    },
  ],
  Identity: unary('Identity'),
  Cast: [
    {
      name: 'Cast to float64 and back',
      operands: [shape(2, 3)],
      build: (x) => op.Cast(op.Cast(x, { to: 11 }), { to: 1 }),
      float32: 'another type than float64 has to be met',
      linear: true,
    },
  ],
  CastLike: [
    {
      name: 'CastLike float64 and back',
      operands: [shape(2, 3)],
      build: (x) => op.CastLike(op.CastLike(x, scalar('float64', 0)), x),
      float32: 'another type than float64 has to be met',
      linear: true,
    },
  ],
} satisfies Cases<typeof elementwise>
