import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fitSize, type ImageFit } from '../../data/image/bilinear.js'
import { imageConverter } from '../../data/image/image-column.js'
import { describeSkipped, imageExtensions, otherImageExtensions } from '../../data/image/image-files.js'
import { type CifarPart, type CifarSet, readCifar10, readCifar100 } from '../../node/data/cifar.js'
import { decodeImage } from '../../node/data/decode-image.js'
import { type LabeledFiles, listFiles, listLabeledFiles } from '../../node/data/folders.js'
import { folderError } from '../../node/files/files.js'
import { mapConcurrently } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'
import { prepareOutputs } from '../outputs.js'
import {
  checkImageCount,
  type ImageReport,
  type ImageSplit,
  type ImageStatistics,
  imageSetFiles,
  makeImagePart,
  writeImageSet,
} from './image-set.js'
import type { Monitor } from './preparation.js'
import { Preparation, preparedFiles } from './preparation.js'

/** Options of `prepareImages`. */
interface ImagesOptions {
  /** A folder with a sub-folder per class, or with the folders train and val (validation, test) of this form. */
  readonly folder: string
  readonly output: string
  readonly size: readonly [rows: number, columns: number]
  readonly fit: ImageFit
  readonly channels: 1 | 3
  /** Fraction of the images for validation, if the folder has no validation images. */
  readonly validation: number
  readonly seed: number
  readonly force?: boolean | undefined
}

/** Images per part, the unit that is repeated after an interruption. */
const partImages = 256

/** Images that are decoded at the same time. */
const decoders = 4

/** Decodes and resizes a folder of images into IDX files, with mean and standard deviation of the pixels. */
export async function prepareImages(options: ImagesOptions, monitor: Monitor): Promise<ImageReport> {
  const { size, fit, channels, validation, seed, force } = options
  const dims = [...size, channels] as const
  const splits = await findSplits(options)
  const classes = splits[0]!.found.classes
  for (const { found } of splits) checkImageCount(found.files.length, dims)
  await prepareOutputs(preparedFiles(options.output, imageSetFiles(splits.map(({ name }) => name))), async () =>
    splits.flatMap(({ found }) => found.files),
  )
  const plan = {
    kind: 'images',
    inputs: await Promise.all(
      splits.map(async ({ name, found }) => ({
        name,
        files: await mapConcurrently(found.files, decoders, fingerprint),
      })),
    ),
    options: { size, fit, channels, validation, seed },
  }
  const skipped = describeSkipped(await listSkipped(splits))
  if (skipped !== undefined) monitor.note(`warning: ${skipped}`)
  const preparation = await Preparation.open(options.output, plan, { force })
  if (!(preparation instanceof Preparation)) return preparation as ImageReport // written by `writeImageSet`
  monitor.stage(
    'decoding images',
    splits.reduce((sum, { found }) => sum + found.files.length, 0),
  )
  const decode = createDecoder(options)
  const written: ImageSplit[] = []
  let done = 0
  for (const { name, found } of splits) {
    const previous = done
    const parts: [string, ImageStatistics][] = []
    for (let start = 0; start < found.files.length; start += partImages) {
      const files = found.files.slice(start, start + partImages)
      const part = `${name}-${String(parts.length).padStart(5, '0')}`
      const { info } = await makeImagePart(preparation, part, channels, classes.length, async () => {
        const width = dims[0] * dims[1] * dims[2]
        const pixels = new Uint8Array(files.length * width)
        await mapConcurrently(files, decoders, async (file, i) => {
          pixels.set(await decode(file), i * width)
          monitor.at(++done)
        })
        return { pixels, labels: found.labels.slice(start, start + partImages) }
      })
      done = previous + start + files.length
      monitor.at(done)
      parts.push([part, info])
    }
    written.push({ name, parts })
  }
  return writeImageSet(preparation, 'images', dims, classes, written)
}

const fingerprint = async (path: string) => {
  const { size, mtimeMs } = await stat(path)
  return [resolve(path), size, mtimeMs]
}

interface FoundSplit {
  readonly name: string
  /** The folder with a sub-folder per class. */
  readonly folder: string
  readonly found: LabeledFiles
}

/** Names of folders with images for validation. */
const validationNames = ['validation', 'valid', 'val']

/**
 * Finds the splits in the folder, all with the classes of train. Without images for validation those to train on are
 * divided at random.
 */
async function findSplits({ folder, validation, seed }: ImagesOptions): Promise<FoundSplit[]> {
  const isFolder = (name: string) =>
    stat(join(folder, name)).then(
      (found) => found.isDirectory(),
      () => false,
    )
  const read = async (path: string, classes?: readonly string[]) => ({
    folder: path,
    found: await listLabeledFiles(path, imageExtensions, classes),
  })
  if (!(await isFolder('train'))) return divide(await read(folder), validation, seed)
  const train = await read(join(folder, 'train'))
  const readHeldOut = (name: string) => read(join(folder, name), train.found.classes)
  const heldOut: string[] = []
  for (const name of validationNames) if (await isFolder(name)) heldOut.push(name)
  const [own, ...others] = heldOut
  if (others.length > 0)
    throw new OnnxIreError(
      'invalid-data',
      `${folder} has the folders ${heldOut.join(' and ')}, all with images for validation: leave one of them`,
    )
  return [
    ...(own === undefined
      ? divide(train, validation, seed)
      : [
          { name: 'train', ...train },
          { name: 'validation', ...(await readHeldOut(own)) },
        ]),
    ...((await isFolder('test')) ? [{ name: 'test', ...(await readHeldOut('test')) }] : []),
  ]
}

/** Divides images at random into those to train on and, unless their share is 0, those for validation. */
function divide({ folder, found }: Omit<FoundSplit, 'name'>, validation: number, seed: number): FoundSplit[] {
  const validationSize = Math.round(validation * found.files.length)
  if (validation > 0 && (validationSize === 0 || validationSize === found.files.length))
    throw new OnnxIreError(
      'invalid-option',
      `--validation ${validation} divides ${found.files.length} images into ${found.files.length - validationSize} and ${validationSize}; both parts need at least one image`,
    )
  if (validationSize === 0) return [{ name: 'train', folder, found }]
  const order = new Random(seed).stream('split').permutation(found.files.length)
  const select = (indices: Uint32Array): LabeledFiles => ({
    classes: found.classes,
    files: Array.from(indices, (index) => found.files[index]!),
    labels: Array.from(indices, (index) => found.labels[index]!),
  })
  return [
    { name: 'train', folder, found: select(order.slice(validationSize).sort()) },
    { name: 'validation', folder, found: select(order.slice(0, validationSize).sort()) },
  ]
}

/** Images of formats that are not read, in the folders of the classes. */
async function listSkipped(splits: readonly FoundSplit[]): Promise<string[]> {
  const folders = new Set(splits.flatMap(({ folder, found }) => found.classes.map((name) => join(folder, name))))
  const lists = [...folders].map((folder) => listFiles(folder, otherImageExtensions).catch((): string[] => []))
  return (await Promise.all(lists)).flat()
}

/** Returns a function that decodes a file to pixels of the requested size: [rows, columns, channels]. */
function createDecoder({ size, fit, channels }: ImagesOptions): (path: string) => Promise<Uint8Array> {
  const options = { size, fit, channels, scale: 1, layout: 'NHWC' } as const
  return async (path) => {
    const targetSize = (source: readonly [number, number]) => fitSize(source, size, fit)
    const { data, rows, columns } = await decodeImage(path, { channels: 3, background: 0, targetSize })
    const convert = imageConverter([rows, columns, 3], options)
    const resized = new Float32Array(convert.size)
    convert.image(data, 0, resized, 0)
    return Uint8Array.from(resized, (value) => Math.round(value))
  }
}

/** Options of `prepareCifar`. */
interface CifarOptions {
  /** Folder of the unpacked binary version. */
  readonly folder: string
  readonly output: string
  readonly force?: boolean | undefined
}

/**
 * Writes CIFAR-10 or CIFAR-100, depending on the folder, as IDX files, with mean and standard deviation of the pixels.
 */
export async function prepareCifar({ folder, output, force }: CifarOptions, monitor: Monitor): Promise<ImageReport> {
  const read = await selectReader(folder)
  monitor.stage('reading images', 2)
  const sets = new Map<CifarPart, CifarSet>()
  for (const [i, part] of (['train', 'test'] as const).entries()) {
    sets.set(part, await read(folder, part))
    monitor.at(i + 1)
  }
  const fingerprint = async (path: string) => {
    const { size, mtimeMs } = await stat(path)
    return { path: resolve(path), bytes: size, changed: mtimeMs }
  }
  const inputs = await Promise.all([...sets.values()].flatMap(({ files }) => files.map(fingerprint)))
  await prepareOutputs(preparedFiles(output, imageSetFiles([...sets.keys()])), async () =>
    [...sets.values()].flatMap(({ files }) => files),
  )
  const preparation = await Preparation.open(output, { kind: 'cifar', inputs }, { force })
  if (!(preparation instanceof Preparation)) return preparation as ImageReport // written by `writeImageSet`
  const { classes } = sets.get('train')!
  const splits: ImageSplit[] = []
  for (const [name, { pixels, labels }] of sets) {
    const { info } = await makeImagePart(preparation, name, 3, classes.length, async () => ({
      pixels: pixels.data as Uint8Array, // type of `parseCifar`
      labels: labels.data as BigInt64Array,
    }))
    splits.push({ name, parts: [[name, info]] })
  }
  return writeImageSet(preparation, 'cifar', [32, 32, 3], classes, splits)
}

async function selectReader(folder: string): Promise<typeof readCifar10> {
  const names = await readdir(folder).catch((cause) => {
    throw folderError(folder, cause)
  })
  const has = (name: string) => names.includes(name) || names.includes(`${name}.gz`)
  if (has('data_batch_1.bin')) return readCifar10
  if (has('train.bin')) return readCifar100
  throw new OnnxIreError(
    'invalid-data',
    `${folder} has neither data_batch_1.bin (CIFAR-10) nor train.bin (CIFAR-100): name the folder of the unpacked binary version`,
  )
}
