import type { FloatImage } from './float-image.js'

// Pixels are integers before and after each function. Like torchvision, they compute in float32 (`fround`) and truncate.
const { fround } = Math

/** Changes the brightness: blends with black (factor 0), or away from it (factor > 1). */
export const brightness = (image: FloatImage, factor: number): FloatImage => blend(image, () => 0, factor)

/** Changes the saturation: blends with gray (factor 0), or away from it (factor > 1). Gray images are unchanged. */
export function saturation(image: FloatImage, factor: number): FloatImage {
  if (image.channels === 1) return image
  const gray = toGray(image)
  return blend(image, (i) => gray[i % gray.length]!, factor)
}

/** Changes the contrast: blends with the mean gray value (factor 0), or away from it (factor > 1). */
export function contrast(image: FloatImage, factor: number): FloatImage {
  const gray = toGray(image)
  const mean = fround(gray.reduce((sum, value) => sum + value, 0) / gray.length)
  return blend(image, () => mean, factor)
}

/**
 * Changes the sharpness: blends with a smoothed image (factor 0), or away from it (factor > 1). The 3x3 kernel is 5/13
 * in the center and 1/13 around; the border is not smoothed.
 */
export function sharpness(image: FloatImage, factor: number): FloatImage {
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
export const posterize = (image: FloatImage, bits: number): FloatImage =>
  mapPixels(image, (value) => value & (0x100 - 2 ** (8 - bits)))

/** Inverts the pixels at or above the threshold. */
export const solarize = (image: FloatImage, threshold: number): FloatImage =>
  mapPixels(image, (value) => (value >= threshold ? 255 - value : value))

/** Stretches the values of each channel to 0 .. 255. */
export const autoContrast = (image: FloatImage): FloatImage =>
  mapChannels(image, (channel) => {
    const [least, most] = [channel.reduce((a, b) => Math.min(a, b)), channel.reduce((a, b) => Math.max(a, b))]
    if (least === most) return
    const scale = fround(255 * fround(1 / (most - least)))
    for (let i = 0; i < channel.length; i++) channel[i] = toByte(fround((channel[i]! - least) * scale))
  })

/** Equalizes the histogram of each channel: value v becomes (pixels below v + step / 2) / step. */
export const equalize = (image: FloatImage): FloatImage =>
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
