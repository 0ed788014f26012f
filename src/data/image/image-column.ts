import { checksumTensor, type Tensor } from '../../ir/tensor.js'
import { checkNames, checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import type { DataColumn } from '../arrays.js'
import { checkIndices } from '../dataset.js'
import { type BilinearTaps, bilinearTaps, fitOffset, fitSize, type ImageFit } from './bilinear.js'

/** Format of a model's image input: size, channels, normalization. */
export interface ImageOptions {
  /** Rows and columns of the model's input; one number for squares. Default: the size of the images. */
  readonly size?: number | readonly [rows: number, columns: number]
  /**
   * Resizing of images of another size: 'fill' (the default) stretches, 'contain' scales to fit and adds background,
   * 'cover' scales to cover and crops, 'none' keeps the size. The image is centered. 'line', for lines of text, scales
   * to the rows, narrows what is then wider than the columns, and adds background on the right.
   */
  readonly fit?: ImageFit
  /**
   * Channels of the model's input. Gray becomes 3 equal channels; RGB becomes gray as 0.299 R + 0.587 G + 0.114 B
   * (ITU-R BT.601). Default: the channels of the images.
   */
  readonly channels?: number
  /** Order of the channels in the model's input: 'RGB' (the default), or 'BGR' as OpenCV and PaddleOCR read images. */
  readonly order?: 'RGB' | 'BGR'
  /** Factor of the pixel values, applied first. Default 1/255, for values in [0, 1]. */
  readonly scale?: number
  /** Mean subtracted after scaling: one number, or one per output channel. Default 0. */
  readonly mean?: number | readonly number[]
  /** Standard deviation divided by after that: one number, or one per output channel. Default 1. */
  readonly std?: number | readonly number[]
  /** Pixel value, 0 to 255, of the background. Default 0. */
  readonly background?: number
  /** Order of the axes: 'NCHW' (the default, as PyTorch exports) or 'NHWC' (as TensorFlow exports). */
  readonly layout?: 'NCHW' | 'NHWC'
}

const optionNames = ['size', 'fit', 'channels', 'order', 'scale', 'mean', 'std', 'background', 'layout']

/**
 * Creates a column of images from bytes: (scale * pixel - mean) / std, resized bilinearly, as float32 [N, C, rows,
 * columns] or [N, rows, columns, C]. Images are converted batch by batch; the data set stays in bytes.
 * @param pixels uint8, [N, rows, columns] or [N, rows, columns, channels]
 * @throws OnnxIreError `invalid-data` if `pixels` has another dtype or rank, `invalid-option`
 * @example
 * ```ts
 * fromArrays({ image: imageColumn(pixels, { size: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }), label })
 * ```
 */
export function imageColumn(pixels: Tensor, options: ImageOptions = {}): DataColumn {
  const { length, source, data } = checkPixels(pixels)
  const convert = imageConverter(source, options)
  return {
    length,
    rows(indices) {
      checkIndices(indices, length)
      const dims = [indices.length, ...convert.dims]
      const out = new Float32Array(indices.length * convert.size)
      for (let i = 0; i < indices.length; i++) convert.image(data, indices[i]! * convert.stride, out, i * convert.size)
      return { dtype: 'float32', dims, data: out }
    },
    checksum: () => checksumTensor(pixels),
  }
}

type Source = readonly [rows: number, columns: number, channels: number]

function checkPixels({ dtype, dims, data }: Tensor): { length: number; source: Source; data: Uint8Array } {
  const shape = `${dtype} [${dims.join(', ')}]`
  const [length = 0, rows = 0, columns = 0, channels = 1] = dims
  if (dtype !== 'uint8' || !(data instanceof Uint8Array) || (dims.length !== 3 && dims.length !== 4))
    throw new OnnxIreError(
      'invalid-data',
      `imageColumn: pixels are ${shape}; they must be uint8 [N, rows, columns] or [N, rows, columns, channels]`,
    )
  if (rows * columns * channels === 0) throw new OnnxIreError('invalid-data', `imageColumn: pixels ${shape} are empty`)
  if (data.length !== length * rows * columns * channels)
    throw new OnnxIreError('invalid-data', `imageColumn: pixels are ${shape} but have ${data.length} elements`)
  return { length, source: [rows, columns, channels], data }
}

/** Converter of the images of one size. */
interface ImageConverter {
  /** Dims of one converted image. */
  readonly dims: readonly number[]
  /** Elements of one converted image. */
  readonly size: number
  /** Bytes of one source image. */
  readonly stride: number
  /** Converts the image at `from` into `out` at `to`. */
  image(data: Uint8Array, from: number, out: Float32Array, to: number): void
}

/** Creates the converter of images of one size. Throws `invalid-option`. */
export function imageConverter(source: Source, options: ImageOptions): ImageConverter {
  const { rows, columns, fit, channels, isReversed, factor, shift, background, planar } = resolveImageOptions(
    source,
    options,
  )
  const [height, width, depth] = source
  const mix = depth === channels ? null : depth === 1 ? 'repeat' : 'gray'
  const [fitRows, fitColumns] = fitSize([height, width], [rows, columns], fit)
  const down = bilinearTaps(height, fitRows, rows, fitOffset(fitRows, rows, fit))
  const across = bilinearTaps(width, fitColumns, columns, fitOffset(fitColumns, columns, fit))
  const whole = down.start === 0 && down.end === rows && across.start === 0 && across.end === columns
  const size = channels * rows * columns
  const [xStep, channelStep] = planar ? [1, rows * columns] : [channels, 1]
  const blended = new Float64Array(width * depth)
  const line = new Float64Array(columns * depth)
  return {
    dims: planar ? [channels, rows, columns] : [rows, columns, channels],
    size,
    stride: height * width * depth,
    image(data, from, out, to) {
      if (!whole) fillBackground(out, to)
      for (let y = down.start; y < down.end; y++) {
        blendRows(data, from, down, y, blended)
        blendColumns(blended, across, depth, line)
        if (mix === 'gray') toGray(line, across)
        write(out, to + y * columns * xStep)
      }
    },
  }

  function fillBackground(out: Float32Array, to: number): void {
    for (let c = 0; c < channels; c++) {
      const value = background * factor[c]! + shift[c]!
      for (let p = 0; p < rows * columns; p++) out[to + c * channelStep + p * xStep] = value
    }
  }

  /** Normalizes one line of pixels into row `to` of the output. */
  function write(out: Float32Array, to: number): void {
    const step = mix === null ? depth : 1 // after `toGray` the line has one channel
    for (let c = 0; c < channels; c++) {
      const from = isReversed ? depth - 1 - c : c
      const [a, b, first, base] = [factor[c]!, shift[c]!, mix === null ? from : 0, to + c * channelStep]
      for (let x = across.start; x < across.end; x++) out[base + x * xStep] = line[x * step + first]! * a + b
    }
  }
}

/** Interpolates between two rows of the source: [columns, channels]. */
function blendRows(
  data: Uint8Array,
  from: number,
  { low, high, fraction }: BilinearTaps,
  y: number,
  to: Float64Array,
): void {
  const [above, below, f] = [from + low[y]! * to.length, from + high[y]! * to.length, fraction[y]!]
  for (let i = 0; i < to.length; i++) {
    const value = data[above + i]!
    to[i] = value + (data[below + i]! - value) * f
  }
}

/** Interpolates between the columns of a row. */
function blendColumns(
  row: Float64Array,
  { start, end, low, high, fraction }: BilinearTaps,
  depth: number,
  to: Float64Array,
): void {
  for (let x = start; x < end; x++) {
    const [left, right, f] = [low[x]! * depth, high[x]! * depth, fraction[x]!]
    for (let c = 0; c < depth; c++) {
      const value = row[left + c]!
      to[x * depth + c] = value + (row[right + c]! - value) * f
    }
  }
}

/** Converts a line to gray in place: pixel x moves from 3x, 3x + 1, 3x + 2 to x, which no later pixel reads. */
function toGray(line: Float64Array, { start, end }: BilinearTaps): void {
  for (let x = start; x < end; x++) line[x] = 0.299 * line[3 * x]! + 0.587 * line[3 * x + 1]! + 0.114 * line[3 * x + 2]!
}

/** Checks the options and fills in defaults, with normalization as pixel * factor + shift per output channel. */
function resolveImageOptions([height, width, depth]: Source, options: ImageOptions) {
  const owner = 'imageColumn'
  checkNames(owner, options, optionNames)
  const { size = [height, width], fit = 'fill', channels = depth, layout = 'NCHW' } = options
  const [rows, columns] = typeof size === 'number' ? [size, size] : size
  for (const side of [rows, columns]) checkNumber(owner, 'size', side, positiveCount)
  checkNumber(owner, 'channels', channels, positiveCount)
  if (channels !== depth && depth !== 1 && !(depth === 3 && channels === 1))
    throw invalidOption(
      owner,
      'channels',
      channels,
      `${depth}, as in the images${depth === 3 ? ', or 1 for gray' : ''}`,
    )
  if (!['fill', 'contain', 'cover', 'none', 'line'].includes(fit))
    throw invalidOption(owner, 'fit', fit, "'fill', 'contain', 'cover', 'none' or 'line'")
  const { order = 'RGB' } = options
  if (order !== 'RGB' && order !== 'BGR') throw invalidOption(owner, 'order', order, "'RGB' or 'BGR'")
  if (order === 'BGR' && channels !== 3) throw invalidOption(owner, 'order', order, 'left out unless channels is 3')
  if (layout !== 'NCHW' && layout !== 'NHWC') throw invalidOption(owner, 'layout', layout, "'NCHW' or 'NHWC'")
  const real = { min: -Number.MAX_VALUE, max: Number.MAX_VALUE }
  const scale = checkNumber(owner, 'scale', options.scale ?? 1 / 255, real)
  const background = checkNumber(owner, 'background', options.background ?? 0, { min: 0, max: 255 })
  const perChannel = (name: 'mean' | 'std', value: number | readonly number[]) => {
    const values = typeof value === 'number' ? Array.from({ length: channels }, () => value) : value
    if (values.length !== channels)
      throw invalidOption(owner, name, values, `one number, or one per channel: ${channels}`)
    return values.map((each) => checkNumber(owner, name, each, real))
  }
  const mean = perChannel('mean', options.mean ?? 0)
  const std = perChannel('std', options.std ?? 1)
  if (std.includes(0)) throw invalidOption(owner, 'std', 0, 'other than 0')
  return {
    rows,
    columns,
    fit,
    channels,
    isReversed: order === 'BGR',
    background,
    planar: layout === 'NCHW',
    factor: std.map((deviation) => scale / deviation),
    shift: mean.map((value, c) => -value / std[c]!),
  }
}
