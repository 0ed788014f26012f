import { arrayOf, type FloatArray, type Gradients, type ParameterArrays } from '../optim/arrays.js'
import type { Displacement } from '../optim/base.js'

/** Elements per chunk: the displacements of one (32 KiB) stay in the first-level cache until they are added. */
const CHUNK = 4096

/**
 * theta <- theta + (1 + kappa n) d for all tensors, in place, chunk by chunk.
 * @param moments one record per moment of the base optimizer
 * @param flat n by parameter, or null where nothing is enhanced
 */
export function displace(
  displacement: Displacement,
  parameters: ParameterArrays,
  gradients: Gradients,
  moments: readonly Readonly<Record<string, FloatArray>>[],
  flat: Readonly<Record<string, Uint8Array>> | null,
  kappa: number,
): void {
  const d = new Float64Array(CHUNK)
  for (const [name, theta] of Object.entries(parameters)) {
    const g = arrayOf(gradients, name, theta.length, 'loss gradient')
    const own = moments.map((moment) => moment[name]!)
    displaceTensor(displacement, d, theta, g, own, flat?.[name] ?? null, Float64Array.of(kappa))
  }
}

function displaceTensor(
  displacement: Displacement,
  d: Float64Array,
  theta: FloatArray,
  g: FloatArray,
  moments: readonly FloatArray[],
  flat: Uint8Array | null,
  kappa: Float64Array,
): void {
  for (let from = 0; from < theta.length; from += CHUNK) {
    const to = Math.min(from + CHUNK, theta.length)
    displacement(d, theta, g, moments, from, to)
    if (flat) addEnhanced(theta, d, flat, kappa, from, to)
    else add(theta, d, from, to)
  }
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
