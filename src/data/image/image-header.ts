import { asciiCodes } from '../../util/bytes.js'
import { OnnxIreError } from '../../util/errors.js'

/** Largest number of pixels of an image file: 8192 x 4096. Three bytes a pixel make 100 MB while it is decoded. */
export const maxImagePixels = 2 ** 25

/** Largest number of rows and of columns of an image file. */
const maxSide = 2 ** 16

/**
 * Checks the header of a JPEG, PNG, WebP, GIF or AVIF image and returns its size. A small file can declare an image
 * that takes gigabytes, so the header is checked before the image is decoded.
 * @returns columns and rows as stored, before the orientation is applied
 * @throws OnnxIreError `invalid-data` naming a file of another format, or of an image that is too large
 */
export function checkImageHeader(name: string, bytes: Uint8Array): readonly [columns: number, rows: number] {
  const size = readSize(bytes)
  const refuse = (problem: string) =>
    new OnnxIreError('invalid-data', `cannot decode the image ${name}: ${problem}; replace the file or remove it`)
  if (size === null) throw refuse('it is not a JPEG, PNG, WebP, GIF or AVIF file')
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
    if (startsWith(0, 0x47, 0x49, 0x46, 0x38)) return [view.getUint16(6, true), view.getUint16(8, true)]
    if (startsWith(4, ...ftyp) && (startsWith(8, ...avif) || startsWith(8, ...avis))) return readAvifSize(view)
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

const [ftyp, avif, avis] = ['ftyp', 'avif', 'avis'].map(asciiCodes) as [
  readonly number[],
  readonly number[],
  readonly number[],
]

/** The boxes of a part of an ISO base media file (ISO/IEC 14496-12): type, and start and end of the contents. */
function* boxesIn(
  view: DataView,
  from: number,
  to: number,
): Generator<readonly [type: string, from: number, to: number]> {
  for (let at = from; at + 8 <= to; ) {
    const size = view.getUint32(at) || to - at
    const type = String.fromCharCode(...Array.from({ length: 4 }, (_, i) => view.getUint8(at + 4 + i)))
    // Sizes of 64 bits do not occur before the pixels.
    if (size < 8 || at + size > to) return
    yield [type, at + 8, at + size]
    at += size
  }
}

/** The largest size of the images in an AVIF file ('ispe' in meta/iprp/ipco): the image, or its tiles. */
function readAvifSize(view: DataView): Size {
  let largest = damaged
  const visit = (path: readonly string[], from: number, to: number): void => {
    for (const [type, start, end] of boxesIn(view, from, to)) {
      if (type !== path[0]) continue
      if (path.length > 1) visit(path.slice(1), type === 'meta' ? start + 4 : start, end)
      else {
        const size: Size = [view.getUint32(start + 4), view.getUint32(start + 8)]
        if (size[0] * size[1] > largest[0] * largest[1]) largest = size
      }
    }
  }
  visit(['meta', 'iprp', 'ipco', 'ispe'], 0, view.byteLength)
  return largest
}
