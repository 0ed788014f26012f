import type { Value } from '../../ir/value.js'
import { knownNumbers } from '../contents.js'
import { op } from '../op.js'
import { swapFirst } from './shape.js'

/** Zeros around an image: before its columns, after its rows and after its columns. */
interface Margins {
  readonly left: number
  readonly below: number
  readonly right: number
}

/**
 * Stacks images [N, C, H, W] of known lengths into one image per channel: [1, C, N (H + below), left + W + right], with
 * zeros in the margins.
 */
export function stackImages(images: Value, { left, below, right }: Margins): Value {
  const [, channels, , columns] = images.shape as readonly number[]
  const padded = op.Pad(swapFirst(images), [0, 0, 0, left, 0, 0, below, right])
  return op.Reshape(padded, [1, channels!, -1, left + columns! + right])
}

/** The images and margins of a result of `stackImages`; undefined for another value. */
export function unstack({ source }: Value): { readonly images: Value; readonly margins: Margins } | undefined {
  if (source.kind !== 'node' || source.operator !== 'Reshape') return undefined
  const [padded] = source.inputs
  if (padded?.source.kind !== 'node' || padded.source.operator !== 'Pad') return undefined
  const [swapped, pads] = padded.source.inputs
  if (swapped?.source.kind !== 'node' || swapped.source.operator !== 'Transpose') return undefined
  const [images] = swapped.source.inputs
  const [, , , left, , , below, right] = knownNumbers(pads) ?? []
  return left === undefined ? undefined : { images: images!, margins: { left, below: below!, right: right! } }
}
