import { type FloatArray, viewFloats } from '../../../ir/float-array.js'
import type { WasmMemory } from '../../../ir/wasm-memory.js'
import type { Formula, Op } from '../expr.js'
import { type FormulaValue, type Kernel, linearize } from '../program.js'
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
import { getSharedWasm, getWasm, kernelMemoryBytes } from './instance.js'

/** Elements per chunk: the chunks of five arrays fit the second-level cache. */
const maxChunkElements = 4096

/** Types of a kernel's arrays. */
export interface ArrayTypes {
  readonly precision: 'single' | 'double'
  /** Names of the arrays of bytes. */
  readonly bytes: ReadonlySet<string>
}

/**
 * Compiles a formula to a WebAssembly kernel that computes a vector at a time. Chunks of the arrays are copied to the
 * module's memory and back, except those of arrays that it contains. In double precision, float32 arrays are converted, and
 * results rounded once.
 * @param memory the memory that contains the arrays
 * @param outside names of the arrays that it does not contain
 * @returns null if WebAssembly is unavailable
 */
export function compileFormula(
  formula: Formula,
  { precision, bytes }: ArrayTypes,
  memory?: WasmMemory,
  outside: ReadonlySet<string> = new Set(),
): Kernel | null {
  const inPlace = memory && precision === 'single' ? getSharedWasm(memory) : null
  const host = inPlace ?? getWasm()
  if (!host) return null
  const vector = precision === 'single' ? single : double
  const { places, chunk } = layout(formula, bytes, vector, host.offset)
  const { run } = host.instantiate<{ run(...countAndPlaces: number[]): void }>([emitFormula(formula, places, vector)])
  const names = Object.keys(places.arrays)
  const widths = names.map((name) => (bytes.has(name) ? 1 : vector.width))
  const copied = [0, ...Object.values(places.arrays)]
  const direct = [...copied]
  const scalarNames = formula.scalars
  const scalarView = viewFloats(precision, host, scalarNames.length)
  const sums = Object.entries(places.squares).map(([name, at]) => [name, new Float64Array(host.buffer, at, 1)] as const)
  const view = (name: string) => {
    const offset = places.arrays[name]!
    const inside = bytes.has(name)
      ? new Uint8Array(host.buffer, offset, chunk)
      : viewFloats(precision, { buffer: host.buffer, offset }, chunk)
    return [name, inside] as const
  }
  const inputs = formula.arrays.map(view)
  const outputs = Object.keys(formula.outputs).map(view)
  const isOutside = ([name]: (typeof inputs)[number]) => outside.has(name)
  const [outsideInputs, outsideOutputs] = [inputs.filter(isOutside), outputs.filter(isOutside)]
  const within = names.flatMap((name, i) => (outside.has(name) ? [] : [i]))
  const leading = (formula.arrays[0] ?? outputs[0]?.[0])!

  return (arrays, scalars) => {
    const { length } = arrays[leading]!
    for (let i = 0; i < scalarNames.length; i++) scalarView[i] = scalars[scalarNames[i]!]!
    for (const [, sum] of sums) sum[0] = 0
    for (let from = 0; from < length; from += chunk) {
      const n = Math.min(chunk, length - from)
      // The rest of a vector at the end may belong to another array.
      const isDirect = inPlace !== null && (n * vector.width) % 16 === 0
      if (isDirect) for (const i of within) direct[i + 1] = arrays[names[i]!]!.byteOffset + from * widths[i]!
      const places = isDirect ? direct : copied
      places[0] = n
      for (const [name, inside] of isDirect ? outsideInputs : inputs) inside.set(viewOf(arrays[name]!, from, n))
      run(...places)
      for (const [name, inside] of isDirect ? outsideOutputs : outputs)
        arrays[name]!.set(n === chunk ? inside : viewOf(inside, 0, n), from)
    }
    const found: Record<string, number> = {}
    for (const [name, sum] of sums) found[name] = sum[0]!
    return found
  }
}

/** A view of some elements. Creating it from the buffer is faster than `subarray`. */
function viewOf(array: FloatArray | Uint8Array, from: number, n: number): FloatArray | Uint8Array {
  if (n === array.length) return array
  if (array instanceof Float32Array) return new Float32Array(array.buffer, array.byteOffset + 4 * from, n)
  return array.subarray(from, from + n)
}

/** Lays out the memory from an offset on: scalars, then sums, then a chunk of every array. */
function layout(formula: Formula, bytes: ReadonlySet<string>, { width }: Vector, offset: number) {
  const names = [...new Set([...formula.arrays, ...Object.keys(formula.outputs)])]
  const squares = Object.keys(formula.squares)
  const aligned = (at: number) => 16 * Math.ceil(at / 16)
  const sumsAt = aligned(offset + width * formula.scalars.length)
  const arraysAt = aligned(sumsAt + 8 * squares.length)
  const widthOf = (name: string) => (bytes.has(name) ? 1 : width)
  const perElement = names.reduce((sum, name) => sum + widthOf(name), 0)
  const chunk = Math.min(maxChunkElements, 16 * Math.floor((kernelMemoryBytes + offset - arraysAt) / perElement / 16))
  let at = arraysAt
  const arrays: Record<string, number> = {}
  for (const name of names) {
    arrays[name] = at
    at += chunk * widthOf(name)
  }
  const numbered = (list: readonly string[], from: number, width: number) =>
    Object.fromEntries(list.map((name, i) => [name, from + i * width]))
  const scalars = numbered(formula.scalars, offset, width)
  const places: MemoryLayout = { scalars, squares: numbered(squares, sumsAt, 8), arrays, bytes }
  return { places, chunk }
}

/** Byte offsets of a formula's scalars, arrays and sums in memory. */
interface MemoryLayout {
  /** Scalars are in the precision of the vectors, like the arrays. */
  readonly scalars: Readonly<Record<string, number>>
  readonly arrays: Readonly<Record<string, number>>
  /** Names of the arrays of bytes. */
  readonly bytes: ReadonlySet<string>
  /** Sums of squares are float64. */
  readonly squares: Readonly<Record<string, number>>
}

/** Index of the function's first parameter. */
const countLocal = 0

/**
 * Emits a function of the number of elements, at least 1, and of the addresses of the arrays, that computes a formula
 * on a chunk, a vector at a time. Arrays have room for whole vectors; values past the count are undefined, and sums
 * exclude them.
 */
function emitFormula(formula: Formula, places: MemoryLayout, vector: Vector): Func {
  const { values, uniform, outputs, squares } = linearize(formula)
  const names = Object.keys(places.arrays)
  const [atLocal, endLocal, wholeLocal] = [1, 2, 3].map((i) => names.length + i) as [number, number, number]
  const locals: ValueType[] = ['i32', 'i32', 'i32']
  const local = (): number => names.length + locals.push('v128') // locals follow the parameters
  const own = values.map(local)
  const bits = Math.log2(vector.width)
  const addressOf = (name: string): Bytes => [
    ...[...get(1 + names.indexOf(name)), ...get(atLocal)],
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

  const inside = local()
  const sums = Object.entries(squares).map(([name, i]) => {
    const sum = { low: local(), high: local(), wide: local() }
    return { x: own[i]!, sum, place: places.squares[name]! }
  })
  const summed = sums.flatMap(({ x, sum }) => addSquares(x, sum, vector))
  const each = [...computed(false), ...stored]
  const next = [...get(atLocal), ...i32(16), ...code('i32.add'), ...set(atLocal)]
  const isBefore = (end: number) => [...get(atLocal), ...get(end), ...code('i32.lt_s')]
  const ifBefore = (end: number, ...body: readonly Bytes[]) =>
    block(isBefore(end), code('i32.eqz'), code('br_if', 0), ...body)
  // Numbers past the count must not be in the sums.
  const keepInside = [
    ...[
      ...get(countLocal),
      ...get(atLocal),
      ...i32(bits),
      ...code('i32.shr_u'),
      ...code('i32.sub'),
      ...code('i32x4.splat'),
    ],
    ...code('v128.const', ...vector.lanes.flatMap((lane) => [lane, 0, 0, 0])),
    ...[...code('i32x4.gt_s'), ...set(inside)],
    ...sums.flatMap(({ x }) => [...get(x), ...get(inside), ...code('v128.and'), ...set(x)]),
  ]
  // With sums, whole vectors come first and the last numbers on their own.
  const loops =
    sums.length === 0
      ? repeatWhile(each, next, isBefore(endLocal))
      : [
          ...[...get(endLocal), ...i32(-16), ...code('i32.and'), ...set(wholeLocal)],
          ...ifBefore(wholeLocal, repeatWhile(each, summed, next, isBefore(wholeLocal))),
          ...ifBefore(endLocal, each, keepInside, summed),
        ]

  return {
    name: 'run',
    parameters: ['i32', ...names.map(() => 'i32' as const)],
    locals,
    body: [
      ...[...get(countLocal), ...i32(bits), ...code('i32.shl'), ...set(endLocal)],
      ...computed(true),
      ...loops,
      ...sums.flatMap(({ sum, place }) => [
        ...[...i32(0), ...i32(0), ...memory('f64.load', place)],
        ...[...totalOf(sum), ...code('f64.add'), ...memory('f64.store', place)],
      ]),
    ],
  }
}

/** Instructions for vectors of 16 bytes in one precision. */
interface Vector {
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

const single: Vector = {
  type: 'f32x4',
  width: 4,
  splatFrom: 'v128.load32_splat',
  lanes: [0, 1, 2, 3],
  fromWords: 'f32x4.convert_i32x4_s',
  toWords: 'i32x4.trunc_sat_f32x4_s',
  storeBytes: 'v128.store32_lane',
}

const double: Vector = {
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
