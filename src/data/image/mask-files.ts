import type { Tensor, Tensors } from '../../ir/tensor.js'
import { append } from '../../util/append.js'
import { checkNames, checkNumber, invalidOption } from '../../util/check.js'
import { checksum } from '../../util/checksum.js'
import { mapConcurrently } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkIndices, checksumSizes, type Dataset } from '../dataset.js'
import { bilinearTaps, fitOffset, fitSize } from './bilinear.js'
import type { ImageOptions } from './image-column.js'
import type { DecodedImage, DecodeOptions, ImageFilesOptions } from './image-files.js'

/** Meaning of the pixels of a mask. */
export interface MaskOptions {
  /**
   * 'class' (default): int64 class numbers [n, rows, columns]. 'binary': float32 of the shape of one image channel, 1
   * for every pixel that is not 0, gray or colored, for losses with `binary`.
   */
  readonly as?: 'class' | 'binary' | undefined
  /**
   * Colors [red, green, blue] of the classes, in the order of their numbers. Default: the gray value of a pixel is its
   * class, and so is its index in the palette of a PNG file.
   */
  readonly colors?: readonly (readonly [red: number, green: number, blue: number])[] | undefined
  /**
   * Label of pixels with another color, and of pixels outside the image; the `ignoreIndex` of the loss, for instance.
   * Default: another color is an error, and pixels outside have the label 0.
   */
  readonly ignoreIndex?: number | undefined
  /** End of the names of masks before the extension: '_mask' pairs cat.jpg with cat_mask.png. Default ''. */
  readonly suffix?: string | undefined
}

/** Options of `imageMasks`. */
export interface ImageMasksOptions extends ImageFilesOptions {
  /** Meaning of the pixels of the masks. */
  readonly mask?: MaskOptions | undefined
  /** Name of the labels. Default 'labels'. */
  readonly label?: string | undefined
}

/** Data set of images and masks. */
export interface ImageMasks extends Dataset {
  /** Paths of the images, one per example. */
  readonly files: readonly string[]
  /** Paths of images without a mask, which are left out. */
  readonly unpaired: readonly string[]
}

/** A mask as its file holds it, and the palette of a PNG file with one. */
interface DecodedMask extends DecodedImage {
  readonly palette: readonly number[] | undefined
}

export const checkMaskOptions = (options: ImageMasksOptions): void => {
  checkNames('imageMasks', options, ['image', 'input', 'mask', 'label'])
  const { as, colors, ignoreIndex, suffix } = options.mask ?? {}
  checkNames('imageMasks: mask', options.mask ?? {}, ['as', 'colors', 'ignoreIndex', 'suffix'])
  if (as !== undefined && as !== 'class' && as !== 'binary')
    throw invalidOption('imageMasks: mask', 'as', as, "'class' or 'binary'")
  if (ignoreIndex !== undefined)
    checkNumber('imageMasks: mask', 'ignoreIndex', ignoreIndex, { min: -(2 ** 31), max: 2 ** 31, integer: true })
  if (suffix !== undefined && typeof suffix !== 'string')
    throw invalidOption('imageMasks: mask', 'suffix', suffix, 'a text')
  const isByte = (value: unknown) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 255
  for (const color of colors ?? [])
    if (!Array.isArray(color) || color.length !== 3 || !color.every(isByte))
      throw invalidOption('imageMasks: mask', 'colors', color, 'a list of [red, green, blue], each from 0 to 255')
}

/**
 * Pairs masks and images by their paths within their folders, without extensions. Throws `invalid-data` for a mask
 * without an image, for images or masks of one name, and if there is no pair.
 */
export function pairFiles<F>(
  images: readonly F[],
  masks: readonly F[],
  pathOf: (file: F, of: 'image' | 'mask') => string,
  suffix = '',
): { readonly pairs: readonly (readonly [image: F, mask: F, key: string])[]; readonly unpaired: readonly F[] } {
  const keyOf = (path: string) => path.replace(/\.[^./]*$/, '')
  const byKey = new Map<string, F[]>()
  for (const image of images) append(byKey, keyOf(pathOf(image, 'image')), image)
  const used = new Map<F, F>()
  const pairs = masks.flatMap((mask) => {
    const key = keyOf(pathOf(mask, 'mask'))
    if (!key.endsWith(suffix)) return []
    const name = key.slice(0, key.length - suffix.length)
    const [image, twin] = byKey.get(name) ?? []
    if (image === undefined)
      throw new OnnxIreError(
        'invalid-data',
        `imageMasks: the mask ${pathOf(mask, 'mask')} has no image: there is no image named ${name}`,
      )
    const other = used.get(image)
    if (twin !== undefined) throw twinError(pathOf(image, 'image'), pathOf(twin, 'image'))
    if (other !== undefined) throw twinError(pathOf(other, 'mask'), pathOf(mask, 'mask'))
    used.set(image, mask)
    return [[image, mask, name] as const]
  })
  if (pairs.length === 0)
    throw new OnnxIreError(
      'invalid-data',
      `imageMasks: there is no pair of an image and a mask${suffix === '' ? '' : ` whose name ends in ${suffix}`}: there are ${images.length} images and ${masks.length} masks`,
    )
  return { pairs, unpaired: images.filter((image) => !used.has(image)) }
}

const twinError = (one: string, other: string): OnnxIreError =>
  new OnnxIreError(
    'invalid-data',
    `imageMasks: ${one} and ${other} have the same name, by which images and masks are paired: remove one`,
  )

/**
 * Adds masks to a data set of images.
 * @param sizeOf returns the number of bytes of a file
 * @param decode decodes the mask of an example at its full size
 */
export function addMasks<F>(
  images: Dataset,
  masks: readonly F[],
  nameOf: (mask: F) => string,
  sizeOf: (mask: F) => number | Promise<number>,
  decode: (mask: F, decoding: DecodeOptions) => Promise<DecodedMask>,
  { image = {}, mask = {}, label = 'labels' }: ImageMasksOptions,
): Dataset {
  const convert = createMaskConverter(image, mask)
  return {
    length: images.length,
    async batch(indices, context): Promise<Tensors> {
      checkIndices(indices, masks.length)
      const [batch, converted] = await Promise.all([
        images.batch(indices, context),
        mapConcurrently(indices, 4, async (index) => {
          const file = masks[index]!
          return convert(nameOf(file), await decode(file, decoding))
        }),
      ])
      return { ...batch, [label]: stackMasks(converted, mask.as ?? 'class', image.layout) }
    },
    checksum: async () =>
      checksum([await images.checksum!(), await checksumSizes(masks, sizeOf)(), JSON.stringify(mask)]),
  }
}

const decoding: DecodeOptions = { channels: 3, background: 0, targetSize: (size) => size }

interface Mask {
  readonly rows: number
  readonly columns: number
  readonly labels: Int32Array
}

/** Creates the function that converts the pixels of a mask to labels of the size of the model's input. */
function createMaskConverter(
  { size, fit = 'fill' }: ImageOptions,
  { as = 'class', colors, ignoreIndex }: MaskOptions,
): (name: string, mask: DecodedMask) => Mask {
  const given = colors && tableOf(colors.flat())
  return (name, { data, rows, columns, channels, palette }) => {
    const table = given ?? (palette && tableOf(palette))
    const labelAt = (pixel: number): number => {
      const at = pixel * channels
      const [red, green, blue] =
        channels >= 3 ? [data[at]!, data[at + 1]!, data[at + 2]!] : [data[at]!, data[at]!, data[at]!]
      const label = table
        ? table.get((red << 16) | (green << 8) | blue)
        : as === 'binary' || (red === green && green === blue)
          ? red | green | blue
          : undefined
      if (label !== undefined) return as === 'binary' ? Number(label !== 0) : label
      if (ignoreIndex !== undefined) return ignoreIndex
      throw new OnnxIreError(
        'invalid-data',
        `the mask ${name} has the color [${red}, ${green}, ${blue}], which is no class: give the colors of the classes (mask.colors), or ignoreIndex for others`,
      )
    }
    const target =
      size === undefined ? ([rows, columns] as const) : typeof size === 'number' ? ([size, size] as const) : size
    const [fitRows, fitColumns] = fitSize([rows, columns], target, fit)
    const down = nearest(rows, fitRows, target[0], fitOffset(fitRows, target[0], fit))
    const across = nearest(columns, fitColumns, target[1], fitOffset(fitColumns, target[1], fit))
    const labels = new Int32Array(target[0] * target[1]).fill(ignoreIndex ?? 0)
    for (let y = 0, i = 0; y < target[0]; y++)
      for (let x = 0; x < target[1]; x++, i++)
        if (down[y]! >= 0 && across[x]! >= 0) labels[i] = labelAt(down[y]! * columns + across[x]!)
    return { rows: target[0], columns: target[1], labels }
  }
}

/** The source pixel of every target pixel of an axis; -1 outside the image. Positions are those of `bilinearTaps`. */
function nearest(source: number, size: number, target: number, offset: number): Int32Array {
  const { start, end } = bilinearTaps(source, size, target, offset)
  return Int32Array.from({ length: target }, (_, t) =>
    t < start || t >= end ? -1 : Math.min(source - 1, Math.floor(((t - offset + 0.5) * source) / size)),
  )
}

/** Class numbers by color; the first of equal colors counts. */
function tableOf(values: readonly number[]): ReadonlyMap<number, number> {
  const table = new Map<number, number>()
  for (let i = 0; i < values.length / 3; i++) {
    const color = (values[3 * i]! << 16) | (values[3 * i + 1]! << 8) | values[3 * i + 2]!
    if (!table.has(color)) table.set(color, i)
  }
  return table
}

function stackMasks(masks: readonly Mask[], as: 'class' | 'binary', layout: ImageOptions['layout']): Tensor {
  const { rows, columns } = masks[0]!
  const plane = rows * columns
  const data = as === 'binary' ? new Float32Array(masks.length * plane) : new BigInt64Array(masks.length * plane)
  for (const [i, mask] of masks.entries()) {
    if (mask.rows !== rows || mask.columns !== columns)
      throw new OnnxIreError(
        'invalid-data',
        `masks of a batch are [${rows}, ${columns}] and [${mask.rows}, ${mask.columns}]; set image.size to resize all`,
      )
    for (let p = 0; p < plane; p++)
      data[i * plane + p] = (as === 'binary' ? mask.labels[p]! : BigInt(mask.labels[p]!)) as never
  }
  const n = masks.length
  if (as === 'class') return { dtype: 'int64', dims: [n, rows, columns], data }
  return { dtype: 'float32', dims: layout === 'NHWC' ? [n, rows, columns, 1] : [n, 1, rows, columns], data }
}

const pngSignature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
/** Position of the bit depth, after the signature and the length, type, columns and rows of the chunk IHDR. */
const bitDepthAt = 24
/** Position of the color type, which is 3 for pixels that are indices in the palette. */
const colorTypeAt = 25

/**
 * The palette of a PNG file of indices, red, green and blue of each; undefined for other files. Throws `invalid-data`
 * for a PNG file of 16 bits, of whose class numbers decoders keep the upper 8 bits.
 */
export function readPalette(name: string, bytes: Uint8Array): readonly number[] | undefined {
  if (!pngSignature.every((byte, i) => bytes[i] === byte)) return undefined
  if (bytes[bitDepthAt] === 16)
    throw new OnnxIreError(
      'invalid-data',
      `the mask ${name} has 16 bits per channel, of which only the upper 8 are read: save it with 8 bits, and more than 256 classes as colors (mask.colors)`,
    )
  if (bytes[colorTypeAt] !== 3) return undefined
  const [at, end] = findChunk(bytes, 'PLTE') ?? []
  return at === undefined ? undefined : [...bytes.subarray(at + 8, end! - 4)]
}

/** A PNG file of indices with the colors of its palette, without the transparency that decoding would mix into them. */
export function withoutTransparency(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const [at, end] = findChunk(bytes, 'tRNS') ?? [0, 0]
  const opaque = new Uint8Array(bytes.length - (end - at))
  opaque.set(bytes.subarray(0, at))
  opaque.set(bytes.subarray(end), at)
  return opaque
}

/** Start and end of a chunk of a PNG file before its pixels, with its length, type and checksum. */
function findChunk(bytes: Uint8Array, wanted: string): readonly [at: number, end: number] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 8; at + 8 <= bytes.length; ) {
    const end = at + 12 + view.getUint32(at)
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8))
    if (type === wanted && end <= bytes.length) return [at, end]
    if (type === 'IDAT') return undefined
    at = end
  }
  return undefined
}
