import { constant } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { knownNumbers } from '../op/contents.js'
import { dftAxis } from '../op/definitions/signal.js'
import { op } from '../op/op.js'
import { dimsOf, unsupported } from './types.js'

/** The largest matrix of a transform, in numbers. */
const maxMatrixElements = 2 ** 22

/**
 * The discrete Fourier transform as a product with a matrix of cosines and sines. Complex numbers are a last axis of
 * length 2; a real signal has one of length 1.
 */
export function fourier(
  x: Value,
  length: Value | null,
  axis: Value | null,
  { inverse, onesided }: { readonly inverse: number; readonly onesided: number },
): Value {
  const dims = dimsOf(x)
  const at = dftAxis(x, axis)
  if (at === undefined) throw unsupported('DFT along an axis that depends on the data')
  const parts = dims.at(-1)!
  const own = dims[at]!
  const isToReal = inverse !== 0 && onesided !== 0
  const n = length ? knownNumbers(length)?.[0] : isToReal ? 2 * own - 2 : own
  if (n === undefined) throw unsupported('DFT of a length that depends on the data')
  const half = Math.floor(n / 2) + 1
  if (isToReal && own !== half) throw unsupported(`DFT to ${n} numbers from ${own} frequencies`)
  // Numbers after the first n do not count, and missing ones are 0.
  const used = Math.min(own, n)
  const count = onesided && !inverse ? half : n
  const width = isToReal ? 1 : 2
  if (used * parts * count * width > maxMatrixElements) throw unsupported(`DFT of ${n} numbers`)

  const matrix = new Float32Array(used * parts * count * width)
  for (let i = 0; i < used; i++)
    for (let k = 0; k < count; k++) {
      const angle = ((inverse ? 2 : -2) * Math.PI * ((i * k) % n)) / n
      // In a one-sided spectrum each frequency represents its conjugate, too, except those that are real.
      const weight = isToReal && i > 0 && 2 * i !== n ? 2 : 1
      const scale = inverse ? weight / n : 1
      const [c, s] = [scale * Math.cos(angle), scale * Math.sin(angle)]
      // (a + b i) (c + s i) = a c - b s + (a s + b c) i
      const of = (part: number) => ((i * parts + part) * count + k) * width
      matrix.set([c, s].slice(0, width), of(0))
      if (parts === 2) matrix.set([-s, c].slice(0, width), of(1))
    }

  const last = dims.length - 1
  const others = dims.map((_, axis) => axis).filter((axis) => axis !== at && axis !== last)
  const order = [...others, at, last]
  const lead = others.map((axis) => dims[axis]!)
  const moved = op.Transpose(used < own ? op.Slice(x, [0], [used], [at]) : x, { perm: order })
  const weights = constant({ dtype: 'float32', dims: [used * parts, count * width], data: matrix })
  const product = op.MatMul(op.Reshape(moved, [...lead, used * parts]), weights)
  const places = order.map((_, axis) => order.indexOf(axis))
  return op.Transpose(op.Reshape(product, [...lead, count, width]), { perm: places })
}
