import { OnnxIreError } from '../../util/errors.js'

/** Of a file of tokens. */
export interface TokenFileHeader {
  /** Tokens are below it. */
  readonly vocabulary: number
  readonly tokens: number
}

/** Bytes before the first token. */
export const headerBytes = 32

const magic = 'OITOKEN1'

/** Bytes of a token: 2 for a vocabulary of up to 65,536, else 4. */
export const tokenBytes = ({ vocabulary }: { readonly vocabulary: number }): 2 | 4 => (vocabulary <= 2 ** 16 ? 2 : 4)

/**
 * The header of a token file, little-endian: at offset 0 the text 'OITOKEN1', at 8 the bytes of a token (uint32: 2 or 4), at
 * 12 the vocabulary (uint32), at 16 the number of tokens (uint64), at 24 eight zeros. Tokens follow at 32 as uint16 or
 * uint32: numpy reads them with `np.memmap(path, '<u2', 'r', offset=32)`.
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
 * @param bytes the first 32 of the file, or all of a shorter one
 * @param size bytes of the whole file
 * @throws 'invalid-data' naming the offset of what is wrong
 */
export function parseTokenHeader(bytes: Uint8Array, size: number): TokenFileHeader {
  if (magic !== String.fromCharCode(...bytes.subarray(0, magic.length)))
    throw refuse(`it does not begin with '${magic}'; make one with 'onnx-ire data prepare text'`)
  if (bytes.length < headerBytes)
    throw refuse(`it ends at offset ${bytes.length}, within its header of ${headerBytes} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes)
  const header = { vocabulary: view.getUint32(12, true), tokens: Number(view.getBigUint64(16, true)) }
  const width = tokenBytes(header)
  if (view.getUint32(8, true) !== width)
    throw refuse(
      `at offset 8 it says ${view.getUint32(8, true)} bytes per token, but its vocabulary of ${header.vocabulary} takes ${width}: it is damaged`,
    )
  const expected = headerBytes + header.tokens * width
  if (size !== expected)
    throw refuse(
      `its ${header.tokens} tokens end at offset ${expected}, but the file has ${size} bytes: it is ${size < expected ? 'cut short' : 'damaged'}; make it again`,
    )
  return header
}

const refuse = (what: string) => new OnnxIreError('invalid-data', `not a usable token file: ${what}`)
