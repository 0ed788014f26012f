import { createFilledImage, type FloatImage, roundHalfEven } from './float-image.js'

/** [x', y'] = [a x + b y, c x + d y]. */
type Matrix = readonly [a: number, b: number, c: number, d: number]

/** Each row moved to the left by `factor` times its distance from the upper border. */
export const shearX = (picture: FloatImage, factor: number): FloatImage => warp(picture, [1, factor, 0, 1], [0, 0])

/** Each column moved up by `factor` times its distance from the left border. */
export const shearY = (picture: FloatImage, factor: number): FloatImage => warp(picture, [1, 0, factor, 1], [0, 0])

/** Moved to the right and down by whole pixels. */
export const translate = (picture: FloatImage, x: number, y: number): FloatImage =>
  warp(picture, [1, 0, 0, 1], [0, 0], [Math.trunc(x), Math.trunc(y)])

/** Turned about the centre, counter-clockwise, in degrees. */
export function rotate(picture: FloatImage, degrees: number): FloatImage {
  const angle = (degrees * Math.PI) / 180
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  return warp(picture, [cos, -sin, sin, cos], [picture.columns / 2, picture.rows / 2])
}

/**
 * Pixel [x, y] of the result is the one of the picture nearest to M ([x, y] - to) + from, both measured at pixel centres; black
 * where there is none.
 */
function warp(
  picture: FloatImage,
  [a, b, c, d]: Matrix,
  from: readonly [x: number, y: number],
  to: readonly [x: number, y: number] = from,
): FloatImage {
  const { channels, rows, columns } = picture
  const out = createFilledImage(picture, rows, columns, 0)
  const plane = rows * columns
  for (let y = 0, i = 0; y < rows; y++)
    for (let x = 0; x < columns; x++, i++) {
      const [u, v] = [x + 0.5 - to[0], y + 0.5 - to[1]]
      const column = roundHalfEven(a * u + b * v + from[0] - 0.5)
      const row = roundHalfEven(c * u + d * v + from[1] - 0.5)
      if (row < 0 || row >= rows || column < 0 || column >= columns) continue
      const source = row * columns + column
      for (let channel = 0; channel < channels; channel++)
        out.data[channel * plane + i] = picture.data[channel * plane + source]!
    }
  return out
}
