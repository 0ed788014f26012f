import { resizeAntialiased } from '../../data/image/antialias.js'
import type { DecodedImage, DecodeOptions } from '../../data/image/image-files.js'
import type { Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Decodes an image as Node's reader does: grey and palette images become RGB, 16 bits become 8, the orientation that a
 * camera noted is applied, colour profiles are not; shrinking averages over all pixels that go into one.
 * @throws 'invalid-data' naming the file that is damaged or no image
 */
export async function decodeImage(name: string, blob: Blob, decoding: DecodeOptions): Promise<DecodedImage> {
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
  /** 3 (RGB, the default), or 4 (with alpha). */
  readonly channels?: 3 | 4 | undefined
  /** Grey, 0 to 255, that shows through where an image of 3 channels is transparent. Default 0. */
  readonly background?: number | undefined
}

/**
 * The pixels of what can be drawn, a canvas, a frame of a video, an image file, as `imageColumn` takes them: uint8
 * [1, rows, columns, channels].
 * @throws 'invalid-data'
 */
export async function pixels(source: ImageBitmapSource, options: PixelsOptions = {}): Promise<Tensor> {
  const { channels = 3, background = 0 } = options
  const bitmap = await createImageBitmap(source, settings).catch((cause) => {
    throw new OnnxIreError('invalid-data', `there are no pixels in what was given: ${(cause as Error).message}`, {
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
