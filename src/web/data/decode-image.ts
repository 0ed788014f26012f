import type { DecodedImage, DecodeOptions } from '../../data/image/image-files.js'
import { checkImageHeader } from '../../data/image/image-header.js'
import type { Tensor } from '../../ir/tensor.js'
import { checkNames, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Decodes an image like Node's reader: gray and palette images become RGB, 16 bits become 8, the camera's orientation
 * is applied, color profiles are not. Downscaling averages all pixels that fall into one.
 * @throws OnnxIreError `invalid-data` naming a file that is damaged, of another format, or larger than 2^25 pixels
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
 * @throws OnnxIreError `invalid-option`, or `invalid-data`
 * @example
 * const x = await pixels(canvas, { channels: 3 })
 */
export async function pixels(source: ImageBitmapSource, options: PixelsOptions = {}): Promise<Tensor> {
  checkNames('pixels', options, ['channels', 'background'])
  const { channels = 3, background = 0 } = options
  if (channels !== 3 && channels !== 4) throw invalidOption('pixels', 'channels', channels, '3 or 4')
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

/**
 * Resizes an image without aliasing, as PIL's bilinear resize: every target pixel is the mean of the source pixels
 * around it, weighted by a triangle as wide as two target pixels (or two source pixels, if those are larger).
 */
function resizeAntialiased(
  { data, rows, columns, channels }: DecodedImage,
  to: readonly [rows: number, columns: number],
): DecodedImage {
  const across = pixelWeights(columns, to[1])
  const down = pixelWeights(rows, to[0])
  const lines = new Float32Array(rows * to[1] * channels)
  for (let y = 0; y < rows; y++)
    averagePixels(data, y * columns * channels, channels, across, lines, y * to[1] * channels)
  const out = new Uint8ClampedArray(to[0] * to[1] * channels)
  const width = to[1] * channels
  for (const [y, { first, weights }] of down.entries())
    for (let x = 0; x < width; x++) {
      let sum = 0
      for (const [i, weight] of weights.entries()) sum += weight * lines[(first + i) * width + x]!
      out[y * width + x] = sum // rounds
    }
  return { data: new Uint8Array(out.buffer), rows: to[0], columns: to[1], channels }
}

/** Weights of the source pixels of a target pixel, starting at the source pixel `first`. */
interface PixelWeights {
  readonly first: number
  readonly weights: Float64Array
}

function averagePixels(
  from: Uint8Array,
  start: number,
  channels: number,
  shares: readonly PixelWeights[],
  to: Float32Array,
  at: number,
): void {
  for (const [x, { first, weights }] of shares.entries())
    for (let c = 0; c < channels; c++) {
      let sum = 0
      for (let i = 0; i < weights.length; i++) sum += weights[i]! * from[start + (first + i) * channels + c]!
      to[at + x * channels + c] = sum
    }
}

function pixelWeights(source: number, target: number): PixelWeights[] {
  const scale = source / target
  const reach = Math.max(1, scale)
  return Array.from({ length: target }, (_, t) => {
    const center = (t + 0.5) * scale
    const first = Math.max(0, Math.floor(center - reach + 0.5))
    const end = Math.min(source, Math.floor(center + reach + 0.5))
    const weights = Float64Array.from({ length: end - first }, (_, i) =>
      Math.max(0, 1 - Math.abs(first + i + 0.5 - center) / reach),
    )
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    return { first, weights: weights.map((weight) => weight / total) }
  })
}
