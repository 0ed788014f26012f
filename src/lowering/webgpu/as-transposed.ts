import { constantTensor, numbersOf } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Node, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { extentOf, type WindowAxis } from '../../op/window.js'

/**
 * A convolution of stride 1 and one group as the transposed one of the weights turned around, [M, C, ...] as [C, M, ...]. Null
 * where a pad is longer than a window reaches, or only a run tells it.
 */
export function asTransposed(x: Value, w: Value, bias: Value | null, window: readonly WindowAxis[]): Value | null {
  const pads = (['before', 'after'] as const).flatMap((end) =>
    window.map((axis) => (extentOf(axis) as number) - 1 - (axis[end] as number)),
  )
  if (window.some(({ stride }) => stride !== 1) || !pads.every((pad) => pad >= 0)) return null
  return op.ConvTranspose(x, turned(w), bias, { dilations: window.map(({ dilation }) => dilation), pads })
}

/** Input and output channels exchanged, every kernel read backwards. */
function turned(w: Value): Value {
  const before = unturned(w)
  if (before) return before
  const axes = w.shape!.flatMap((length, axis) => (axis > 1 && length !== 1 ? [axis] : []))
  const swapped = unswapped(w) ?? op.Transpose(w, { perm: swapOf(w) })
  if (axes.length === 0) return swapped
  const back = axes.map(() => -1)
  const ends = axes.map(() => -(2 ** 31))
  return op.Slice(swapped, back, ends, axes, back)
}

/**
 * The weights that the gradient of a convolution's input has turned around, which turned again are what they were: their channels
 * exchanged and each kernel, as a row, multiplied by the matrix that reads it backwards.
 */
function unturned(w: Value): Value | undefined {
  const product = made(made(w, 'Reshape')?.inputs[0], 'MatMul')
  const rows = made(product?.inputs[0], 'Reshape')
  const reversal = constantTensor(product?.inputs[1])
  const swapped = rows?.inputs[0]
  const taps = sizeOf(w.shape!.slice(2) as readonly number[])
  if (!reversal || `${reversal.dims}` !== `${[taps, taps]}` || `${swapped?.shape}` !== `${w.shape}`) return undefined
  if (!numbersOf(reversal).every((x, i) => x === Number((i % taps) + Math.floor(i / taps) === taps - 1)))
    return undefined
  return unswapped(swapped!)
}

/** What the exchange of the first two axes has made this of. */
function unswapped(x: Value): Value | undefined {
  const node = made(x, 'Transpose')
  return node && `${node.attributes['perm']}` === `${swapOf(x)}` ? node.inputs[0]! : undefined
}

const swapOf = (x: Value): readonly number[] => x.shape!.map((_, axis) => (axis < 2 ? 1 - axis : axis))

const made = (value: Value | null | undefined, operator: string): Node | undefined =>
  value?.source.kind === 'node' && value.source.operator === operator ? value.source : undefined
