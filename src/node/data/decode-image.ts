import type { Sharp } from 'sharp'
import type { DecodedImage, DecodeOptions } from '../../data/image/image-files.js'
import { checkImageHeader, maxImagePixels } from '../../data/image/image-header.js'
import { messageOf, OnnxIreError } from '../../util/errors.js'
import { readRegularFile } from '../files/files.js'
import { requirePackage } from '../runtime/packages.js'

/**
 * Decodes a JPEG, PNG, WebP, AVIF or GIF file (its first frame). Gray and palette images become RGB, 16 bits become 8.
 * The EXIF orientation is applied, color profiles are not (like PIL and torchvision). Shrinking averages over all
 * source pixels of a target pixel (libvips, linear kernel), like bilinear resizing in PIL. Runs outside of the
 * JavaScript thread.
 * @throws OnnxIreError `io`, `runtime` if sharp is not installed, or `invalid-data` naming a file that is damaged, of
 * another format, or larger than 2^25 pixels
 */
export const decodeImage = async (path: string, decoding: DecodeOptions): Promise<DecodedImage> =>
  decodeBytes(path, await readRegularFile('image', path), decoding)

/** Decodes the bytes of an image file like `decodeImage`. */
export async function decodeBytes(
  path: string,
  bytes: Uint8Array,
  { channels, background, targetSize }: DecodeOptions,
): Promise<DecodedImage> {
  checkImageHeader(path, bytes)
  const sharp = requirePackage<typeof import('sharp').default>('sharp', 'decoding images')
  try {
    const image = sharp(bytes, { failOn: 'error', ignoreIcc: true, autoOrient: true, limitInputPixels: maxImagePixels })
    const { width, height } = (await image.metadata()).autoOrient
    const [rows, columns] = targetSize([height, width])
    let pixels: Sharp = channels === 4 ? image.ensureAlpha() : image.flatten({ background: gray(background) })
    if (rows < height || columns < width)
      pixels = pixels.resize({ width: columns, height: rows, fit: 'fill', kernel: 'linear' })
    const { data, info } = await pixels.toColourspace('srgb').raw().toBuffer({ resolveWithObject: true })
    return { data, rows: info.height, columns: info.width, channels: info.channels }
  } catch (cause) {
    const [reason] = messageOf(cause).split(/:?\n/)
    throw new OnnxIreError(
      'invalid-data',
      `cannot decode the image ${path}: ${reason}; replace the file or remove it`,
      { cause },
    )
  }
}

const gray = (value: number) => ({ r: value, g: value, b: value })
