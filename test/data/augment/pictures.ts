import type { FloatImage } from '../../../src/data/augment/float-image.js'
import { Random } from '../../../src/util/random.js'

/** A picture of random bytes; its mean is 100, 101, ... */
export function noise(channels: number, rows: number, columns: number, seed = 1): FloatImage {
  const random = new Random(seed)
  const data = Float32Array.from({ length: channels * rows * columns }, () => random.integer(256))
  return { channels, rows, columns, data, mean: Array.from({ length: channels }, (_, c) => 100 + c) }
}

/** The pixel value at [c, y, x]; undefined outside. */
export const at = (
  { channels, rows, columns, data }: FloatImage,
  c: number,
  y: number,
  x: number,
): number | undefined =>
  c >= 0 && c < channels && y >= 0 && y < rows && x >= 0 && x < columns ? data[(c * rows + y) * columns + x] : undefined

/** Whether a picture is what `f` says, pixel by pixel. */
export function equals(picture: FloatImage, f: (c: number, y: number, x: number) => number): boolean {
  const { channels, rows, columns } = picture
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < columns; x++) if (at(picture, c, y, x) !== Math.fround(f(c, y, x))) return false
  return true
}
