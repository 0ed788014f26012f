import { arrays, labels } from '../../data/arrays.js'
import type { Dataset } from '../../data/dataset.js'
import { images } from '../../data/image.js'
import { isFloat } from '../../ir/dtype.js'
import { numbersOf, tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import type { LossTarget } from '../../loss/registry.js'
import { readIdx } from '../../node/data/idx.js'
import type { IdxSource } from '../../recipe/sources/idx.js'
import { augmented } from './augmented.js'
import { inDims } from './in-dims.js'
import { inputFor, targetFor } from './naming.js'
import type { Opened, Opening } from './opened.js'

export async function openIdx(source: IdxSource, opening: Opening): Promise<Opened> {
  const input = inputFor(source, opening)
  const target = targetFor(source, opening)
  const made = (data: Dataset) => inDims(augmented(data, input, source), input, source.dims)
  const pixels = images(await readIdx(source.images), source.image ?? {})
  if (target === null || source.labels === undefined) return { data: made(arrays({ [input]: pixels })) }
  const given = { [target.name]: asTarget(await readIdx(source.labels), target) }
  return { data: made(arrays({ [input]: pixels, ...given })), labels: arrays(given) }
}

/** Class numbers as int64, everything else in floating point. */
function asTarget(tensor: Tensor, { isClasses }: LossTarget): Tensor {
  if (isClasses) return labels(tensor)
  return isFloat(tensor.dtype) ? tensor : tensorFrom('float32', tensor.dims, numbersOf(tensor))
}
