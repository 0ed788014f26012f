import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { imageTexts } from '../../../src/node/index.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put, path } = temporaryFolder()

const png = (...reds: number[]) =>
  sharp(Uint8Array.from(reds.flatMap((red) => [red, 0, 0])), { raw: { width: reds.length, height: 1, channels: 3 } })
    .png()
    .toBuffer()

async function open(name: string, list: string, options: Parameters<typeof imageTexts>[1] = {}) {
  await put('lines/img/1.png', await png(51, 102))
  await put('lines/img/2.png', await png(204))
  await put(name, list)
  return imageTexts(path(name), { image: { size: [1, 3], fit: 'line' }, input: 'x', ...options })
}

describe('imageTexts', () => {
  const lists = {
    'lines/rec_gt.txt': 'img/1.png\tba\tb\r\n\nimg/2.png\té\n',
    'lines/list.csv': 'text,image\n"ba\tb",img/1.png\né,img/2.png\n',
    'lines/list.jsonl':
      '{ "image": "img/1.png", "text": "ba\\tb", "other": 1 }\n\n{ "text": "é", "image": "img/2.png" }\n',
  }
  it.each(Object.entries(lists))(
    '%s > images, and the classes of the characters padded with the blank',
    async (name, list) => {
      const data = await open(name, list)
      expect(data.classes).toEqual(['', '\t', 'a', 'b', 'é'])
      expect(data.texts).toEqual(['ba\tb', 'é'])
      expect(data.files).toEqual([path('lines/img/1.png'), path('lines/img/2.png')])
      expect(data.identify!().keys).toEqual(['img/1.png', 'img/2.png'])
      const { x, labels } = await data.batch([1, 0])
      expect(labels).toEqual({ dtype: 'int64', dims: [2, 4], data: BigInt64Array.of(4n, 0n, 0n, 0n, 3n, 2n, 1n, 3n) })
      expect(x!.dims).toEqual([2, 3, 1, 3])
      expect([...(x!.data as Float32Array)].filter((value) => value !== 0)).toEqual([0.8, 0.2, 0.4].map(Math.fround))
    },
  )

  it('another folder, other columns, given classes > are those of the options', async () => {
    const list = 'file,words,image\n1.png,ab,x\n'
    const options = { folder: path('lines/img'), fields: { image: 'file', text: 'words' }, label: 'y' }
    const data = await open('other.csv', list, { ...options, classes: ['b', 'a', '', 'a'] })
    expect((await data.batch([0]))['y']!.data).toEqual(BigInt64Array.of(3n, 0n))
    expect(
      await rejectedMessage('invalid-data', () => open('other.csv', list, { ...options, classes: ['', 'a'] })),
    ).toMatch(/^1 of 1 texts have characters that option 'classes' lacks: "b" \(first: .*other\.csv, record 1, "ab"\)/)
  })

  it('a text of the list changes the checksum, which tells whether a run goes on with the same data', async () => {
    const one = await open('lines/a.txt', 'img/1.png\tab\n')
    const other = await open('lines/a.txt', 'img/1.png\tba\n')
    expect(await one.checksum!()).not.toBe(await other.checksum!())
  })

  it('a wrong list > an error with the line', async () => {
    const message = (name: string, list: string) => rejectedMessage('invalid-data', () => open(name, list))
    expect(await message('lines/b.txt', 'img/1.png\ta\nimg/2.png b\n')).toMatch(/b\.txt:2: .*a tab and its text/)
    expect(await message('lines/b.txt', 'img/1.png\ta\nimg/3.png\tb\n')).toMatch(
      /^1 of 2 images of .*b\.txt do not exist \(first: .*b\.txt:2, .*3\.png\); set 'folder'/,
    )
    expect(await message('lines/b.txt', '\n')).toMatch('there are no images')
    expect(await message('lines/b.csv', 'image,words\nimg/1.png,a\n')).toMatch(/record 1: .*column 'text'; .*"fields"/)
    expect(await message('lines/b.jsonl', '{ "image": "img/1.png", "text": 3 }\n')).toMatch(
      /b\.jsonl:1: .*field 'text'/,
    )
  })
})
