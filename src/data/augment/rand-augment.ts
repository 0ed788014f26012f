import { checkNames, checkNumber, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { roundHalfToEven } from '../../util/round.js'
import type { Augmentation } from './float-image.js'
import { createFilledImage, type FloatImage } from './float-image.js'

/** Options of `randAugment`. */
export interface RandAugmentOptions {
  /** Number of operations per image. Default 2. */
  readonly operations?: number | undefined
  /** Strength of the operations, from 0 to `bins` - 1. Default 9. */
  readonly magnitude?: number | undefined
  /** Number of strengths. Default 31. */
  readonly bins?: number | undefined
}

/**
 * RandAugment (Cubuk et al. 2020) as defined by torchvision: random operations out of 14, applied one after the other,
 * all with the strength m = magnitude / (bins - 1), and a random sign for signed operations. Pixels are rounded to
 * bytes first; geometric operations use the nearest pixel and fill with black.
 * @throws OnnxIreError `invalid-option`; `invalid-data` for images that are neither gray nor RGB
 */
export function randAugment(options: RandAugmentOptions = {}): Augmentation {
  const owner = 'randAugment'
  checkNames(owner, options, ['operations', 'magnitude', 'bins'])
  const operations = checkNumber(owner, 'operations', options.operations ?? 2, positiveCount)
  const bins = checkNumber(owner, 'bins', options.bins ?? 31, { min: 2, max: 2 ** 20, integer: true })
  const magnitude = checkNumber(owner, 'magnitude', options.magnitude ?? 9, { min: 0, max: bins - 1, integer: true })
  const strength = magnitude / (bins - 1)
  return {
    apply(image, random) {
      if (image.channels !== 1 && image.channels !== 3)
        throw new OnnxIreError(
          'invalid-data',
          `randAugment: images have ${image.channels} channels; they must have 1 or 3`,
        )
      let result: FloatImage = {
        ...image,
        data: image.data.map((value) => Math.round(Math.min(255, Math.max(0, value)))),
      }
      for (let i = 0; i < operations; i++) {
        const operation = randAugmentOperations[random.integer(randAugmentOperations.length)]!
        result = operation.apply(result, operation.signed ? strength * random.sign() : strength)
      }
      return result
    },
  }
}

/** Linear map [x', y'] = [a x + b y, c x + d y]. */
type Matrix = readonly [a: number, b: number, c: number, d: number]

/** Shears an image horizontally: each row moves left by `factor` times its distance from the upper border. */
const shearX = (image: FloatImage, factor: number): FloatImage => warp(image, [1, factor, 0, 1], [0, 0])

/** Shears an image vertically: each column moves up by `factor` times its distance from the left border. */
const shearY = (image: FloatImage, factor: number): FloatImage => warp(image, [1, 0, factor, 1], [0, 0])

/** Translates an image to the right and down by whole pixels. */
const translate = (image: FloatImage, x: number, y: number): FloatImage =>
  warp(image, [1, 0, 0, 1], [0, 0], [Math.trunc(x), Math.trunc(y)])

/** Rotates an image about its center, counter-clockwise, in degrees. */
function rotate(image: FloatImage, degrees: number): FloatImage {
  const angle = (degrees * Math.PI) / 180
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  return warp(image, [cos, -sin, sin, cos], [image.columns / 2, image.rows / 2])
}

/**
 * Warps an image: pixel [x, y] of the result is the source pixel nearest to M ([x, y] - to) + from, in coordinates of
 * pixel centers, or black outside the image.
 */
function warp(
  image: FloatImage,
  [a, b, c, d]: Matrix,
  from: readonly [x: number, y: number],
  to: readonly [x: number, y: number] = from,
): FloatImage {
  const { channels, rows, columns } = image
  const out = createFilledImage(image, rows, columns, 0)
  const plane = rows * columns
  for (let y = 0, i = 0; y < rows; y++)
    for (let x = 0; x < columns; x++, i++) {
      const [u, v] = [x + 0.5 - to[0], y + 0.5 - to[1]]
      const column = roundHalfToEven(a * u + b * v + from[0] - 0.5)
      const row = roundHalfToEven(c * u + d * v + from[1] - 0.5)
      if (row < 0 || row >= rows || column < 0 || column >= columns) continue
      const source = row * columns + column
      for (let channel = 0; channel < channels; channel++)
        out.data[channel * plane + i] = image.data[channel * plane + source]!
    }
  return out
}

// Pixels are integers before and after each function. As in torchvision, the arithmetic is float32 (`fround`) and
// results are truncated.
const { fround } = Math

/** Changes the brightness: blends with black (factor 0), or away from it (factor > 1). */
const brightness = (image: FloatImage, factor: number): FloatImage => blend(image, () => 0, factor)

/** Changes the saturation: blends with gray (factor 0), or away from it (factor > 1). Gray images are unchanged. */
function saturation(image: FloatImage, factor: number): FloatImage {
  if (image.channels === 1) return image
  const gray = toGray(image)
  return blend(image, (i) => gray[i % gray.length]!, factor)
}

/** Changes the contrast: blends with the mean gray value (factor 0), or away from it (factor > 1). */
function contrast(image: FloatImage, factor: number): FloatImage {
  const gray = toGray(image)
  const mean = fround(gray.reduce((sum, value) => sum + value, 0) / gray.length)
  return blend(image, () => mean, factor)
}

/**
 * Changes the sharpness: blends with a smoothed image (factor 0), or away from it (factor > 1). The 3x3 kernel is 5/13
 * in the center and 1/13 around; the border is not smoothed.
 */
function sharpness(image: FloatImage, factor: number): FloatImage {
  const { rows, columns, data } = image
  if (rows <= 2 || columns <= 2) return image
  const smooth = data.slice()
  for (let line = 0; line < data.length; line += columns) {
    const y = (line / columns) % rows
    if (y === 0 || y === rows - 1) continue
    for (let i = line + 1; i < line + columns - 1; i++) {
      let sum = 4 * data[i]!
      for (const above of [i - columns, i, i + columns]) sum += data[above - 1]! + data[above]! + data[above + 1]!
      smooth[i] = Math.round(sum / 13)
    }
  }
  return blend(image, (i) => smooth[i]!, factor)
}

/** Reduces each pixel to its leading bits. */
const posterize = (image: FloatImage, bits: number): FloatImage =>
  mapPixels(image, (value) => value & (0x100 - 2 ** (8 - bits)))

/** Inverts the pixels at or above the threshold. */
const solarize = (image: FloatImage, threshold: number): FloatImage =>
  mapPixels(image, (value) => (value >= threshold ? 255 - value : value))

/** Stretches the values of each channel to 0 .. 255. */
const autoContrast = (image: FloatImage): FloatImage =>
  mapChannels(image, (channel) => {
    const [least, most] = [channel.reduce((a, b) => Math.min(a, b)), channel.reduce((a, b) => Math.max(a, b))]
    if (least === most) return
    const scale = fround(255 * fround(1 / (most - least)))
    for (let i = 0; i < channel.length; i++) channel[i] = toByte(fround((channel[i]! - least) * scale))
  })

/** Equalizes the histogram of each channel: value v becomes (pixels below v + step / 2) / step. */
const equalize = (image: FloatImage): FloatImage =>
  mapChannels(image, (channel) => {
    const histogram = new Array<number>(256).fill(0)
    for (const value of channel) histogram[value]!++
    const last = histogram[channel.reduce((a, b) => Math.max(a, b))]!
    const step = Math.floor((channel.length - last) / 255)
    if (step === 0) return
    let below = 0
    const table = histogram.map((count) => {
      const value = Math.min(255, Math.floor((below + (step >> 1)) / step))
      below += count
      return value
    })
    for (let i = 0; i < channel.length; i++) channel[i] = table[channel[i]!]!
  })

/** Blends two images, factor * x + (1 - factor) * other, truncated to a byte. */
function blend(image: FloatImage, other: (i: number) => number, factor: number): FloatImage {
  const [weight, otherWeight] = [fround(factor), fround(1 - factor)]
  return {
    ...image,
    data: image.data.map((value, i) => toByte(fround(fround(weight * value) + fround(otherWeight * other(i))))),
  }
}

const toByte = (value: number) => Math.floor(Math.min(255, Math.max(0, value)))

const mapPixels = (image: FloatImage, f: (value: number) => number): FloatImage => ({
  ...image,
  data: image.data.map(f),
})

/** Converts an image to gray: luma by ITU-R BT.601, truncated to integers. */
function toGray({ channels, data }: FloatImage): Float32Array {
  const size = data.length / channels
  if (channels === 1) return data
  const [r, g, b] = [fround(0.2989), fround(0.587), fround(0.114)]
  return Float32Array.from({ length: size }, (_, i) => {
    const reds = fround(fround(r * data[i]!) + fround(g * data[size + i]!))
    return Math.floor(fround(reds + fround(b * data[2 * size + i]!)))
  })
}

/** Applies `f`, which works in place, to a copy of each channel. */
function mapChannels(image: FloatImage, f: (channel: Float32Array) => void): FloatImage {
  const data = image.data.slice()
  const size = data.length / image.channels
  for (let at = 0; at < data.length; at += size) f(data.subarray(at, at + size))
  return { ...image, data }
}

/** Operation of RandAugment. */
interface Operation {
  readonly name: string
  /** Whether the strength gets a random sign. */
  readonly signed?: true
  /**
   * Changes an image.
   * @param m the strength in [0, 1], or in [-1, 1] for signed operations
   */
  apply(image: FloatImage, m: number): FloatImage
}

/** The 14 operations of torchvision's RandAugment, each with its maximum strength. */
export const randAugmentOperations: readonly Operation[] = [
  { name: 'Identity', apply: (image) => image },
  { name: 'ShearX', signed: true, apply: (image, m) => shearX(image, 0.3 * m) },
  { name: 'ShearY', signed: true, apply: (image, m) => shearY(image, 0.3 * m) },
  { name: 'TranslateX', signed: true, apply: (image, m) => translate(image, (150 / 331) * image.columns * m, 0) },
  { name: 'TranslateY', signed: true, apply: (image, m) => translate(image, 0, (150 / 331) * image.rows * m) },
  { name: 'Rotate', signed: true, apply: (image, m) => rotate(image, 30 * m) },
  { name: 'Brightness', signed: true, apply: (image, m) => brightness(image, 1 + 0.9 * m) },
  { name: 'Color', signed: true, apply: (image, m) => saturation(image, 1 + 0.9 * m) },
  { name: 'Contrast', signed: true, apply: (image, m) => contrast(image, 1 + 0.9 * m) },
  { name: 'Sharpness', signed: true, apply: (image, m) => sharpness(image, 1 + 0.9 * m) },
  { name: 'Posterize', apply: (image, m) => posterize(image, 8 - roundHalfToEven(4 * m)) },
  { name: 'Solarize', apply: (image, m) => solarize(image, 255 * (1 - m)) },
  { name: 'AutoContrast', apply: autoContrast },
  { name: 'Equalize', apply: equalize },
]
