import { stat } from 'node:fs/promises'
import { extname } from 'node:path'
import { OnnxIreError } from '../../util/errors.js'
import { readError } from '../files.js'
import { listFiles } from './folders.js'
import { streamJsonl } from './jsonl.js'
import { iterateLines, iterateTextChunks } from './lines.js'

export interface DocumentOptions {
  /** The field of a JSON line, or the column of a parquet file, that holds the text. Default 'text'. */
  readonly field?: string | undefined
  /**
   * What one document of a plain text file is: the file (default; a large one is cut into documents of about 64 KiB where a
   * line ends), each line, or each paragraph, which an empty line ends.
   */
  readonly document?: 'file' | 'line' | 'paragraph' | undefined
}

/** What names of files of a folder end in, before .gz. */
const extensions = ['.txt', '.text', '.md', '.jsonl', '.ndjson', '.parquet', '.gz']

const pieceBytes = 2 ** 16

/** The files that paths stand for, a folder for those within it, and their sizes. Throws 'io', or 'invalid-data' for none. */
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
 * The documents of a corpus file, in order, by its name: .jsonl and .ndjson, .parquet, anything else plain UTF-8; all but
 * parquet compressed with gzip or not. Those of white space alone are left out.
 * @throws 'io', or 'invalid-data' naming the file and the line, offset or row
 */
export async function* iterateDocuments(
  path: string,
  options: DocumentOptions = {},
): AsyncGenerator<string, void, undefined> {
  for await (const text of textsOf(path, options)) if (/\S/.test(text)) yield text
}

async function* textsOf(path: string, { field = 'text', document = 'file' }: DocumentOptions): AsyncGenerator<string> {
  const kind = extname(path.toLowerCase().replace(/\.gz$/, ''))
  if (kind === '.parquet') {
    const { parquetTexts } = await import('./parquet.js')
    for await (const { text } of parquetTexts(path, field)) yield text
  } else if (kind === '.jsonl' || kind === '.ndjson') {
    const { examples } = await streamJsonl(path, { map: (value) => ({ text: textIn(value, field) }) })
    for await (const { text } of examples(0)) yield text as string // what `map` made
  } else if (document === 'file') {
    yield* iterateTextChunks(path, pieceBytes)
  } else {
    yield* linesIn(path, document)
  }
}

function textIn(value: unknown, field: string): string {
  const text = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[field] : undefined
  if (typeof text === 'string') return text
  const fields = typeof value === 'object' && value !== null ? Object.keys(value).join(', ') : 'none'
  throw new OnnxIreError('invalid-data', `there is no text in field '${field}'; the line's fields are ${fields}`)
}

async function* linesIn(path: string, document: 'line' | 'paragraph'): AsyncGenerator<string> {
  let open: string[] = []
  for await (const { text } of iterateLines(path)) {
    if (document === 'line') yield text
    else if (text.trim() !== '') open.push(text)
    else if (open.length > 0) {
      yield open.join('\n')
      open = []
    }
  }
  if (open.length > 0) yield open.join('\n')
}

const statOf = (path: string) =>
  stat(path).catch((cause) => {
    throw readError('corpus', path, cause)
  })
