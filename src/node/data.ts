import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { parseIdx } from '../data/idx.js'
import { OnnxIreError } from '../errors.js'
import type { Tensor } from '../ir/tensor.js'
import { codeOf } from './files.js'

/** What a compressed file may grow to; plain ones are held to the same by Node. */
const maxBytes = 2 ** 31

/**
 * Reads a file in IDX format, the one of MNIST and Fashion-MNIST; compressed with gzip or not, whatever its name.
 * @throws 'io' when the file cannot be read, 'invalid-data' when it is damaged or no IDX file, both naming the file
 */
export async function readIdx(path: string): Promise<Tensor> {
  const bytes = await readBytes(path)
  const [first, second] = bytes
  const plain = first === 0x1f && second === 0x8b ? await decompress(path, bytes) : bytes
  try {
    return parseIdx(plain)
  } catch (cause) {
    throw cause instanceof OnnxIreError ? new OnnxIreError(cause.code, `${path}: ${cause.message}`, { cause }) : cause
  }
}

async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (cause) {
    const reasons: Readonly<Record<string, string>> = {
      ENOENT: 'there is no such file',
      ENOTDIR: 'there is no such file',
      EISDIR: 'it is a folder',
      EACCES: 'it may not be read; change its permissions',
      ERR_FS_FILE_TOO_LARGE: 'it has more than 2 GiB',
    }
    const reason = reasons[codeOf(cause) ?? ''] ?? (cause instanceof Error ? cause.message : String(cause))
    throw new OnnxIreError('io', `cannot read the data file ${path}: ${reason}`, { cause })
  }
}

async function decompress(path: string, bytes: Uint8Array): Promise<Uint8Array> {
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: maxBytes })
  } catch (cause) {
    const reason =
      codeOf(cause) === 'ERR_BUFFER_TOO_LARGE'
        ? 'it has more than 2 GiB when decompressed'
        : `its gzip data are damaged or cut short (${cause instanceof Error ? cause.message : String(cause)}); fetch it again`
    throw new OnnxIreError('invalid-data', `cannot read the data file ${path}: ${reason}`, { cause })
  }
}
