import { numbersOf } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { encodePng } from '../../node/trackers/encode-png.js'

/** Longest side of an image in pixels. */
const maxSide = 96
/** Characters of a text that are shown. */
const maxCharacters = 240

/**
 * The input of an example as an image, as the model reads it, or as a text.
 * @param targets tensors of the data that are no inputs
 */
export function drawInput(
  tensors: Readonly<Record<string, Tensor>>,
  targets: readonly string[],
): { readonly image?: string; readonly text?: string } {
  for (const [name, tensor] of Object.entries(tensors)) {
    if (targets.includes(name)) continue
    if (tensor.dtype === 'string')
      return { text: String((tensor.data as readonly string[])[0]).slice(0, maxCharacters) }
    const image = drawTensor(tensor)
    if (image !== undefined) return { image }
  }
  return {}
}

/** A tensor of one example as an image, scaled to its darkest and brightest value; undefined if it is none. */
export function drawTensor(tensor: Tensor): string | undefined {
  const [, a, b, c, ...others] = tensor.dims
  if (a === undefined || b === undefined || c === undefined || others.length > 0) return undefined
  const isFirst = a === 1 || a === 3
  if (!isFirst && c !== 1 && c !== 3) return undefined
  const [channels, rows, columns] = isFirst ? [a, b, c] : [c, a, b]
  const numbers = numbersOf(tensor)
  const at = (channel: number, y: number, x: number) =>
    numbers[isFirst ? (channel * rows + y) * columns + x : (y * columns + x) * channels + channel]!
  return drawImage(channels, rows, columns, at)
}

const ignored = [128, 128, 128]
/** Colors of the classes; further classes repeat those after the first one. */
const colors = ['000000', '0072b2', 'd55e00', '009e73', 'cc79a7', 'e69f00', '56b4e9', 'f0e442'].map((hex) => [
  ...Buffer.from(hex, 'hex'),
])

/** The classes of pixels as an image, with a color per class. */
export function drawMask(classes: readonly number[], rows: number, columns: number, ignoreIndex?: number): string {
  const [height, width] = shownSize(rows, columns)
  const colorOf = (label: number) => {
    if (label === ignoreIndex || label < 0) return ignored
    return colors[label < colors.length ? label : 1 + ((label - 1) % (colors.length - 1))]!
  }
  const at = (y: number, x: number) =>
    classes[Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width)]!
  const rgb = Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => colorOf(at(y, x))))
  return toAddress(width, height, Uint8Array.from(rgb.flat(2)))
}

/** Size of an image that is shown. */
function shownSize(rows: number, columns: number): readonly [height: number, width: number] {
  const scale = Math.min(1, maxSide / Math.max(rows, columns))
  return [Math.max(1, Math.round(rows * scale)), Math.max(1, Math.round(columns * scale))]
}

const toAddress = (width: number, height: number, rgb: Uint8Array): string =>
  `data:image/png;base64,${Buffer.from(encodePng(width, height, rgb)).toString('base64')}`

function drawImage(
  channels: number,
  rows: number,
  columns: number,
  at: (channel: number, y: number, x: number) => number,
): string {
  const [height, width] = shownSize(rows, columns)
  const pixels: number[] = []
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let channel = 0; channel < 3; channel++)
        pixels.push(meanOf(at, channel % channels, [y, height, rows], [x, width, columns]))
  const least = pixels.reduce((p, q) => Math.min(p, q), Number.POSITIVE_INFINITY)
  const range = pixels.reduce((p, q) => Math.max(p, q), Number.NEGATIVE_INFINITY) - least || 1
  const rgb = Uint8Array.from(pixels, (value) => Math.round((255 * (value - least)) / range))
  return toAddress(width, height, rgb)
}

type Axis = readonly [at: number, shown: number, length: number]

/** Mean of the pixels that become one. */
function meanOf(
  at: (channel: number, y: number, x: number) => number,
  channel: number,
  rows: Axis,
  columns: Axis,
): number {
  const range = ([i, shown, length]: Axis) => {
    const from = Math.floor((i * length) / shown)
    return [from, Math.max(from + 1, Math.floor(((i + 1) * length) / shown))] as const
  }
  const [[top, bottom], [left, right]] = [range(rows), range(columns)]
  let sum = 0
  for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) sum += at(channel, y, x)
  return sum / ((bottom - top) * (right - left))
}
