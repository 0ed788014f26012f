import { parseIdx } from '../../data/formats/idx.js'
import type { Tensor } from '../../ir/tensor.js'
import { dataOf, named, type Source } from '../source.js'

/**
 * Reads a file in IDX format (MNIST, Fashion-MNIST). gzip is detected by the content, not by the name.
 * @throws 'io' if it cannot be read, 'invalid-data' if it is damaged or not an IDX file, both naming it
 */
export async function readIdx(source: Source): Promise<Tensor> {
  const bytes = await dataOf(source)
  return named(source, () => parseIdx(bytes))
}
