import { type DType, dtypeOf, dtypes } from '../../ir/dtype.js'
import { addDims, broadcastShapes, type Dim, formatShape, mulDims, subDims, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { roundHalfToEven } from '../../util/round.js'
import { castElements, elementwiseContents, exactly, onNumbers, quotient, remainder, rounding } from '../contents.js'
import { define, elementType, type Facts, int, string, zero } from '../define.js'
import { noFlops, perOutput, size } from '../flops.js'

/** The result of operands that must agree in type and broadcast in shape. */
export function broadcastType(operands: readonly Value[]): TensorType {
  const [first] = operands
  if (first === undefined) throw new OnnxIreError('invalid-model', 'needs at least one operand')
  const other = operands.find((operand) => operand.dtype !== first.dtype)
  if (other) throw new OnnxIreError('invalid-shape', `operand types differ: ${first.dtype} and ${other.dtype}`)
  return { dtype: first.dtype, shape: broadcastShapes(operands.map((operand) => operand.shape)) }
}

/** The element type with this ONNX number. Throws `unsupported-operator` for one this library does not carry. */
export function carriedType(onnx: number): DType {
  const dtype = dtypeOf(onnx)
  if (!dtype) throw new OnnxIreError('unsupported-operator', `element type number ${onnx} is not supported`)
  return dtype
}

/** Arithmetic took 8- and 16-bit integers with version 14. */
const smallIntegers = { int8: 14, int16: 14, uint8: 14, uint16: 14 } as const

/** Facts of sums, differences, products and quotients, as which exporters also write biases and scales. */
const arithmetic = {
  vectorWeights: ['a', 'b'],
  layer: 'previous',
  elementwise: true,
  acceptsInt32: true,
  flops: perOutput(1),
} as const

const binary = (since: number, compute: (a: Dim, b: Dim) => Dim) =>
  define({
    inputs: ['a', 'b'],
    since,
    ...arithmetic,
    laterTypes: smallIntegers,
    broadcasts: true,
    infer: ({ inputs: [a, b] }) => broadcastType([a, b]),
    contents: ({ inputs: [a, b] }) => elementwiseContents([a, b], a.dtype, exactly(a.dtype, compute)),
  })

const bitwise = () =>
  define({
    inputs: ['a', 'b'],
    since: 18,
    broadcasts: true,
    gradient: zero('integers'),
    elementwise: true,
    acceptsInt32: true,
    flops: perOutput(1),
    infer: ({ inputs: [a, b] }) => broadcastType([a, b]),
  })

/** Any number of operands, combined two at a time; `finalOperations` follow per element. */
const variadic = (since: number, compute?: (dtype: DType) => (a: Dim, b: Dim) => Dim, finalOperations = 0) =>
  define({
    inputs: ['...xs'],
    since,
    broadcasts: true,
    elementwise: true,
    acceptsInt32: true,
    flops: (xs, [y]) => (xs.length - 1 + finalOperations) * size(y!),
    infer: ({ inputs }) => broadcastType(inputs),
    contents: ({ inputs }) => {
      const { dtype } = inputs[0]!
      const combine = compute?.(dtype)
      return combine && elementwiseContents(inputs, dtype, (...elements) => elements.reduce((a, b) => combine(a, b)))
    },
  })

const unary = (since: number, compute?: (x: Dim) => Dim, facts: Partial<Facts> = {}) =>
  define({
    inputs: ['x'],
    since,
    elementwise: true,
    acceptsInt32: true,
    ...facts,
    flops: perOutput(1),
    infer: ({ inputs: [x] }) => x,
    contents: ({ inputs: [x] }) => compute && elementwiseContents([x], x.dtype, exactly(x.dtype, compute)),
  })

const stepwise = (since: number, compute: (x: Dim) => Dim) =>
  define({
    inputs: ['x'],
    since,
    gradient: zero('piecewise constant'),
    elementwise: true,
    acceptsInt32: true,
    flops: perOutput(1),
    infer: ({ inputs: [x] }) => x,
    contents: ({ inputs: [x] }) => elementwiseContents([x], x.dtype, compute),
  })

const same = (a: Dim, b: Dim, compute: (a: number, b: number) => number): Dim =>
  a === b ? a : typeof a === 'number' && typeof b === 'number' ? compute(a, b) : unknownDim()

const extremum = (compute: (a: number, b: number) => number) => () => (a: Dim, b: Dim) => same(a, b, compute)

/** Attributes of casts to 8-bit floats, which are no type of this library. Operator set 24 added `round_mode`. */
const float8Casts = { round_mode: string('up'), saturate: int(1) }

const upTo21 = { maxOpset: { webgpu: 21 } }

export const elementwise = {
  Add: binary(7, addDims),
  Sub: binary(7, subDims),
  Mul: binary(7, mulDims),
  Div: define({
    inputs: ['a', 'b'],
    since: 7,
    laterTypes: smallIntegers,
    broadcasts: true,
    ...arithmetic,
    infer: ({ inputs: [a, b] }) => broadcastType([a, b]),
    contents: ({ inputs: [a, b] }) => elementwiseContents([a, b], a.dtype, exactly(a.dtype, quotient(a.dtype))),
  }),
  Mod: define({
    inputs: ['a', 'b'],
    attributes: { fmod: int(0) },
    since: 10,
    broadcasts: true,
    elementwise: true,
    acceptsInt32: true,
    flops: perOutput(1),
    infer: ({ inputs: [a, b] }) => broadcastType([a, b]),
    contents: ({ inputs: [a, b], attributes: { fmod } }) =>
      elementwiseContents([a, b], a.dtype, exactly(a.dtype, remainder(fmod))),
  }),
  Pow: define({
    inputs: ['x', 'exponent'],
    since: 12,
    broadcasts: true,
    elementwise: true,
    acceptsInt32: true,
    flops: perOutput(1),
    infer: ({ inputs: [x, exponent] }) => ({ dtype: x.dtype, shape: broadcastShapes([x.shape, exponent.shape]) }),
  }),
  Neg: unary(6, (x) => subDims(0, x)),
  Abs: unary(6, onNumbers(Math.abs)),
  Sqrt: unary(6),
  Reciprocal: unary(6),
  Exp: unary(6),
  Log: unary(6),
  Sin: unary(7, undefined, upTo21),
  Cos: unary(7, undefined, upTo21),
  Tan: unary(7, undefined, upTo21),
  Asin: unary(7, undefined, upTo21),
  Acos: unary(7, undefined, upTo21),
  Atan: unary(7, undefined, upTo21),
  Sinh: unary(9, undefined, upTo21),
  Cosh: unary(9, undefined, upTo21),
  Tanh: unary(6),
  Asinh: unary(9, undefined, upTo21),
  Acosh: unary(9, undefined, upTo21),
  Atanh: unary(9, undefined, upTo21),
  Erf: unary(9),
  Sign: stepwise(9, onNumbers(Math.sign)),
  Ceil: stepwise(6, rounding('ceil', Math.ceil)),
  Floor: stepwise(6, rounding('floor', Math.floor)),
  Round: stepwise(11, rounding('round', roundHalfToEven)),
  Min: variadic(12, extremum(Math.min)),
  Max: variadic(12, extremum(Math.max)),
  Sum: variadic(8, (dtype) => exactly(dtype, addDims)),
  Mean: variadic(8, undefined, 1),
  Clip: define({
    inputs: ['x', 'min?', 'max?'],
    since: 12,
    broadcasts: true,
    elementwise: true,
    acceptsInt32: true,
    flops: ([x, min, max]) => ((min ? 1 : 0) + (max ? 1 : 0)) * size(x),
    infer: ({ inputs: [x, min, max] }) => {
      for (const bound of [min, max]) {
        if (bound?.shape?.some((dim) => typeof dim === 'number' && dim !== 1)) {
          throw new OnnxIreError('invalid-shape', `bounds are scalars, not ${formatShape(bound.shape)}`)
        }
      }
      return x
    },
    contents: ({ inputs: [x, min, max] }) =>
      elementwiseContents([x, min ?? x, max ?? x], x.dtype, (x, low, high) => {
        const raised = min ? same(x, low, Math.max) : x
        return max ? same(raised, high, Math.min) : raised
      }),
  }),
  Where: define({
    inputs: ['condition', 'x', 'y'],
    since: 9,
    broadcasts: true,
    elementwise: true,
    acceptsInt32: true,
    flops: perOutput(1),
    infer: ({ inputs: [condition, x, y] }) => ({
      ...broadcastType([x, y]),
      shape: broadcastShapes([condition.shape, x.shape, y.shape]),
    }),
    contents: ({ inputs: [condition, x, y] }) =>
      elementwiseContents([condition, x, y], x.dtype, (condition, x, y) =>
        condition === 1 || x === y ? x : condition === 0 ? y : unknownDim(),
      ),
  }),
  Identity: define({
    inputs: ['x'],
    since: 1,
    view: 'same',
    elementwise: true,
    acceptsInt32: true,
    keepsClasses: true,
    flops: noFlops,
    infer: ({ inputs: [x] }) => x,
    contents: ({ inputs: [x] }) => x.contents,
  }),
  Cast: define({
    inputs: ['x'],
    attributes: { to: elementType.required, ...float8Casts },
    since: 19,
    view: 'rearranged',
    elementwise: true,
    acceptsInt32: true,
    keepsClasses: true,
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { to } }) => ({ dtype: carriedType(to), shape: x.shape }),
    contents: ({ inputs: [x], attributes: { to } }) => cast(x, carriedType(to)),
  }),
  CastLike: define({
    inputs: ['x', 'target'],
    attributes: float8Casts,
    since: 19,
    view: 'rearranged',
    elementwise: true,
    acceptsInt32: true,
    keepsClasses: true,
    flops: noFlops,
    infer: ({ inputs: [x, target] }) => ({ dtype: target.dtype, shape: x.shape }),
    contents: ({ inputs: [x, target] }) => cast(x, target.dtype),
  }),
  BitCast: define({
    inputs: ['x'],
    attributes: { to: elementType.required },
    since: 26,
    gradient: zero('the bits of its input, not its value'),
    elementwise: true,
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { to } }) => {
      const dtype = carriedType(to)
      if (dtypes[dtype].bits !== dtypes[x.dtype].bits)
        throw new OnnxIreError('invalid-shape', `${x.dtype} and ${dtype} differ in their number of bits`)
      return { dtype, shape: x.shape }
    },
  }),
  BitShift: define({
    inputs: ['x', 'y'],
    attributes: { direction: string.required },
    since: 11,
    broadcasts: true,
    gradient: zero('integers'),
    elementwise: true,
    flops: perOutput(1),
    infer: ({ inputs: [x, y] }) => broadcastType([x, y]),
  }),
  BitwiseAnd: bitwise(),
  BitwiseOr: bitwise(),
  BitwiseXor: bitwise(),
  BitwiseNot: define({
    inputs: ['x'],
    since: 18,
    gradient: zero('integers'),
    elementwise: true,
    acceptsInt32: true,
    flops: perOutput(1),
    infer: ({ inputs: [x] }) => x,
  }),
}

const cast = (x: Value, to: DType) =>
  x.dtype === 'string' || to === 'string' ? undefined : elementwiseContents([x], to, castElements(x.dtype, to))

const truth = zero('booleans')
type Test = (a: Dim, b: Dim) => Dim

const predicate = (since: number, test: Test) =>
  define({
    inputs: ['a', 'b'],
    since,
    broadcasts: true,
    gradient: truth,
    elementwise: true,
    acceptsInt32: true,
    flops: perOutput(1),
    infer: ({ inputs: [a, b] }) => {
      broadcastType([a, b])
      return { dtype: 'bool', shape: broadcastShapes([a.shape, b.shape]) }
    },
    contents: ({ inputs: [a, b] }) => elementwiseContents([a, b], 'bool', test),
  })

const comparison = (test: (a: number, b: number) => boolean) => onNumbers((a, b) => Number(test(a, b)))

/** Whether a symbol is a dim, which is not negative; differences and unknowns may be. */
const isLength = (dim: Dim): boolean => typeof dim === 'string' && !/[-?]/.test(dim)

function equal(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return Number(a === b)
  if (a === b) return 1
  const [number, symbol] = typeof a === 'number' ? [a, b] : [b, a]
  return typeof number === 'number' && number < 0 && isLength(symbol) ? 0 : unknownDim()
}

/** Comparisons and logic: operators with boolean results. */
export const logical = {
  Equal: predicate(11, equal),
  Greater: predicate(
    9,
    comparison((a, b) => a > b),
  ),
  GreaterOrEqual: predicate(
    12,
    comparison((a, b) => a >= b),
  ),
  Less: predicate(
    9,
    comparison((a, b) => a < b),
  ),
  LessOrEqual: predicate(
    12,
    comparison((a, b) => a <= b),
  ),
  And: predicate(7, (a, b) => (a === 0 || b === 0 ? 0 : a === 1 ? b : b === 1 ? a : unknownDim())),
  Or: predicate(7, (a, b) => (a === 1 || b === 1 ? 1 : a === 0 ? b : b === 0 ? a : unknownDim())),
  Xor: predicate(
    7,
    comparison((a, b) => a !== b),
  ),
  Not: define({
    inputs: ['x'],
    since: 1,
    gradient: truth,
    elementwise: true,
    flops: perOutput(1),
    infer: ({ inputs: [x] }) => x,
    contents: ({ inputs: [x] }) =>
      elementwiseContents(
        [x],
        'bool',
        onNumbers((x) => 1 - x),
      ),
  }),
  IsNaN: define({
    inputs: ['x'],
    since: 9,
    gradient: truth,
    elementwise: true,
    flops: perOutput(1),
    infer: ({ inputs: [x] }) => ({ dtype: 'bool', shape: x.shape }),
  }),
  IsInf: define({
    inputs: ['x'],
    attributes: { detect_negative: int(1), detect_positive: int(1) },
    since: 10,
    laterTypes: { float16: 20 },
    gradient: truth,
    elementwise: true,
    flops: perOutput(1),
    infer: ({ inputs: [x] }) => ({ dtype: 'bool', shape: x.shape }),
  }),
}
