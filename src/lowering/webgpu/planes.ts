import { int64s } from '../../ir/leaf.js'
import { type Dim, isStatic, productOf, type Shape, unknownDim } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { kernelOf, transposedWindowOf } from '../../op/definitions/convolution.js'
import { op } from '../../op/op.js'
import { type WindowAttributes, type WindowAxis, windowOf } from '../../op/window.js'
import { asTransposed } from './as-transposed.js'

interface ConvAttributes extends WindowAttributes {
  readonly kernel_shape?: readonly number[] | undefined
}

type TransposedAttributes = ConvAttributes & Parameters<typeof transposedWindowOf>[0]

/** Elements of a side of what onnxruntime's kernel computes at a time, and how many such tiles keep a GPU busy. */
const TILE = 32
const MANY_TILES = 16

/**
 * A convolution over one or two axes, by another kernel where onnxruntime's own is slow or wrong; null where it is neither.
 * @param kernels 'own' where there is none of ConvTranspose
 */
export function mended(
  x: Value,
  w: Value,
  bias: Value | null,
  attributes: ConvAttributes,
  kernels: 'all' | 'own',
): Value | null {
  if (!w.shape || w.shape.length > 4) return null
  const lengths = x.shape?.slice(2) ?? w.shape.slice(2).map(() => unknownDim())
  const window = windowOf(attributes, kernelOf(w.shape, attributes.kernel_shape), lengths)
  if (isPointwise(window)) return null
  const [outputs, , ...kernel] = w.shape
  if (kernels === 'all' && isStatic([outputs!, ...kernel])) {
    const { shape } = op.Conv(x, w, bias, attributes)
    const result = fillsTiles(w, shape ?? [unknownDim()]) ? null : asTransposed(x, w, bias, window)
    if (result) return result
  }
  if (!isMisread(w)) return null
  const [, channels] = w.shape
  return typeof channels === 'number' ? inFours(x, w, bias, attributes, channels) : inThree(x, w, bias, attributes)
}

/** Products of matrices have a kernel of their own. */
const isPointwise = (window: readonly WindowAxis[]): boolean =>
  window.every(({ kernel, stride, before, after }) => kernel === 1 && stride === 1 && before === 0 && after === 0)

/**
 * Whether the kernel has something to fill its tiles with. Else there are few outputs, channels that are not read in vectors, or
 * few results in all, each of a long sum, as in the gradient of weights; and the kernel of the transposed convolution, in which
 * every thread sums up one vector of outputs, does better.
 */
function fillsTiles(w: Value, y: Shape): boolean {
  const [outputs, channels] = w.shape as readonly [number, Dim]
  const vectors = outputs % 4 === 0 && (typeof channels === 'string' || channels % 4 === 0 || channels === 3)
  const results = productOf(y)
  return vectors && outputs >= TILE && (typeof results === 'string' || results > MANY_TILES * TILE ** 2)
}

/**
 * Whether onnxruntime reads wrong elements. It takes channels three by three where they are a multiple of 3 and not of 4 and the
 * outputs a multiple of 4, and that is right for 3 channels only.
 */
function isMisread(w: Value): boolean {
  const [outputs, channels] = w.shape as readonly [Dim, Dim]
  if (typeof outputs === 'number' && outputs % 4 !== 0) return false
  return typeof channels === 'string' || (channels % 3 === 0 && channels % 4 !== 0 && channels !== 3)
}

/** The same with channels of zeros up to a multiple of 4. */
function inFours(x: Value, w: Value, bias: Value | null, attributes: ConvAttributes, channels: number): Value {
  const behind = [0, 4 - (channels % 4), ...w.shape!.slice(2).map(() => 0)]
  const pads = int64s([...w.shape!.map(() => 0), ...behind])
  return op.Conv(op.Pad(x, pads), op.Pad(w, pads), bias, attributes)
}

/** The same over three axes, where channels are read one by one. */
function inThree(x: Value, w: Value, bias: Value | null, attributes: ConvAttributes): Value {
  const { auto_pad, pads = [], strides, dilations, kernel_shape } = attributes
  const rank = w.shape!.length - 2
  const more = Array.from({ length: 3 - rank }, (_, i) => i + 2)
  const before = (values: readonly number[] | undefined, value: number) =>
    values?.length ? [...more.map(() => value), ...values] : undefined
  const axes = {
    strides: before(strides, 1),
    dilations: before(dilations, 1),
    kernel_shape: before(kernel_shape, 1),
    pads: pads.length > 0 ? [...before(pads.slice(0, rank), 0)!, ...before(pads.slice(rank), 0)!] : undefined,
  }
  return op.Squeeze(op.Conv(op.Unsqueeze(x, more), op.Unsqueeze(w, more), bias, { auto_pad, ...axes }), more)
}

/**
 * Windows of one channel that lie side by side: every element times the whole kernel, and no kernel for many channels with the
 * layout that it wants.
 */
export function tiled(x: Value, w: Value, attributes: TransposedAttributes): Value | null {
  if (!x.shape || !isStatic(w.shape) || w.shape[0] !== 1 || w.shape[1] !== 1) return null
  const kernel = kernelOf(w.shape, attributes.kernel_shape) as readonly number[]
  const window = transposedWindowOf(attributes, kernel, x.shape.slice(2))
  const apart = window.every(
    ({ stride, dilation, before, after }, i) =>
      stride === kernel[i] && (dilation === 1 || stride === 1) && before === 0 && after === 0,
  )
  const lengths: Shape = x.shape.slice(2)
  if (!apart || !isStatic(lengths)) return null
  const elements = op.Reshape(x, int64s([-1, ...lengths.flatMap((length) => [length, 1])]))
  const taps = op.Reshape(w, int64s(kernel.flatMap((length) => [1, length])))
  const y = op.Reshape(op.Mul(elements, taps), [-1, 1, ...window.map(({ output, trim }) => (output as number) - trim)])
  const none = [0, 0, ...lengths.map(() => 0), 0, 0]
  return window.every(({ trim }) => trim === 0) ? y : op.Pad(y, [...none, ...window.map(({ trim }) => trim)])
}

/**
 * Groups of one output each. onnxruntime adds up wrong products for them where the channels of a group are an even number: so
 * each gets a second output, of zeros, that is left away.
 */
export function inPairs(
  x: Value,
  w: Value,
  attributes: TransposedAttributes & { readonly group: number },
): Value | null {
  const [channels, outputs] = w.shape ?? []
  if (attributes.group === 1 || outputs !== 1) return null
  if (typeof channels === 'number' && (channels / attributes.group) % 2 === 1) return null
  const none = w.shape!.map(() => 0)
  const pairs = op.ConvTranspose(x, op.Pad(w, [...none, ...none.with(1, 1)]), null, attributes)
  return op.Slice(pairs, [0], [2 ** 31 - 1], [1], [2])
}
