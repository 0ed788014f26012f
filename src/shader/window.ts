import type { Node } from '../ir/value.js'
import { type WindowAttributes, type WindowAxis, windowOf } from '../op/window.js'
import type { Code } from './code.js'
import type { ElementWriter } from './views.js'

/** A window whose numbers are all known. */
type Window = readonly { readonly [K in keyof WindowAxis]: number }[]

export const windowAlong = (
  attributes: Node['attributes'],
  kernel: readonly number[],
  spatial: readonly number[],
): Window => windowOf(attributes as unknown as WindowAttributes, kernel, spatial) as Window

/** The element that a window reads: its position along each axis, and whether it is inside; undefined if always. */
interface Tap {
  readonly at: readonly Code[]
  readonly inside: Code | undefined
}

/** The position that tap `k` of the window at `o` reads. One before the start wraps around to a large number. */
export function tapOf(
  { emitter }: ElementWriter,
  window: Window,
  lengths: readonly number[],
  counts: readonly number[],
  o: readonly Code[],
  k: readonly Code[],
): Tap {
  let inside: Code | undefined
  const at = window.map(({ stride, dilation, before, kernel }, axis) => {
    const length = lengths[axis]!
    const sum = emitter.add(emitter.mul(o[axis]!, stride), emitter.mul(k[axis]!, dilation))
    const last = (counts[axis]! - 1) * stride + (kernel - 1) * dilation - before
    if (before === 0 && last < length) return sum
    const shifted = before === 0 ? sum : emitter.let(`${sum.text} - ${before}u`, sum)
    const fits = emitter.let(`${shifted.text} < ${length}u`, shifted)
    inside = emitter.and(inside, fits)
    return shifted
  })
  return { at, inside }
}

/** The element if a condition holds, otherwise `other`. */
export const masked = ({ emitter }: ElementWriter, inside: Code | undefined, element: Code, other: string): Code =>
  inside ? emitter.let(`select(${other}, ${element.text}, ${inside.text})`, inside, element) : element
