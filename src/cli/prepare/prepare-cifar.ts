import { readdir, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type CifarPart, type CifarSet, readCifar10, readCifar100 } from '../../node/data/cifar.js'
import { readError } from '../../node/files/files.js'
import { OnnxIreError } from '../../util/errors.js'
import { type ImageReport, type ImageSplit, makeImagePart, writeImageSet } from './image-set.js'
import { Preparation } from './preparation.js'
import type { Monitor } from './run-preparation.js'

/** Options of `prepareCifar`. */
export interface CifarOptions {
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
    throw readError('folder', folder, cause, { ENOENT: 'there is no such folder', ENOTDIR: 'it is not a folder' })
  })
  const has = (name: string) => names.includes(name) || names.includes(`${name}.gz`)
  if (has('data_batch_1.bin')) return readCifar10
  if (has('train.bin')) return readCifar100
  throw new OnnxIreError(
    'invalid-data',
    `${folder} has neither data_batch_1.bin (CIFAR-10) nor train.bin (CIFAR-100): name the folder of the unpacked binary version`,
  )
}
