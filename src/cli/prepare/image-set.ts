import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord } from '../../util/record.js'
import type { Preparation, PreparedPart, Report } from './preparation.js'

/** Images of one size with class numbers: [n, rows, columns, channels] in bytes. */
interface ImagePart {
  readonly pixels: Uint8Array
  readonly labels: ArrayLike<number | bigint>
}

/** Statistics of a part, stored with its files. */
export interface ImageStatistics {
  readonly images: number
  /** Number of images per class. */
  readonly classes: readonly number[]
  /** Sum per channel of pixel values between 0 and 1. */
  readonly sums: readonly number[]
  /** Sum of squares per channel. */
  readonly squares: readonly number[]
}

/** Content of `report.json` of an image data set. */
export interface ImageReport extends Report {
  readonly kind: 'images' | 'cifar'
  /** Shape of an image: rows, columns, channels. */
  readonly size: readonly number[]
  readonly classes: readonly string[]
  readonly parts: Readonly<Record<string, { readonly images: number; readonly perClass: readonly number[] }>>
  /** Mean per channel of the training images, for `image.mean`; pixel values between 0 and 1. */
  readonly mean: readonly number[]
  /** Standard deviation per channel of the training images, for `image.std`. */
  readonly std: readonly number[]
}

/** Largest number of bytes in an IDX file, which is read into memory as a whole. */
const maxBytes = 2 ** 31 - 1024

/** Throws `invalid-data` if an IDX file cannot hold so many images. */
export function checkImageCount(images: number, size: readonly number[]): void {
  const bytes = size.reduce((a, b) => a * b, images)
  if (bytes <= maxBytes) return
  throw new OnnxIreError(
    'invalid-data',
    `${images} images of [${size.join(', ')}] take ${(bytes / 2 ** 30).toFixed(1)} GiB, more than the 2 GiB of an IDX file; lower --size, or train from the folder itself (kind 'image-folder'), which is read during training`,
  )
}

/** Makes a part of the data set, or reads it if an earlier run made it: files of pixels and labels, and statistics. */
export function makeImagePart(
  preparation: Preparation,
  name: string,
  channels: number,
  classes: number,
  make: () => Promise<ImagePart>,
): Promise<PreparedPart<ImageStatistics>> {
  return preparation.makePart(name, async () => {
    const { pixels, labels } = await make()
    const perClass = new Array<number>(classes).fill(0)
    for (let i = 0; i < labels.length; i++) perClass[Number(labels[i])]!++
    const [sums, squares] = [new Array<number>(channels).fill(0), new Array<number>(channels).fill(0)]
    for (let i = 0; i < pixels.length; i++) {
      const value = pixels[i]! / 255
      sums[i % channels]! += value
      squares[i % channels]! += value * value
    }
    return {
      files: { [`${name}.pixels`]: pixels, [`${name}.labels`]: encodeLabels(labels) },
      info: { images: labels.length, classes: perClass, sums, squares },
    }
  })
}

/** A split of the data set: train, validation or test. */
export interface ImageSplit {
  readonly name: string
  /** Names and statistics of the parts. */
  readonly parts: readonly (readonly [name: string, statistics: ImageStatistics])[]
}

/** Names of the files of a data set, except its report. */
export const imageSetFiles = (splits: readonly string[]): string[] => [
  ...splits.flatMap((split) => [`${split}-images.idx`, `${split}-labels.idx`]),
  'classes.json',
]

/**
 * Writes `<split>-images.idx` and `<split>-labels.idx` of each split, `classes.json` and the report. The first split is
 * the training split.
 */
export async function writeImageSet(
  preparation: Preparation,
  kind: ImageReport['kind'],
  size: readonly [rows: number, columns: number, channels: number],
  classes: readonly string[],
  splits: readonly ImageSplit[],
): Promise<ImageReport> {
  const parts: Record<string, ImageReport['parts'][string]> = emptyRecord()
  for (const { name, parts: own } of splits) {
    const images = own.reduce((sum, [, statistics]) => sum + statistics.images, 0)
    const file = (ending: string) => own.map(([part]) => `${part}.${ending}`)
    await preparation.assemble(`${name}-images.idx`, idxHeader([images, ...size]), file('pixels'))
    await preparation.assemble(`${name}-labels.idx`, idxLabelHeader(images), file('labels'))
    parts[name] = { images, perClass: sumRows(own.map(([, statistics]) => statistics.classes)) }
  }
  await preparation.write('classes.json', `${JSON.stringify(classes, null, 2)}\n`)
  const training = splits[0]!.parts.map(([, statistics]) => statistics)
  const pixels = parts[splits[0]!.name]!.images * size[0] * size[1]
  const mean = sumRows(training.map(({ sums }) => sums)).map((sum) => sum / pixels)
  // Var x = E x^2 - (E x)^2
  const variance = sumRows(training.map(({ squares }) => squares)).map((sum, c) => sum / pixels - mean[c]! ** 2)
  const std = variance.map((value) => Math.sqrt(Math.max(value, 0)))
  return preparation.finish({ kind, size, classes, parts, mean, std })
}

/** Sums rows of equal length element by element. */
const sumRows = (rows: readonly (readonly number[])[]): number[] =>
  rows[0]!.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0))

/** Header of an IDX file of uint8: two zeros, the type 8, the rank, and the dims as big-endian uint32. */
function idxHeader(dims: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * dims.length)
  bytes[2] = 0x08
  bytes[3] = dims.length
  const view = new DataView(bytes.buffer)
  for (const [axis, dim] of dims.entries()) view.setUint32(4 + 4 * axis, dim)
  return bytes
}

/** Header of an IDX file of int32 class numbers, since there may be more than 256 classes. */
function idxLabelHeader(examples: number): Uint8Array {
  const bytes = idxHeader([examples])
  bytes[2] = 0x0c
  return bytes
}

/** Encodes class numbers as big-endian int32. */
function encodeLabels(labels: ArrayLike<number | bigint>): Uint8Array {
  const bytes = new Uint8Array(4 * labels.length)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < labels.length; i++) view.setInt32(4 * i, Number(labels[i]))
  return bytes
}
