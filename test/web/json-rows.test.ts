import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { readCsv, readJsonRows } from '../../src/web/data/read.js'

const file = (name: string, content: string | Uint8Array<ArrayBuffer>) => new File([content], name)

it('lines, also compressed and with CRLF, or a list > the rows', async () => {
  const rows = [{ text: 'a' }, { text: 'ä' }]
  const lines = '\ufeff{"text":"a"}\r\n\r\n{"text":"ä"}\n'
  expect(await readJsonRows(file('rows.jsonl', lines))).toEqual(rows)
  expect(await readJsonRows(file('rows.jsonl.gz', new Uint8Array(gzipSync(lines))))).toEqual(rows)
  expect(await readJsonRows(file('rows.json', JSON.stringify(rows)))).toEqual(rows)
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
