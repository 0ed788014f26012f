import { isStatic } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { swapFirst } from '../../op/compose/shape.js'
import { type convolution, kernelOf, transposedWindowOf } from '../../op/definitions/convolution.js'
import { op } from '../../op/op.js'
import type { WindowAxis } from '../../op/window.js'
import type { Lowerings } from '../lowering.js'
import { depthwiseAsMul, fixConv, padGroupsToTwo } from './conv-workarounds.js'
import { convAsGather } from './gather-conv.js'

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
