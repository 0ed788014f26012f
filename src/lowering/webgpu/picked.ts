import { constant, constantTensor, int64s, numbersOf, tensorFrom } from '../../ir/leaf.js'
import { isStatic, type Shape } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { kernelOf } from '../../op/definitions/convolution.js'
import { op } from '../../op/op.js'
import { type WindowAttributes, type WindowAxis, windowOf, windowsAlong } from '../../op/window.js'
import { everyOf } from './every.js'

interface ConvAttributes extends WindowAttributes {
  readonly group: number
  readonly kernel_shape?: readonly number[] | undefined
}

/** Up to this many places are written into the graph. */
const MANY_PLACES = 2 ** 18

/**
 * A convolution whose kernels each pick one tap of every window, as the gradients of weights make columns with: the elements are
 * gathered, and nothing is multiplied. Null for other kernels, and where the lengths that windows move over are not known.
 */
export function picked(x: Value, w: Value, attributes: ConvAttributes): Value | null {
  const { group } = attributes
  const taps = tapsOf(w, group)
  if (!taps || !x.shape || x.shape[1] !== group) return null
  const kernel = kernelOf(w.shape!, attributes.kernel_shape) as readonly number[]
  const window = windowOf(attributes, kernel, x.shape.slice(2))
  // Axes before the first that windows move over stay as they are, like the images.
  const still = window.findIndex((axis) => !isStill(axis))
  const moved = window.slice(still)
  const lengths: Shape = x.shape.slice(2 + still)
  if (still < 0 || (still > 0 && group > 1) || !isStatic(lengths)) return null
  const counts = lengths.map((length, i) => windowsAlong(length, moved[i]!, attributes.auto_pad) as number)
  if (taps.length * sizeOf(counts) > MANY_PLACES) return null
  const before = moved.map((axis) => axis.before as number)
  const after = moved.map((axis) => axis.after as number)
  const within = lengths.map((length, i) => length + before[i]! + after[i]!)
  const places = constant(placesOf(taps, kernel.slice(still), within, counts, moved))
  if (still === 0)
    return op.Reshape(
      op.Gather(op.Reshape(padded(x, before, after), [0, 0, -1]), places, { axis: 2 }),
      int64s([0, group * taps.length, ...counts]),
    )
  const kept = Array<number>(1 + still).fill(0)
  const flat = op.Reshape(padded(op.Squeeze(x, [1]), before, after), int64s([...kept, -1]))
  const columns = op.Reshape(op.Gather(flat, places, { axis: -1 }), int64s([...kept, taps.length, sizeOf(counts)]))
  const perm = [0, 1 + still, ...kept.slice(1).map((_, i) => i + 1), 2 + still]
  return op.Reshape(op.Transpose(columns, { perm }), int64s([0, ...kept, ...counts]))
}

const isStill = ({ kernel, stride, before, after }: WindowAxis): boolean =>
  kernel === 1 && stride === 1 && before === 0 && after === 0

/** The tap that each kernel of a group picks; undefined where a kernel does something else, or groups differ. */
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

function padded(x: Value, before: readonly number[], after: readonly number[]): Value {
  if ([...before, ...after].every((pad) => pad === 0)) return x
  const none = Array<number>(x.shape!.length - before.length).fill(0)
  return op.Pad(x, [...none, ...before, ...none, ...after])
}

/** Where in the flat padded axes each tap of each window lies, taps first: int32. */
function placesOf(
  taps: readonly number[],
  kernel: readonly number[],
  lengths: readonly number[],
  counts: readonly number[],
  window: readonly WindowAxis[],
) {
  const offsets = everyOf(kernel)
  const places = taps.flatMap((tap) =>
    everyOf(counts).map((at) =>
      at.reduce((place, i, axis) => {
        const { stride, dilation } = window[axis]!
        return place * lengths[axis]! + i * stride + offsets[tap]![axis]! * dilation
      }, 0),
    ),
  )
  return tensorFrom('int32', [places.length], places)
}
