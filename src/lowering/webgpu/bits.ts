import type { DType } from '../../ir/dtype.js'
import { constant, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import type { elementwise } from '../../op/definitions/elementwise.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/** Types whose bits int32 holds, and to which WebGPU casts it. */
const held: ReadonlySet<DType> = new Set(['int32', 'uint32', 'uint8'])

/** The int32 with no bit but the sign. */
const signBit = -(2 ** 31)

const list = (values: readonly number[]): Value => constant(tensorFrom('int32', [values.length], values))
const powers = Array.from({ length: 31 }, (_, i) => 2 ** i)
/** 2^0 ... 2^30, the weights of all bits but the sign. */
const weights = list(powers)
/** 2^0 ... 2^31, the last one modulo 2^32. */
const shifts = list([...powers, signBit])

const isNegative = (x: Value): Value => op.Less(x, 0)
/** x without its sign bit. */
const withoutSign = (x: Value): Value => op.Where(isNegative(x), op.Sub(x, signBit), x)

/** The bits of int32 numbers but the sign, as 0 and 1 along a new last axis. */
function splitBits(x: Value): Value {
  const shifted = op.Div(op.Unsqueeze(withoutSign(x), [-1]), weights)
  return op.Sub(shifted, op.Mul(op.Div(shifted, 2), 2))
}

type Combine = (a: Value, b: Value) => Value

/** Combines numbers bit by bit: `bits` combines 0 and 1 as int32, `signs` combines booleans. */
const bitwise =
  (bits: Combine, signs: Combine) =>
  ([a, b]: readonly [Value, Value]): Value | null => {
    if (!held.has(a.dtype)) return null
    const [x, y] = [cast(a, 'int32'), cast(b, 'int32')]
    const sum = op.ReduceSum(op.Mul(bits(splitBits(x), splitBits(y)), weights), [-1], { keepdims: 0 })
    return cast(op.Where(signs(isNegative(x), isNegative(y)), op.Add(sum, signBit), sum), a.dtype)
  }

/** x 2^count, modulo the range of its type. */
function shiftLeft(x: Value, count: Value, dtype: DType): Value {
  const product = op.Mul(x, op.Gather(shifts, count))
  return dtype === 'uint8' ? op.Sub(product, op.Mul(op.Div(product, 256), 256)) : product
}

/** floor(x / 2^count) of an unsigned number: the sign of the int32 that holds it is its highest bit. */
function shiftRight(x: Value, count: Value): Value {
  const highest = op.Where(isNegative(x), op.Gather(shifts, op.Sub(31, count)), 0)
  return op.Add(op.Div(withoutSign(x), op.Gather(shifts, count)), highest)
}

export const bitLowerings = {
  BitwiseAnd: bitwise(
    (a, b) => op.Mul(a, b),
    (a, b) => op.And(a, b),
  ),
  BitwiseOr: bitwise(
    (a, b) => op.Max([a, b]),
    (a, b) => op.Or(a, b),
  ),
  BitwiseXor: bitwise(
    (a, b) => op.Sub(op.Max([a, b]), op.Mul(a, b)),
    (a, b) => op.Xor(a, b),
  ),
  BitwiseNot: ([x]) => {
    if (!held.has(x.dtype)) return null
    return cast(op.Sub(x.dtype === 'uint8' ? 255 : -1, cast(x, 'int32')), x.dtype)
  },
  BitShift: ([x, y], { direction }) => {
    if (!held.has(x.dtype)) return null
    const [bits, count] = [cast(x, 'int32'), cast(y, 'int32')]
    return cast(direction === 'LEFT' ? shiftLeft(bits, count, x.dtype) : shiftRight(bits, count), x.dtype)
  },
} satisfies Lowerings<typeof elementwise>
