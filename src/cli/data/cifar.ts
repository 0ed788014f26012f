import { arrays } from '../../data/arrays.js'
import type { Dataset } from '../../data/dataset.js'
import { images } from '../../data/image.js'
import { readCifar10, readCifar100 } from '../../node/data/cifar.js'
import type { CifarSource } from '../../recipe/sources/cifar.js'
import { augmented } from './augmented.js'
import { inDims } from './in-dims.js'
import { inputFor, targetFor } from './naming.js'
import type { Opened, Opening } from './opened.js'

export async function openCifar(source: CifarSource, opening: Opening): Promise<Opened> {
  const input = inputFor(source, opening)
  const target = targetFor(source, opening)
  const made = (data: Dataset) => inDims(augmented(data, input, source), input, source.dims)
  const read = source.kind === 'cifar-10' ? readCifar10 : readCifar100
  const { pixels, labels, classes } = await read(source.folder, source.part ?? 'train')
  const shown = images(pixels, source.image ?? {})
  if (target === null) return { data: made(arrays({ [input]: shown })) }
  const given = { [target.name]: labels }
  return {
    data: made(arrays({ [input]: shown, ...given })),
    labels: arrays(given),
    classes: { [target.name]: classes },
  }
}
