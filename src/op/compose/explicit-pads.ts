import { isStatic } from '../../ir/shape.js'
import type { Node, Value } from '../../ir/value.js'
import { extentOf, type WindowAttributes, windowOf, windowsAlong, windowsAlongCeil } from '../window.js'

/** Attributes of a pool. */
interface PoolAttributes extends WindowAttributes {
  readonly kernel_shape: readonly number[]
  readonly ceil_mode: number
}

/**
 * Explicit pads, with `ceil_mode` 0, for pools over axes of known lengths that onnxruntime does not run as ONNX defines
 * them; null for others.
 * - LpPool with `ceil_mode`: shape inference counts a last window that begins after the data, which the kernel does not
 *   compute, and nodes that read the result are then rejected.
 * - MaxPool with SAME pads and a stride above the extent of the kernel: the kernel computes negative pads, and refuses
 *   them.
 */
export function explicitPads<A extends PoolAttributes>(operator: string, x: Value, attributes: A): A | null {
  const { auto_pad, ceil_mode, kernel_shape, strides = [] } = attributes
  const isSame = auto_pad.startsWith('SAME')
  const isMoved = isSame && strides.some((stride, axis) => stride > kernel_shape[axis]!)
  if (operator === 'LpPool' ? ceil_mode === 0 || isSame : operator !== 'MaxPool' || !isMoved) return null
  const spatial = x.shape?.slice(2)
  if (!isStatic(spatial)) return null
  const window = windowOf(attributes, kernel_shape, spatial)
  const along = ceil_mode === 1 ? windowsAlongCeil : windowsAlong
  const before = window.map((axis) => axis.before as number)
  const after = window.map((axis, i) => {
    const end = ((along(spatial[i]!, axis, auto_pad) as number) - 1) * axis.stride + (extentOf(axis) as number)
    return Math.max(0, end - spatial[i]! - before[i]!)
  })
  // onnxruntime takes pads below the number of taps only.
  if (after.some((pad, i) => pad >= kernel_shape[i]!)) return null
  return { ...attributes, auto_pad: 'NOTSET', ceil_mode: 0, pads: [...before, ...after] }
}

/** Whether a node is a pool that gets explicit pads. */
export const getsExplicitPads = ({ operator, inputs, attributes }: Node): boolean =>
  (operator === 'LpPool' || operator === 'MaxPool') &&
  explicitPads(operator, inputs[0]!, attributes as unknown as PoolAttributes) !== null
