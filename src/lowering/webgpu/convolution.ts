import { constantTensor, int64s, numbersOf } from '../../ir/leaf.js'
import { type Dim, isStatic, productOf, type Shape, unknownDim } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Node, Value } from '../../ir/value.js'
import { swapFirst } from '../../op/compose/shape.js'
import { type convolution, kernelOf, transposedWindowOf } from '../../op/definitions/convolution.js'
import { op } from '../../op/op.js'
import { extentOf, type WindowAttributes, type WindowAxis, windowOf } from '../../op/window.js'
import type { Lowerings } from '../lowering.js'
import { convAsGather, isUnchanged } from './gather-convolution.js'

interface KernelAttributes extends WindowAttributes {
  readonly kernel_shape?: readonly number[] | undefined
}

type TransposedAttributes = KernelAttributes & Parameters<typeof transposedWindowOf>[0]

/** Side of the tiles that onnxruntime's Conv kernel computes, and the number of tiles that occupy a GPU. */
const tileSide = 32
const manyTiles = 16

/**
 * Rewrites a convolution over one or two axes for which onnxruntime's kernel is slow or wrong; null for other
 * convolutions.
 * @param kernels 'own' if the operator set has no kernel of ConvTranspose
 */
function fixConv(
  x: Value,
  w: Value,
  bias: Value | null,
  attributes: KernelAttributes,
  kernels: 'all' | 'own',
): Value | null {
  if (!w.shape || w.shape.length > 4) return null
  const lengths = x.shape?.slice(2) ?? w.shape.slice(2).map(() => unknownDim())
  const window = windowOf(attributes, kernelOf(w.shape, attributes.kernel_shape), lengths)
  if (isPointwise(window)) return null
  const [outputs, , ...kernel] = w.shape
  if (kernels === 'all' && isStatic([outputs!, ...kernel])) {
    const { shape } = op.Conv(x, w, bias, attributes)
    const result = fillsTiles(w, shape ?? [unknownDim()]) ? null : convAsTransposed(x, w, bias, window)
    if (result) return result
  }
  if (!isMisread(w)) return null
  const [, channels] = w.shape
  return typeof channels === 'number'
    ? padChannelsToFour(x, w, bias, attributes, channels)
    : convOverThreeAxes(x, w, bias, attributes)
}

/** Whether a convolution is a matrix product, for which onnxruntime has a separate kernel. */
const isPointwise = (window: readonly WindowAxis[]): boolean => window.every(isUnchanged)

/**
 * Whether a convolution fills the tiles of the Conv kernel. It does not with few output channels, with channels that
 * cannot be read in vectors, or with few results that are long sums, as in the gradient of weights. There the
 * ConvTranspose kernel, in which each thread sums one vector of outputs, is faster.
 */
function fillsTiles(w: Value, y: Shape): boolean {
  const [outputs, channels] = w.shape as readonly [number, Dim]
  const vectors = outputs % 4 === 0 && (typeof channels === 'string' || channels % 4 === 0 || channels === 3)
  const results = productOf(y)
  return vectors && outputs >= tileSide && (typeof results === 'string' || results > manyTiles * tileSide ** 2)
}

/**
 * Whether onnxruntime's kernel reads wrong elements. If the channels are a multiple of 3 but not of 4, and the outputs
 * a multiple of 4, the kernel reads channels in groups of three, which is correct for exactly 3 channels only.
 */
function isMisread(w: Value): boolean {
  const [outputs, channels] = w.shape as readonly [Dim, Dim]
  if (typeof outputs === 'number' && outputs % 4 !== 0) return false
  return typeof channels === 'string' || (channels % 3 === 0 && channels % 4 !== 0 && channels !== 3)
}

/** The convolution with channels of zeros appended up to a multiple of 4. */
function padChannelsToFour(
  x: Value,
  w: Value,
  bias: Value | null,
  attributes: KernelAttributes,
  channels: number,
): Value {
  const behind = [0, 4 - (channels % 4), ...w.shape!.slice(2).map(() => 0)]
  const pads = int64s([...w.shape!.map(() => 0), ...behind])
  return op.Conv(op.Pad(x, pads), op.Pad(w, pads), bias, attributes)
}

/** The convolution over three axes, where the kernel reads channels one by one. */
function convOverThreeAxes(x: Value, w: Value, bias: Value | null, attributes: KernelAttributes): Value {
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
 * A transposed convolution of one channel whose windows do not overlap, as a product: every element times the whole
 * kernel. The ConvTranspose kernel is made for many channels, and needs another memory layout. Null for other
 * convolutions.
 */
function depthwiseAsMul(x: Value, w: Value, attributes: TransposedAttributes): Value | null {
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
 * A grouped transposed convolution with one output per group, and an even number of channels per group: onnxruntime's
 * kernel sums wrong products, so each group gets a second output, of zeros, that is cut off again. Null for other
 * convolutions.
 */
function padGroupsToTwo(
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

/**
 * A convolution of stride 1 and one group as a transposed convolution with reversed kernels, weights [M, C, ...] as
 * [C, M, ...]. Null if padding exceeds the extent of a window or is not known.
 */
function convAsTransposed(x: Value, w: Value, bias: Value | null, window: readonly WindowAxis[]): Value | null {
  const pads = (['before', 'after'] as const).flatMap((end) =>
    window.map((axis) => (extentOf(axis) as number) - 1 - (axis[end] as number)),
  )
  if (window.some(({ stride }) => stride !== 1) || !pads.every((pad) => pad >= 0)) return null
  return op.ConvTranspose(x, reverseKernels(w), bias, { dilations: window.map(({ dilation }) => dilation), pads })
}

/** Exchanges input and output channels of weights and reverses every kernel. */
function reverseKernels(w: Value): Value {
  const before = undoReversal(w)
  if (before) return before
  const axes = w.shape!.flatMap((length, axis) => (axis > 1 && length !== 1 ? [axis] : []))
  const swapped = undoSwap(w) ?? op.Transpose(w, { perm: swapPerm(w) })
  if (axes.length === 0) return swapped
  const back = axes.map(() => -1)
  const ends = axes.map(() => -(2 ** 31))
  return op.Slice(swapped, back, ends, axes, back)
}

/**
 * The original weights, if `w` are weights reversed by the gradient of a convolution's input: channels exchanged, and
 * each kernel, as a row, multiplied by the matrix that reverses it. Reversing them again gives the original.
 */
function undoReversal(w: Value): Value | undefined {
  const product = producer(producer(w, 'Reshape')?.inputs[0], 'MatMul')
  const rows = producer(product?.inputs[0], 'Reshape')
  const reversal = constantTensor(product?.inputs[1])
  const swapped = rows?.inputs[0]
  const taps = sizeOf(w.shape!.slice(2) as readonly number[])
  if (!reversal || `${reversal.dims}` !== `${[taps, taps]}` || `${swapped?.shape}` !== `${w.shape}`) return undefined
  if (!numbersOf(reversal).every((x, i) => x === Number((i % taps) + Math.floor(i / taps) === taps - 1)))
    return undefined
  return undoSwap(swapped!)
}

/** The input of `x`, if `x` is a Transpose of axes 0 and 1. */
function undoSwap(x: Value): Value | undefined {
  const node = producer(x, 'Transpose')
  return node && `${node.attributes['perm']}` === `${swapPerm(x)}` ? node.inputs[0]! : undefined
}

const swapPerm = (x: Value): readonly number[] => x.shape!.map((_, axis) => (axis < 2 ? 1 - axis : axis))

const producer = (value: Value | null | undefined, operator: string): Node | undefined =>
  value?.source.kind === 'node' && value.source.operator === operator ? value.source : undefined

/** One convolution per group: over three axes onnxruntime has a kernel for one group only. */
function groupByGroup(x: Value, w: Value, group: number, convolved: (x: Value, w: Value) => Value): Value | null {
  const [channels, outputs] = [x.shape?.[1], w.shape?.[0]]
  if (typeof channels !== 'number' || typeof outputs !== 'number') return null
  const parts = (of: Value, length: number, axis: number) =>
    op.Split(of, Array<number>(group).fill(length / group), { axis })
  const weights = parts(w, outputs, 0)
  return op.Concat(
    parts(x, channels, 1).map((part, i) => convolved(part, weights[i]!)),
    { axis: 1 },
  )
}

const perChannel = (bias: Value, rank: number): Value =>
  op.Unsqueeze(
    bias,
    Array.from({ length: rank - 2 }, (_, i) => i + 1),
  )

/** The elements of x at distance `stride`, with zeros between them and after the last. */
function spreadElements(x: Value, window: readonly WindowAxis[]): Value {
  return window.reduce((y, { stride }, i) => {
    if (stride === 1) return y
    const axis = i + 2
    const behind = y.shape!.map(() => 0)
    const single = op.Unsqueeze(y, [axis + 1])
    const spread = op.Pad(single, [...behind, 0, ...behind.toSpliced(axis + 1, 0, stride - 1)])
    const to = (y.shape as readonly number[]).map((length, at) => (at === axis ? length * stride : length))
    return op.Reshape(spread, to)
  }, x)
}

type Transposed = Parameters<typeof transposedWindowOf>[0] & {
  readonly group: number
  readonly kernel_shape?: readonly number[] | undefined
}

/**
 * A transposed convolution as a convolution of x, with zeros between its elements, and the reversed kernels: weights
 * [C, M / group, ...] as [M, C / group, ...].
 */
function convTranspose(x: Value, w: Value, bias: Value | null, attributes: Transposed): Value | null {
  const { group } = attributes
  if (!isStatic(x.shape) || !isStatic(w.shape)) return null
  const kernel = kernelOf(w.shape, attributes.kernel_shape) as readonly number[]
  const window = transposedWindowOf(attributes, kernel, x.shape.slice(2))
  const axes = kernel.map((_, i) => i + 2)
  const turnedAll = (of: Value) =>
    op.Slice(
      swapFirst(of),
      axes.map(() => -1),
      axes.map(() => -(2 ** 31)),
      axes,
      axes.map(() => -1),
    )
  const spread = spreadElements(x, window)
  const pads = window.map(({ before, dilation }, i) => (kernel[i]! - 1) * dilation - (before as number))
  // The zeros after the last element count as padding.
  const ends = window.map(({ output, dilation, stride }, i) => {
    const seen = (output as number) + (kernel[i]! - 1) * dilation
    return seen - pads[i]! - (x.shape as readonly number[])[i + 2]! * stride
  })
  const none = [0, 0]
  const padded = op.Pad(spread, [...none, ...pads, ...none, ...ends])
  const convolved = (part: Value, weights: Value) =>
    op.Conv(part, turnedAll(weights), { dilations: window.map(({ dilation }) => dilation) })
  const y = group === 1 ? convolved(padded, w) : groupByGroup(padded, w, group, convolved)
  return y && bias ? op.Add(y, perChannel(bias, x.shape.length)) : y
}

const lowerConv =
  (kernels: 'all' | 'own'): NonNullable<Lowerings<typeof convolution>['Conv']> =>
  ([x, w, bias], { group, ...attributes }) => {
    const columns = bias ? null : convAsGather(x, w, { group, ...attributes })
    if (columns) return columns
    if (group === 1) return fixConv(x, w, bias, attributes, kernels)
    if (x.shape?.length !== 5) return null
    const y = groupByGroup(x, w, group, (part, weights) => op.Conv(part, weights, attributes))
    return y && bias ? op.Add(y, perChannel(bias, 5)) : y
  }

export const convolutionLowerings = {
  Conv: lowerConv('all'),
  ConvTranspose: ([x, w, bias], attributes) => {
    if (x.shape?.length === 5) return convTranspose(x, w, bias, attributes)
    const y = padGroupsToTwo(x, w, attributes) ?? (bias ? null : depthwiseAsMul(x, w, attributes))
    return y && bias ? op.Add(y, perChannel(bias, w.shape!.length)) : y
  },
} satisfies Lowerings<typeof convolution>

/** For operator sets after 21, for which there is no kernel of ConvTranspose. */
export const downlevelConvolutions = {
  Conv: lowerConv('own'),
  ConvTranspose: ([x, w, bias], attributes) => convTranspose(x, w, bias, attributes),
} satisfies Lowerings<typeof convolution>
