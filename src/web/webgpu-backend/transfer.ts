import { MAP_READ, USAGE } from './flags.js'

/** The most bytes that are in staging at once. */
const STAGING = 2 ** 25

/** The first `into.byteLength` bytes of a buffer, and where they go. */
export interface Piece {
  readonly buffer: GPUBuffer
  readonly into: Uint8Array
}

/** The bytes of an array, to be written to. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** Copies from the device through one staging buffer, as many pieces at a time as it holds. Bytes are multiples of 4. */
export async function download(device: GPUDevice, pieces: readonly Piece[]): Promise<void> {
  const total = pieces.reduce((sum, { into }) => sum + into.byteLength, 0)
  if (total === 0) return
  const staging = device.createBuffer({
    label: 'staging',
    size: Math.min(total, STAGING),
    usage: USAGE.mapRead | USAGE.copyTo,
  })
  try {
    for (const batch of batches(pieces, staging.size)) {
      const encoder = device.createCommandEncoder()
      for (const { piece, from, at, bytes } of batch) encoder.copyBufferToBuffer(piece.buffer, from, staging, at, bytes)
      device.queue.submit([encoder.finish()])
      await staging.mapAsync(MAP_READ)
      const mapped = staging.getMappedRange()
      for (const { piece, from, at, bytes } of batch) piece.into.set(new Uint8Array(mapped, at, bytes), from)
      staging.unmap()
    }
  } finally {
    staging.destroy()
  }
}

interface Part {
  readonly piece: Piece
  readonly from: number
  readonly at: number
  readonly bytes: number
}

function* batches(pieces: readonly Piece[], size: number): Generator<readonly Part[]> {
  let batch: Part[] = []
  let at = 0
  for (const piece of pieces)
    for (let from = 0; from < piece.into.byteLength; ) {
      const bytes = Math.min(piece.into.byteLength - from, size - at)
      batch.push({ piece, from, at, bytes })
      from += bytes
      at += bytes
      if (at < size) continue
      yield batch
      batch = []
      at = 0
    }
  if (batch.length > 0) yield batch
}

/** Copies the numbers of an array to the start of a buffer, in float32. */
export function upload(device: GPUDevice, buffer: GPUBuffer, array: Float32Array | Float64Array): void {
  const single = array instanceof Float32Array ? array : Float32Array.from(array)
  const step = STAGING / 4
  for (let from = 0; from < single.length; from += step)
    device.queue.writeBuffer(
      buffer,
      4 * from,
      single as Float32Array<ArrayBuffer>,
      from,
      Math.min(step, single.length - from),
    )
}

/** Packs elements of 0 and 1 into bits, 32 to a word, from word `word` on. */
export function pack(flat: Uint8Array, words: Uint32Array, word: number): void {
  for (let i = 0; i < flat.length; i++) if (flat[i]) words[word + (i >> 5)]! |= 1 << (i & 31)
}

/** The inverse of `pack`. */
export function unpack(words: Uint32Array, word: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (words[word + (i >> 5)]! >> (i & 31)) & 1)
}
