import type { MaskRequest } from '../../optim/ire/mask.js'
import { type FlatMask, type MaskNumbers, maskNumbers } from '../../optim/ire/mask.js'

/** What a refresh counted on the device; `cut` is the key of the largest F that is flat. */
export interface RefreshNumbers {
  readonly flat: number
  readonly zero: number
  readonly cut: number
}

/** From what the device counted in a refresh to the numbers of its mask; see `FlatMask`. */
export type Refreshed = (counted: RefreshNumbers) => MaskNumbers

/** A mask that was made elsewhere. */
export const loaded =
  ({ refreshedAt, threshold, flatShare, zeroShare }: FlatMask): Refreshed =>
  () => ({ refreshedAt, threshold, flatShare, zeroShare })

/** @param total the N of the threshold */
export const refreshed =
  (refresh: MaskRequest, total: number): Refreshed =>
  ({ flat, zero, cut }) =>
    maskNumbers(refresh, total, {
      cut: total === 0 ? 0 : numberOf(cut, refresh.ire.curvature === 'hutchinson'),
      flat,
      zero,
    })

/** The number that has this key: the inverse of the shader's `keyOf`. */
function numberOf(key: number, signed: boolean): number {
  const bits = !signed ? key : key >= 0x80000000 ? key - 0x80000000 : ~key
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!
}
