/** Of uint8 elements: two zeros, the type 8, the rank, and the dims as big-endian uint32. */
export function idxHeader(dims: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * dims.length)
  bytes[2] = 0x08
  bytes[3] = dims.length
  const view = new DataView(bytes.buffer)
  for (const [axis, dim] of dims.entries()) view.setUint32(4 + 4 * axis, dim)
  return bytes
}

/** The same for int32 class numbers, of which there may be more than 256. */
export function idxLabelHeader(examples: number): Uint8Array {
  const bytes = idxHeader([examples])
  bytes[2] = 0x0c
  return bytes
}

/** Class numbers as big-endian int32. */
export function idxLabels(labels: ArrayLike<number | bigint>): Uint8Array {
  const bytes = new Uint8Array(4 * labels.length)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < labels.length; i++) view.setInt32(4 * i, Number(labels[i]))
  return bytes
}
