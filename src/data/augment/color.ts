import type { FloatImage } from './float-image.js'

// Pixels are whole here and stay so. Where torchvision computes in float32 and cuts off fractions, so do these: `fround`.
const { fround } = Math

/** Towards black (factor 0) or away from it. */
export const brightness = (picture: FloatImage, factor: number): FloatImage => blend(picture, () => 0, factor)

/** Towards grey or away from it. Grey pictures stay as they are. */
export function saturation(picture: FloatImage, factor: number): FloatImage {
  if (picture.channels === 1) return picture
  const grey = toGray(picture)
  return blend(picture, (i) => grey[i % grey.length]!, factor)
}

/** Towards the mean of its grey or away from it. */
export function contrast(picture: FloatImage, factor: number): FloatImage {
  const grey = toGray(picture)
  const mean = fround(grey.reduce((sum, value) => sum + value, 0) / grey.length)
  return blend(picture, () => mean, factor)
}

/** Towards a smoothed picture or away from it: 3x3, 5/13 in the middle and 1/13 around; the border is not smoothed. */
export function sharpness(picture: FloatImage, factor: number): FloatImage {
  const { rows, columns, data } = picture
  if (rows <= 2 || columns <= 2) return picture
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
  return blend(picture, (i) => smooth[i]!, factor)
}

/** Keeps the leading bits of 8. */
export const posterize = (picture: FloatImage, bits: number): FloatImage =>
  mapPixels(picture, (value) => value & (0x100 - 2 ** (8 - bits)))

/** Inverts what is at the threshold or above. */
export const solarize = (picture: FloatImage, threshold: number): FloatImage =>
  mapPixels(picture, (value) => (value >= threshold ? 255 - value : value))

/** Stretches each channel to 0 .. 255. */
export const autoContrast = (picture: FloatImage): FloatImage =>
  mapChannels(picture, (channel) => {
    const [least, most] = [channel.reduce((a, b) => Math.min(a, b)), channel.reduce((a, b) => Math.max(a, b))]
    if (least === most) return
    const scale = fround(255 * fround(1 / (most - least)))
    for (let i = 0; i < channel.length; i++) channel[i] = byte(fround((channel[i]! - least) * scale))
  })

/** Makes each channel's histogram as flat as its steps allow: value v becomes (pixels below v + step / 2) / step. */
export const equalize = (picture: FloatImage): FloatImage =>
  mapChannels(picture, (channel) => {
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

/** factor * x + (1 - factor) * other, cut off to a byte. */
function blend(picture: FloatImage, other: (i: number) => number, factor: number): FloatImage {
  const [own, its] = [fround(factor), fround(1 - factor)]
  return {
    ...picture,
    data: picture.data.map((value, i) => byte(fround(fround(own * value) + fround(its * other(i))))),
  }
}

const byte = (value: number) => Math.floor(Math.min(255, Math.max(0, value)))

const mapPixels = (picture: FloatImage, f: (value: number) => number): FloatImage => ({
  ...picture,
  data: picture.data.map(f),
})

/** Luma by ITU-R BT.601, cut off to whole numbers; one channel is grey itself. */
function toGray({ channels, data }: FloatImage): Float32Array {
  const size = data.length / channels
  if (channels === 1) return data
  const [r, g, b] = [fround(0.2989), fround(0.587), fround(0.114)]
  return Float32Array.from({ length: size }, (_, i) => {
    const reds = fround(fround(r * data[i]!) + fround(g * data[size + i]!))
    return Math.floor(fround(reds + fround(b * data[2 * size + i]!)))
  })
}

/** `f` changes a copy of each channel. */
function mapChannels(picture: FloatImage, f: (channel: Float32Array) => void): FloatImage {
  const data = picture.data.slice()
  const size = data.length / picture.channels
  for (let at = 0; at < data.length; at += size) f(data.subarray(at, at + size))
  return { ...picture, data }
}
