import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { DatasetOrStream } from '../../../src/index.js'
import { decodeModel } from '../../../src/index.js'
import { openData } from '../../../src/node/data/open-data.js'
import { imageFolder, readTokens, streamLines, textFolder, writeTokens } from '../../../src/node/index.js'
import { encodeModel } from '../../../src/onnx/model.js'
import type { DataSource } from '../../../src/recipe/recipe.js'
import { smallMlp } from '../../train/problem.js'

let root = ''
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'onnx-ire-checksums-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const model = decodeModel(encodeModel(smallMlp()))
const open = async (source: object): Promise<DatasetOrStream> =>
  (await openData('data.train', source as DataSource, { model, targets: null, classes: async () => ({}) })).data

type Write = (path: string, content: string) => Promise<void>
const write: Write = async (path, content) => {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
}

/** Lines that differ in one letter at the end of the first mebibytes. */
const long = (letter: string) => `${'x'.repeat(2 ** 21)}\n${letter}\n`
const csv = (value: string) => `a,b\n1,${value}\n3,4\n`
const jsonl = (value: string) => `{"a":[1,${value}]}\n{"a":[3,4]}\n`
const tensors = { x: { columns: ['a', 'b'] } }
const fields = { x: 'a' }

/** Writes a source whose content has the digit `value`, and opens it. */
const sources: [string, (folder: string, value: '2' | '3') => Promise<DatasetOrStream>][] = [
  ...[false, true].map((stream): (typeof sources)[number] => [
    `csv, stream: ${stream}`,
    async (folder, value) => {
      await write(join(folder, 'f.csv'), csv(value))
      return open({ kind: 'csv', file: join(folder, 'f.csv'), tensors, stream })
    },
  ]),
  ...[false, true].map((stream): (typeof sources)[number] => [
    `jsonl, stream: ${stream}`,
    async (folder, value) => {
      await write(join(folder, 'f.jsonl'), jsonl(value))
      return open({ kind: 'jsonl', file: join(folder, 'f.jsonl'), tensors: fields, stream })
    },
  ]),
  ...[false, true].map((stream): (typeof sources)[number] => [
    `text in byte windows, stream: ${stream}`,
    async (folder, value) => {
      await write(join(folder, 'f.txt'), `some text ${value}`)
      return open({
        kind: 'text',
        files: join(folder, 'f.txt'),
        tokens: 'bytes',
        context: 4,

        stream,
      })
    },
  ]),
  [
    'lines of a long file',
    async (folder, value) => {
      await write(join(folder, 'f.txt'), long(value))
      return streamLines(join(folder, 'f.txt'))
    },
  ],
  [
    'tokens',
    async (folder, value) => {
      await mkdir(folder, { recursive: true })
      await writeTokens(join(folder, 'f.tokens'), [[1, Number(value), 3, 4]], { vocabulary: 9, tokens: 4 })
      return readTokens(join(folder, 'f.tokens'), { context: 2 })
    },
  ],
  [
    'documents: the size of one file',
    async (folder, value) => {
      await write(join(folder, 'a/1.txt'), 'x'.repeat(Number(value)))
      await write(join(folder, 'b/1.txt'), 'xx')
      return textFolder(folder)
    },
  ],
  [
    'images: the class of one file',
    async (folder, value) => {
      await write(join(folder, 'a/1.png'), 'x')
      await write(join(folder, 'b/1.png'), 'xx')
      await write(join(folder, `${value === '2' ? 'a' : 'b'}/10.png`), 'xx')
      return imageFolder(folder)
    },
  ],
]

test.each(sources)('%s > the checksum is that of the content, wherever it is', async (name, create) => {
  const at = (part: string) => join(root, name.replaceAll(/\W/g, '-'), part)
  const sums = [await create(at('1'), '2'), await create(at('2'), '2'), await create(at('3'), '3')].map((data) =>
    data.checksum!(),
  )
  const [one, same, other] = await Promise.all(sums)
  expect(one).toMatch(/^[0-9a-f]{8}$/)
  expect(same).toBe(one)
  expect(other).not.toBe(one)
  await rename(at('1'), at('moved'))
  expect(await (await create(at('moved'), '2')).checksum!()).toBe(one)
})
