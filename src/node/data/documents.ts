import { stat } from 'node:fs/promises'
import { extname } from 'node:path'
import { runInNewContext } from 'node:vm'
import type { Tokenizer } from '../../data/tokenize/tokenizer.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { readError } from '../files/files.js'
import { listFiles } from './folders.js'
import { streamJsonl } from './jsonl.js'
import { iterateLines, iterateTextChunks } from './lines.js'

/** Division of files into documents. */
export interface DocumentOptions {
  /** Field of a JSON line, or column of a parquet file, that holds the text. Default 'text'. */
  readonly field?: string | undefined
  /**
   * Unit of a plain text file that is a document: the file (default; a large file is split at line ends into documents
   * of about 64 KiB, and within a line longer than 1 MiB), a line, or a paragraph, which ends at an empty line.
   */
  readonly document?: 'file' | 'line' | 'paragraph' | undefined
}

/** Extensions of corpus files in a folder. */
const extensions = ['.txt', '.text', '.md', '.jsonl', '.ndjson', '.parquet', '.gz']

const chunkBytes = 2 ** 16

/**
 * Lists the corpus files at paths, with sizes; a folder represents its files. Throws `io`, or `invalid-data` for a
 * folder without files.
 */
export async function listCorpusFiles(
  paths: readonly string[],
): Promise<{ readonly path: string; readonly bytes: number }[]> {
  const files: { path: string; bytes: number }[] = []
  for (const path of paths) {
    const found = await statOf(path)
    const own = found.isDirectory() ? await listFiles(path, extensions) : [path]
    if (own.length === 0)
      throw new OnnxIreError(
        'invalid-data',
        `${path} holds no corpus file (${extensions.map((e) => `*${e}`).join(', ')})`,
      )
    for (const file of own) files.push({ path: file, bytes: (await statOf(file)).size })
  }
  return files
}

/**
 * Iterates over the documents of a corpus file. The format follows from the name: .jsonl and .ndjson, .parquet,
 * otherwise plain UTF-8; all except parquet optionally gzipped. Documents of white space alone are skipped.
 * @throws OnnxIreError `io`, or `invalid-data` naming the file and the line, offset or row
 */
export async function* iterateDocuments(
  path: string,
  options: DocumentOptions = {},
): AsyncGenerator<string, void, undefined> {
  for await (const text of iterateTexts(path, options)) if (/\S/.test(text)) yield text
}

async function* iterateTexts(
  path: string,
  { field = 'text', document = 'file' }: DocumentOptions,
): AsyncGenerator<string> {
  const kind = extname(path.toLowerCase().replace(/\.gz$/, ''))
  if (kind === '.parquet') {
    const { parquetTexts } = await import('./parquet.js')
    for await (const { text } of parquetTexts(path, field)) yield text
  } else if (kind === '.jsonl' || kind === '.ndjson') {
    const { examples } = await streamJsonl(path, { map: (value) => ({ text: readField(value, field) }) })
    for await (const { text } of examples(0)) yield text as string // type of `map` above
  } else if (document === 'file') {
    yield* iterateTextChunks(path, chunkBytes)
  } else {
    yield* splitLines(path, document)
  }
}

function readField(value: unknown, field: string): string {
  const text = typeof value === 'object' && value !== null ? getOwn(value as Record<string, unknown>, field) : undefined
  if (typeof text === 'string') return text
  const fields = typeof value === 'object' && value !== null ? Object.keys(value).join(', ') : 'none'
  throw new OnnxIreError('invalid-data', `field '${field}' holds no text; the fields of the line are ${fields}`)
}

async function* splitLines(path: string, document: 'line' | 'paragraph'): AsyncGenerator<string> {
  let paragraph: string[] = []
  for await (const { text } of iterateLines(path)) {
    if (document === 'line') yield text
    else if (text.trim() !== '') paragraph.push(text)
    else if (paragraph.length > 0) {
      yield paragraph.join('\n')
      paragraph = []
    }
  }
  if (paragraph.length > 0) yield paragraph.join('\n')
}

const statOf = (path: string) =>
  stat(path).catch((cause) => {
    throw readError('corpus', path, cause)
  })

/** Characters of the documents that are encoded under one time limit, if a document has no more. */
const limitedCharacters = 2 ** 16

/**
 * Encodes documents in groups, each with a time limit: a regular expression of a tokenizer.json can take exponential
 * time.
 * @param seconds the limit, for up to 1 MiB of text, which takes a tokenizer a few seconds
 * @throws OnnxIreError `invalid-data` if a group takes longer
 */
export async function* encodeDocuments<D extends { readonly text: string }>(
  tokenizer: Tokenizer,
  documents: AsyncIterable<D>,
  seconds = 60,
): AsyncGenerator<{ document: D; encoded: number[] }> {
  let group: D[] = []
  let characters = 0
  const encodeGroup = () =>
    limitTime(seconds, () => group.map((document) => ({ document, encoded: tokenizer.encode(document.text) })))
  for await (const document of documents) {
    group.push(document)
    characters += document.text.length
    if (characters < limitedCharacters) continue
    yield* encodeGroup()
    group = []
    characters = 0
  }
  yield* encodeGroup()
}

/** Runs a synchronous function. Throws `invalid-data` if it takes longer than the limit. */
function limitTime<T>(seconds: number, encode: () => T): T {
  try {
    return runInNewContext('encode()', { encode }, { timeout: 1000 * seconds }) as T
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw cause
    throw new OnnxIreError(
      'invalid-data',
      `the tokenizer took longer than ${seconds} s to encode a document: a regular expression in its file may take time without end; use another tokenizer`,
      { cause },
    )
  }
}
