/** IEEE 754's 16 bits: 1 of sign, 5 of exponent (bias 15), 10 of fraction. */

/** The smallest normal number, 2^-14. */
const smallest = 2 ** -14

/** The number that the bits of a float16 stand for. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** The bits of the float16 nearest to a number, ties to even, from all of its own bits. */
export function numberToHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const x = Math.abs(value)
  if (x >= 65520) return sign | 0x7c00
  if (x < smallest) return sign | even(x * 2 ** 24)
  let exponent = Math.floor(Math.log2(x))
  // The logarithm is rounded.
  if (2 ** exponent > x) exponent--
  else if (2 ** (exponent + 1) <= x) exponent++
  // A fraction that rounds up to 1024 carries into the exponent, as it should.
  return sign | ((exponent + 15) * 1024 + even((x / 2 ** exponent - 1) * 1024))
}

/** The nearest whole number, ties to even. */
function even(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}
