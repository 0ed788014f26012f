import type { Formula, Op } from '../expr.js'
import { type FormulaValue, linearize } from '../program.js'
import {
  type Bytes,
  block,
  code,
  type Func,
  get,
  type Instruction,
  i32,
  memory,
  repeatWhile,
  set,
  tee,
  type ValueType,
} from './assembler.js'

/** Byte offsets of a formula's scalars, arrays and sums in memory. */
export interface MemoryLayout {
  /** Scalars are in the precision of the vectors, like the arrays. */
  readonly scalars: Readonly<Record<string, number>>
  readonly arrays: Readonly<Record<string, number>>
  /** Names of the arrays of bytes. */
  readonly bytes: ReadonlySet<string>
  /** Sums of squares are float64. */
  readonly squares: Readonly<Record<string, number>>
}

/** Index of the function's first parameter, the number of elements; the addresses of the arrays follow. */
const countLocal = 0

/** Indices of the function's locals, after its parameters. */
interface Locals {
  readonly types: readonly ValueType[]
  /** Positions in the arrays: the current one, the end, and the end of the whole vectors. */
  readonly at: number
  readonly end: number
  readonly whole: number
  /** The vector of every value. */
  readonly values: readonly number[]
  /** The lanes before the end. */
  readonly inside: number
  readonly sums: readonly Sum[]
}

function allocateLocals(arrayCount: number, valueCount: number, sumCount: number): Locals {
  const types: ValueType[] = ['i32', 'i32', 'i32']
  const [at, end, whole] = [1, 2, 3].map((i) => arrayCount + i) as [number, number, number]
  const vector = (): number => arrayCount + types.push('v128')
  const values = Array.from({ length: valueCount }, vector)
  const inside = vector()
  const sums = Array.from({ length: sumCount }, () => ({ low: vector(), high: vector(), wide: vector() }))
  return { types, at, end, whole, values, inside, sums }
}

/** A sum of squares: the local of the number, the locals of the sum, and its place in memory. */
interface SquareSum {
  readonly x: number
  readonly sum: Sum
  readonly place: number
}

/**
 * Emits a function of the number of elements, at least 1, and of the addresses of the arrays, that computes a formula
 * on a chunk, a vector at a time. Arrays have room for whole vectors; values past the count are undefined, and sums
 * exclude them.
 */
export function emitFormula(formula: Formula, places: MemoryLayout, vector: Vector): Func {
  const { values, uniform, outputs, squares } = linearize(formula)
  const names = Object.keys(places.arrays)
  const locals = allocateLocals(names.length, values.length, Object.keys(squares).length)
  const own = locals.values
  const bits = Math.log2(vector.width)
  const addressOf = (name: string): Bytes => [
    ...[...get(1 + names.indexOf(name)), ...get(locals.at)],
    ...(places.bytes.has(name) ? [...i32(bits), ...code('i32.shr_u')] : []),
    ...code('i32.add'),
  ]
  const codeOf = (value: FormulaValue): number[] => {
    if (value.kind === 'scalar') return [...i32(0), ...memory(vector.splatFrom, places.scalars[value.name]!)]
    if (value.kind === 'constant') return splat(value.value, vector)
    if (value.kind === 'call')
      return applyOp(
        value.op,
        value.operands.map((i) => get(own[i]!)),
        vector,
      )
    if (places.bytes.has(value.name)) return loadBytes(addressOf(value.name), vector)
    return [...addressOf(value.name), ...memory('v128.load', 0)]
  }
  const computed = (wanted: boolean) =>
    values.flatMap((value, i) => (uniform[i] === wanted ? [...codeOf(value), ...set(own[i]!)] : []))
  const stored = Object.entries(outputs).flatMap(([name, i]) => {
    if (places.bytes.has(name)) return storeBytes(addressOf(name), get(own[i]!), vector)
    return [...addressOf(name), ...get(own[i]!), ...memory('v128.store', 0)]
  })
  const sums = Object.entries(squares).map(
    ([name, i], k): SquareSum => ({ x: own[i]!, sum: locals.sums[k]!, place: places.squares[name]! }),
  )
  return {
    name: 'run',
    parameters: ['i32', ...names.map(() => 'i32' as const)],
    locals: locals.types,
    body: [
      ...[...get(countLocal), ...i32(bits), ...code('i32.shl'), ...set(locals.end)],
      ...computed(true),
      ...loopOver([...computed(false), ...stored], sums, locals, vector),
      ...sums.flatMap(storeSum),
    ],
  }
}

/** Runs `each` for every vector. With sums, whole vectors come first and the last numbers on their own. */
function loopOver(each: Bytes, sums: readonly SquareSum[], locals: Locals, vector: Vector): number[] {
  const { at, end, whole } = locals
  const next = [...get(at), ...i32(16), ...code('i32.add'), ...set(at)]
  const isBefore = (bound: number) => [...get(at), ...get(bound), ...code('i32.lt_s')]
  if (sums.length === 0) return repeatWhile(each, next, isBefore(end))
  const ifBefore = (bound: number, ...body: readonly Bytes[]) =>
    block(isBefore(bound), code('i32.eqz'), code('br_if', 0), ...body)
  const summed = sums.flatMap(({ x, sum }) => addSquares(x, sum, vector))
  return [
    ...[...get(end), ...i32(-16), ...code('i32.and'), ...set(whole)],
    ...ifBefore(whole, repeatWhile(each, summed, next, isBefore(whole))),
    ...ifBefore(end, each, clearPastEnd(sums, locals, vector), summed),
  ]
}

/** Sets numbers past the count to 0, so that sums do not contain them. */
const clearPastEnd = (sums: readonly SquareSum[], { at, inside }: Locals, { width, lanes }: Vector): number[] => [
  ...[...get(countLocal), ...get(at), ...i32(Math.log2(width)), ...code('i32.shr_u'), ...code('i32.sub')],
  ...code('i32x4.splat'),
  ...code('v128.const', ...lanes.flatMap((lane) => [lane, 0, 0, 0])),
  ...[...code('i32x4.gt_s'), ...set(inside)],
  ...sums.flatMap(({ x }) => [...get(x), ...get(inside), ...code('v128.and'), ...set(x)]),
]

/** Adds a sum to the number in memory. */
const storeSum = ({ sum, place }: SquareSum): number[] => [
  ...[...i32(0), ...i32(0), ...memory('f64.load', place)],
  ...[...totalOf(sum), ...code('f64.add'), ...memory('f64.store', place)],
]

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
function splat(x: number, { width }: Vector): number[] {
  const view = new DataView(new ArrayBuffer(16))
  for (let at = 0; at < 16; at += width)
    if (width === 4) view.setFloat32(at, x, true)
    else view.setFloat64(at, x, true)
  return code('v128.const', ...new Uint8Array(view.buffer))
}

/** Applies an operation to vectors. */
function applyOp(op: Op, operands: readonly Bytes[], vector: Vector): number[] {
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
const loadBytes = (address: Bytes, { fromWords }: Vector): number[] => [
  ...[...address, ...memory('v128.load32_zero', 0)],
  ...[...code('i16x8.extend_low_i8x16_u'), ...code('i32x4.extend_low_i16x8_u'), ...code(fromWords)],
]

/**
 * Stores numbers as bytes. Only the lanes of the first operand of both narrowings are stored; the second is arbitrary.
 */
const storeBytes = (address: Bytes, x: Bytes, { toWords, storeBytes }: Vector): number[] => [
  ...address,
  ...[...x, ...code(toWords), ...x, ...code('i16x8.narrow_i32x4_s')],
  ...[...x, ...code('i8x16.narrow_i16x8_u'), ...memory(storeBytes, 0, 0)],
]

/** Locals of a sum in double precision: two partial sums and a temporary. */
interface Sum {
  readonly low: number
  readonly high: number
  readonly wide: number
}

/** Adds the squares of the numbers in the local `x`. */
const addSquares = (x: number, { low, high, wide }: Sum, { type }: Vector): number[] => {
  if (type === 'f64x2') return addProduct(low, get(x), get(x))
  const square = (sum: number, of: Bytes) =>
    addProduct(sum, [...of, ...code('f64x2.promote_low_f32x4'), ...tee(wide)], get(wide))
  return [...square(low, get(x)), ...square(high, upperHalf(x))]
}

const addProduct = (sum: number, a: Bytes, b: Bytes): number[] => [
  ...[...get(sum), ...a, ...b],
  ...[...code('f64x2.mul'), ...code('f64x2.add'), ...set(sum)],
]

/** Reduces a sum to one f64. */
const totalOf = ({ low, high }: Sum): number[] => [
  ...[...get(low), ...get(high), ...code('f64x2.add'), ...tee(low), ...code('f64x2.extract_lane', 0)],
  ...[...get(low), ...code('f64x2.extract_lane', 1), ...code('f64.add')],
]

const upperHalf = (x: number): number[] => [
  ...[...get(x), ...get(x)],
  ...code('i8x16.shuffle', ...[8, 9, 10, 11, 12, 13, 14, 15], ...[8, 9, 10, 11, 12, 13, 14, 15]),
]
