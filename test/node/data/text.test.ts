import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { batches } from '../../../src/data/batches.js'
import { tensor } from '../../../src/ir/tensor.js'
import { readLines, readText, streamLines, textFolder } from '../../../src/node/data/text.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put, path } = temporaryFolder()

describe('text files', () => {
  it('any line endings > returns the whole text or its lines', async () => {
    const file = await put('a.txt', '\uFEFFone\r\n\r\ntwo é\n')
    expect(await readText(file)).toBe('one\r\n\r\ntwo é\n')
    expect(await readLines(file)).toEqual(['one', '', 'two é'])
    const compressed = await put('a', gzipSync('x\ny'))
    expect(await readText(compressed)).toBe('x\ny')
    expect(await readLines(compressed)).toEqual(['x', 'y'])
    expect(await readLines(await put('empty', ''))).toEqual([])
  })

  it('lines across block boundaries > are whole', async () => {
    const lines = Array.from({ length: 3000 }, (_, i) => `${i} ${'é'.repeat(i % 700)}`)
    expect(await readLines(await put('long.txt', lines.join('\n')))).toEqual(lines)
    expect(await readLines(await put('wide.txt', 'é'.repeat(10 ** 6)))).toEqual(['é'.repeat(10 ** 6)])
  })

  it('several files > lines are streamed', async () => {
    const files = [await put('1.txt', 'a\n\nb\n'), await put('2.txt', 'c')]
    const seen = []
    for await (const { tensors } of batches(streamLines(files, { text: 'line' }), { batchSize: 2 })) seen.push(tensors)
    expect(seen).toEqual([{ line: tensor('string', [2], ['a', 'b']) }, { line: tensor('string', [1], ['c']) }])
  })

  it('invalid UTF-8 > error with the position', async () => {
    const file = await put('latin.txt', Uint8Array.of(97, 10, 98, 10, 0xe9, 10))
    expect(await rejectedMessage('invalid-data', () => readLines(file))).toBe(
      `${file}:3: the line is not UTF-8; convert the file`,
    )
    expect(await rejectedMessage('invalid-data', () => readText(file))).toMatch(`${file}: the file is not UTF-8`)
    expect(await rejectedMessage('io', () => readLines(path('none.txt')))).toMatch('there is no such file')
  })
})

describe('textFolder', () => {
  it('documents by class > are read on demand', async () => {
    await put('moods/pos/1.txt', 'fine')
    await put('moods/pos/deep/2.txt', 'finer')
    await put('moods/pos/notes.md', 'not read')
    await put('moods/neg/1.txt', 'bad')
    await put('moods/.git/x.txt', 'hidden')
    const data = await textFolder(path('moods'))
    expect([data.length, data.classes, data.labels]).toEqual([3, ['neg', 'pos'], [0, 1, 1]])
    expect(await data.batch([2, 0])).toEqual({
      text: tensor('string', [2], ['finer', 'bad']),
      labels: tensor('int64', [2], BigInt64Array.of(1n, 0n)),
    })
    const chosen = await textFolder(path('moods'), {
      classes: ['pos', 'neg'],
      label: 'mood',
      extensions: ['.md', '.txt'],
    })
    expect([chosen.length, chosen.classes]).toEqual([4, ['pos', 'neg']])
    expect(Object.keys(await chosen.batch([0]))).toEqual(['text', 'mood'])
  })

  it('invalid folder > error with the folder', async () => {
    await put('flat/a.txt', 'x')
    await put('parts/train/a/1.txt', 'x')
    await put('parts/val/a/1.txt', 'x')
    await put('hollow/a/1.txt', 'x')
    await put('hollow/b/1.png', 'x')
    const of = (name: string, options = {}) => rejectedMessage('invalid-data', () => textFolder(path(name), options))
    expect(await of('flat')).toMatch('has no sub-folders')
    expect(await of('parts')).toMatch(`name one of them, such as ${path('parts/train')}`)
    expect(await of('hollow')).toMatch(`${path('hollow/b')} holds no file named *.txt`)
    expect(await of('hollow', { classes: ['b', 'c'] })).toMatch('has no file of the classes b, c')
    expect(await of('moods', { classes: ['pos', 'nge'] })).toMatch("no folder 'nge', but 'neg'")
    const twice = () => textFolder(path('moods'), { classes: ['pos', 'neg', 'pos'] })
    expect(await rejectedMessage('invalid-option', twice)).toMatch("different names, and 'pos' occurs twice")
    const others = await textFolder(path('hollow'), { classes: ['none', 'b', 'a'] })
    expect([others.classes, others.labels]).toEqual([['none', 'b', 'a'], [2]])
    expect(await rejectedMessage('io', () => textFolder(path('none')))).toMatch('there is no such folder')
    expect(await rejectedMessage('io', () => textFolder(path('flat/a.txt')))).toMatch('it is not a folder')
    expect((await textFolder(path('parts/train'))).length).toBe(1)
  })
})
