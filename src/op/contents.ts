import { type DType, dtypes, isFloat, isHalf } from '../ir/dtype.js'
import { maxContentsElements } from '../ir/leaf.js'
import {
  broadcastShapes,
  contradict,
  type Dim,
  divDims,
  formatShape,
  isStatic,
  limitLength,
  mulDims,
  type Shape,
  toFactor,
  unknownDim,
} from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'

/** The elements of an operand, if all are known numbers. */
export function knownNumbers(value: Value | null | undefined): readonly number[] | undefined {
  const { contents } = value ?? {}
  return contents?.every((element): element is number => typeof element === 'number') ? contents : undefined
}

/** Number of elements of a 1-D operand, if known: the rank of a shape, or the number of axes in a list. */
export function vectorLength(value: Value): number | undefined {
  const length = value.contents?.length ?? value.shape?.[0]
  return typeof length === 'number' ? length : undefined
}

/** `contents` unless it is too long to be shape arithmetic. */
export const limitContents = (contents: readonly Dim[] | undefined): readonly Dim[] | undefined =>
  contents !== undefined && contents.length <= maxContentsElements ? contents : undefined

/** The number of elements of a shape that has no symbols and few elements, else undefined. */
export function smallSize(shape: Shape | undefined): number | undefined {
  const size = shape?.reduce<number>((product, dim) => (typeof dim === 'number' ? product * dim : Number.NaN), 1)
  return size !== undefined && size <= maxContentsElements ? size : undefined
}

/** Throws `invalid-shape` unless dims, axes or indices are int64 or int32. */
export function checkIntegers(...operands: readonly (Value | null)[]): void {
  const other = operands.find((operand) => operand && operand.dtype !== 'int64' && operand.dtype !== 'int32')
  if (other)
    throw new OnnxIreError('invalid-shape', `takes lengths, axes and indices as int64 or int32, not ${other.dtype}`)
}

/** Throws `invalid-shape` if an operand cannot have the shape that the operator requires. */
export function checkShape(
  name: string,
  operand: Pick<Value, 'shape'> | null | undefined,
  required: Shape | undefined,
): void {
  if (operand?.shape && required && contradict(operand.shape, required))
    throw new OnnxIreError(
      'invalid-shape',
      `${name} must have the shape ${formatShape(required)}, not ${formatShape(operand.shape)}`,
    )
}

/**
 * Known elements of a result of shape `to` whose element at coordinates c is the element of `x` at `source(c)`.
 */
export function selectContents(
  x: Value,
  to: Shape | undefined,
  source: (c: readonly number[]) => readonly number[],
): readonly Dim[] | undefined {
  const { contents, shape } = x
  const size = smallSize(to)
  if (contents === undefined || !isStatic(shape) || size === undefined) return undefined
  return Array.from(
    { length: size },
    (_, i) => contents[offsetIn(shape, source(coordinatesOf(i, to as readonly number[])))] ?? unknownDim(),
  )
}

/** Row-major offset of the element at coordinates `c`. */
export const offsetIn = (dims: readonly number[], c: readonly number[]): number =>
  dims.reduce((offset, dim, axis) => offset * dim + c[axis]!, 0)

function coordinatesOf(offset: number, dims: readonly number[]): readonly number[] {
  let rest = offset
  return dims
    .toReversed()
    .map((dim) => {
      const c = rest % dim
      rest = (rest - c) / dim
      return c
    })
    .toReversed()
}

/** Known elements of a small element-wise result of type `dtype`, with broadcast operands. */
export function elementwiseContents(
  operands: readonly Value[],
  dtype: DType,
  compute: (...elements: Dim[]) => Dim,
): readonly Dim[] | undefined {
  if (isHalf(dtype)) return undefined
  if (operands.some(({ contents, shape }) => contents === undefined || !isStatic(shape))) return undefined
  const shapes = operands.map(({ shape }) => shape as readonly number[])
  const shape = broadcastShapes(shapes) as readonly number[]
  const size = smallSize(shape)
  if (size === undefined) return undefined
  return Array.from({ length: size }, (_, i) => {
    const elements = operands.map(({ contents }, k) => contents![operandIndex(i, shapes[k]!, shape)] ?? unknownDim())
    const element = compute(...elements)
    return dtype === 'float32' && typeof element === 'number' ? Math.fround(element) : element
  })
}

/** Index of the element of an operand (shape `from`) that is broadcast to element `i` of the result (shape `to`). */
function operandIndex(i: number, from: readonly number[], to: readonly number[]): number {
  let [rest, stride, source] = [i, 1, 0]
  for (let back = 1; back <= from.length; back++) {
    const [own, length] = [from.at(-back)!, to.at(-back)!]
    if (own !== 1) source += (rest % length) * stride
    rest = Math.floor(rest / length)
    stride *= own
  }
  return source
}

/** Extends a function of numbers to elements that may be unknown. */
export const onNumbers =
  (compute: (...x: number[]) => number) =>
  (...elements: Dim[]): Dim =>
    elements.every((element) => typeof element === 'number') ? compute(...(elements as number[])) : unknownDim()

/** Integer arithmetic that is unknown where the type would wrap around, or where JavaScript rounds (beyond 2^53). */
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

/** ONNX's division: integers truncate toward zero. Symbols are not negative, so flooring is the same. */
export const quotient =
  (dtype: DType) =>
  (a: Dim, b: Dim): Dim => {
    if (isFloat(dtype)) {
      if (typeof a === 'number' && typeof b === 'number') return a / b
      return typeof b === 'number' ? scaledDown(a, b) : unknownDim()
    }
    if (b === 0) return unknownDim()
    return typeof a === 'number' && typeof b === 'number' ? Math.trunc(a / b) : divDims(a, b)
  }

/** a / b as floats: a product if 1 / b has few digits, else a fraction, which a rounding makes an integer. */
function scaledDown(a: Dim, b: number): Dim {
  const product = mulDims(a, 1 / b)
  const isUnknown = typeof product === 'string' && product.startsWith('?')
  return isUnknown && b > 0 && isWhole(`${a}`) ? limitLength(`${toFactor(a)}/${b}`) : product
}

/** ONNX's Mod: has the sign of the divisor, or with `fmod` of the dividend. */
export const remainder =
  (fmod: number) =>
  (a: Dim, b: Dim): Dim => {
    if (typeof a !== 'number' || typeof b !== 'number' || b === 0) return b === 1 ? 0 : unknownDim()
    const rest = a % b
    return fmod === 0 && rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest
  }

/** A rounding function of elements. Expressions of dims without fractions are integers already. */
export const rounding =
  (name: 'floor' | 'ceil' | 'round', compute: (x: number) => number) =>
  (x: Dim): Dim => {
    if (typeof x === 'number') return compute(x)
    return x.startsWith('?') ? unknownDim() : isWhole(x) ? x : `${name}(${x})`
  }

/** Whether an expression is an integer: it has fractions inside roundings only. */
function isWhole(expression: string): boolean {
  const hasFraction = (text: string) => /\d\.\d|\de-|\//.test(text)
  let [before, rest] = ['', expression]
  while (rest !== before) {
    before = rest
    rest = rest.replace(/(\b(?:floor|ceil|round))?\(([^()]*)\)/g, (_, isRounded, inner) =>
      isRounded || !hasFraction(inner) ? 'n' : '0.5',
    )
  }
  return !hasFraction(rest)
}

/** A function that casts an element to another type. */
export const castElements =
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
