import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type ColumnSource, fromArrays } from '../../data/arrays.js'
import { type CifarImages, concatCifar, parseCifar } from '../../data/formats/cifar.js'
import { imageColumn } from '../../data/image/image-column.js'
import type { CifarSource } from '../../recipe/sources/images.js'
import { OnnxIreError, withPath } from '../../util/errors.js'
import { folderError } from '../files/files.js'
import { readBytes } from './bytes.js'
import { augmentAndReshape, inferInput, inferTarget, type OpenContext, type OpenedSource } from './data-source.js'
import { readLines } from './text.js'

/** The training or the test images of CIFAR. */
export type CifarPart = 'train' | 'test'

/** A part of CIFAR: images, labels and class names. */
export interface CifarSet extends CifarImages {
  readonly classes: readonly string[]
  /** Names of the superclasses of CIFAR-100. */
  readonly coarseClasses?: readonly string[]
  /** Paths of the files, in the order of the images. */
  readonly files: readonly string[]
}

const files = {
  10: {
    train: [1, 2, 3, 4, 5].map((number) => `data_batch_${number}.bin`),
    test: ['test_batch.bin'],
  },
  100: { train: ['train.bin'], test: ['test.bin'] },
}

/**
 * Reads CIFAR-10 from the folder of its binary version, cifar-10-batches-bin: 50,000 training or 10,000 test images.
 * @throws OnnxIreError `io`, or `invalid-data` naming file and offset
 * @example
 * const { pixels, labels } = await readCifar10('cifar-10-batches-bin', 'train')
 * const normalization = { mean: [0.491, 0.482, 0.447], std: [0.247, 0.243, 0.262] }
 * const data = fromArrays({ x: imageColumn(pixels, normalization), labels })
 */
export const readCifar10 = (folder: string, part: CifarPart): Promise<CifarSet> => readCifar(folder, part, 10)

/**
 * Reads CIFAR-100 from cifar-100-binary, like `readCifar10`: labels are the fine classes, `coarse` the superclasses.
 */
export const readCifar100 = (folder: string, part: CifarPart): Promise<CifarSet> => readCifar(folder, part, 100)

async function readCifar(folder: string, part: CifarPart, classes: 10 | 100): Promise<CifarSet> {
  const available = await readdir(folder).catch((cause) => {
    throw folderError(folder, cause)
  })
  const paths = files[classes][part].map((name) => {
    const found = [name, `${name}.gz`].find((each) => available.includes(each))
    if (found) return join(folder, found)
    throw new OnnxIreError(
      'io',
      `${folder} has no ${name}: name the folder of the unpacked binary version of CIFAR-${classes}`,
    )
  })
  const parts: CifarImages[] = []
  for (const path of paths) parts.push(await readFile(path, classes))
  const names = (file: string, count: number) => readClassNames(join(folder, file), available.includes(file), count)
  if (classes === 10) return { ...concatCifar(parts), files: paths, classes: await names('batches.meta.txt', 10) }
  return {
    ...concatCifar(parts),
    files: paths,
    classes: await names('fine_label_names.txt', 100),
    coarseClasses: await names('coarse_label_names.txt', 20),
  }
}

async function readFile(path: string, classes: 10 | 100): Promise<CifarImages> {
  const bytes = await readBytes(path)
  return withPath(path, () => parseCifar(bytes, classes))
}

/** Reads a file with a class name per line. Returns the class numbers if the file does not exist. */
async function readClassNames(path: string, exists: boolean, count: number): Promise<string[]> {
  if (!exists) return Array.from({ length: count }, (_, i) => String(i))
  const names = (await readLines(path)).map((line) => line.trim()).filter((line) => line !== '')
  if (names.length === count) return names
  throw new OnnxIreError(
    'invalid-data',
    `${path} has ${names.length} class names, but there are ${count} classes: take the file of the same archive`,
  )
}

/** Opens CIFAR-10 or CIFAR-100 for a recipe. */
export async function openCifar(source: CifarSource, context: OpenContext): Promise<OpenedSource> {
  const input = inferInput(source, context)
  const target = inferTarget(source, context)
  const read = source.kind === 'cifar-10' ? readCifar10 : readCifar100
  const { pixels, labels, classes } = await read(source.folder, source.part ?? 'train')
  const columns = { [input]: imageColumn(pixels, source.image ?? {}) }
  const dataset = (given: Readonly<Record<string, ColumnSource>>) =>
    augmentAndReshape(fromArrays({ ...columns, ...given }), input, source)
  if (target === null) return { data: dataset({}) }
  const given = { [target.name]: labels }
  return { data: dataset(given), labels: fromArrays(given), classes: { [target.name]: classes } }
}
