import { type ColumnSource, fromArrays, labelColumn } from '../../data/arrays.js'
import { parseIdx } from '../../data/formats/idx.js'
import { imageColumn } from '../../data/image/image-column.js'
import { isFloat } from '../../ir/dtype.js'
import { numbersOf, tensorFrom } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import type { LossTarget } from '../../loss/registry.js'
import type { IdxSource } from '../../recipe/sources/images.js'
import { withPath } from '../../util/errors.js'
import { readBytes } from './bytes.js'
import { augmentAndReshape, inferInput, inferTarget, type OpenContext, type OpenedSource } from './data-source.js'

/**
 * Reads a file in IDX format, the format of MNIST and Fashion-MNIST, optionally gzipped.
 * @throws OnnxIreError `io` if the file cannot be read, `invalid-data` if it is damaged or not an IDX file; both name
 * the file
 */
export async function readIdx(path: string): Promise<Tensor> {
  const bytes = await readBytes(path)
  return withPath(path, () => parseIdx(bytes))
}

/** Opens IDX files of images and labels for a recipe. */
export async function openIdx(source: IdxSource, context: OpenContext): Promise<OpenedSource> {
  const input = inferInput(source, context)
  const target = inferTarget(source, context)
  const columns = { [input]: imageColumn(await readIdx(source.images), source.image ?? {}) }
  const dataset = (given: Readonly<Record<string, ColumnSource>>) =>
    augmentAndReshape(fromArrays({ ...columns, ...given }), input, source)
  if (target === null || source.labels === undefined) return { data: dataset({}) }
  const given = { [target.name]: toTarget(await readIdx(source.labels), target) }
  return { data: dataset(given), labels: fromArrays(given) }
}

/** Converts class numbers to int64, other integers to float32. */
function toTarget(tensor: Tensor, { isClasses }: LossTarget): Tensor {
  if (isClasses) return labelColumn(tensor)
  return isFloat(tensor.dtype) ? tensor : tensorFrom('float32', tensor.dims, numbersOf(tensor))
}
