import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { readJsonRows } from '../../src/web/data/read.js'

const file = (name: string, content: string | Uint8Array<ArrayBuffer>) => new File([content], name)

it('lines, also compressed and with CRLF, or a list > the rows', async () => {
  const rows = [{ text: 'a' }, { text: 'ä' }]
  const lines = '\ufeff{"text":"a"}\r\n\r\n{"text":"ä"}\n'
  expect(await readJsonRows(file('rows.jsonl', lines))).toEqual(rows)
  expect(await readJsonRows(file('rows.jsonl.gz', new Uint8Array(gzipSync(lines))))).toEqual(rows)
  expect(await readJsonRows(file('rows.json', JSON.stringify(rows)))).toEqual(rows)
})

it('no JSON, or no list > invalid-data naming file and line', async () => {
  const invalid = (message: RegExp) => ({ code: 'invalid-data', message: expect.stringMatching(message) })
  await expect(readJsonRows(file('rows.jsonl', '{}\n\n{"a"\n'))).rejects.toMatchObject(invalid(/^rows\.jsonl:3: /))
  await expect(readJsonRows(file('rows.json', '{}'))).rejects.toMatchObject(invalid(/^rows\.json: /))
})
