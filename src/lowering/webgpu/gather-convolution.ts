import { constant, constantTensor, int64s, numbersOf, tensorFrom } from '../../ir/leaf.js'
import { isStatic, type Shape } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { kernelOf } from '../../op/definitions/convolution.js'
import { op } from '../../op/op.js'
import { type WindowAttributes, type WindowAxis, windowOf, windowsAlong } from '../../op/window.js'
import { allIndices } from './dims.js'

/** Whether every window along an axis is one element, so that the axis stays as it is. */
export const isUnchanged = ({ kernel, stride, before, after }: WindowAxis): boolean =>
  kernel === 1 && stride === 1 && before === 0 && after === 0

interface ConvAttributes extends WindowAttributes {
  readonly kernel_shape?: readonly number[] | undefined
  readonly group: number
}

/** Maximal number of indices stored in the graph. */
const maxIndices = 2 ** 18

/**
 * A convolution with one-hot kernels, each of which selects one tap of every window, as a Gather without
 * multiplications. (Gradients of weights build columns with such kernels.) Null for other kernels, and if the lengths
 * that windows move over are unknown.
 */
export function convAsGather(x: Value, w: Value, attributes: ConvAttributes): Value | null {
  const { group } = attributes
  const taps = tapsOf(w, group)
  if (!taps || !x.shape || x.shape[1] !== group) return null
  const kernel = kernelOf(w.shape!, attributes.kernel_shape) as readonly number[]
  const window = windowOf(attributes, kernel, x.shape.slice(2))
  // Axes before the first that windows move over are unchanged, like the batch axis.
  const still = window.findIndex((axis) => !isUnchanged(axis))
  const moved = window.slice(still)
  const lengths: Shape = x.shape.slice(2 + still)
  if (still < 0 || (still > 0 && group > 1) || !isStatic(lengths)) return null
  const counts = lengths.map((length, i) => windowsAlong(length, moved[i]!, attributes.auto_pad) as number)
  if (taps.length * sizeOf(counts) > maxIndices) return null
  const before = moved.map((axis) => axis.before as number)
  const after = moved.map((axis) => axis.after as number)
  const within = lengths.map((length, i) => length + before[i]! + after[i]!)
  const indices = constant(tapIndices(taps, kernel.slice(still), within, counts, moved))
  if (still === 0)
    return op.Reshape(
      op.Gather(op.Reshape(pad(x, before, after), [0, 0, -1]), indices, { axis: 2 }),
      int64s([0, group * taps.length, ...counts]),
    )
  const kept = Array<number>(1 + still).fill(0)
  const flat = op.Reshape(pad(op.Squeeze(x, [1]), before, after), int64s([...kept, -1]))
  const columns = op.Reshape(op.Gather(flat, indices, { axis: -1 }), int64s([...kept, taps.length, sizeOf(counts)]))
  const perm = [0, 1 + still, ...kept.slice(1).map((_, i) => i + 1), 2 + still]
  return op.Reshape(op.Transpose(columns, { perm }), int64s([0, ...kept, ...counts]))
}

/** The tap that each kernel of a group selects; undefined if a kernel is not one-hot, or if groups differ. */
function tapsOf(w: Value, group: number): readonly number[] | undefined {
  const tensor = constantTensor(w)
  if (tensor?.dims[1] !== 1) return undefined
  const [numbers, size] = [numbersOf(tensor), sizeOf(tensor.dims.slice(2))]
  const kernels = Array.from({ length: tensor.dims[0]! }, (_, k) => numbers.slice(k * size, (k + 1) * size))
  const taps = kernels.map((kernel) => kernel.indexOf(1))
  const each = taps.length / group
  const picks = kernels.every((kernel, k) => kernel.every((weight, tap) => weight === Number(tap === taps[k])))
  return picks && taps.every((tap, k) => tap >= 0 && tap === taps[k % each]) ? taps.slice(0, each) : undefined
}

function pad(x: Value, before: readonly number[], after: readonly number[]): Value {
  if ([...before, ...after].every((pad) => pad === 0)) return x
  const none = Array<number>(x.shape!.length - before.length).fill(0)
  return op.Pad(x, [...none, ...before, ...none, ...after])
}

/** Index in the flattened padded axes of each tap of each window, taps first: int32. */
function tapIndices(
  taps: readonly number[],
  kernel: readonly number[],
  lengths: readonly number[],
  counts: readonly number[],
  window: readonly WindowAxis[],
) {
  const offsets = allIndices(kernel)
  const indices = taps.flatMap((tap) =>
    allIndices(counts).map((at) =>
      at.reduce((place, i, axis) => {
        const { stride, dilation } = window[axis]!
        return place * lengths[axis]! + i * stride + offsets[tap]![axis]! * dilation
      }, 0),
    ),
  )
  return tensorFrom('int32', [indices.length], indices)
}
