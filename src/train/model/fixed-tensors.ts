import type { DType, TypedArray } from '../../ir/dtype.js'
import { numberAt, numbersOf, tensorFrom } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'

/*
 * Evidence in the values of stored tensors: which of them a program contains, and which training has given. A tensor of
 * one repeated number may be either, since training begins with zeros and ones: it counts as trained.
 */

/** Whether a value has exactly one axis longer than 1. */
export const isVector = ({ shape }: Value): boolean => shape?.filter((dim) => dim !== 1).length === 1

/** Whether a value is a single number, with or without axes. */
export const hasOneElement = ({ shape }: Value): boolean => shape?.every((dim) => dim === 1) === true

/** Whether a parameter consists of both 0 and 1: it masks, selects or adds up elements. */
export function isMask({ source }: Value): boolean {
  const isBinary = (values: readonly number[]) => values.every((x) => x === 0 || x === 1)
  return isBinary(valuesOf(source, 64)) && isBinary(valuesOf(source)) && new Set(valuesOf(source)).size === 2
}

/** Whether a parameter is the identity, apart from axes of length 1. */
export function isIdentity({ source, shape }: Value): boolean {
  const [n, m, ...others] = shape?.filter((dim) => dim !== 1) ?? []
  return n === m && others.length === 0 && valuesOf(source).every((x, i) => x === (i % (Number(n) + 1) === 0 ? 1 : 0))
}

/**
 * Whether a parameter contains counted numbers: at least 8 multiples of 1/2, three of which differ. A detector
 * multiplies boxes by the strides of their grids, and probabilities of distances by 0, 1, 2, ... (DFL).
 */
export function isNumbering({ source }: Value): boolean {
  const numbers = valuesOf(source)
  return numbers.length >= 8 && numbers.every((each) => Number.isInteger(2 * each)) && new Set(numbers).size >= 3
}

/** Whether most values of a tensor repeat, as those of a grid of coordinates do. */
export function isGrid({ source }: Value): boolean {
  const some = valuesOf(source, 256)
  return 2 * new Set(some).size < some.length
}

/**
 * Whether a parameter looks like a table of learned feature vectors: with many different values, and neither multiples
 * of 1/2 (anchor grids) nor sines and cosines. A narrow one could be a list of boxes, the values of which repeat.
 */
export function isLearnedTable(x: Value): boolean {
  const { source, shape } = x
  const [width, length] = [Number(shape?.at(-1) ?? 0), sizeOf(shape as readonly number[])]
  if (source.kind !== 'parameter' || (width < 8 && (isVector(x) || length < 64 || isGrid(x)))) return false
  const some = valuesOf(source, 4096)
  if (new Set(some).size < 8 || some.every((each) => Number.isInteger(2 * each))) return false
  return !beginsAtAngleZero(x) && !isWave(x)
}

/** Whether the first row of a table consists of cosines (1) and sines (0) of angle 0. */
const beginsAtAngleZero = ({ source, shape }: Value): boolean =>
  valuesOf(source, Number(shape?.at(-1) ?? 0)).every((x) => x === 1 || x === 0)

/**
 * Whether most elements of a table continue those before them along an axis: x[i + 1] = k x[i] - x[i - 1] with several
 * k. So do sines, cosines and powers: tables of positions, and the matrices of cosine and Fourier transforms.
 */
export function isWave({ source, shape }: Value): boolean {
  if (source.kind !== 'parameter' || (shape?.filter((dim) => dim !== 1).length ?? 0) < 2) return false
  const { tensor } = source
  const { dims } = tensor
  const length = Math.min(sizeOf(dims), maxElements)
  // A sample of the elements: a prime distance passes all columns.
  const starts = Array.from({ length: Math.min(length, 256) }, (_, i) => (i * 7919) % length)
  return dims.some((dim, axis) => {
    const stride = sizeOf(dims.slice(axis + 1))
    const factors: number[] = []
    let runs = 0
    for (const start of starts) {
      if (Math.floor(start / stride) % dim >= dim - 3 || start + 3 * stride >= length) continue
      const at = (i: number) => numberAt(tensor, start + i * stride)
      const [a, b, c, d] = [at(0), at(1), at(2), at(3)]
      if (b === 0 || c === 0 || (a === b && b === c && c === d)) continue
      runs++
      const [before, after] = [(a + c) / b, (b + d) / c]
      if (Math.abs(before - after) <= 1e-3 * (Math.abs(before) + Math.abs(after))) factors.push(before)
    }
    return runs >= 8 && 2 * factors.length > runs && Math.max(...factors) - Math.min(...factors) > 0.01
  })
}

/**
 * Whether a parameter is a bank of filters, such as that of the mel scale: a matrix of numbers >= 0, most of which are
 * 0, and 8 of which differ.
 */
export function isFilterBank({ source, shape }: Value): boolean {
  const hasNegative = (values: readonly number[]) => values.some((x) => !(x >= 0))
  if ((shape?.filter((dim) => dim !== 1).length ?? 0) < 2 || hasNegative(valuesOf(source, 64))) return false
  const values = valuesOf(source)
  return !hasNegative(values) && 2 * values.filter((x) => x === 0).length > values.length && new Set(values).size >= 8
}

/** Whether a parameter consists of `count` equal parts, but not of one repeated number. */
export function hasEqualParts({ source }: Value, count: number): boolean {
  const values = valuesOf(source)
  const width = values.length / count
  return values.every((value, i) => value === values[i % width]) && values.some((value) => value !== values[0])
}

/**
 * Whether a number is one that a program contains: a short decimal number, its root, inverse or inverse root, also
 * times the root of pi, or the root of a root, by which attention scales queries and keys.
 */
export function isWrittenNumber({ source }: Value): boolean {
  const [x = 0] = valuesOf(source)
  // Numbers that fit 16 bits have too few digits to differ from those of a program.
  const fits = (dtype: DType) => numbersOf(tensorFrom(dtype, [1], [x]))[0] === x
  if (fits('float16') || fits('bfloat16')) return true
  const isNear = (value: number, digits: number, error: number) =>
    Math.abs(value / Number(value.toPrecision(digits)) - 1) < error
  const isShort = (value: number, digits: number, error: number) =>
    isNear(value, digits, error) || isNear(1 / value, digits, error)
  return [x, x * x, x * x * Math.PI].some((each) => isShort(each, 4, 2 ** -23)) || isShort(x ** 4, 3, 2 ** -21)
}

/** Leaves out zeros beside other tensors: a bias is padded with zeros where a layer has none. */
export function withoutPadding(parts: readonly Value[]): readonly Value[] {
  if (parts.length < 2) return parts
  const others = parts.filter(({ source }) => valuesOf(source).some((x) => x !== 0))
  return others.length > 0 ? others : parts
}

/** Number of elements that are read of a tensor at most. */
const maxElements = 2 ** 20

/** Whether all elements of a parameter can be read; layers with larger weights than this have no fixed ones. */
export const isSmall = ({ shape }: Value): boolean => sizeOf(shape as readonly number[]) <= maxElements

/** The first elements of a parameter; none of other values. */
function valuesOf(source: Value['source'], count = maxElements): readonly number[] {
  if (source.kind !== 'parameter') return []
  const { dtype, data } = source.tensor
  const some = (data as TypedArray).subarray(0, count)
  return numbersOf({ dtype, dims: [some.length], data: some })
}
