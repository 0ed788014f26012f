import { code, type Func, get, i32, memory, repeatWhile, set, tee, type ValueType } from './assembler.js'
import type { Formula } from './formula.js'
import { programOf, type Value } from './program.js'
import { addSquares, addTruths, applied, loadBytes, splat, storeBytes, total, type Vector, widened } from './vector.js'

/** Where a chunk of what a formula reads and writes lies in memory: the byte offsets. */
export interface Places {
  /** In the precision of the vectors, as the arrays are. */
  readonly scalars: Readonly<Record<string, number>>
  readonly arrays: Readonly<Record<string, number>>
  /** Which arrays hold bytes instead. */
  readonly bytes: ReadonlySet<string>
  /** Sums of squares, float64. */
  readonly squares: Readonly<Record<string, number>>
}

/** The parameter and the first locals of the function. */
const [COUNT, AT, END, LANES, COUNTS] = [0, 1, 2, 3, 4] as const

/**
 * A function of the number of elements, at least 1, that computes a formula on a chunk of them, a vector at a time. Arrays
 * have room for whole vectors; what is written past the count is worth nothing, and no sum has it.
 */
export function emitted(formula: Formula, places: Places, vector: Vector): Func {
  const { values, uniform, outputs, squares } = programOf(formula)
  const locals: ValueType[] = ['i32', 'i32', 'v128', 'v128']
  const local = (): number => locals.push('v128') // the parameter is local 0
  const own = values.map(local)
  const bits = Math.log2(vector.width)
  const byteAddress = [...get(AT), ...i32(bits), ...code('i32.shr_u')]

  const codeOf = (value: Value): number[] => {
    if (value.kind === 'scalar') return [...i32(0), ...memory(vector.splatFrom, places.scalars[value.name]!)]
    if (value.kind === 'constant') return splat(value.value, vector)
    if (value.kind === 'call')
      return applied(
        value.f,
        value.of.map((i) => get(own[i]!)),
        vector,
      )
    const place = places.arrays[value.name]!
    if (places.bytes.has(value.name)) return loadBytes(byteAddress, place, vector)
    return [...get(AT), ...memory('v128.load', place)]
  }
  const computed = (wanted: boolean) =>
    values.flatMap((value, i) => (uniform[i] === wanted ? [...codeOf(value), ...set(own[i]!)] : []))
  const stored = Object.entries(outputs).flatMap(([name, i]) => {
    const place = places.arrays[name]!
    if (places.bytes.has(name)) return storeBytes(byteAddress, get(own[i]!), place, vector)
    return [...get(AT), ...get(own[i]!), ...memory('v128.store', place)]
  })

  const inside = local()
  const sums = Object.entries(squares).map(([name, i]) => {
    const sum = { low: local(), high: local(), wide: local() }
    // 0 and 1 are their own squares, and those of a chunk are counted exactly in single precision.
    const value = values[i]!
    const isTruth = value.kind === 'call' && value.f === 'atMost'
    return { x: own[i]!, sum, isTruth, place: places.squares[name]! }
  })
  const summed = sums.flatMap(({ x, sum, isTruth }) => [
    ...[...get(x), ...get(inside), ...code('v128.and'), ...set(x)],
    ...(isTruth ? addTruths : addSquares)(x, sum, vector),
  ])
  const numbers = 16 / vector.width
  const counted = [
    ...[...get(COUNTS), ...get(LANES), ...code('i32x4.gt_s'), ...set(inside)],
    ...summed,
    ...[...get(LANES), ...i32(numbers), ...code('i32x4.splat'), ...code('i32x4.add'), ...set(LANES)],
  ]
  const next = [...get(AT), ...i32(16), ...code('i32.add'), ...tee(AT), ...get(END), ...code('i32.lt_s')]

  return {
    name: 'run',
    parameters: ['i32'],
    locals,
    body: [
      ...[...get(COUNT), ...i32(bits), ...code('i32.shl'), ...set(END)],
      ...[...get(COUNT), ...code('i32x4.splat'), ...set(COUNTS)],
      ...[...code('v128.const', ...vector.lanes.flatMap((lane) => [lane, 0, 0, 0])), ...set(LANES)],
      ...computed(true),
      ...repeatWhile(computed(false), stored, sums.length > 0 ? counted : [], next),
      ...sums.flatMap(({ sum, isTruth, place }) => [
        ...(isTruth ? widened(sum, vector) : []),
        ...[...i32(0), ...i32(0), ...memory('f64.load', place)],
        ...[...total(sum), ...code('f64.add'), ...memory('f64.store', place)],
      ]),
    ],
  }
}
