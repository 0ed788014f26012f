import { readFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { describe, expect, it } from 'vitest'
import { Tokenizer, tokenizerJson, WordCounts } from '../../../src/data/tokenize/tokenizer.js'
import { trainBpe } from '../../../src/data/tokenize/train-bpe.js'
import { readBytes } from '../../../src/node/data/bytes.js'
import {
  type DocumentOptions,
  encodeDocuments,
  iterateDocuments,
  listCorpusFiles,
} from '../../../src/node/data/documents.js'
import { iterateLines, iterateTextChunks } from '../../../src/node/data/lines.js'
import { parquetTexts, streamParquet } from '../../../src/node/data/parquet.js'
import { Random } from '../../../src/util/random.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put, path } = temporaryFolder()

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const value of values) found.push(value)
  return found
}
const documents = (file: string, options?: DocumentOptions) => all(iterateDocuments(file, options))

describe('iterateDocuments', () => {
  it('plain text > returns files, lines or paragraphs', async () => {
    const text = 'one\ntwo\r\n\n \nthree\n\n\nfour'
    const file = await put('a.txt', text)
    expect(await documents(file)).toEqual([text])
    expect(await documents(file, { document: 'line' })).toEqual(['one', 'two', 'three', 'four'])
    expect(await documents(file, { document: 'paragraph' })).toEqual(['one\ntwo', 'three', 'four'])
    expect(await documents(await put('b.txt.gz', gzipSync(text)))).toEqual([text])
    expect(await documents(await put('empty.txt', ' \n'))).toEqual([])
  })

  it('JSON lines > returns a field per line', async () => {
    const lines = ['{"text": "a b", "title": "T"}', '{"text": " "}', '', '{"text": "é", "title": "U"}']
    const file = await put('c.jsonl', lines.join('\n'))
    expect(await documents(file)).toEqual(['a b', 'é'])
    expect(await rejectedMessage('invalid-data', () => documents(file, { field: 'title' }))).toMatch(
      "c.jsonl:2: field 'title'",
    )
    const cut = await put('d.ndjson.gz', gzipSync('{"text": "a"}\n{"text": '))
    expect(await rejectedMessage('invalid-data', () => documents(cut))).toMatch(/d\.ndjson\.gz:2: the line is not JSON/)
  })

  it('folders > are read in the order of file names', async () => {
    for (const name of ['z/b.jsonl', 'z/a/c.txt', 'z/x.png', 'z/d.md']) await put(name, 'x')
    const found = await listCorpusFiles([path('z'), await put('y.any', 'four')])
    expect(found).toEqual([
      { path: path('z/a/c.txt'), bytes: 1 },
      { path: path('z/b.jsonl'), bytes: 1 },
      { path: path('z/d.md'), bytes: 1 },
      { path: path('y.any'), bytes: 4 },
    ])
    expect(await rejectedMessage('io', () => listCorpusFiles([path('none')]))).toMatch('there is no such file')
    await put('w/x.png', 'x')
    expect(await rejectedMessage('invalid-data', () => listCorpusFiles([path('w')]))).toMatch('holds no corpus file')
  })
})

describe('pieces of a text file', () => {
  const random = new Random(1)
  const line = () => Array.from({ length: random.integer(60) }, () => 'aé🙂 '[random.integer(4)]).join('')
  const text = Array.from({ length: 30_000 }, line)
    .join('\n')
    .replaceAll(/[\ud800-\udfff]/g, '…')

  it('are whole lines, and concatenate to the file', async () => {
    const file = await put('long.txt', text)
    expect(Buffer.byteLength(text)).toBeGreaterThan(2 ** 20)
    for (const size of [1, 5000, 2 ** 16, 2 ** 23]) {
      const pieces = await all(iterateTextChunks(file, size))
      expect(pieces.join('')).toBe(text)
      const whole = pieces.slice(0, -1)
      expect(whole.filter((piece) => !piece.endsWith('\n'))).toEqual([])
      const lengths = whole.map((piece) => Buffer.byteLength(piece))
      expect(lengths.filter((length) => length < size || length >= size + 200)).toEqual([])
    }
  })

  it('exclude the byte order mark', async () => {
    const marked = await put('marked.txt', '\ufeffone\n\ufefftwo')
    expect(await all(iterateTextChunks(marked, 1))).toEqual(['one\n', '\ufefftwo'])
  })

  it('invalid UTF-8 > rejects', async () => {
    const bytes = Buffer.from(text)
    const at = bytes.indexOf(10, 700_000) + 1
    bytes[at] = 0x80
    const file = await put('damaged.txt', bytes)
    expect(await rejectedMessage('invalid-data', () => all(iterateTextChunks(file, 5000)))).toMatch(
      `damaged.txt: the byte at offset ${at} is not UTF-8`,
    )
    const cut = await put('cut.txt', Buffer.from('aé').subarray(0, 2))
    expect(await rejectedMessage('invalid-data', () => documents(cut))).toMatch('offset 1 ')
  })
})

describe('parquet files', () => {
  const texts = Array.from({ length: 250 }, (_, i) => (i % 50 === 7 ? null : `text ${i} é`))
  const write = (name: string, codec: 'SNAPPY' | 'UNCOMPRESSED' = 'SNAPPY') =>
    put(
      name,
      new Uint8Array(
        parquetWriteBuffer({
          columnData: [
            { name: 'text', data: texts, type: 'STRING' },
            { name: 'stars', data: texts.map((_, i) => i), type: 'INT32' },
          ],
          rowGroupSize: 100,
          codec,
        }),
      ),
    )

  it('a text column > returns its strings', async () => {
    for (const codec of ['SNAPPY', 'UNCOMPRESSED'] as const) {
      const file = await write(`${codec}.parquet`, codec)
      const expected = texts.flatMap((text, row) => (text === null ? [] : [{ row, text }]))
      expect(await all(parquetTexts(file, 'text'))).toEqual(expected)
      expect(await documents(file)).toEqual(expected.map(({ text }) => text))
      const examples = await all(
        streamParquet(file, { column: 'text', text: 'x' }).examples(0) as AsyncIterable<object>,
      )
      expect(examples.slice(0, 2)).toEqual([{ x: 'text 0 é' }, { x: 'text 1 é' }])
    }
  })

  it('damaged files and other columns > rejects', async () => {
    const file = await write('whole.parquet')
    const texts =
      (name: string, column = 'text') =>
      () =>
        all(parquetTexts(path(name), column))
    expect(await rejectedMessage('invalid-data', texts('whole.parquet', 'body'))).toMatch(
      "whole.parquet has no column 'body'; its columns are text, stars",
    )
    expect(await rejectedMessage('invalid-data', texts('whole.parquet', 'stars'))).toMatch("row 0 of column 'stars'")
    const bytes = await readFile(file)
    await put('cut.parquet', bytes.subarray(0, bytes.length - 10))
    expect(await rejectedMessage('invalid-data', texts('cut.parquet'))).toMatch(
      `cut.parquet: the footer before offset ${bytes.length - 10} cannot be read`,
    )
    const damaged = Buffer.from(bytes)
    damaged.fill(0xff, 10, 400)
    await put('damaged.parquet', damaged)
    expect(await rejectedMessage('invalid-data', texts('damaged.parquet'))).toMatch(
      'damaged.parquet: row group 0 (rows 0 to 99) cannot be read',
    )
    expect(await rejectedMessage('io', texts('none.parquet'))).toMatch('no such file')
  })
})

describe('files without line ends', () => {
  it('a long document > is cut between characters', async () => {
    const text = 'aé🙂日'.repeat(400_000)
    const file = await put('one-line.txt', text)
    const found = await documents(file)
    expect(found.length).toBeGreaterThan(2)
    expect(found.join('') === text).toBe(true)
    for (const each of found) expect(Buffer.byteLength(each)).toBeLessThan(2 ** 21)
  })

  it('a long line > error with its length', async () => {
    const file = await put('long.jsonl', `{"text": "a"}\n"${'b'.repeat(3_000_000)}"`)
    const read = (limit: number) => all(iterateLines(file, limit))
    expect(await read(2 ** 22)).toHaveLength(2)
    expect(await rejectedMessage('invalid-data', () => read(2 ** 20))).toMatch(/long\.jsonl:2: .*longer than 1 MiB/)
  })

  it('compressed data > are limited in memory', async () => {
    const file = await put('zeros.gz', gzipSync(new Uint8Array(2 ** 24)))
    expect(await readBytes(file)).toHaveLength(2 ** 24)
    expect(await rejectedMessage('invalid-data', () => readBytes(file, 2 ** 20))).toMatch(/zeros\.gz.*1 MiB/)
  })
})

describe('encodeDocuments', () => {
  const words = new WordCounts()
  words.add('a b')
  const bytes = tokenizerJson(trainBpe(words, { vocabulary: 257 }))
  async function* texts(...list: string[]) {
    for (const text of list) yield { text }
  }

  it('many documents > are encoded in their order', async () => {
    const tokenizer = new Tokenizer(bytes)
    const list = Array.from({ length: 300 }, (_, i) => `${i} `.repeat(i * 2))
    const encoded = await all(encodeDocuments(tokenizer, texts(...list)))
    expect(encoded.map(({ document }) => document.text)).toEqual(list)
    expect(encoded.map(({ encoded }) => tokenizer.decode(encoded))).toEqual(list)
  })

  it('an expression that takes time without end > invalid-data', async () => {
    const split = { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated', invert: false }
    const tokenizer = new Tokenizer({ ...bytes, pre_tokenizer: split })
    const hostile = texts(`${'a'.repeat(50)}b`)
    expect(await rejectedMessage('invalid-data', () => all(encodeDocuments(tokenizer, hostile, 0.2)))).toMatch('0.2 s')
  })
})

describe('gzip data', () => {
  it('more than 64 MiB and 200 times the size > invalid-data, from readers and streams', async () => {
    const file = await put('zeros.txt.gz', gzipSync(new Uint8Array(2 ** 26 + 2 ** 20)))
    expect(await rejectedMessage('invalid-data', () => readBytes(file))).toMatch('200 times')
    expect(await rejectedMessage('invalid-data', () => all(iterateTextChunks(file, 2 ** 16)))).toMatch('200 times')
    expect(await readBytes(await put('fewer', gzipSync(new Uint8Array(2 ** 25))))).toHaveLength(2 ** 25)
  })
})
