import { addDims, ceilDivDims, type Dim, divDims, mulDims, subDims, unknownDim } from '../ir/shape.js'
import { OnnxIreError } from '../util/errors.js'
import { ints, string } from './define.js'

/** Attributes of sliding windows that convolutions and pools share. */
export const windowAttributes = {
  auto_pad: string('NOTSET'),
  dilations: ints.optional,
  pads: ints.optional,
  strides: ints.optional,
}

export interface WindowAttributes {
  readonly auto_pad: string
  readonly dilations?: readonly number[] | undefined
  readonly pads?: readonly number[] | undefined
  readonly strides?: readonly number[] | undefined
}

/** One spatial axis of a window: `kernel` taps, `dilation` apart, moved by `stride`. */
export interface WindowAxis {
  readonly kernel: Dim
  readonly stride: number
  readonly dilation: number
  readonly before: Dim
  readonly after: Dim
}

const autoPads = ['NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID']

/** Elements from the first to the last tap of a window. */
export const extentOf = ({ kernel, dilation }: Pick<WindowAxis, 'kernel' | 'dilation'>): Dim =>
  dilation === 1 ? kernel : addDims(mulDims(subDims(kernel, 1), dilation), 1)

/**
 * Returns the windows over axes of lengths `spatial`. Pads of SAME_UPPER and SAME_LOWER give ceil(length / stride)
 * windows; they are symbolic if the length is symbolic and the stride does not determine them.
 *
 * Throws `invalid-shape` for attributes that contradict each other.
 */
export function windowOf(
  attributes: WindowAttributes,
  kernel: readonly Dim[],
  spatial: readonly Dim[],
): readonly WindowAxis[] {
  const strides = steps('strides', attributes.strides, spatial.length)
  const dilations = steps('dilations', attributes.dilations, spatial.length)
  const pads = padsOf(attributes, spatial.length)
  const { auto_pad } = attributes
  if (kernel.length !== spatial.length)
    throw new OnnxIreError('invalid-shape', `a kernel of ${kernel.length} axes over ${spatial.length} spatial axes`)
  return spatial.map((length, axis) => {
    const [stride, dilation] = [strides[axis]!, dilations[axis]!]
    const tap = { kernel: kernel[axis]!, stride, dilation }
    const { before, after } = auto_pad.startsWith('SAME')
      ? split(samePadding(length, extentOf(tap), stride), auto_pad)
      : { before: pads[axis]!, after: pads[axis + spatial.length]! }
    return { kernel: tap.kernel, stride, dilation, before, after }
  })
}

function steps(name: string, given: readonly number[] | undefined, rank: number): readonly number[] {
  if (given === undefined || given.length === 0) return Array<number>(rank).fill(1)
  if (given.length !== rank || !given.every((step) => Number.isInteger(step) && step >= 1)) {
    throw new OnnxIreError(
      'invalid-shape',
      `${name} [${given.join(', ')}]: needs one positive number for each of ${rank} spatial axes`,
    )
  }
  return given
}

/** Explicit pads, all zero if `auto_pad` overrides them. */
function padsOf({ auto_pad, pads }: WindowAttributes, rank: number): readonly number[] {
  if (!autoPads.includes(auto_pad))
    throw new OnnxIreError('invalid-shape', `auto_pad '${auto_pad}' is none of ${autoPads.join(', ')}`)
  if (auto_pad !== 'NOTSET' || pads === undefined || pads.length === 0) return Array<number>(2 * rank).fill(0)
  if (pads.length !== 2 * rank || !pads.every((pad) => Number.isInteger(pad) && pad >= 0)) {
    throw new OnnxIreError(
      'invalid-shape',
      `pads [${pads.join(', ')}]: needs a beginning and an end, not negative, for each of ${rank} spatial axes`,
    )
  }
  return pads
}

/** max(0, (ceil(length / stride) - 1) stride + extent - length) */
function samePadding(length: Dim, extent: Dim, stride: number): Dim {
  if (stride === 1) return subDims(extent, 1)
  const total = subDims(addDims(mulDims(subDims(ceilDivDims(length, stride), 1), stride), extent), length)
  return typeof total === 'number' ? Math.max(0, total) : `max(0,${total})`
}

/**
 * A total padding in its two parts; of an odd one SAME_UPPER puts the larger part at the end, everything else at the
 * beginning.
 */
export function split(total: Dim, autoPad: string): { before: Dim; after: Dim } {
  const half = divDims(total, 2)
  const rest = subDims(total, half)
  return autoPad === 'SAME_UPPER' ? { before: half, after: rest } : { before: rest, after: half }
}

/** `length` plus pads minus extent: how far a window can move. A symbol is taken to be long enough. */
function room(length: Dim, axis: WindowAxis, more = 0): Dim {
  const slack = subDims(subDims(extentOf(axis), axis.before), axis.after)
  const room = typeof slack === 'number' ? addDims(length, more - slack) : addDims(subDims(length, slack), more)
  if (typeof room === 'number' && room - more < 0)
    throw new OnnxIreError('invalid-shape', `the window is ${more - room} longer than the padded axis`)
  return room
}

/** Number of windows: floor((length + pads - extent) / stride) + 1. */
export function windowsAlong(length: Dim, axis: WindowAxis, autoPad: string): Dim {
  if (autoPad.startsWith('SAME')) return ceilDivDims(length, axis.stride)
  return axis.stride === 1 ? room(length, axis, 1) : addDims(divDims(room(length, axis), axis.stride), 1)
}

/** Number of windows with ceil_mode: the last window may extend beyond the end padding if it starts before it. */
export function windowsAlongCeil(length: Dim, axis: WindowAxis, autoPad: string): Dim {
  if (axis.stride === 1 || autoPad.startsWith('SAME')) return windowsAlong(length, axis, autoPad)
  const windows = addDims(ceilDivDims(room(length, axis), axis.stride), 1)
  if (typeof windows !== 'number' || typeof length !== 'number' || typeof axis.before !== 'number') return unknownDim()
  return (windows - 1) * axis.stride >= length + axis.before ? windows - 1 : windows
}
