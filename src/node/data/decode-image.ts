import { readFile } from 'node:fs/promises'
import type { Sharp } from 'sharp'
import type { DecodedImage, DecodeOptions } from '../../data/image/image-files.js'
import { OnnxIreError } from '../../util/errors.js'
import { readError } from '../files.js'

/**
 * Decodes a JPEG, PNG or WebP file: grey and palette images become RGB, 16 bits become 8, the orientation that a camera
 * noted is applied, colour profiles are not (as in PIL and torchvision). Shrinking averages over all pixels that go into
 * one (libvips, linear kernel), as PIL's bilinear resize does. Runs outside of JavaScript's thread.
 * @throws 'io', or 'invalid-data' naming the file that is damaged or no image
 */
export async function decodeImage(
  path: string,
  { channels, background, targetSize }: DecodeOptions,
): Promise<DecodedImage> {
  const bytes = await readFile(path).catch((cause) => {
    throw readError('image', path, cause)
  })
  const sharp = await library()
  try {
    const image = sharp(bytes, { failOn: 'error', ignoreIcc: true, autoOrient: true })
    const { width, height } = (await image.metadata()).autoOrient
    const [rows, columns] = targetSize([height, width])
    let pixels: Sharp = channels === 4 ? image.ensureAlpha() : image.flatten({ background: grey(background) })
    if (rows < height || columns < width)
      pixels = pixels.resize({ width: columns, height: rows, fit: 'fill', kernel: 'linear' })
    const { data, info } = await pixels.toColourspace('srgb').raw().toBuffer({ resolveWithObject: true })
    return { data, rows: info.height, columns: info.width, channels: info.channels }
  } catch (cause) {
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split(/:?\n/)
    throw new OnnxIreError(
      'invalid-data',
      `cannot decode the image ${path}: ${reason}; replace the file or remove it`,
      { cause },
    )
  }
}

const grey = (value: number) => ({ r: value, g: value, b: value })

/** Loaded when the first image is decoded: it brings a native library along. */
async function library() {
  try {
    return (await import('sharp')).default
  } catch (cause) {
    throw new OnnxIreError(
      'runtime',
      `sharp, which decodes images, cannot be loaded: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    )
  }
}
