import type { FloatArray } from '../optim/arrays.js'
import type { Displacement } from '../optim/base.js'

/** Elements per chunk: the displacements of one (32 KiB) stay in the first-level cache until they are added. */
const CHUNK = 4096
const scratch = new Float64Array(CHUNK)

/**
 * theta <- theta + (1 + kappa n) d for one tensor, in place, chunk by chunk.
 * @param g its gradient
 * @param moments its moments, in the base optimizer's order
 * @param flat its n, where it is enhanced
 */
export function displace(
  displacement: Displacement,
  theta: FloatArray,
  g: FloatArray,
  moments: readonly FloatArray[],
  flat: Uint8Array | undefined,
  kappa: number,
): void {
  const enhancement = Float64Array.of(kappa)
  for (let from = 0; from < theta.length; from += CHUNK) {
    const to = Math.min(from + CHUNK, theta.length)
    displacement(scratch, theta, g, moments, from, to)
    if (flat) addEnhanced(theta, scratch, flat, enhancement, from, to)
    else add(theta, scratch, from, to)
  }
}

/** g with every element clipped to [-limit, limit]: itself where there is no limit, a copy otherwise. */
export function clipped(g: FloatArray, limit: number): FloatArray {
  if (limit === Infinity) return g
  const within = g.slice()
  for (let i = 0; i < within.length; i++) within[i] = Math.max(-limit, Math.min(limit, within[i]!))
  return within
}

// Four at a time: the sums are so short that the loop itself would cost as much again.

function add(theta: FloatArray, d: Float64Array, from: number, to: number): void {
  const whole = to - ((to - from) % 4)
  let i = 0
  let j = from
  for (; j < whole; i += 4, j += 4) {
    theta[j] = theta[j]! + d[i]!
    theta[j + 1] = theta[j + 1]! + d[i + 1]!
    theta[j + 2] = theta[j + 2]! + d[i + 2]!
    theta[j + 3] = theta[j + 3]! + d[i + 3]!
  }
  for (; j < to; i++, j++) theta[j] = theta[j]! + d[i]!
}

/** kappa comes in an array: read from it, it is a plain double; as an argument it would be boxed. */
function addEnhanced(
  theta: FloatArray,
  d: Float64Array,
  n: Uint8Array,
  c: Float64Array,
  from: number,
  to: number,
): void {
  const kappa = c[0]!
  const whole = to - ((to - from) % 4)
  let i = 0
  let j = from
  for (; j < whole; i += 4, j += 4) {
    theta[j] = theta[j]! + (1 + kappa * n[j]!) * d[i]!
    theta[j + 1] = theta[j + 1]! + (1 + kappa * n[j + 1]!) * d[i + 1]!
    theta[j + 2] = theta[j + 2]! + (1 + kappa * n[j + 2]!) * d[i + 2]!
    theta[j + 3] = theta[j + 3]! + (1 + kappa * n[j + 3]!) * d[i + 3]!
  }
  for (; j < to; i++, j++) theta[j] = theta[j]! + (1 + kappa * n[j]!) * d[i]!
}
