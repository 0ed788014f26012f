import { readFile } from 'node:fs/promises'
import { Tokenizer } from '../../data/tokenize/tokenizer.js'
import { OnnxIreError } from '../../util/errors.js'
import { readError } from '../files.js'

/**
 * Reads a tokenizer.json of HuggingFace.
 * @throws 'io', or 'invalid-data' naming the file that is none
 */
export async function readTokenizer(path: string): Promise<Tokenizer> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw readError('tokenizer', path, cause)
  })
  try {
    return new Tokenizer(JSON.parse(text))
  } catch (cause) {
    throw new OnnxIreError('invalid-data', `${path}: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
}
