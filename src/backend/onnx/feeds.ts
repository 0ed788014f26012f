import { tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import type { DeviceTensor, DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import { partName } from './flat.js'
import type { Bundle } from './layout.js'

/** A number as a program is fed it. */
export const number = (x: number): Tensor => tensorFrom('float32', [], [x])

/**
 * The gradient of one parameter of these dims.
 * @throws 'invalid-data' for a missing or misshapen one
 */
export function gradientOf(
  gradients: DeviceTensors,
  name: string,
  dims: readonly number[],
  what: string,
): DeviceTensor {
  const g = Object.hasOwn(gradients, name) ? gradients[name] : undefined
  if (!g)
    throw new OnnxIreError(
      'invalid-data',
      `no ${what} for parameter '${name}': give one tensor per parameter, or leave '${name}' out of the parameters to freeze it`,
    )
  if (g.dtype !== 'float32' || g.dims.length !== dims.length || g.dims.some((dim, axis) => dim !== dims[axis]))
    throw new OnnxIreError(
      'invalid-data',
      `the ${what} of '${name}' is ${g.dtype}[${g.dims.join(', ')}], the parameter float32[${dims.join(', ')}]`,
    )
  return g
}

/** The gradients of bundles as programs are fed them, `g/<bundle>/<part>`; throws as `gradientOf`. */
export function gradientFeeds(
  bundles: readonly Bundle[],
  gradients: DeviceTensors,
  what: string,
): Record<string, DeviceTensor> {
  const feeds: Record<string, DeviceTensor> = {}
  for (const { id, parts } of bundles)
    for (const [i, { name, dims }] of parts.entries())
      feeds[partName('g', id, i)] = gradientOf(gradients, name, dims, what)
  return feeds
}
