import type { DType } from '../../ir/dtype.js'
import { constant, internConstant, tensorFrom } from '../../ir/leaf.js'
import { isStatic } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import type { AttributesOf } from '../../op/define.js'
import { type convolution, kernelOf, transposedWindowOf } from '../../op/definitions/convolution.js'
import { op } from '../../op/op.js'
import { extentOf } from '../../op/window.js'

/** A depthwise ConvTranspose as a convolution, with flipped kernels, of its input with zeros between the elements. */
interface Spread {
  /** Distances between elements: one zero less between them. */
  readonly strides: readonly [number, number]
  /** Attributes of the convolution. */
  readonly attributes: {
    readonly group: number
    readonly dilations: readonly number[]
    readonly pads: readonly number[]
  }
}

/**
 * The convolution that equals a depthwise ConvTranspose over two axes of known lengths; undefined where ConvTranspose is
 * faster, by measurements: unless windows overlap along both axes, most of the convolution's products are with zeros.
 */
export function spreadOf(
  x: Value,
  w: Value,
  attributes: AttributesOf<(typeof convolution)['ConvTranspose']['attributes']>,
): Spread | undefined {
  const lengths = x.shape?.slice(2)
  if (!isStatic(lengths)) return undefined
  const window = transposedWindowOf(attributes, kernelOf(w.shape!, attributes.kernel_shape), lengths)
  if (window.some(({ kernel, stride }) => (kernel as number) <= stride)) return undefined
  const reach = window.map((axis) => (extentOf(axis) as number) - 1)
  const before = window.map((axis, i) => reach[i]! - (axis.before as number))
  const after = window.map(
    ({ stride, output }, i) => (output as number) + reach[i]! - before[i]! - lengths[i]! * stride,
  )
  const pads = [...before, ...after]
  if (pads.some((pad) => pad < 0)) return undefined
  const [rows, columns] = window.map(({ stride }) => stride) as [number, number]
  const dilations = window.map(({ dilation }) => dilation)
  return { strides: [rows, columns], attributes: { group: attributes.group, dilations, pads } }
}

/**
 * Inserts zeros after every element of images [N, C, H, W] in blocked layout: result [N, C, H rows, W columns]. A product
 * of each row with unit matrices runs in all threads, where onnxruntime's Pad, Concat and Transpose run in one.
 */
export function spreadBlocks(x: Value, [rows, columns]: Spread['strides'], block: number): Value {
  if (rows * columns === 1) return x
  const [, channels, height, width] = x.shape as readonly number[]
  const elements = op.Reshape(x, [-1, 1, width!, block])
  const spread = op.MatMul(elements, unitMatrices(x.dtype, block, rows, columns))
  return op.Reshape(spread, [-1, channels!, height! * rows, width! * columns])
}

/** Matrices [1, rows, block, columns block] of zeros but for a unit matrix at the beginning of the first. */
const unitMatrices = (dtype: DType, block: number, rows: number, columns: number): Value =>
  internConstant(`spread ${dtype} ${block} ${rows} ${columns}`, () => {
    const ones = new Uint8Array(rows * block * columns * block)
    for (let i = 0; i < block; i++) ones[i * columns * block + i] = 1
    return constant(tensorFrom(dtype, [1, rows, block, columns * block], ones))
  })
