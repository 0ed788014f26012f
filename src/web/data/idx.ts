import { parseIdx } from '../../data/formats/idx.js'
import type { Tensor } from '../../ir/tensor.js'
import { readData, type Source, withSourceName } from '../files/source.js'

/**
 * Reads a file in IDX format (MNIST, Fashion-MNIST). gzip is detected by the content, not by the name.
 * @throws 'io' if it cannot be read, 'invalid-data' if it is damaged or not an IDX file, both naming it
 */
export async function readIdx(source: Source): Promise<Tensor> {
  const bytes = await readData(source)
  return withSourceName(source, () => parseIdx(bytes))
}
