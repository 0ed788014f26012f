import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { readCsv, readIdx, readJsonRows } from '../../src/web/data/read.js'

const file = (name: string, content: string | Uint8Array<ArrayBuffer>) => new File([content], name)

it('lines, also compressed and with CRLF, or a list > the rows', async () => {
  const rows = [{ text: 'a' }, { text: 'ä' }]
  const lines = '\ufeff{"text":"a"}\r\n\r\n{"text":"ä"}\n'
  expect(await readJsonRows(file('rows.jsonl', lines))).toEqual(rows)
  expect(await readJsonRows(file('rows.jsonl.gz', new Uint8Array(gzipSync(lines))))).toEqual(rows)
  const list = JSON.stringify(rows)
  expect(await readJsonRows(file('rows.json', list))).toEqual(rows)
  expect(await readJsonRows(file('ROWS.JSON', list))).toEqual(rows)
  expect(await readJsonRows(file('rows.json.gz', new Uint8Array(gzipSync(list))))).toEqual(rows)
  expect(await readJsonRows(file('a#1.json', list))).toEqual(rows)
})

it('an address with a query, as of the download link of a server > the format is that of its file', async () => {
  const contents = { '/rows.json': '[{"text":"a"}]', '/rows.tsv': 'a\tb\n1\t2,5\n' }
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, 'http://localhost')
    response.end(contents[pathname as keyof typeof contents])
  }).listen(0)
  try {
    const at = `http://localhost:${(server.address() as AddressInfo).port}`
    expect(await readJsonRows(`${at}/rows.json?download=true`)).toEqual([{ text: 'a' }])
    expect(await readJsonRows(new URL(`${at}/rows.json?a=b#top`))).toEqual([{ text: 'a' }])
    const table = await readCsv(`${at}/rows.tsv?download=true`, { tensors: { x: { columns: 'b', as: 'text' } } })
    expect((await table.batch(Uint32Array.of(0)))['x']!.data).toEqual(['2,5'])
  } finally {
    server.close()
  }
})

it('bytes that are not UTF-8 > invalid-data naming the file', async () => {
  const latin = Uint8Array.from(Buffer.from('[{"text":"ä"}]', 'latin1'))
  const invalid = (name: string) => ({ code: 'invalid-data', message: `${name}: the file is not UTF-8; convert it` })
  for (const name of ['rows.json', 'rows.jsonl'])
    await expect(readJsonRows(file(name, latin))).rejects.toMatchObject(invalid(name))
  const options = { tensors: { x: { columns: '*', as: 'text' } } } as const
  await expect(readCsv(file('rows.csv', latin), options)).rejects.toMatchObject(invalid('rows.csv'))
})

it('no JSON, or no list > invalid-data naming file and line', async () => {
  const invalid = (message: RegExp) => ({ code: 'invalid-data', message: expect.stringMatching(message) })
  await expect(readJsonRows(file('rows.jsonl', '{}\n\n{"a"\n'))).rejects.toMatchObject(invalid(/^rows\.jsonl:3: /))
  await expect(readJsonRows(file('rows.json', '{}'))).rejects.toMatchObject(invalid(/^rows\.json: /))
})

it('a web page, as many servers send in place of a missing file > invalid-data says so', async () => {
  const options = { tensors: { x: { columns: '*', as: 'text' } } } as const
  for (const page of ['<!DOCTYPE html>\n<html lang="en"></html>', '\n <html><body></body></html>', '<!doctype HTML>'])
    for (const read of [
      () => readCsv(file('a', page), options),
      () => readIdx(file('a', page)),
      () => readJsonRows(file('a', page)),
    ])
      await expect(read()).rejects.toMatchObject({
        code: 'invalid-data',
        message: expect.stringMatching(/^cannot read the data file a: it is a web page/),
      })
})
