/**
 * Floats of 16 bits, which JavaScript has no arrays of everywhere yet, as their bits. Numbers are rounded to the nearest, of
 * two as near to the even one.
 */

const word = new DataView(new ArrayBuffer(8))

/** (-1)^s 2^(e - 15) (1 + f / 1024), bits s eeeee ffffffffff; with e = 0 (-1)^s 2^-14 f / 1024. */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25))
}

export function numberToFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  // Halfway from the largest, 65504, to what would be the next.
  if (magnitude >= 65520) return sign | 0x7c00
  // From 2^e to 2^(e + 1) they are 2^(e - 10) apart, and below 2^-14 as far as there.
  word.setFloat64(0, Math.max(magnitude, 2 ** -14))
  const exponent = (word.getUint16(0) >> 4) - 1023
  // A double from 2^52 on has no fraction: the sum is rounded to a whole number, ties to even.
  const steps = magnitude * 2 ** (10 - exponent) + 2 ** 52 - 2 ** 52
  // The 1024 of the leading bit make up for an exponent that is one less; 2048 carry into the next.
  return sign | (((exponent + 14) << 10) + steps)
}

/** The upper half of a float32. */
export function bfloat16ToNumber(bits: number): number {
  word.setUint32(0, bits * 0x10000)
  return word.getFloat32(0)
}

export function numberToBfloat16(value: number): number {
  word.setFloat32(0, value)
  const bits = word.getUint32(0)
  return Number.isNaN(value) ? 0x7fc0 : ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}
