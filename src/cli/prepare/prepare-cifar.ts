import { readdir, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type CifarPart, type CifarSet, readCifar10, readCifar100 } from '../../node/data/cifar.js'
import { readError } from '../../node/files.js'
import { OnnxIreError } from '../../util/errors.js'
import { finishImages, type ImageReport, type ImageSplit, imagePart } from './image-set.js'
import type { Monitor } from './monitor.js'
import { Preparation } from './preparation.js'

export interface CifarOptions {
  /** Of the binary version, unpacked. */
  readonly folder: string
  readonly output: string
  readonly force?: boolean | undefined
}

/** Checks CIFAR-10 or CIFAR-100, whichever the folder holds, and writes it as IDX files with the mean and deviation of its pixels. */
export async function prepareCifar({ folder, output, force }: CifarOptions, monitor: Monitor): Promise<ImageReport> {
  const read = await reader(folder)
  monitor.stage('reading images', 2)
  const sets = new Map<CifarPart, CifarSet>()
  for (const [i, part] of (['train', 'test'] as const).entries()) {
    sets.set(part, await read(folder, part))
    monitor.at(i + 1)
  }
  const dated = async (path: string) => {
    const { size, mtimeMs } = await stat(path)
    return { path: resolve(path), bytes: size, changed: mtimeMs }
  }
  const inputs = await Promise.all([...sets.values()].flatMap(({ files }) => files.map(dated)))
  const preparation = await Preparation.open(output, { kind: 'cifar', inputs }, { force })
  if (!(preparation instanceof Preparation)) return preparation as ImageReport // written by `finishImages`
  const { classes } = sets.get('train')!
  const splits: ImageSplit[] = []
  for (const [name, { pixels, labels }] of sets) {
    const { info } = await imagePart(preparation, name, 3, classes.length, async () => ({
      pixels: pixels.data as Uint8Array, // as `parseCifar` makes them
      labels: labels.data as BigInt64Array,
    }))
    splits.push({ name, parts: [[name, info]] })
  }
  return finishImages(preparation, 'cifar', [32, 32, 3], classes, splits)
}

async function reader(folder: string): Promise<typeof readCifar10> {
  const there = await readdir(folder).catch((cause) => {
    throw readError('folder', folder, cause, { ENOENT: 'there is no such folder', ENOTDIR: 'it is not a folder' })
  })
  const has = (name: string) => there.includes(name) || there.includes(`${name}.gz`)
  if (has('data_batch_1.bin')) return readCifar10
  if (has('train.bin')) return readCifar100
  throw new OnnxIreError(
    'invalid-data',
    `${folder} has neither data_batch_1.bin (CIFAR-10) nor train.bin (CIFAR-100): name the folder of the binary version, unpacked`,
  )
}
