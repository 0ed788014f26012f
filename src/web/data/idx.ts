import type { Tensor } from '../../ir/tensor.js'
import { needed } from '../../needed.js'
import { dataOf, named, type Source } from '../source.js'

/**
 * Reads a file in IDX format, the one of MNIST and Fashion-MNIST; compressed with gzip or not, whatever its name.
 * @throws 'io' when it cannot be read, 'invalid-data' when it is damaged or no IDX file, both naming it
 */
export async function readIdx(source: Source): Promise<Tensor> {
  const bytes = await dataOf(source)
  const { parseIdx } = await needed(import('../../data/formats/idx.js'))
  return named(source, () => parseIdx(bytes))
}
