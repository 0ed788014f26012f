import { type DType, dtypes, isFloat, isHalf } from '../ir/dtype.js'
import { broadcastShapes, type Dim, divDims, isStatic, mulDims, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { smallSize } from './known.js'

/** Elements of a small element-wise result as far as they are known, operands broadcast; `dtype` is the result's. */
export function elementwiseContents(
  operands: readonly Value[],
  dtype: DType,
  compute: (...elements: Dim[]) => Dim,
): readonly Dim[] | undefined {
  if (isHalf(dtype)) return undefined
  if (operands.some(({ contents, shape }) => contents === undefined || !isStatic(shape))) return undefined
  const shapes = operands.map(({ shape }) => shape as readonly number[])
  const shape = broadcastShapes(...shapes) as readonly number[]
  const size = smallSize(shape)
  if (size === undefined) return undefined
  return Array.from({ length: size }, (_, i) => {
    const elements = operands.map(({ contents }, k) => contents![sourceOf(i, shapes[k]!, shape)] ?? unknownDim())
    const element = compute(...elements)
    return dtype === 'float32' && typeof element === 'number' ? Math.fround(element) : element
  })
}

/** The element of an operand of shape `from` that meets the `i`-th element of the result of shape `to`. */
function sourceOf(i: number, from: readonly number[], to: readonly number[]): number {
  let [rest, stride, source] = [i, 1, 0]
  for (let back = 1; back <= from.length; back++) {
    const [own, length] = [from.at(-back)!, to.at(-back)!]
    if (own !== 1) source += (rest % length) * stride
    rest = Math.floor(rest / length)
    stride *= own
  }
  return source
}

/** Lifts arithmetic on numbers to elements that may be unknown. */
export const onNumbers =
  (compute: (...x: number[]) => number) =>
  (...elements: Dim[]): Dim =>
    elements.every((element) => typeof element === 'number') ? compute(...(elements as number[])) : unknownDim()

/** Arithmetic of integers, which wraps around beyond the range of their type, and rounds in JavaScript beyond 2^53: not known there. */
export const exactly =
  (dtype: DType, compute: (...elements: Dim[]) => Dim) =>
  (...elements: Dim[]): Dim => {
    if (isFloat(dtype)) return compute(...elements)
    const fits = (element: Dim) => typeof element !== 'number' || isExact(dtype, element)
    const result = elements.every(fits) ? compute(...elements) : unknownDim()
    if (!fits(result)) return unknownDim()
    // Integers have no -0.
    return typeof result === 'number' ? result + 0 : result
  }

function isExact(dtype: DType, x: number): boolean {
  const values = 2 ** dtypes[dtype].bits
  const [low, high] = dtype.startsWith('u') ? [0, values] : [-values / 2, values / 2]
  return Number.isSafeInteger(x) && x >= low && x < high
}

/** ONNX's division: integers truncate toward zero; what stands for a length is not negative, so that flooring is the same. */
export const quotient =
  (dtype: DType) =>
  (a: Dim, b: Dim): Dim => {
    if (isFloat(dtype)) {
      if (typeof a === 'number' && typeof b === 'number') return a / b
      return typeof b === 'number' ? mulDims(a, 1 / b) : unknownDim()
    }
    if (b === 0) return unknownDim()
    return typeof a === 'number' && typeof b === 'number' ? Math.trunc(a / b) : divDims(a, b)
  }

/** ONNX's Mod: the sign of the divisor, or of the dividend with `fmod`. */
export const remainder =
  (fmod: number) =>
  (a: Dim, b: Dim): Dim => {
    if (typeof a !== 'number' || typeof b !== 'number' || b === 0) return b === 1 ? 0 : unknownDim()
    const rest = a % b
    return fmod === 0 && rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest
  }

/** A rounding function: expressions of lengths that hold no fraction are whole already. */
export const rounding =
  (name: 'floor' | 'ceil' | 'round', compute: (x: number) => number) =>
  (x: Dim): Dim => {
    if (typeof x === 'number') return compute(x)
    return x.startsWith('?') ? unknownDim() : isWhole(x) ? x : `${name}(${x})`
  }

/** Whether an expression has fractions only inside of roundings. */
function isWhole(expression: string): boolean {
  let [before, rest] = ['', expression]
  while (rest !== before) {
    before = rest
    rest = rest.replace(/\b(floor|ceil|round)\([^()]*\)|\([^().]*\)/g, 'n')
  }
  return !/\d\.\d|\de-/.test(rest)
}

/** Rounding to the nearest integer, halves to the even one, as ONNX does. */
export function roundHalfToEven(x: number): number {
  const floor = Math.floor(x)
  const fraction = x - floor
  return fraction === 0.5 ? floor + (Math.abs(floor) % 2) : fraction < 0.5 ? floor : floor + 1
}

/** An element cast to another type. */
export const castElement =
  (from: DType, to: DType) =>
  (x: Dim): Dim => {
    if (isFloat(to)) return x
    if (to === 'bool') return typeof x === 'number' ? Number(x !== 0) : unknownDim()
    const whole = isFloat(from) ? rounding('floor', (x) => Math.trunc(x) + 0)(x) : x
    if (typeof whole === 'string') return to === 'int64' || to === 'int32' ? whole : unknownDim()
    const limit = to === 'int64' ? 2 ** 63 : to === 'int32' ? 2 ** 31 : 128
    const fits = whole < limit && (to.startsWith('u') ? whole >= 0 : whole >= -limit)
    return fits || (to === 'int64' && from === 'int64') ? whole : unknownDim()
  }
