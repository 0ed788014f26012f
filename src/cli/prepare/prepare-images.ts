import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fitSize, type ImageFit } from '../../data/image/bilinear.js'
import { imageConverter } from '../../data/image/image-column.js'
import { imageExtensions } from '../../data/image/image-files.js'
import { decodeImage } from '../../node/data/decode-image.js'
import { type LabelledFiles, labelledFiles } from '../../node/data/folders.js'
import { mapConcurrently } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'
import {
  checkAmount,
  finishImages,
  type ImageFacts,
  type ImageReport,
  type ImageSplit,
  imagePart,
} from './image-set.js'
import type { Monitor } from './monitor.js'
import { Preparation } from './preparation.js'

export interface ImagesOptions {
  /** One sub-folder per class, or the folders train and val (validation, test) that are so. */
  readonly folder: string
  readonly output: string
  readonly size: readonly [rows: number, columns: number]
  readonly fit: ImageFit
  readonly channels: 1 | 3
  /** Share of the images that is held out, where the folder has no such part. */
  readonly validation: number
  readonly seed: number
  readonly force?: boolean | undefined
}

/** Images of a part: what may have to be done again after an interruption. */
const partImages = 256

const decoders = 4

/** Decodes and resizes a folder of images into IDX files, with the mean and deviation of its pixels. */
export async function prepareImages(options: ImagesOptions, monitor: Monitor): Promise<ImageReport> {
  const { size, fit, channels, validation, seed, force } = options
  const dims = [...size, channels] as const
  const splits = await splitsOf(options)
  const classes = splits[0]!.found.classes
  for (const { found } of splits) checkAmount(found.files.length, dims)
  const plan = {
    kind: 'images',
    inputs: await Promise.all(
      splits.map(async ({ name, found }) => ({ name, files: await mapConcurrently(found.files, decoders, dated) })),
    ),
    options: { size, fit, channels, validation, seed },
  }
  const preparation = await Preparation.open(options.output, plan, { force })
  if (!(preparation instanceof Preparation)) return preparation as ImageReport // written by `finishImages`
  monitor.stage(
    'decoding images',
    splits.reduce((sum, { found }) => sum + found.files.length, 0),
  )
  const decode = decoder(options)
  const made: ImageSplit[] = []
  let done = 0
  for (const { name, found } of splits) {
    const before = done
    const parts: [string, ImageFacts][] = []
    for (let start = 0; start < found.files.length; start += partImages) {
      const files = found.files.slice(start, start + partImages)
      const part = `${name}-${String(parts.length).padStart(5, '0')}`
      const { info } = await imagePart(preparation, part, channels, classes.length, async () => {
        const width = dims[0] * dims[1] * dims[2]
        const pixels = new Uint8Array(files.length * width)
        await mapConcurrently(files, decoders, async (file, i) => {
          pixels.set(await decode(file), i * width)
          monitor.at(++done)
        })
        return { pixels, labels: found.labels.slice(start, start + partImages) }
      })
      done = before + start + files.length
      monitor.at(done)
      parts.push([part, info])
    }
    made.push({ name, parts })
  }
  return finishImages(preparation, 'images', dims, classes, made)
}

const dated = async (path: string) => {
  const { size, mtimeMs } = await stat(path)
  return [resolve(path), size, mtimeMs]
}

interface Found {
  readonly name: string
  readonly found: LabelledFiles
}

const heldOut = ['validation', 'valid', 'val', 'test']

/** The folder's own parts, all with the classes of the first; or one that is divided at random. */
async function splitsOf({ folder, validation, seed }: ImagesOptions): Promise<Found[]> {
  const isThere = (name: string) =>
    stat(join(folder, name)).then(
      (found) => found.isDirectory(),
      () => false,
    )
  if (await isThere('train')) {
    const train = await labelledFiles(join(folder, 'train'), imageExtensions)
    const splits: Found[] = [{ name: 'train', found: train }]
    for (const name of heldOut)
      if (await isThere(name))
        splits.push({
          name: name === 'test' ? 'test' : 'validation',
          found: await labelledFiles(join(folder, name), imageExtensions, train.classes),
        })
    return splits
  }
  const found = await labelledFiles(folder, imageExtensions)
  const held = Math.round(validation * found.files.length)
  if (validation > 0 && (held === 0 || held === found.files.length))
    throw new OnnxIreError(
      'invalid-option',
      `--validation ${validation} divides ${found.files.length} images into ${found.files.length - held} and ${held}; both parts need at least one`,
    )
  if (held === 0) return [{ name: 'train', found }]
  const order = new Random(seed).stream('split').permutation(found.files.length)
  const chosen = (indices: Uint32Array): LabelledFiles => ({
    classes: found.classes,
    files: Array.from(indices, (index) => found.files[index]!),
    labels: Array.from(indices, (index) => found.labels[index]!),
  })
  return [
    { name: 'train', found: chosen(order.slice(held).sort()) },
    { name: 'validation', found: chosen(order.slice(0, held).sort()) },
  ]
}

/** The pixels of a file at the size asked for: [rows, columns, channels]. */
function decoder({ size, fit, channels }: ImagesOptions): (path: string) => Promise<Uint8Array> {
  const options = { size, fit, channels, scale: 1, layout: 'NHWC' } as const
  return async (path) => {
    const targetSize = (source: readonly [number, number]) => fitSize(source, size, fit)
    const { data, rows, columns } = await decodeImage(path, { channels: 3, background: 0, targetSize })
    const convert = imageConverter([rows, columns, 3], options)
    const made = new Float32Array(convert.size)
    convert.image(data, 0, made, 0)
    return Uint8Array.from(made, (value) => Math.round(value))
  }
}
