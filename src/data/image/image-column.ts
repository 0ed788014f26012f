import type { Tensor } from '../../ir/tensor.js'
import { checkNames, checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import type { DataColumn } from '../arrays.js'
import { checkIndices } from '../dataset.js'
import { type BilinearTaps, bilinearTaps, fitSize, type ImageFit } from './bilinear.js'

/** The form of a model's images: size, channels, normalisation. */
export interface ImageOptions {
  /** Rows and columns of the model's input; one number for squares. Default: those of the images. */
  readonly size?: number | readonly [rows: number, columns: number]
  /**
   * How images of another size get there: stretched ('fill', the default), scaled to fit with background beside them
   * ('contain'), scaled to cover with the rest cut off ('cover'), or left as they are ('none'). All are centred.
   */
  readonly fit?: ImageFit
  /** Channels of the model's input. Grey becomes 3 equal channels; 3 become grey as 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601). Default: those of the images. */
  readonly channels?: number
  /** Factor applied to pixel values first. Default 1/255, which takes them to [0, 1]. */
  readonly scale?: number
  /** Subtracted after scaling; one number, or one per output channel. Default 0. */
  readonly mean?: number | readonly number[]
  /** Divided by after that; one number, or one per output channel. Default 1. */
  readonly std?: number | readonly number[]
  /** Pixel value, 0 to 255, beside the image. Default 0. */
  readonly background?: number
  /** Order of the axes: 'NCHW' (the default, what PyTorch exports) or 'NHWC' (what TensorFlow exports). */
  readonly layout?: 'NCHW' | 'NHWC'
}

const optionNames = ['size', 'fit', 'channels', 'scale', 'mean', 'std', 'background', 'layout']

/**
 * Images as a float32 model input: (scale * pixel - mean) / std, resized bilinearly, [N, C, rows, columns] or
 * [N, rows, columns, C]. Each batch is made when it is asked for; the whole set stays in bytes.
 * @param pixels uint8, [N, rows, columns] or [N, rows, columns, channels]
 * @throws 'invalid-data' when `pixels` is something else, 'invalid-option'
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
  }
}

type Source = readonly [rows: number, columns: number, channels: number]

function checkPixels({ dtype, dims, data }: Tensor): { length: number; source: Source; data: Uint8Array } {
  const shape = `${dtype} [${dims.join(', ')}]`
  const [length = 0, rows = 0, columns = 0, channels = 1] = dims
  if (dtype !== 'uint8' || !(data instanceof Uint8Array) || (dims.length !== 3 && dims.length !== 4))
    throw new OnnxIreError(
      'invalid-data',
      `images: pixels are ${shape}; they must be uint8 [N, rows, columns] or [N, rows, columns, channels]`,
    )
  if (rows * columns * channels === 0) throw new OnnxIreError('invalid-data', `images: pixels ${shape} are empty`)
  if (data.length !== length * rows * columns * channels)
    throw new OnnxIreError('invalid-data', `images: pixels are ${shape} but have ${data.length} elements`)
  return { length, source: [rows, columns, channels], data }
}

export interface ImageConverter {
  /** Of one converted image. */
  readonly dims: readonly number[]
  readonly size: number
  /** Bytes of one image. */
  readonly stride: number
  /** Converts the image at `from` into `out` at `to`. */
  image(data: Uint8Array, from: number, out: Float32Array, to: number): void
}

/** How images of one size are converted. Throws `invalid-option`. */
export function imageConverter(source: Source, options: ImageOptions): ImageConverter {
  const { rows, columns, fit, channels, factor, shift, background, planar } = resolveImageOptions(source, options)
  const [height, width, depth] = source
  const mix = depth === channels ? null : depth === 1 ? 'repeat' : 'grey'
  const [fitRows, fitColumns] = fitSize([height, width], [rows, columns], fit)
  const [down, across] = [bilinearTaps(height, fitRows, rows), bilinearTaps(width, fitColumns, columns)]
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
        if (mix === 'grey') toGrey(line, across)
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

  /** Normalises one line of pixels into row `to` of the output. */
  function write(out: Float32Array, to: number): void {
    const step = mix === null ? depth : 1 // after `toGrey` the line has one channel
    for (let c = 0; c < channels; c++) {
      const [a, b, first, base] = [factor[c]!, shift[c]!, mix === null ? c : 0, to + c * channelStep]
      for (let x = across.start; x < across.end; x++) out[base + x * xStep] = line[x * step + first]! * a + b
    }
  }
}

/** One row of the source, between two: [columns, channels]. */
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

/** In place: pixel x moves from 3x, 3x + 1, 3x + 2 to x, which no later pixel reads. */
function toGrey(line: Float64Array, { start, end }: BilinearTaps): void {
  for (let x = start; x < end; x++) line[x] = 0.299 * line[3 * x]! + 0.587 * line[3 * x + 1]! + 0.114 * line[3 * x + 2]!
}

/** The options with their defaults, checked; normalisation as pixel * factor + shift per output channel. */
function resolveImageOptions([height, width, depth]: Source, options: ImageOptions) {
  const owner = 'images'
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
      `${depth}, as in the images${depth === 3 ? ', or 1 for grey' : ''}`,
    )
  if (!['fill', 'contain', 'cover', 'none'].includes(fit))
    throw invalidOption(owner, 'fit', fit, "'fill', 'contain', 'cover' or 'none'")
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
    background,
    planar: layout === 'NCHW',
    factor: std.map((deviation) => scale / deviation),
    shift: mean.map((centre, c) => -centre / std[c]!),
  }
}
