import { createFilledImage, type FloatImage, roundHalfEven } from './float-image.js'

/** Linear map [x', y'] = [a x + b y, c x + d y]. */
type Matrix = readonly [a: number, b: number, c: number, d: number]

/** Shears an image horizontally: each row moves left by `factor` times its distance from the upper border. */
export const shearX = (image: FloatImage, factor: number): FloatImage => warp(image, [1, factor, 0, 1], [0, 0])

/** Shears an image vertically: each column moves up by `factor` times its distance from the left border. */
export const shearY = (image: FloatImage, factor: number): FloatImage => warp(image, [1, 0, factor, 1], [0, 0])

/** Translates an image to the right and down by whole pixels. */
export const translate = (image: FloatImage, x: number, y: number): FloatImage =>
  warp(image, [1, 0, 0, 1], [0, 0], [Math.trunc(x), Math.trunc(y)])

/** Rotates an image about its center, counter-clockwise, in degrees. */
export function rotate(image: FloatImage, degrees: number): FloatImage {
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
      const column = roundHalfEven(a * u + b * v + from[0] - 0.5)
      const row = roundHalfEven(c * u + d * v + from[1] - 0.5)
      if (row < 0 || row >= rows || column < 0 || column >= columns) continue
      const source = row * columns + column
      for (let channel = 0; channel < channels; channel++)
        out.data[channel * plane + i] = image.data[channel * plane + source]!
    }
  return out
}
