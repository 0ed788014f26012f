import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { batches } from '../../../src/data/batches.js'
import type { DatasetOrStream } from '../../../src/data/stream.js'
import type { Tensors } from '../../../src/ir/tensor.js'
import { tensor } from '../../../src/ir/tensor.js'
import { readJsonRows } from '../../../src/node/data/json-rows.js'
import { type JsonlOptions, readJsonl, streamJsonl } from '../../../src/node/data/jsonl.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put, path } = temporaryFolder()

async function all(data: DatasetOrStream): Promise<Tensors> {
  for await (const { tensors } of batches(data, { batchSize: 100 })) return tensors
  throw new Error('no batch')
}
const int64 = (dims: number[], values: number[]) => tensor('int64', dims, BigInt64Array.from(values, BigInt))

const reviews = `{"tokens": [5, 6, 7], "mood": "good", "meta": {"stars": 4.5}, "text": "änd"}
{"tokens": [8], "mood": "bad", "meta": {"stars": 1}, "text": ""}

{"tokens": [9, 9], "mood": "good", "meta": {"stars": 5}, "text": "c"}
`
const options: JsonlOptions = {
  tensors: {
    ids: { field: 'tokens', as: 'integer' },
    label: { field: 'mood', as: 'class' },
    stars: 'meta.stars',
    text: { field: 'text', as: 'text' },
  },
  padding: { ids: { value: 1, mask: 'mask' } },
}

describe('readJsonl and streamJsonl', () => {
  it.each([
    ['plain', reviews],
    ['with CRLF and a byte order mark', `\uFEFF${reviews.replaceAll('\n', '\r\n')}`],
    ['compressed', gzipSync(reviews)],
  ])('a file %s > is read', async (_, content) => {
    const file = await put('reviews.jsonl', content)
    for (const data of [await readJsonl(file, options), await streamJsonl(file, options)]) {
      expect([data.length, data.classes]).toEqual([3, { label: ['bad', 'good'] }])
      expect(await all(data)).toEqual({
        ids: int64([3, 3], [5, 6, 7, 8, 1, 1, 9, 9, 1]),
        mask: int64([3, 3], [1, 1, 1, 1, 0, 0, 1, 1, 0]),
        label: int64([3], [1, 0, 1]),
        stars: tensor('float32', [3], Float32Array.of(4.5, 1, 5)),
        text: tensor('string', [3], ['änd', '', 'c']),
      })
    }
  })

  it('a function of the value > may skip lines and return nested lists', async () => {
    const file = await put('lists.jsonl', '{"x": [[1, 2], [3, 4]]}\n{"x": null}\n{"x": [[5, 6], [7, 8]]}')
    const map = (value: unknown, line: number) => {
      const { x } = value as { readonly x: number[][] | null }
      return x && { x: Float32Array.from(x.flat()), line }
    }
    for (const data of [await readJsonl(file, { map }), await streamJsonl(file, { map })])
      expect(await all(data)).toEqual({
        x: tensor('float32', [2, 4], Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
        line: tensor('float32', [2], Float32Array.of(1, 3)),
      })
    const nested = await put('nested.jsonl', '{"x": [[1, 2], [3, 4]]}')
    expect((await all(await readJsonl(nested, { tensors: { x: 'x' } })))['x']?.dims).toEqual([1, 2, 2])
  })

  it('invalid values > error with file, line and field', async () => {
    const failures = async (content: string | Uint8Array, options: JsonlOptions) => {
      const file = await put('wrong.jsonl', content)
      const read = await rejectedMessage('invalid-data', () => readJsonl(file, options))
      expect(await rejectedMessage('invalid-data', async () => all(await streamJsonl(file, options)))).toBe(read)
      return read.replaceAll(file, 'FILE')
    }
    const x: JsonlOptions = { tensors: { x: 'x' } }
    expect(await failures('{"x": 1}\n\n{"x": 1,}\n', x)).toMatch(/^FILE:3: the line is not JSON: ./)
    expect(await failures('[\n{"x": 1}\n]\n', x)).toMatch('each line must hold a whole JSON value')
    expect(await failures('{"x": 1}\n{"y": 1}\n', x)).toMatch(/^FILE:2: field 'x' /)
    expect(await failures('7\n', x)).toMatch(/^FILE:1: field 'x' /)
    expect(await failures('{"x": "1"}\n', x)).toMatch(/^FILE:1: field 'x' is "1", /)
    expect(await failures('{"x": [1, null]}\n', x)).toMatch(/^FILE:1: field 'x' holds null, /)
    expect(await failures('{"x": [[1, 2], [3]]}\n', x)).toMatch("FILE:1: field 'x' has lists of different length")
    expect(await failures('{"x": [1, 1e39]}\n', x)).toMatch(/^FILE:1: field 'x' holds 1e\+39, beyond float32/)
    const kinds = (as: 'integer' | 'text' | 'class', classes?: string[]): JsonlOptions => ({
      tensors: { x: { field: 'x', as, classes } },
    })
    expect(await failures('{"x": 1.5}\n', kinds('integer'))).toMatch(/^FILE:1: field 'x' is 1\.5, /)
    expect(await failures('{"x": 1}\n', kinds('text'))).toMatch(/^FILE:1: field 'x' is 1, /)
    expect(await failures('{"x": []}\n', kinds('class'))).toMatch(/^FILE:1: field 'x' is \[\], /)
    expect(await failures('{"x": "c"}\n', kinds('class', ['a', 'b']))).toMatch(
      "FILE:1: field 'x' is 'c', not one of the classes",
    )
    expect(await failures(Uint8Array.of(123, 125, 10, 0xff, 10), { map: () => ({ x: 1 }) })).toMatch(
      'FILE:2: the line is not UTF-8',
    )
    const failing = () => {
      throw new Error('no such token')
    }
    expect(await failures('{}\n{}\n', { map: failing })).toBe('FILE:1: map failed: no such token')
  })

  it('missing files and unknown options > rejects', async () => {
    const of = (options: object) => rejectedMessage('invalid-option', () => readJsonl(path('any'), options))
    expect(await of({})).toMatch(/'tensors'.*'map'/)
    expect(await of({ tensors: {} })).toMatch('names no tensor')
    expect(await of({ tensors: { x: { field: 'x', as: 'float' } } })).toMatch('one of number, integer, class, text')
    expect(await of({ tensors: { y: { field: 'y', as: 'class', classes: ['a', 'b', 'a'] } } })).toMatch(
      /^jsonl: tensor 'y': option 'classes' .*'a' occurs twice/,
    )
    expect(await of({ tensors: { x: 'x' }, lines: 3 })).toMatch("no option 'lines'")
    expect(await rejectedMessage('io', () => readJsonl(path('none'), { tensors: { x: 'x' } }))).toMatch(
      'there is no such file',
    )
    const empty = await put('empty.jsonl', '\n')
    expect(await rejectedMessage('invalid-data', () => readJsonl(empty, { tensors: { x: 'x' } }))).toMatch(empty)
  })
})

describe('readJsonRows', () => {
  it('a list in a file with a byte order mark, or compressed > the rows', async () => {
    const list = '\ufeff[{"text": "ä"}]\r\n'
    for (const content of [list, gzipSync(list)])
      for (const name of ['rows.json', 'rows.JSON', 'rows.json.gz'])
        expect(await readJsonRows(await put(name, content))).toEqual([{ text: 'ä' }])
  })

  it('a list that is not UTF-8 > invalid-data naming the file', async () => {
    const file = await put('latin.json', Buffer.from('[{"text": "ä"}]', 'latin1'))
    expect(await rejectedMessage('invalid-data', () => readJsonRows(file))).toBe(
      `${file}: the file is not UTF-8; convert it`,
    )
  })
})
