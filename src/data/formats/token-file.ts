import { OnnxIreError } from '../../util/errors.js'

/** Header of a token file. */
export interface TokenFileHeader {
  /** Size of the vocabulary; token numbers are below it. */
  readonly vocabulary: number
  /** Number of tokens in the file. */
  readonly tokens: number
}

/** Size of the header in bytes; the first token follows. */
export const headerBytes = 32

const magic = 'OITOKEN1'

/** Bytes per token: 2 for a vocabulary of up to 65,536, else 4. */
export const tokenBytes = ({ vocabulary }: { readonly vocabulary: number }): 2 | 4 => (vocabulary <= 2 ** 16 ? 2 : 4)

/**
 * Encodes the header of a token file, little-endian: at offset 0 the text 'OITOKEN1', at 8 the bytes of a token
 * (uint32: 2 or 4), at 12 the vocabulary (uint32), at 16 the number of tokens (uint64), at 24 eight zeros. Tokens
 * follow at 32 as uint16 or uint32: numpy reads them with `np.memmap(path, '<u2', 'r', offset=32)`.
 */
export function encodeTokenHeader(header: TokenFileHeader): Uint8Array {
  const bytes = new Uint8Array(headerBytes)
  for (let i = 0; i < magic.length; i++) bytes[i] = magic.charCodeAt(i)
  const view = new DataView(bytes.buffer)
  view.setUint32(8, tokenBytes(header), true)
  view.setUint32(12, header.vocabulary, true)
  view.setBigUint64(16, BigInt(header.tokens), true)
  return bytes
}

/**
 * Parses the header of a token file.
 * @param bytes the first 32 bytes of the file, or all bytes of a shorter one
 * @param size size of the whole file in bytes
 * @throws OnnxIreError `invalid-data` with the offset of the error
 */
export function parseTokenHeader(bytes: Uint8Array, size: number): TokenFileHeader {
  if (magic !== String.fromCharCode(...bytes.subarray(0, magic.length)))
    throw invalidFile(`it does not start with '${magic}'; create one with 'onnx-ire data prepare text'`)
  if (bytes.length < headerBytes)
    throw invalidFile(`it ends at offset ${bytes.length}, within its header of ${headerBytes} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes)
  const header = { vocabulary: view.getUint32(12, true), tokens: Number(view.getBigUint64(16, true)) }
  const width = tokenBytes(header)
  if (view.getUint32(8, true) !== width)
    throw invalidFile(
      `offset 8 gives ${view.getUint32(8, true)} bytes per token, but a vocabulary of ${header.vocabulary} requires ${width}: it is damaged`,
    )
  const expected = headerBytes + header.tokens * width
  if (size !== expected)
    throw invalidFile(
      `its ${header.tokens} tokens end at offset ${expected}, but the file has ${size} bytes: it is ${size < expected ? 'truncated' : 'damaged'}; create it again`,
    )
  return header
}

const invalidFile = (problem: string) => new OnnxIreError('invalid-data', `not a valid token file: ${problem}`)
