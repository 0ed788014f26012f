/** Method of fitting an image to a target size, with the names of CSS object-fit, and 'line' for lines of text. */
export type ImageFit = 'fill' | 'contain' | 'cover' | 'none' | 'line'

/**
 * Interpolation weights of one axis of a bilinear resize: target position t, in [start, end), is at `fraction[t]`
 * between the source positions `low[t]` and `high[t]`. Positions outside [start, end) show the background.
 */
export interface BilinearTaps {
  readonly start: number
  readonly end: number
  readonly low: Int32Array
  readonly high: Int32Array
  readonly fraction: Float64Array
}

/** Computes the rows and columns of the resized source, in target pixels, before cropping. */
export function fitSize(
  source: readonly [number, number],
  target: readonly [number, number],
  fit: ImageFit,
): [number, number] {
  const [rows, columns] = [target[0] / source[0], target[1] / source[1]]
  if (fit === 'fill') return [target[0], target[1]]
  if (fit === 'none') return [source[0], source[1]]
  if (fit === 'line') return [target[0], Math.min(target[1], Math.ceil((source[1] * target[0]) / source[0]))]
  const scale = fit === 'contain' ? Math.min(rows, columns) : Math.max(rows, columns)
  return [Math.max(1, Math.round(source[0] * scale)), Math.max(1, Math.round(source[1] * scale))]
}

/** The first target position of an axis of `size` resized pixels: images are centered, and lines begin on the left. */
export const fitOffset = (size: number, target: number, fit: ImageFit): number =>
  fit === 'line' ? 0 : Math.floor((target - size) / 2)

/**
 * Computes the weights of an axis of `source` pixels that is resized to `size` and begins at `offset`. The center of
 * pixel t of the resized image is at (t + 1/2) source / size - 1/2, clamped to the image: the convention of PyTorch's
 * interpolate with align_corners=False and of ONNX Resize with half_pixel. Shrinking averages at most two pixels.
 */
export function bilinearTaps(source: number, size: number, target: number, offset = 0): BilinearTaps {
  const [low, high, fraction] = [new Int32Array(target), new Int32Array(target), new Float64Array(target)]
  const [start, end] = [Math.max(0, offset), Math.min(target, offset + size)]
  for (let t = start; t < end; t++) {
    const at = Math.min(Math.max(((t - offset + 0.5) * source) / size - 0.5, 0), source - 1)
    low[t] = Math.floor(at)
    high[t] = Math.min(low[t]! + 1, source - 1)
    fraction[t] = at - low[t]!
  }
  return { start, end, low, high, fraction }
}
