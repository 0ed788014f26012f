import { OnnxIreError } from '../../util/errors.js'

/** Largest number of pixels of an image file: 8192 x 4096. Three bytes a pixel make 100 MB while it is decoded. */
export const maxImagePixels = 2 ** 25

/** Largest number of rows and of columns of an image file. */
const maxSide = 2 ** 16

/**
 * Checks the header of a JPEG, PNG or WebP image and returns its size. A small file can declare an image that takes
 * gigabytes, so the header is checked before the image is decoded.
 * @returns columns and rows as stored, before the orientation is applied
 * @throws 'invalid-data' naming a file of another format, or of an image that is too large
 */
export function checkImageHeader(name: string, bytes: Uint8Array): readonly [columns: number, rows: number] {
  const size = readSize(bytes)
  const refuse = (problem: string) =>
    new OnnxIreError('invalid-data', `cannot decode the image ${name}: ${problem}; replace the file or remove it`)
  if (size === null) throw refuse('it is not a JPEG, PNG or WebP file')
  const [columns, rows] = size
  if (!(columns > 0 && rows > 0)) throw refuse('its header is damaged or truncated')
  if (columns > maxSide || rows > maxSide || columns * rows > maxImagePixels)
    throw refuse(
      `it has ${columns} x ${rows} pixels, and at most ${maxImagePixels} pixels, ${maxSide} per side, are decoded: shrink it first`,
    )
  return size
}

type Size = readonly [columns: number, rows: number]

const damaged: Size = [0, 0]

/** The size that a header declares; null for another format. */
function readSize(bytes: Uint8Array): Size | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const startsWith = (at: number, ...expected: readonly number[]) => expected.every((byte, i) => bytes[at + i] === byte)
  try {
    if (startsWith(0, 0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)) return [view.getUint32(16), view.getUint32(20)]
    if (startsWith(0, 0xff, 0xd8, 0xff)) return readJpegSize(view)
    const isWebp = startsWith(0, 0x52, 0x49, 0x46, 0x46) && startsWith(8, 0x57, 0x45, 0x42, 0x50)
    return isWebp ? readWebpSize(view) : null
  } catch (error) {
    if (error instanceof RangeError) return damaged // the header ends too early
    throw error
  }
}

/** Searches the segments for the frame header (ITU-T T.81, B.2.2): precision, rows, columns. */
function readJpegSize(view: DataView): Size {
  for (let at = 2; ; ) {
    if (view.getUint8(at) !== 0xff) return damaged
    const marker = view.getUint8(at + 1)
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)
    if (isFrame) return [view.getUint16(at + 7), view.getUint16(at + 5)]
    if (marker === 0xff)
      at++ // padding before a marker
    else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) at += 2
    else at += 2 + view.getUint16(at + 2)
  }
}

/** Reads the first chunk (RFC 9649): 'VP8X' for the extended format, 'VP8L' for lossless, 'VP8 ' for lossy images. */
function readWebpSize(view: DataView): Size {
  const uint24 = (at: number) => view.getUint16(at, true) + view.getUint8(at + 2) * 2 ** 16
  const chunk = view.getUint32(12)
  if (chunk === 0x56503858) return [uint24(24) + 1, uint24(27) + 1]
  if (chunk === 0x5650384c) {
    const bits = view.getUint32(21, true)
    return [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1]
  }
  return chunk === 0x56503820 ? [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff] : damaged
}
