import type { FlatMask } from '../../step/mask.js'
import type { Refresh } from '../../step/residence.js'

/** What a refresh counted on the device; `cut` is the key of the largest F that is flat. */
export interface RefreshNumbers {
  readonly flat: number
  readonly zero: number
  readonly cut: number
}

/** What a mask was decided by. */
export type MaskNumbers = Pick<FlatMask, 'refreshedAt' | 'threshold' | 'flatShare' | 'zeroShare'>

/** From what the device counted in a refresh to the numbers of its mask; see `FlatMask`. */
export type Refreshed = (counted: RefreshNumbers) => MaskNumbers

/** A mask that was made elsewhere. */
export const loaded =
  ({ refreshedAt, threshold, flatShare, zeroShare }: FlatMask): Refreshed =>
  () => ({ refreshedAt, threshold, flatShare, zeroShare })

/** @param total the N of the threshold */
export const refreshed =
  ({ ire, step, batchSize }: Refresh, total: number): Refreshed =>
  ({ flat, zero, cut }) => {
    if (total === 0) return { refreshedAt: step, threshold: 0, flatShare: 0, zeroShare: 0 }
    const signed = ire.curvature === 'hutchinson'
    const value = numberOf(cut, signed)
    const threshold = signed || ire.beta > 0 ? value : Math.min(batchSize * value * value, Number.MAX_VALUE)
    return { refreshedAt: step, threshold, flatShare: flat / total, zeroShare: zero / total }
  }

/** The number that has this key: the inverse of the shader's `keyOf`. */
function numberOf(key: number, signed: boolean): number {
  const bits = !signed ? key : key >= 0x80000000 ? key - 0x80000000 : ~key
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!
}
