import { resizeAntialiased } from '../../data/image/antialias.js'
import type { DecodedImage, DecodeOptions } from '../../data/image/image-files.js'
import { checkImageHeader } from '../../data/image/image-header.js'
import type { Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Decodes an image like Node's reader: gray and palette images become RGB, 16 bits become 8, the camera's orientation
 * is applied, color profiles are not. Downscaling averages all pixels that fall into one.
 * @throws 'invalid-data' naming a file that is damaged, of another format, or larger than 2^25 pixels
 */
export async function decodeImage(name: string, blob: Blob, decoding: DecodeOptions): Promise<DecodedImage> {
  checkImageHeader(name, new Uint8Array(await blob.arrayBuffer()))
  const bitmap = await createImageBitmap(blob, settings).catch((cause) => {
    throw new OnnxIreError(
      'invalid-data',
      `cannot decode the image ${name}: ${(cause as Error).message}; replace the file or remove it`,
      { cause },
    )
  })
  const pixels = pixelsOf(bitmap, decoding)
  const [rows, columns] = decoding.targetSize([pixels.rows, pixels.columns])
  return rows < pixels.rows || columns < pixels.columns ? resizeAntialiased(pixels, [rows, columns]) : pixels
}

/** Options of `pixels`. */
export interface PixelsOptions {
  /** Number of channels: 3 (RGB, default) or 4 (with alpha). */
  readonly channels?: 3 | 4 | undefined
  /** Gray value, 0 to 255, behind transparent pixels if `channels` is 3. Default 0. */
  readonly background?: number | undefined
}

/**
 * Reads the pixels of a canvas, a video frame or an image file, in the form that `imageColumn` expects: uint8
 * [1, rows, columns, channels].
 * @throws 'invalid-data'
 * @example
 * const x = await pixels(canvas, { channels: 3 })
 */
export async function pixels(source: ImageBitmapSource, options: PixelsOptions = {}): Promise<Tensor> {
  const { channels = 3, background = 0 } = options
  const bitmap = await createImageBitmap(source, settings).catch((cause) => {
    throw new OnnxIreError('invalid-data', `cannot read pixels from this source: ${(cause as Error).message}`, {
      cause,
    })
  })
  const { data, rows, columns } = pixelsOf(bitmap, { channels, background })
  return { dtype: 'uint8', dims: [1, rows, columns, channels], data }
}

const settings = { imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none' } as const

function pixelsOf(
  bitmap: ImageBitmap,
  { channels, background }: Pick<DecodeOptions, 'channels' | 'background'>,
): DecodedImage {
  const { height: rows, width: columns } = bitmap
  const canvas = new OffscreenCanvas(columns, rows)
  const context = canvas.getContext('2d', { willReadFrequently: true })!
  context.drawImage(bitmap, 0, 0)
  bitmap.close()
  const rgba = context.getImageData(0, 0, columns, rows).data
  if (channels === 4) return { data: new Uint8Array(rgba.buffer), rows, columns, channels }
  const data = new Uint8ClampedArray(rows * columns * 3)
  for (let p = 0; p < rows * columns; p++) {
    const alpha = rgba[4 * p + 3]! / 255
    for (let c = 0; c < 3; c++) data[3 * p + c] = rgba[4 * p + c]! * alpha + background * (1 - alpha) // rounds
  }
  return { data: new Uint8Array(data.buffer), rows, columns, channels }
}
