import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type ColumnSource, fromArrays } from '../../data/arrays.js'
import { type CifarImages, concatCifar, parseCifar } from '../../data/formats/cifar.js'
import { imageColumn } from '../../data/image/image-column.js'
import type { CifarSource } from '../../recipe/sources/cifar.js'
import { OnnxIreError } from '../../util/errors.js'
import { readError } from '../files.js'
import { iterateBytes } from './bytes.js'
import { augmentAndReshape, type OpenContext, type OpenedSource } from './data-source.js'
import { inferInput, inferTarget } from './infer-names.js'
import { readLines } from './text.js'

/** The part of CIFAR that is read. */
export type CifarPart = 'train' | 'test'

/** A part of CIFAR; `classes` are the names of the class numbers. */
export interface CifarSet extends CifarImages {
  readonly classes: readonly string[]
  /** Of CIFAR-100, the names of the superclasses. */
  readonly coarseClasses?: readonly string[]
  /** Paths, in the order of the images. */
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
 * Reads CIFAR-10 from the folder of its binary version, cifar-10-batches-bin: 50,000 images to train on, 10,000 to test.
 *
 * ```ts
 * const { pixels, labels } = await readCifar10('cifar-10-batches-bin', 'train')
 * arrays({ x: images(pixels, { mean: [0.491, 0.482, 0.447], std: [0.247, 0.243, 0.262] }), label: labels })
 * ```
 * @throws 'io', or 'invalid-data' naming file and offset
 */
export const readCifar10 = (folder: string, part: CifarPart): Promise<CifarSet> => readCifar(folder, part, 10)

/** Reads CIFAR-100 from cifar-100-binary: labels are the fine classes, `coarse` the superclasses. As `readCifar10`. */
export const readCifar100 = (folder: string, part: CifarPart): Promise<CifarSet> => readCifar(folder, part, 100)

async function readCifar(folder: string, part: CifarPart, classes: 10 | 100): Promise<CifarSet> {
  const there = await readdir(folder).catch((cause) => {
    throw readError('folder', folder, cause, { ENOENT: 'there is no such folder', ENOTDIR: 'it is not a folder' })
  })
  const paths = files[classes][part].map((name) => {
    const found = [name, `${name}.gz`].find((each) => there.includes(each))
    if (found) return join(folder, found)
    throw new OnnxIreError(
      'io',
      `${folder} has no ${name}: name the folder of the binary version of CIFAR-${classes}, unpacked`,
    )
  })
  const parts: CifarImages[] = []
  for (const path of paths) parts.push(await readFile(path, classes))
  const names = (file: string, count: number) => classNames(join(folder, file), there.includes(file), count)
  if (classes === 10) return { ...concatCifar(parts), files: paths, classes: await names('batches.meta.txt', 10) }
  return {
    ...concatCifar(parts),
    files: paths,
    classes: await names('fine_label_names.txt', 100),
    coarseClasses: await names('coarse_label_names.txt', 20),
  }
}

async function readFile(path: string, classes: 10 | 100): Promise<CifarImages> {
  const blocks: Uint8Array[] = []
  for await (const block of iterateBytes(path)) blocks.push(block)
  try {
    return parseCifar(Buffer.concat(blocks), classes)
  } catch (cause) {
    throw cause instanceof OnnxIreError ? new OnnxIreError(cause.code, `${path}: ${cause.message}`, { cause }) : cause
  }
}

/** The names in a file of one per line; the numbers themselves where the file is not there. */
async function classNames(path: string, isThere: boolean, count: number): Promise<string[]> {
  if (!isThere) return Array.from({ length: count }, (_, i) => String(i))
  const names = (await readLines(path)).map((line) => line.trim()).filter((line) => line !== '')
  if (names.length === count) return names
  throw new OnnxIreError('invalid-data', `${path} has ${names.length} class names; there are ${count} classes`)
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
