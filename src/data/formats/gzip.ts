import { OnnxIreError } from '../../util/errors.js'

/** Size up to which decompressed data may be any multiple of the compressed data. */
const maxUncheckedBytes = 2 ** 26

/** Largest ratio of decompressed to compressed data. Text compresses to a tenth; gzip reaches 1,030 for zeros. */
const maxRatio = 200

/**
 * Checks the decompressed length of gzip data, which a small file can make larger than any memory.
 * @throws OnnxIreError `invalid-data` if it exceeds 64 MiB and 200 times the compressed size
 */
export function checkExpansion(path: string, compressed: number, decompressed: number): void {
  if (decompressed > maxUncheckedBytes && decompressed > maxRatio * compressed)
    throw new OnnxIreError(
      'invalid-data',
      `cannot read the data file ${path}: it decompresses to more than ${maxRatio} times its size; if that is correct, decompress it first`,
    )
}
