import { dtypeOf } from '../ir/dtype.js'
import { constantNumber } from '../ir/leaf.js'
import type { Node, Value } from '../ir/value.js'
import { elementType, literal, unsupported } from './types.js'

/** WGSL of one element of an operator's result from those of its operands. */
export type Pointwise = (operands: readonly string[], node: Node) => string

interface PointwiseOperator {
  /** About the number of arithmetic operations. */
  readonly cost: number
  readonly write: Pointwise
}

const arithmetic = (cost: number, write: Pointwise): PointwiseOperator => ({ cost, write })
const infix = (symbol: string) => arithmetic(1, ([a, b]) => `(${a} ${symbol} ${b})`)
const call = (name: string, cost = 1) => arithmetic(cost, (operands) => `${name}(${operands.join(', ')})`)
const chain = (write: (a: string, b: string) => string) => arithmetic(1, (operands) => operands.reduce(write))
const onFloats = ({ cost, write }: PointwiseOperator) =>
  arithmetic(cost, (operands, node) => {
    if (elementType(node.inputs[0]!) !== 'f32') throw unsupported(`${node.operator} of integers`)
    return write(operands, node)
  })
const ofFloats = (cost: number, write: (x: string, node: Node) => string) =>
  onFloats(arithmetic(cost, ([x], node) => write(x!, node)))
const attribute = ({ attributes }: Node, name: string) => literal('f32', attributes[name]! as number)

/** x to a power; WGSL has none of negative numbers. */
function power([x, y]: readonly string[], { inputs: [base, exponent] }: Node): string {
  if (elementType(base!) !== 'f32') throw unsupported('Pow of integers')
  const known = constantNumber(exponent)
  if (known === 2) return `(${x} * ${x})`
  if (known === 3) return `(${x} * ${x} * ${x})`
  if (known === 1) return x!
  if (known === 0.5) return `sqrt(${x})`
  return `power(${x}, f32(${y}))`
}

function cast([x]: readonly string[], node: Node): string {
  const from = elementType(node.inputs[0]!)
  const to = elementType({ dtype: dtypeOf(node.attributes['to'] as number)! })
  if (from === to) return x!
  if (to === 'bool') return `(${x} != ${literal(from, 0)})`
  return `${to}(${x})`
}

/** Bits of the infinite numbers. */
const [INFINITE, NEGATIVE_INFINITE] = ['0x7f800000u', '0xff800000u']

/** Operators whose result has one element per element of the operands, after broadcasting. */
export const pointwise: Readonly<Record<string, PointwiseOperator>> = {
  Add: infix('+'),
  Sub: infix('-'),
  Mul: infix('*'),
  Div: infix('/'),
  Pow: arithmetic(4, power),
  Min: chain((a, b) => `min(${a}, ${b})`),
  Max: chain((a, b) => `max(${a}, ${b})`),
  Sum: chain((a, b) => `(${a} + ${b})`),
  Neg: arithmetic(1, ([x]) => `(-${x})`),
  Abs: call('abs'),
  Sign: call('sign'),
  Exp: onFloats(call('exp', 4)),
  Log: ofFloats(4, (x) => `defined(log(${x}), ${x} >= 0f)`),
  Sqrt: onFloats(call('sqrt', 2)),
  Sin: onFloats(call('sin', 4)),
  Cos: onFloats(call('cos', 4)),
  ...Object.fromEntries(
    ['Tan', 'Asin', 'Acos', 'Atan', 'Sinh', 'Cosh', 'Asinh'].map((name) => [
      name,
      onFloats(call(name.toLowerCase(), 6)),
    ]),
  ),
  Acosh: ofFloats(6, (x) => `defined(acosh(${x}), ${x} >= 1f)`),
  Atanh: ofFloats(6, (x) => `defined(atanh(${x}), abs(${x}) <= 1f)`),
  Floor: onFloats(call('floor')),
  Ceil: onFloats(call('ceil')),
  Round: onFloats(call('round')),
  Reciprocal: ofFloats(1, (x) => `(1f / ${x})`),
  Relu: ofFloats(1, (x) => `max(${x}, 0f)`),
  LeakyRelu: ofFloats(1, (x, node) => `select(${x}, ${attribute(node, 'alpha')} * ${x}, ${x} < 0f)`),
  Elu: ofFloats(4, (x, node) => `select(${x}, ${attribute(node, 'alpha')} * (exp(${x}) - 1f), ${x} < 0f)`),
  // Beyond 15 the result is 1, but e^x may overflow.
  Tanh: ofFloats(6, (x) => `tanh(clamp(${x}, -15f, 15f))`),
  Sigmoid: ofFloats(4, (x) => `(1f / (1f + exp(-max(${x}, -80f))))`),
  HardSigmoid: ofFloats(
    2,
    (x, node) => `clamp(${attribute(node, 'alpha')} * ${x} + ${attribute(node, 'beta')}, 0f, 1f)`,
  ),
  Softplus: ofFloats(6, (x) => `(max(${x}, 0f) + log(1f + exp(-abs(${x}))))`),
  Erf: ofFloats(6, (x) => `errorFunction(${x})`),
  // By bits: a shader may assume that there is no NaN or infinity.
  IsNaN: ofFloats(1, (x) => `((bitcast<u32>(${x}) & 0x7fffffffu) > 0x7f800000u)`),
  IsInf: ofFloats(1, (x, { attributes }) => {
    const found = [
      attributes['detect_positive'] ? INFINITE : '',
      attributes['detect_negative'] ? NEGATIVE_INFINITE : '',
    ]
    const conditions = found.flatMap((bits) => (bits ? [`bitcast<u32>(${x}) == ${bits}`] : []))
    return conditions.length > 0 ? `(${conditions.join(' || ')})` : 'false'
  }),
  BitwiseAnd: infix('&'),
  BitwiseOr: infix('|'),
  BitwiseXor: infix('^'),
  BitwiseNot: arithmetic(1, ([x]) => `(~${x})`),
  BitCast: arithmetic(1, ([x], { outputs: [y] }) => `bitcast<${elementType(y!)}>(${x})`),
  Equal: infix('=='),
  Greater: infix('>'),
  GreaterOrEqual: infix('>='),
  Less: infix('<'),
  LessOrEqual: infix('<='),
  And: infix('&&'),
  Or: infix('||'),
  Xor: infix('!='),
  Not: arithmetic(1, ([x]) => `(!${x})`),
  Where: arithmetic(1, ([condition, x, y]) => `select(${y}, ${x}, ${condition})`),
  Cast: arithmetic(1, cast),
}

/** WGSL functions that the operators call, each with its name. */
export const functions: Readonly<Record<string, string>> = {
  // A number, or NaN where it is not defined; a GPU may compute any number there. The bits of NaN must not be constant.
  defined: `fn defined(x: f32, isDefined: bool) -> f32 {
  return select(bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u), x, isDefined);
}`,
  power: `fn power(x: f32, y: f32) -> f32 {
  if (y == 0f) { return 1f; }
  if (x < 0f && y != floor(y)) { return bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u); }
  let size = pow(abs(x), y);
  return select(size, -size, x < 0f && abs(y % 2f) == 1f);
}`,
  // Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: the error is at most 1.5e-7.
  errorFunction: `fn errorFunction(x: f32) -> f32 {
  let t = 1f / (1f + 0.3275911f * abs(x));
  let p = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
  return sign(x) * (1f - p * exp(-x * x));
}`,
}

/** Whether an operator is computed in place: one element of the result needs one element of each operand. */
export const isPointwise = ({ operator, domain }: Node): boolean => domain === '' && Object.hasOwn(pointwise, operator)

/** The operands of a node that must not be absent. */
export const operandsOf = ({ inputs }: Node): readonly Value[] => inputs.filter((value) => value !== null)
