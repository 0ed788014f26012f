import type { DecodedImage } from './image-files.js'

/**
 * Resizes an image without aliasing, as PIL's bilinear resize: every target pixel is the mean of the source pixels
 * around it, weighted by a triangle as wide as two target pixels (or two source pixels, if those are larger).
 */
export function resizeAntialiased(
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
