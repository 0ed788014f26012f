import type { Op } from '../expr.js'
import { type Bytes, code, get, type Instruction, memory, set, tee } from './assembler.js'

/** Instructions for vectors of 16 bytes in one precision. */
export interface Vector {
  readonly type: 'f32x4' | 'f64x2'
  /** Bytes of one number. */
  readonly width: 4 | 8
  /** Loads one number from memory into all lanes. */
  readonly splatFrom: Instruction
  /** Index of the number that each 32-bit lane belongs to. */
  readonly lanes: readonly number[]
  readonly fromWords: Instruction
  readonly toWords: Instruction
  /** Stores one byte per number of a vector. */
  readonly storeBytes: Instruction
}

export const single: Vector = {
  type: 'f32x4',
  width: 4,
  splatFrom: 'v128.load32_splat',
  lanes: [0, 1, 2, 3],
  fromWords: 'f32x4.convert_i32x4_s',
  toWords: 'i32x4.trunc_sat_f32x4_s',
  storeBytes: 'v128.store32_lane',
}

export const double: Vector = {
  type: 'f64x2',
  width: 8,
  splatFrom: 'v128.load64_splat',
  lanes: [0, 0, 1, 1],
  fromWords: 'f64x2.convert_low_i32x4_s',
  toWords: 'i32x4.trunc_sat_f64x2_s_zero',
  storeBytes: 'v128.store16_lane',
}

/** A vector with `x` in all lanes. */
export function splat(x: number, { width }: Vector): number[] {
  const view = new DataView(new ArrayBuffer(16))
  for (let at = 0; at < 16; at += width)
    if (width === 4) view.setFloat32(at, x, true)
    else view.setFloat64(at, x, true)
  return code('v128.const', ...new Uint8Array(view.buffer))
}

/** Applies an operation to vectors. */
export function applyOp(op: Op, operands: readonly Bytes[], vector: Vector): number[] {
  const { type } = vector
  // A true comparison has all bits set; a bitwise and with 1.0 gives 1.0.
  const oneWhere = (comparison: 'le' | 'lt' | 'gt', of: Bytes) => [
    ...of,
    ...code(`${type}.${comparison}`),
    ...splat(1, vector),
    ...code('v128.and'),
  ]
  const all = operands.flat()
  if (op === 'atMost') return oneWhere('le', all)
  if (op !== 'sign') return [...all, ...code(`${type}.${op}`)]
  const withZero = [...all, ...splat(0, vector)]
  return [...oneWhere('gt', withZero), ...oneWhere('lt', withZero), ...code(`${type}.sub`)]
}

/** Loads bytes at an address as numbers. */
export const loadBytes = (address: Bytes, offset: number, { fromWords }: Vector): number[] => [
  ...[...address, ...memory('v128.load32_zero', offset)],
  ...[...code('i16x8.extend_low_i8x16_u'), ...code('i32x4.extend_low_i16x8_u'), ...code(fromWords)],
]

/**
 * Stores numbers as bytes. Only the lanes of the first operand of both narrowings are stored; the second is arbitrary.
 */
export const storeBytes = (address: Bytes, x: Bytes, offset: number, { toWords, storeBytes }: Vector): number[] => [
  ...address,
  ...[...x, ...code(toWords), ...x, ...code('i16x8.narrow_i32x4_s')],
  ...[...x, ...code('i8x16.narrow_i16x8_u'), ...memory(storeBytes, offset, 0)],
]

/** Locals of a sum in double precision: two partial sums and a temporary. */
export interface Sum {
  readonly low: number
  readonly high: number
  readonly wide: number
}

/** Adds the squares of the numbers in the local `x`. */
export const addSquares = (x: number, { low, high, wide }: Sum, { type }: Vector): number[] => {
  if (type === 'f64x2') return addProduct(low, get(x), get(x))
  const square = (sum: number, of: Bytes) =>
    addProduct(sum, [...of, ...code('f64x2.promote_low_f32x4'), ...tee(wide)], get(wide))
  return [...square(low, get(x)), ...square(high, upperHalf(x))]
}

const addProduct = (sum: number, a: Bytes, b: Bytes): number[] => [
  ...[...get(sum), ...a, ...b],
  ...[...code('f64x2.mul'), ...code('f64x2.add'), ...set(sum)],
]

/** Adds numbers that are 0 or 1, in their own precision; `widenSum` converts the sum afterwards. */
export const addBooleans = (x: number, { low }: Sum, { type }: Vector): number[] => [
  ...[...get(low), ...get(x), ...code(`${type}.add`), ...set(low)],
]

/** Converts a sum of booleans to double precision. */
export const widenSum = ({ low, high }: Sum, { type }: Vector): number[] =>
  type === 'f64x2'
    ? []
    : [
        ...[...upperHalf(low), ...code('f64x2.promote_low_f32x4'), ...set(high)],
        ...[...get(low), ...code('f64x2.promote_low_f32x4'), ...set(low)],
      ]

/** Reduces a sum to one f64. */
export const totalOf = ({ low, high }: Sum): number[] => [
  ...[...get(low), ...get(high), ...code('f64x2.add'), ...tee(low), ...code('f64x2.extract_lane', 0)],
  ...[...get(low), ...code('f64x2.extract_lane', 1), ...code('f64.add')],
]

const upperHalf = (x: number): number[] => [
  ...[...get(x), ...get(x)],
  ...code('i8x16.shuffle', ...[8, 9, 10, 11, 12, 13, 14, 15], ...[8, 9, 10, 11, 12, 13, 14, 15]),
]
