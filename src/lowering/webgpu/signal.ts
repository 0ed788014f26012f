import { type DType, dtypeOf } from '../../ir/dtype.js'
import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { signalExpansions } from '../../op/compose/signal.js'
import { knownNumbers } from '../../op/contents.js'
import type { signal } from '../../op/definitions/signal.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { dynamicRange, maxConstantElements } from './dims.js'

interface WindowAttributes {
  readonly output_datatype: number
  readonly periodic: number
}

/** Types of windows that WebGPU computes. */
const floats: ReadonlySet<DType | undefined> = new Set(['float32', 'float16'])

/**
 * A window a - b cos(2 pi i / n) + c cos(4 pi i / n), where n is its length, less one if it is not periodic: a constant
 * if the length is known.
 */
const cosineWindow =
  (a: number, b: number, c: number) =>
  ([size]: readonly [Value], { output_datatype, periodic }: WindowAttributes): Value | null => {
    const dtype = dtypeOf(output_datatype)
    if (!floats.has(dtype)) return null
    const [length] = knownNumbers(size) ?? []
    if (length !== undefined && length >= 0 && length <= maxConstantElements) {
      const angle = (2 * Math.PI) / (periodic ? length : length - 1)
      const elements = Array.from({ length }, (_, i) => a - b * Math.cos(angle * i) + c * Math.cos(2 * angle * i))
      return constant(tensorFrom(dtype!, [length], elements))
    }
    const dims = op.Reshape(size, [1])
    const count = op.ReduceSum(op.Expand(scalar('float32', 1), dims), [0], { keepdims: 1 })
    const turns = op.Div(cast(dynamicRange(dims), 'float32'), periodic ? count : op.Sub(count, 1))
    const cosine = (times: number) => op.Cos(op.Mul(turns, 2 * Math.PI * times))
    const window = op.Sub(scalar('float32', a), op.Mul(cosine(1), b))
    return cast(c === 0 ? window : op.Add(window, op.Mul(cosine(2), c)), dtype!)
  }

/** Frequency in hertz to mel, and back. */
const toMel = (hertz: number): number => 2595 * Math.log10(1 + hertz / 700)
const toHertz = (mel: number): number => 700 * (10 ** (mel / 2595) - 1)

/** Triangles [frequencies, bins] whose corners are at equal distances in mel, rounded down to frequencies. */
function melWeights(bins: number, length: number, rate: number, lowest: number, highest: number): number[] {
  const frequencies = Math.floor(length / 2) + 1
  const [from, to] = [toMel(lowest), toMel(highest)]
  const corners = Array.from({ length: bins + 2 }, (_, i) =>
    Math.floor(((length + 1) * toHertz(from + ((to - from) / (bins + 2)) * i)) / rate),
  )
  const weights = new Array<number>(frequencies * bins).fill(0)
  for (let bin = 0; bin < bins; bin++) {
    const [left, center, right] = corners.slice(bin, bin + 3) as [number, number, number]
    for (let at = left; at <= center; at++)
      weights[at * bins + bin] = left === center ? 1 : (at - left) / (center - left)
    for (let at = center + 1; at < right; at++) weights[at * bins + bin] = (right - at) / (right - center)
  }
  return weights
}

export const signalLowerings = {
  ...signalExpansions,
  HannWindow: cosineWindow(0.5, 0.5, 0),
  HammingWindow: cosineWindow(25 / 46, 21 / 46, 0),
  BlackmanWindow: cosineWindow(0.42, 0.5, 0.08),
  MelWeightMatrix: (inputs, { output_datatype }) => {
    const dtype = dtypeOf(output_datatype)
    const known = inputs.map((value) => knownNumbers(value)?.[0])
    if (!floats.has(dtype) || known.some((number) => number === undefined)) return null
    const [bins, length, rate, lowest, highest] = known as [number, number, number, number, number]
    const dims = [Math.floor(length / 2) + 1, bins]
    if (bins < 0 || length < 0 || dims[0]! * bins > maxConstantElements) return null
    return constant(tensorFrom(dtype!, dims, melWeights(bins, length, rate, lowest, highest)))
  },
} satisfies Lowerings<typeof signal>
