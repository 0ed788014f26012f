import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ImageReport } from '../../src/cli/prepare/image-set.js'
import type { Monitor } from '../../src/cli/prepare/preparation.js'
import { prepareText, type TextOptions, type TextReport } from '../../src/cli/prepare/prepare-text.js'
import { readIdx } from '../../src/node/data/idx.js'
import { readTokenizer, readTokens } from '../../src/node/data/tokens.js'
import { Random } from '../../src/util/random.js'
import { rejectedMessage } from '../thrown.js'
import { json, run, start } from './command.js'

let folder = ''
const path = (name: string) => join(folder, name)
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-ire-prepare-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function put(name: string, content: string | Uint8Array): Promise<string> {
  await mkdir(dirname(path(name)), { recursive: true })
  await writeFile(path(name), content)
  return path(name)
}

/** Sentences of made-up words. */
function prose(documents: number, words: number, seed = 1): string[] {
  const random = new Random(seed)
  const syllables = ['ka', 'lo', 'mi', 'ren', 'tu', 'é', 'sh']
  const word = () => Array.from({ length: 1 + random.integer(3) }, () => syllables[random.integer(7)]).join('')
  return Array.from({ length: documents }, () => `${Array.from({ length: words }, word).join(' ')}.`)
}

const text = (...args: string[]) => json<TextReport>('data', 'prepare', 'text', '--quiet', ...args)

/** The texts of a token file, as its tokenizer gives them back. */
async function textsIn(output: string, part: string, separator = '<|endoftext|>'): Promise<string[]> {
  const tokenizer = await readTokenizer(join(output, 'tokenizer.json'))
  const { tokens: count } = await readTokens(join(output, `${part}.tokens`), { context: 1, target: null })
  const { tokens } = await (await readTokens(join(output, `${part}.tokens`), { context: count, target: null })).batch([
    0,
  ])
  return tokenizer.decode(Array.from(tokens!.data, Number)).split(separator).slice(0, -1)
}

async function expectChecksums(output: string, { files }: Pick<TextReport, 'files'>) {
  const there = (await readdir(output)).filter((name) => name !== 'report.json')
  expect(there.toSorted()).toEqual(Object.keys(files).toSorted())
  for (const [name, { bytes, sha256 }] of Object.entries(files)) {
    const content = await readFile(join(output, name))
    expect([content.length, createHash('sha256').update(content).digest('hex')]).toEqual([bytes, sha256])
  }
}

describe('data prepare text', () => {
  it('text files > become token files with every document in exactly one of them', async () => {
    const documents = prose(300, 20)
    const input = await put('corpus.txt', documents.join('\n'))
    const output = path('made/here')
    const report = await text(input, '--document', 'line', '--vocabulary', '400', '--validation', '0.2', '-o', output)
    expect(report).toMatchObject({ kind: 'text', vocabulary: 400, separator: '<|endoftext|>' })
    expect(report.characters).toBe(documents.join('').length)
    await expectChecksums(output, report)
    expect(JSON.parse(await readFile(join(output, 'report.json'), 'utf8'))).toEqual(report)
    const [train, validation] = [await textsIn(output, 'train'), await textsIn(output, 'validation')]
    expect([...train, ...validation].toSorted()).toEqual(documents.toSorted())
    expect(train).toEqual(documents.filter((each) => train.includes(each))) // in their order
    expect(Math.abs(validation.length - 60)).toBeLessThan(4 * Math.sqrt(300 * 0.2 * 0.8))
    expect(report.parts).toMatchObject({
      train: { documents: train.length },
      validation: { documents: validation.length },
    })
    const { tokens, vocabulary } = await readTokens(join(output, 'train.tokens'), { context: 8 })
    expect([tokens, vocabulary]).toEqual([report.parts['train']?.tokens, 400])
    const again = await run(
      'data',
      'prepare',
      'text',
      input,
      '--document',
      'line',
      '--vocabulary',
      '400',
      '--validation',
      '0.2',
      '-o',
      output,
    )
    expect(again.stdout).toMatch(/vocabulary 400, '<\|endoftext\|>' after each document, [\d.]+ characters per token/)
    expect(again.stderr).toBe('') // all is done
  })

  it('existing tokenizers and held-out inputs > are used', async () => {
    const documents = prose(40, 12, 2)
    const lines = documents.map((each) => JSON.stringify({ body: each }))
    const input = await put('some.jsonl', lines.slice(0, 30).join('\n'))
    const held = await put('held.jsonl', lines.slice(30).join('\n'))
    const tokenizer = join(path('made/here'), 'tokenizer.json')
    const output = path('given')
    const given = [input, '--validation-input', held, '--field', 'body', '--tokenizer', tokenizer, '-o', output]
    await text(...given)
    expect(await textsIn(output, 'train')).toEqual(documents.slice(0, 30))
    expect(await textsIn(output, 'validation')).toEqual(documents.slice(30))
    expect(await readFile(join(output, 'tokenizer.json'))).toEqual(await readFile(tokenizer))
    const { separator } = await text(...given.slice(0, -1), path('bare'), '--no-separator')
    expect(separator).toBeNull()
    const tokens = async (name: string) => (await readTokens(join(path(name), 'train.tokens'), { context: 1 })).tokens
    expect((await tokens('given')) - (await tokens('bare'))).toBe(30)
    // A data set that is complete is not written again.
    expect((await run('data', 'prepare', 'text', ...given)).stdout).toMatch(/^(?!wrote).*given: vocabulary /)
    for (const more of [
      ['--validation', '0.5'],
      ['--no-separator', '--separator', '<none>'],
      ['--separator', '<none>', '--no-separator'],
    ])
      expect(await run('data', 'prepare', 'text', ...given, ...more)).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/--validation-input|--separator and --no-separator/),
      })
  })

  it('interrupted > resumes', async () => {
    const document = (seed: number) => prose(4000, 12, seed).join('\n')
    await put('large/a.txt', document(3).repeat(4))
    await put('large/b.txt', document(4).repeat(2))
    const partCharacters = 2 ** 18
    const options: TextOptions = {
      ...{
        inputs: [path('large')],
        vocabulary: 300,
        learnFrom: 10_000,
        validation: 0.2,
        validationInputs: [],
        seed: 1,
      },
      ...{ output: path('whole'), partCharacters },
    }
    const quiet: Monitor = { stage() {}, at() {}, note() {} }
    const whole = await prepareText(options, quiet)
    expect(whole.characters).toBeGreaterThan(4 * partCharacters)
    class Stopped extends Error {}
    /** Stops within the third part. */
    const third: Monitor = {
      ...quiet,
      at: (done) => {
        if (done > 2.5 * partCharacters) throw new Stopped()
      },
    }
    const output = path('stopped')
    const part = join(output, '.prepare', 'inputs-00001.train')
    const stop = () => expect(prepareText({ ...options, output }, third)).rejects.toThrow(Stopped)
    await stop()
    expect(await readdir(output)).toEqual(['.prepare'])
    const { mtimeMs } = await stat(part)
    await stop()
    expect((await stat(part)).mtimeMs).toBe(mtimeMs) // unchanged, not written again
    const damaged = await readFile(part)
    damaged[1000]! ^= 1
    await writeFile(part, damaged)
    expect(await prepareText({ ...options, output }, quiet)).toEqual(whole) // the damaged part is made again
    const again = { ...options, output, force: true }
    const stopAgain = () => expect(prepareText(again, third)).rejects.toThrow(Stopped)
    await stopAgain()
    const { mtimeMs: second } = await stat(part)
    await stopAgain()
    expect((await stat(part)).mtimeMs).toBe(second) // --force, too, resumes what it began
    expect(await prepareText(again, quiet)).toEqual(whole)
    for (const name of Object.keys(whole.files)) {
      const [made, expected] = [await readFile(join(output, name)), await readFile(join(path('whole'), name))]
      expect(made.equals(expected)).toBe(true)
    }
    await expectChecksums(output, whole)
  })

  it('Ctrl-C > stops', async () => {
    await put('long/a.txt', prose(20_000, 12, 5).join('\n').repeat(30))
    const args = ['data', 'prepare', 'text', path('long'), '--vocabulary', '300', '-o', path('interrupted')]
    const { process, finished, until } = start(args)
    await until(() => existsSync(path('interrupted/.prepare/plan.json')))
    process.kill('SIGINT')
    const { code, stdout } = await finished
    expect([code, stdout]).toEqual([130, expect.stringMatching(/^interrupted; /)])
    expect(await readdir(path('interrupted'))).toEqual(['.prepare'])
  })

  it('rejects damaged input, with file and position', async () => {
    const cut = await put('bad.jsonl', '{"text": "a"}\n{"text": "b"')
    const message = async (...args: string[]) =>
      (await run('data', 'prepare', 'text', ...args, '-o', path('bad'))).stderr
    expect(await message(cut)).toMatch(/error \(invalid-data\): .*bad\.jsonl:2: the line is not JSON/)
    expect(await message(await put('bad.txt', Uint8Array.of(97, 98, 0xff)))).toMatch(
      'the byte at offset 2 is not UTF-8',
    )
    expect(await message(await put('one.txt', 'one text'), '--vocabulary', '300')).toMatch(
      /error \(invalid-data\): the only document was not selected for validation; /,
    )
    expect(await message(await put('none.txt', ' '))).toMatch('error (invalid-data): ')
    expect(await message(cut, '--tokenizer', cut)).toMatch('bad.jsonl: ')
    expect(await message(path('nowhere'))).toMatch('there is no such file')
    expect(await readdir(path('bad'))).toEqual(['.prepare'])
    expect(await message(await put('a.txt', 'a'), '--validation', '1')).toMatch('--validation')
  })

  it('output folder of other inputs > is not replaced without --force', async () => {
    const input = await put('other.txt', prose(50, 20, 4).join('\n'))
    const given = [input, '--document', 'line', '--vocabulary', '300', '--validation', '0', '-o', path('made/here')]
    const { code, stderr } = await run('data', 'prepare', 'text', ...given)
    expect([code, stderr]).toEqual([1, expect.stringMatching(/error \(invalid-option\): .*made\/here .*--force/)])
    const report = await text(...given, '--force')
    expect(Object.keys(report.files)).toEqual(['train.tokens', 'tokenizer.json'])
    // Without validation.tokens of the data set that was replaced.
    expect((await readdir(path('made/here'))).sort()).toEqual(['report.json', 'tokenizer.json', 'train.tokens'])
    expect(report.parts['train']?.documents).toBe(50)
    const options = { inputs: [input], output: path('x'), document: 'line' as const }
    const rest = { vocabulary: 300, learnFrom: 100, validation: 0, validationInputs: [], seed: 0, separator: '<none>' }
    const monitor: Monitor = { stage() {}, at() {}, note() {} }
    expect(await rejectedMessage('invalid-option', () => prepareText({ ...options, ...rest }, monitor))).toMatch(
      "no token '<none>'",
    )
  })
})

const square = (r: number, g: number, b: number, width = 12, height = 12) =>
  sharp({ create: { width, height, channels: 3, background: { r, g, b } } })
    .png()
    .toBuffer()

describe('data prepare images', () => {
  it('a folder per class > becomes IDX files', async () => {
    const colors = [
      [255, 0, 0],
      [0, 0, 102],
    ] as const
    for (const [k, name] of ['warm', 'cold'].entries())
      for (let i = 0; i < 5; i++)
        await put(`pictures/${name}/${i}.png`, await square(colors[k]![0], colors[k]![1], colors[k]![2], 12 + i, 12))
    const report = await json<ImageReport>(
      'data',
      'prepare',
      'images',
      path('pictures'),
      '--size',
      '4x6',
      '--validation',
      '0.2',
      '-o',
      path('pictures.idx'),
    )
    await expectChecksums(path('pictures.idx'), report)
    expect(report).toMatchObject({ size: [4, 6, 3], classes: ['cold', 'warm'] })
    const images = await readIdx(join(path('pictures.idx'), 'train-images.idx'))
    const labels = await readIdx(join(path('pictures.idx'), 'train-labels.idx'))
    expect([images.dtype, images.dims, labels.dims]).toEqual(['uint8', [8, 4, 6, 3], [8]])
    for (let i = 0; i < 8; i++)
      expect([...images.data.slice(72 * i, 72 * i + 3)]).toEqual(colors[1 - Number(labels.data[i])])
    const [cold, warm] = report.parts['train']!.perClass as [number, number]
    expect(cold + warm).toBe(8)
    expect(report.parts['validation']?.images).toBe(2)
    const expected = [warm / 8, 0, (0.4 * cold) / 8]
    const deviations = [Math.sqrt((warm / 8) * (cold / 8)), 0, 0.4 * Math.sqrt((warm / 8) * (cold / 8))]
    for (let c = 0; c < 3; c++) {
      expect(report.mean[c]).toBeCloseTo(expected[c]!, 6)
      expect(report.std[c]).toBeCloseTo(deviations[c]!, 6)
    }
  })

  it('a folder with splits > keeps its splits', async () => {
    for (const [part, count] of [
      ['train', 3],
      ['val', 2],
    ] as const)
      for (const name of ['a', 'b'])
        for (let i = 0; i < count; i++) await put(`parted/${part}/${name}/${i}.png`, await square(i, i, i))
    const { stdout } = await run(
      'data',
      'prepare',
      'images',
      path('parted'),
      '--size',
      '8',
      '--gray',
      '-o',
      path('parted.idx'),
    )
    expect(stdout).toMatch(/8 x 8 x 1, 2 classes/)
    expect((await readIdx(join(path('parted.idx'), 'validation-images.idx'))).dims).toEqual([4, 8, 8, 1])
    expect(JSON.parse(await readFile(join(path('parted.idx'), 'classes.json'), 'utf8'))).toEqual(['a', 'b'])
    const again = await run(
      'data',
      'prepare',
      'images',
      path('parted'),
      '--size',
      '8',
      '--grey',
      '-o',
      path('grey.idx'),
    )
    expect(again.stdout).toMatch(/8 x 8 x 1, 2 classes/)
  })

  it('a folder with splits but no images for validation > those to train on are divided', async () => {
    for (const [part, count] of [
      ['train', 10],
      ['test', 3],
    ] as const)
      for (let i = 0; i < count; i++) await put(`undivided/${part}/a/${i}.png`, await square(i, i, i))
    const out = path('undivided.idx')
    const share = ['--validation', '0.2']
    await run('data', 'prepare', 'images', path('undivided'), '--size', '8', ...share, '-o', out)
    const { parts } = JSON.parse(await readFile(join(out, 'report.json'), 'utf8'))
    expect(Object.entries<{ images: number }>(parts).map(([name, { images }]) => [name, images])).toEqual([
      ['train', 8],
      ['validation', 2],
      ['test', 3],
    ])
  })

  it('two folders of images for validation > are refused; images of one were written for both', async () => {
    for (const part of ['train', 'val', 'valid']) await put(`both/${part}/a/0.png`, await square(1, 1, 1))
    const { code, stderr } = await run('data', 'prepare', 'images', path('both'), '--size', '8', '-o', path('both.idx'))
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/both has the folders valid and val, .* leave one of them/),
    ])
  })

  it('images of formats that are not read > a warning', async () => {
    for (const name of ['a/0.png', 'b/0.png']) await put(`formats/${name}`, await square(1, 2, 3))
    await put('formats/b/1.bmp', Buffer.from('BM'))
    const { code, stderr } = await run('data', 'prepare', 'images', path('formats'), '--size', '8', '-o', path('f.idx'))
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/^warning: 1 image was skipped, since \.bmp .*b\/1\.bmp/m),
    ])
  })

  it('damaged image > is rejected', async () => {
    await put('torn/a/0.png', await square(1, 2, 3))
    await put('torn/a/1.png', (await square(1, 2, 3)).subarray(0, 60))
    const { code, stderr } = await run('data', 'prepare', 'images', path('torn'), '--size', '8', '-o', path('torn.idx'))
    expect([code, stderr]).toEqual([1, expect.stringMatching(/cannot decode the image .*torn\/a\/1\.png/)])
    expect(await readdir(path('torn.idx'))).toEqual(['.prepare'])
  })
})

describe('data prepare cifar', () => {
  it('CIFAR-10 > becomes IDX files', async () => {
    const record = (label: number, value: number) => Buffer.from([label, ...Array<number>(3072).fill(value)])
    for (let i = 1; i <= 5; i++) await put(`cifar/data_batch_${i}.bin`, record(i, 51 * (i - 1)))
    await put('cifar/test_batch.bin', Buffer.concat([record(9, 1), record(8, 2)]))
    const report = await json<ImageReport>('data', 'prepare', 'cifar', path('cifar'), '-o', path('cifar.idx'))
    await expectChecksums(path('cifar.idx'), report)
    expect(report.parts).toMatchObject({ train: { images: 5 }, test: { images: 2 } })
    expect(report.mean[0]).toBeCloseTo(0.4, 6) // of 0, 0.2, 0.4, 0.6, 0.8
    expect(report.std[2]).toBeCloseTo(Math.sqrt(0.08), 6)
    expect((await readIdx(join(path('cifar.idx'), 'test-images.idx'))).dims).toEqual([2, 32, 32, 3])
    expect([...(await readIdx(join(path('cifar.idx'), 'train-labels.idx'))).data]).toEqual([1, 2, 3, 4, 5])
    await put('cifar/data_batch_4.bin', record(4, 0).subarray(0, 2000))
    const { stderr } = await run('data', 'prepare', 'cifar', path('cifar'), '-o', path('cifar.idx'))
    expect(stderr).toMatch(/data_batch_4\.bin: .* the file ends at offset 2000/)
    expect((await run('data', 'prepare', 'cifar', path('torn'), '-o', path('z'))).stderr).toMatch(
      'neither data_batch_1.bin',
    )
  })
})
