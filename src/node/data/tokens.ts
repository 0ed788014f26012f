import type { FileHandle } from 'node:fs/promises'
import { checkIndices, type Dataset, deriveChecksum } from '../../data/dataset.js'
import {
  encodeTokenHeader,
  headerBytes,
  parseTokenHeader,
  type TokenFileHeader,
  tokenBytes,
} from '../../data/formats/token-file.js'
import { Tokenizer } from '../../data/tokenize/tokenizer.js'
import type { Tensor, Tensors } from '../../ir/tensor.js'
import type { TokensSource } from '../../recipe/sources/text.js'
import { checkNames, checkNumber, count, invalidOption, positiveCount } from '../../util/check.js'
import { messageOf, OnnxIreError, withPath } from '../../util/errors.js'
import { openRegularFile, readError, readRegularFile, writeFileAtomic } from '../files/files.js'
import { checksumFiles } from './checksum-files.js'
import type { OpenContext, OpenedSource } from './data-source.js'
import { inferInput, inferTarget } from './data-source.js'

/** Tokens in consecutive blocks. */
export type TokenBlocks = Iterable<ArrayLike<number>> | AsyncIterable<ArrayLike<number>>

/**
 * Writes a token file atomically. `encodeTokenHeader` documents the format.
 * @param header vocabulary and number of tokens
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` for a token outside of the vocabulary or another
 * number of tokens
 */
export async function writeTokens(path: string, blocks: TokenBlocks, header: TokenFileHeader): Promise<void> {
  checkNumber('writeTokens', 'vocabulary', header.vocabulary, { min: 1, max: 2 ** 32 - 1, integer: true })
  checkNumber('writeTokens', 'tokens', header.tokens, count)
  await writeFileAtomic(path, encodeFile(path, blocks, header))
}

async function* encodeFile(path: string, blocks: TokenBlocks, header: TokenFileHeader): AsyncGenerator<Uint8Array> {
  yield encodeTokenHeader(header)
  let written = 0
  for await (const block of blocks) {
    yield encodeTokens(block, header.vocabulary)
    written += block.length
  }
  if (written !== header.tokens)
    throw new OnnxIreError(
      'invalid-data',
      `${path}: the header announces ${header.tokens} tokens, but ${written} were given`,
    )
}

/**
 * Encodes tokens as little-endian uint16, or uint32 for a large vocabulary. Throws `invalid-data` for an unknown token.
 */
export function encodeTokens(tokens: ArrayLike<number>, vocabulary: number): Uint8Array {
  const width = tokenBytes({ vocabulary })
  const bytes = new Uint8Array(tokens.length * width)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!
    if (!(Number.isInteger(token) && token >= 0 && token < vocabulary))
      throw new OnnxIreError('invalid-data', `token ${token} is not an integer below the vocabulary of ${vocabulary}`)
    if (width === 2) view.setUint16(2 * i, token, true)
    else view.setUint32(4 * i, token, true)
  }
  return bytes
}

/** Options of `readTokens`: position and names of the windows. */
export interface TokenWindowOptions {
  /** Tokens per example. */
  readonly context: number
  /** Tokens between the starts of two examples. Default: `context`, so that every token is read once. */
  readonly stride?: number | undefined
  /** Name of the tokens, int64 [n, context]. Default 'tokens'. */
  readonly input?: string | undefined
  /** Name of the next tokens, the labels, int64 [n, context]. Default 'labels'; null to leave them out. */
  readonly target?: string | null | undefined
}

/**
 * Opens a token file as windows: example i holds the tokens from position i * stride on. Windows are read per batch and
 * not cached, so the file may be larger than memory.
 *
 * ```ts
 * const train = await readTokens('corpus/train.tokens', { context: 256 })
 * train.vocabulary // 8192
 * ```
 * @throws OnnxIreError `io`, `invalid-option`, or `invalid-data` naming file and offset, for a damaged token when its
 * batch is read
 */
export async function readTokens(path: string, options: TokenWindowOptions): Promise<Dataset & TokenFileHeader> {
  const owner = 'readTokens'
  checkNames(owner, options, ['context', 'stride', 'input', 'target'])
  const context = checkNumber(owner, 'context', options.context, positiveCount)
  const stride = checkNumber(owner, 'stride', options.stride ?? context, positiveCount)
  const { input = 'tokens', target = 'labels' } = options
  if (input === target) throw invalidOption(owner, 'target', target, 'a name other than the input')
  const header = await withFile(path, (file) => readHeader(path, file))
  const windowLength = target === null ? context : context + 1
  if (header.tokens < windowLength)
    throw new OnnxIreError(
      'invalid-data',
      `${path} has ${header.tokens} tokens; an example of ${context} needs ${windowLength}; lower context`,
    )
  const length = Math.floor((header.tokens - windowLength) / stride) + 1
  return {
    ...header,
    length,
    async batch(indices): Promise<Tensors> {
      checkIndices(indices, length)
      const n = indices.length
      const [tokens, following] = [new BigInt64Array(n * context), new BigInt64Array(target === null ? 0 : n * context)]
      await withFile(path, async (file) => {
        for (let i = 0; i < n; i++) {
          const window = await readWindow(path, file, header, indices[i]! * stride, windowLength)
          tokens.set(window.subarray(0, context), i * context)
          if (target !== null) following.set(window.subarray(1), i * context)
        }
      })
      const tensor = (data: BigInt64Array): Tensor => ({ dtype: 'int64', dims: [n, context], data })
      return { [input]: tensor(tokens), ...(target === null ? {} : { [target]: tensor(following) }) }
    },
    checksum: deriveChecksum({ checksum: checksumFiles([path]) }, `${context} ${stride}`),
  }
}

async function readHeader(path: string, file: FileHandle): Promise<TokenFileHeader> {
  const { size } = await file.stat()
  const { buffer, bytesRead } = await file.read(new Uint8Array(headerBytes), 0, headerBytes, 0)
  return withPath(path, () => parseTokenHeader(buffer.subarray(0, bytesRead), size))
}

async function readWindow(
  path: string,
  file: FileHandle,
  { vocabulary }: TokenFileHeader,
  start: number,
  length: number,
): Promise<BigInt64Array> {
  const width = tokenBytes({ vocabulary })
  const at = headerBytes + start * width
  const { buffer, bytesRead } = await file.read(new Uint8Array(length * width), 0, length * width, at)
  if (bytesRead < length * width) {
    const { size } = await file.stat()
    throw new OnnxIreError('invalid-data', `${path} ends at offset ${size}: it was truncated after it was opened`)
  }
  const view = new DataView(buffer.buffer)
  const tokens = new BigInt64Array(length)
  for (let t = 0; t < length; t++) {
    const token = width === 2 ? view.getUint16(2 * t, true) : view.getUint32(4 * t, true)
    if (token >= vocabulary)
      throw new OnnxIreError(
        'invalid-data',
        `${path}: the token at offset ${at + t * width} is ${token}, not below the vocabulary of ${vocabulary}: the file is damaged; write it again`,
      )
    tokens[t] = BigInt(token)
  }
  return tokens
}

/** Opens the file for one batch, so that no file remains open when a data set is no longer used. */
async function withFile<T>(path: string, action: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await openRegularFile('token file', path)
  try {
    return await action(file)
  } catch (cause) {
    throw cause instanceof OnnxIreError ? cause : readError('token file', path, cause)
  } finally {
    await file.close()
  }
}

/**
 * Reads a tokenizer.json of Hugging Face.
 * @throws OnnxIreError `io`, or `invalid-data` naming a file that is not a tokenizer
 */
export async function readTokenizer(path: string): Promise<Tokenizer> {
  const bytes = await readRegularFile('tokenizer', path)
  try {
    return new Tokenizer(JSON.parse(bytes.toString()))
  } catch (cause) {
    throw new OnnxIreError('invalid-data', `${path}: ${messageOf(cause)}`, { cause })
  }
}

/** Opens a token file for a recipe. */
export async function openTokens(source: TokensSource, openContext: OpenContext): Promise<OpenedSource> {
  const { file, context, stride } = source
  const input = inferInput(source, openContext)
  const target = inferTarget(source, openContext)?.name ?? null
  return { data: await readTokens(file, { context, stride, input, target }) }
}
