import { OnnxIreError } from '../../util/errors.js'
import type { Part, Preparation, Report } from './preparation.js'

/** Images of one size with class numbers: [n, rows, columns, channels] in bytes. */
export interface ImagePart {
  readonly pixels: Uint8Array
  readonly labels: ArrayLike<number | bigint>
}

/** What is kept of a part beside its files. */
export interface ImageFacts {
  readonly images: number
  /** Images of each class. */
  readonly classes: readonly number[]
  /** Per channel, of pixel values from 0 to 1. */
  readonly sums: readonly number[]
  readonly squares: readonly number[]
}

export interface ImageReport extends Report {
  readonly kind: 'images' | 'cifar'
  /** Of an image: rows, columns, channels. */
  readonly size: readonly number[]
  readonly classes: readonly string[]
  readonly parts: Readonly<Record<string, { readonly images: number; readonly perClass: readonly number[] }>>
  /** Of the images to train on, per channel, of pixel values from 0 to 1: for `image.mean` and `image.std`. */
  readonly mean: readonly number[]
  readonly std: readonly number[]
}

/** What one file of IDX may hold to be read into memory. */
const maxBytes = 2 ** 31 - 1024

/** Throws 'invalid-data' when so many images are more than a file of them may hold. */
export function checkAmount(images: number, size: readonly number[]): void {
  const bytes = size.reduce((a, b) => a * b, images)
  if (bytes <= maxBytes) return
  throw new OnnxIreError(
    'invalid-data',
    `${images} images of [${size.join(', ')}] take ${(bytes / 2 ** 30).toFixed(1)} GiB, and a data set in memory holds 2: lower --size, or train from the folder itself (kind 'image-folder'), which is read as it goes`,
  )
}

/** The part of this name, as files and facts. */
export function imagePart(
  preparation: Preparation,
  name: string,
  channels: number,
  classes: number,
  make: () => Promise<ImagePart>,
): Promise<Part<ImageFacts>> {
  return preparation.part(name, async () => {
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
      files: { [`${name}.pixels`]: pixels, [`${name}.labels`]: idxLabels(labels) },
      info: { images: labels.length, classes: perClass, sums, squares },
    }
  })
}

export interface ImageSplit {
  readonly name: string
  /** Names of its parts, and what was kept of them. */
  readonly parts: readonly (readonly [name: string, facts: ImageFacts])[]
}

/** Writes `<split>-images.idx` and `<split>-labels.idx` of each split, `classes.json` and the report. The first is trained on. */
export async function finishImages(
  preparation: Preparation,
  kind: ImageReport['kind'],
  size: readonly [rows: number, columns: number, channels: number],
  classes: readonly string[],
  splits: readonly ImageSplit[],
): Promise<ImageReport> {
  const parts: Record<string, ImageReport['parts'][string]> = {}
  for (const { name, parts: own } of splits) {
    const images = own.reduce((sum, [, facts]) => sum + facts.images, 0)
    const file = (ending: string) => own.map(([part]) => `${part}.${ending}`)
    await preparation.assemble(`${name}-images.idx`, idxHeader([images, ...size]), file('pixels'))
    await preparation.assemble(`${name}-labels.idx`, idxLabelHeader(images), file('labels'))
    parts[name] = { images, perClass: totals(own.map(([, facts]) => facts.classes)) }
  }
  await preparation.write('classes.json', `${JSON.stringify(classes, null, 2)}\n`)
  const trained = splits[0]!.parts.map(([, facts]) => facts)
  const pixels = parts[splits[0]!.name]!.images * size[0] * size[1]
  const mean = totals(trained.map(({ sums }) => sums)).map((sum) => sum / pixels)
  // Var x = E x^2 - (E x)^2
  const variance = totals(trained.map(({ squares }) => squares)).map((sum, c) => sum / pixels - mean[c]! ** 2)
  const std = variance.map((value) => Math.sqrt(Math.max(value, 0)))
  return preparation.finish({ kind, size, classes, parts, mean, std })
}

/** Element by element. */
const totals = (rows: readonly (readonly number[])[]): number[] =>
  rows[0]!.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0))

/** Of uint8 elements: two zeros, the type 8, the rank, and the dims as big-endian uint32. */
export function idxHeader(dims: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * dims.length)
  bytes[2] = 0x08
  bytes[3] = dims.length
  const view = new DataView(bytes.buffer)
  for (const [axis, dim] of dims.entries()) view.setUint32(4 + 4 * axis, dim)
  return bytes
}

/** The same for int32 class numbers, of which there may be more than 256. */
export function idxLabelHeader(examples: number): Uint8Array {
  const bytes = idxHeader([examples])
  bytes[2] = 0x0c
  return bytes
}

/** Class numbers as big-endian int32. */
export function idxLabels(labels: ArrayLike<number | bigint>): Uint8Array {
  const bytes = new Uint8Array(4 * labels.length)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < labels.length; i++) view.setInt32(4 * i, Number(labels[i]))
  return bytes
}
