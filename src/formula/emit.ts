import { type Bytes, code, type Func, get, i32, memory, repeatWhile, set, tee, type ValueType } from './assembler.js'
import type { Arithmetic, Formula } from './formula.js'
import { programOf, type Value } from './program.js'

/** Where a chunk of what a formula reads and writes lies in memory: the byte offsets. */
export interface Places {
  readonly scalars: Readonly<Record<string, number>>
  readonly arrays: Readonly<Record<string, number>>
  /** Which arrays hold bytes instead of float32. */
  readonly bytes: ReadonlySet<string>
  /** Sums of squares, float64. */
  readonly squares: Readonly<Record<string, number>>
}

/** The parameter and the first locals of the function. */
const [COUNT, AT, END, LANES, COUNTS] = [0, 1, 2, 3, 4] as const

/**
 * A function of the number of elements, at least 1, that computes a formula on a chunk of them, four at a time in single
 * precision. Arrays have room for a multiple of four; what is written past the count is worth nothing, and no sum has it.
 */
export function emitted(formula: Formula, places: Places): Func {
  const { values, uniform, outputs, squares } = programOf(formula)
  const locals: ValueType[] = ['i32', 'i32', 'v128', 'v128']
  const local = (): number => locals.push('v128') // the parameter is local 0
  const own = values.map(local)
  const computed = (wanted: boolean) =>
    values.flatMap((value, i) =>
      uniform[i] === wanted ? [...codeOf(value, (j) => get(own[j]!), places), ...set(own[i]!)] : [],
    )
  const stores = Object.entries(outputs).flatMap(([name, i]) => storeTo(name, get(own[i]!), places))
  const inside = local()
  const wide = local()
  const sums = Object.entries(squares).map(([name, i]) => ({
    place: places.squares[name]!,
    x: own[i]!,
    ofTruth: isTruth(values[i]!),
    low: local(),
    high: local(),
  }))
  const additions =
    sums.length === 0
      ? []
      : [
          ...[...get(COUNTS), ...get(LANES), ...code('i32x4.gt_s'), ...set(inside)],
          ...sums.flatMap(({ x, ofTruth, low, high }) => [
            ...[...get(x), ...get(inside), ...code('v128.and'), ...set(x)],
            ...(ofTruth
              ? [...get(low), ...get(x), ...code('f32x4.add'), ...set(low)]
              : [...addSquare(low, get(x), wide), ...addSquare(high, upperHalf(x), wide)]),
          ]),
          ...[...get(LANES), ...i32(4), ...code('i32x4.splat'), ...code('i32x4.add'), ...set(LANES)],
        ]
  return {
    name: 'run',
    parameters: ['i32'],
    locals,
    body: [
      ...[...get(COUNT), ...i32(2), ...code('i32.shl'), ...set(END)],
      ...[...get(COUNT), ...code('i32x4.splat'), ...set(COUNTS)],
      ...[...code('v128.const', ...wordBytes(Int32Array.of(0, 1, 2, 3))), ...set(LANES)],
      ...computed(true),
      ...repeatWhile(computed(false), stores, additions, [
        ...get(AT),
        ...i32(16),
        ...code('i32.add'),
        ...tee(AT),
        ...get(END),
        ...code('i32.lt_s'),
      ]),
      ...sums.flatMap(({ place, ofTruth, low, high }) => [
        ...(ofTruth ? widened(low, high) : []),
        ...[...i32(0), ...i32(0), ...memory('f64.load', place)],
        ...[...get(low), ...get(high), ...code('f64x2.add'), ...tee(low)],
        ...code('f64x2.extract_lane', 0),
        ...[...get(low), ...code('f64x2.extract_lane', 1)],
        ...[...code('f64.add'), ...code('f64.add')],
        ...memory('f64.store', place),
      ]),
    ],
  }
}

function codeOf(value: Value, operand: (index: number) => Bytes, places: Places): number[] {
  switch (value.kind) {
    case 'scalar':
      return [...i32(0), ...memory('v128.load32_splat', places.scalars[value.name]!)]
    case 'constant':
      return splat(value.value)
    case 'array':
      return loadFrom(value.name, places)
    case 'call':
      return applied(value.f, value.of.map(operand))
  }
}

function applied(f: Arithmetic, operands: readonly Bytes[]): number[] {
  const [x] = operands as [Bytes]
  if (f === 'atMost') return oneWhere(operands.flat(), 'f32x4.le')
  if (f !== 'sign') return [...operands.flat(), ...code(`f32x4.${f}`)]
  const positive = oneWhere([...x, ...splat(0)], 'f32x4.gt')
  const negative = oneWhere([...x, ...splat(0)], 'f32x4.lt')
  return [...positive, ...negative, ...code('f32x4.sub')]
}

/** A comparison has all bits set where it holds; anded with those of 1 that is 1. */
const oneWhere = (operands: Bytes, comparison: 'f32x4.le' | 'f32x4.lt' | 'f32x4.gt'): number[] => [
  ...operands,
  ...code(comparison),
  ...splat(1),
  ...code('v128.and'),
]

const splat = (x: number): number[] => code('v128.const', ...wordBytes(Float32Array.of(x, x, x, x)))

/** Little-endian, as WebAssembly has it. */
function wordBytes(words: Float32Array | Int32Array): number[] {
  const view = new DataView(new ArrayBuffer(16))
  for (const [i, word] of words.entries())
    if (words instanceof Int32Array) view.setInt32(4 * i, word, true)
    else view.setFloat32(4 * i, word, true)
  return [...new Uint8Array(view.buffer)]
}

/** The address of the bytes that belong to the elements at AT. */
const byteAddress: Bytes = [...get(AT), ...i32(2), ...code('i32.shr_u')]

function loadFrom(name: string, { arrays, bytes }: Places): number[] {
  if (!bytes.has(name)) return [...get(AT), ...memory('v128.load', arrays[name]!)]
  return [
    ...byteAddress,
    ...memory('v128.load32_zero', arrays[name]!),
    ...code('i16x8.extend_low_i8x16_u'),
    ...code('i32x4.extend_low_i16x8_u'),
    ...code('f32x4.convert_i32x4_u'),
  ]
}

function storeTo(name: string, x: Bytes, { arrays, bytes }: Places): number[] {
  if (!bytes.has(name)) return [...get(AT), ...x, ...memory('v128.store', arrays[name]!)]
  // Of both narrowings only the first operand's lanes are stored: any second one will do.
  const words = [...x, ...code('i32x4.trunc_sat_f32x4_s')]
  const halves = [...words, ...x, ...code('i16x8.narrow_i32x4_s')]
  const narrow = [...halves, ...x, ...code('i8x16.narrow_i16x8_u')]
  return [...byteAddress, ...narrow, ...memory('v128.store32_lane', arrays[name]!, 0)]
}

/** sum += x^2 of the lower two elements of `x`, in double precision. */
const addSquare = (sum: number, x: Bytes, wide: number): number[] => [
  ...get(sum),
  ...[...x, ...code('f64x2.promote_low_f32x4'), ...tee(wide), ...get(wide), ...code('f64x2.mul')],
  ...[...code('f64x2.add'), ...set(sum)],
]

/** Whether a value is 0 or 1: squares are what they are of, and those of a chunk are counted exactly in single precision. */
const isTruth = (value: Value): boolean => value.kind === 'call' && value.f === 'atMost'

/** A sum of four in `low` becomes two of two in `low` and `high`, in double precision. */
const widened = (low: number, high: number): number[] => [
  ...[...upperHalf(low), ...code('f64x2.promote_low_f32x4'), ...set(high)],
  ...[...get(low), ...code('f64x2.promote_low_f32x4'), ...set(low)],
]

const upperHalf = (x: number): number[] => [
  ...[...get(x), ...get(x)],
  ...code('i8x16.shuffle', ...[8, 9, 10, 11, 12, 13, 14, 15], ...[8, 9, 10, 11, 12, 13, 14, 15]),
]
