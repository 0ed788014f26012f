import sharp, { type Sharp } from 'sharp'
import { describe, expect, it } from 'vitest'
import { batches } from '../../../src/data/batches.js'
import { split } from '../../../src/data/dataset.js'
import { imageColumn } from '../../../src/data/image/image-column.js'
import type { Tensors } from '../../../src/ir/tensor.js'
import { tensor } from '../../../src/ir/tensor.js'
import { imageFiles, imageFolder } from '../../../src/node/data/image-folder.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put, path } = temporaryFolder()

const [rows, columns] = [6, 8]
const bytes = (f: (p: number) => readonly number[], of = { rows, columns }) =>
  Uint8Array.from(Array.from({ length: of.rows * of.columns }, (_, p) => f(p)).flat())
const raw = (data: Uint8Array | Uint16Array, channels: 1 | 3 | 4, of = { rows, columns }) =>
  sharp(data, { raw: { width: of.columns, height: of.rows, channels } })

/** Left half red-brown, right half blue. */
const color = (p: number) => (p % columns < columns / 2 ? [200, 50, 10] : [20, 40, 240])
const rgb = bytes(color)
const gray = bytes((p) => [5 * p])
const wide = (data: Uint8Array) => Uint16Array.from(data, (value) => value * 257)

const kinds: readonly (readonly [name: string, image: Sharp])[] = [
  ['rgb.png', raw(rgb, 3).png()],
  ['palette.png', raw(rgb, 3).png({ palette: true })],
  ['rgb16.png', raw(wide(rgb), 3).toColourspace('rgb16').png()],
  [
    'alpha.png',
    raw(
      bytes((p) => [...color(p), 255]),
      4,
    ).png(),
  ],
  ['rgb.webp', raw(rgb, 3).webp({ lossless: true })],
  ['interlaced.png', raw(rgb, 3).png({ progressive: true })],
]
const grays: readonly (readonly [name: string, image: Sharp])[] = [
  ['gray.png', raw(gray, 1).toColourspace('b-w').png()],
  ['gray16.png', raw(wide(gray), 1).toColourspace('grey16').png()],
]
const plain = { scale: 1 }
const pixelsOf = async (name: string, image: object = plain) => {
  const { image: tensor } = await imageFiles([path(name)], { image }).batch([0])
  return tensor!
}
/** The result of `imageColumn` for the same pixels. */
const expected = (data: Uint8Array, dims: number[], options: object) =>
  imageColumn(tensor('uint8', dims, data), options).rows([0])

describe('split', () => {
  it('holds when a file is added, and when the folder is moved', async () => {
    const image = await raw(rgb, 3).png().toBuffer()
    const names = ['a', 'b'].flatMap((name) => Array.from({ length: 20 }, (_, i) => `${name}/${i}.png`))
    for (const folder of ['first', 'elsewhere/second']) for (const name of names) await put(`${folder}/${name}`, image)
    const heldOut = async (folder: string) => {
      const { validation } = split(await imageFolder(path(folder)), { validation: 0.2, seed: 1 })
      return validation.identify!().keys!
    }
    const before = await heldOut('first')
    expect([before.filter((key) => key.startsWith('a/')).length, before.length]).toEqual([4, 8])
    expect(await heldOut('elsewhere/second')).toEqual(before)
    await put('first/a/00.png', image)
    const after = await heldOut('first')
    expect(before.filter((key) => !after.includes(key)).length).toBeLessThanOrEqual(1)
    expect(after.filter((key) => !before.includes(key)).length).toBeLessThanOrEqual(1)
  })
})

describe('image files', () => {
  it.each(kinds)('%s > pixels are exact', async (name, image) => {
    await put(name, await image.toBuffer())
    for (const channels of [3, 1])
      expect(await pixelsOf(name, { ...plain, channels })).toEqual(
        expected(rgb, [1, rows, columns, 3], { ...plain, channels }),
      )
  })

  it.each(grays)('%s, as gray and as color > pixels are exact', async (name, image) => {
    await put(name, await image.toBuffer())
    const three = await pixelsOf(name)
    expect(three).toEqual(expected(gray, [1, rows, columns], { ...plain, channels: 3 }))
    const one = await pixelsOf(name, { ...plain, channels: 1 })
    expect(one.dims).toEqual([1, 1, rows, columns])
    for (const [p, value] of [...one.data].entries()) expect(value).toBeCloseTo(gray[p]!, 3)
  })

  it.each([
    ['rgb.jpg', raw(rgb, 3).jpeg({ quality: 100, chromaSubsampling: '4:4:4' })],
    ['progressive.jpg', raw(rgb, 3).jpeg({ quality: 100, chromaSubsampling: '4:4:4', progressive: true })],
    ['cmyk.jpg', raw(rgb, 3).toColourspace('cmyk').jpeg({ quality: 100, chromaSubsampling: '4:4:4' })],
  ])('%s > pixels are close, within the loss of the compression', async (name, image) => {
    await put(name, await image.toBuffer())
    const { data, dims } = await pixelsOf(name)
    expect(dims).toEqual([1, 3, rows, columns])
    const { data: exact } = expected(rgb, [1, rows, columns, 3], plain)
    const within = name === 'cmyk.jpg' ? 110 : 4 // no ink prints that blue
    for (const [i, value] of [...data].entries())
      expect(Math.abs(Number(value) - Number(exact[i]))).toBeLessThan(within)
  })

  it('transparent images > are blended with the background, or keep their alpha', async () => {
    await put(
      'clear.png',
      await raw(
        bytes((p) => [...color(p), p < 24 ? 255 : 0]),
        4,
      )
        .png()
        .toBuffer(),
    )
    const { data } = await pixelsOf('clear.png', { ...plain, background: 130 })
    expect([data[0], data[47]]).toEqual([200, 130])
    const four = await pixelsOf('clear.png', { ...plain, channels: 4 })
    expect([four.dims, four.data[3 * 48], four.data[3 * 48 + 47]]).toEqual([[1, 4, rows, columns], 255, 0])
  })

  it('EXIF orientation > is applied', async () => {
    await put('turned.jpg', await raw(rgb, 3).withMetadata({ orientation: 6 }).jpeg({ quality: 100 }).toBuffer())
    const { dims, data } = await pixelsOf('turned.jpg')
    expect(dims).toEqual([1, 3, columns, rows])
    expect(Number(data[0])).toBeGreaterThan(150) // the red half is on top now
    expect(Number(data[columns * rows - 1])).toBeLessThan(60)
  })

  it('enlarging > equals `imageColumn`', async () => {
    await put('small.png', await raw(rgb, 3).png().toBuffer())
    for (const fit of ['fill', 'contain', 'none']) {
      const options = { size: [12, 20], fit, mean: [0.1, 0.2, 0.3], std: 0.5, layout: 'NHWC' }
      expect(await pixelsOf('small.png', options)).toEqual(expected(rgb, [1, rows, columns, 3], options))
    }
  })

  it('shrinking > averages, without aliasing', async () => {
    const large = { rows: 120, columns: 160 }
    const board = bytes((p) => (((p % 160) + Math.floor(p / 160)) % 2 ? [255, 255, 255] : [0, 0, 0]), large)
    await put('board.png', await raw(board, 3, large).png().toBuffer())
    for (const fit of ['fill', 'contain', 'cover']) {
      const { dims, data } = await pixelsOf('board.png', { scale: 1, size: 24, fit, background: 128 })
      expect(dims).toEqual([1, 3, 24, 24])
      for (const value of data) expect(Math.abs(Number(value) - 127.5)).toBeLessThan(8)
    }
  })
})

describe('imageFolder', () => {
  it('GIF and AVIF > are decoded; other formats are listed', async () => {
    await put('formats/a/1.gif', await raw(rgb, 3).gif().toBuffer())
    await put('formats/a/2.avif', await raw(rgb, 3).avif({ lossless: true, effort: 0 }).toBuffer())
    await put('formats/b/3.BMP', 'not read')
    await put('formats/b/4.png', await raw(rgb, 3).png().toBuffer())
    const data = await imageFolder(path('formats'), { image: plain })
    expect([data.length, data.labels, data.skipped]).toEqual([3, [0, 0, 1], [path('formats/b/3.BMP')]])
    const { image } = await data.batch([0, 1, 2])
    const size = 3 * rows * columns
    const [gif, avif, png] = [0, 1, 2].map((n) =>
      Array.from(image!.data as Float32Array).slice(n * size, (n + 1) * size),
    )
    expect(gif).toEqual(png)
    expect(Math.max(...avif!.map((value, at) => Math.abs(value - png![at]!)))).toBeLessThan(4)
  })

  it('batches > images are decoded and labeled by folder', async () => {
    const one = (value: number) =>
      raw(
        bytes(() => [value, 0, 0]),
        3,
      )
        .png()
        .toBuffer()
    await put('set/train/cat/b.PNG', await one(2))
    await put('set/train/cat/a.png', await one(1))
    await put('set/train/ape/x.png', await one(3))
    await put('set/train/ape/readme.txt', 'not read')
    await put('set/val/cat/never.png', 'not an image')
    await put('set/val/ape/x.png', await one(4))
    const train = await imageFolder(path('set/train'), { image: plain, input: 'pixels', label: 'y' })
    expect([train.length, train.classes, train.labels]).toEqual([3, ['ape', 'cat'], [0, 1, 1]])
    const seen: Tensors[] = []
    for await (const { tensors } of batches(train, { batchSize: 2 })) seen.push(tensors)
    expect(seen.map(({ pixels, y }) => [pixels?.dims, pixels?.data[0], [...(y?.data ?? [])]])).toEqual([
      [[2, 3, rows, columns], 3, [0n, 1n]],
      [[1, 3, rows, columns], 2, [1n]],
    ])
    const val = await imageFolder(path('set/val'), { classes: ['cat', 'ape'] })
    expect((await val.batch([1]))['labels']?.data).toEqual(BigInt64Array.of(1n)) // the damaged one is not touched
    expect(await rejectedMessage('invalid-data', async () => val.batch([0, 1]))).toMatch(
      `cannot decode the image ${path('set/val/cat/never.png')}: it is not a JPEG, PNG, WebP, GIF or AVIF file`,
    )
    const twice = () => imageFolder(path('set/val'), { classes: ['cat', 'cat'] })
    expect(await rejectedMessage('invalid-option', twice)).toMatch("different names, and 'cat' occurs twice")
    expect(await rejectedMessage('invalid-data', () => imageFolder(path('set')))).toMatch(path('set/train'))
  })

  it('damaged and missing files > error with the file name', async () => {
    const noise = { rows: 100, columns: 150 }
    const data = bytes((p) => [(p * 7919) % 256, (p * 104729) % 251, p % 256], noise)
    const failure = async (name: string, content: Uint8Array) => {
      const file = await put(name, content)
      const message = await rejectedMessage('invalid-data', async () => imageFiles([file]).batch([0]))
      expect(message).not.toContain('\n')
      return message.replace(file, 'FILE')
    }
    const [jpeg, png] = [await raw(data, 3, noise).jpeg().toBuffer(), await raw(data, 3, noise).png().toBuffer()]
    for (const [name, content] of [
      ['cut.jpg', jpeg],
      ['cut.png', png],
    ] as const)
      for (const length of [20, content.length / 2, content.length - 30])
        expect(await failure(name, content.subarray(0, length))).toMatch(/^cannot decode the image FILE: ./)
    const flipped = Uint8Array.from(png, (byte, i) => (i > 2000 && i < 2100 ? 255 - byte : byte))
    expect(await failure('flipped.png', flipped)).toMatch('cannot decode the image FILE')
    expect(await failure('empty.png', new Uint8Array(0))).toMatch('FILE: it is not a JPEG, PNG, WebP, GIF or AVIF file')
    expect(await rejectedMessage('io', async () => imageFiles([path('none.png')]).batch([0]))).toMatch(
      `cannot read the image ${path('none.png')}: there is no such file`,
    )
  })

  it('invalid options or no size > rejects before reading a file', async () => {
    const files = [
      await put('6x8.png', await raw(rgb, 3).png().toBuffer()),
      await put('8x6.png', await raw(rgb, 3, { rows: columns, columns: rows }).png().toBuffer()),
    ]
    expect(await rejectedMessage('invalid-data', async () => imageFiles(files).batch([0, 1]))).toMatch(
      `${files[0]} is [3, 6, 8] and ${files[1]} is [3, 8, 6]; set image.size`,
    )
    const of = (image: object) => rejectedMessage('invalid-option', async () => imageFiles(files, { image }))
    expect(await of({ channels: 2 })).toMatch("option 'channels' is 2")
    expect(await of({ size: 0 })).toMatch("option 'size' is 0")
    expect(await of({ width: 3 })).toMatch("no option 'width'")
    expect(await rejectedMessage('invalid-option', () => imageFolder(path('.'), { images: {} } as object))).toMatch(
      "no option 'images'",
    )
  })
})

describe('image files that are refused before they are decoded', () => {
  it('an SVG named .png > error that names the file', async () => {
    await put('drawing.png', '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="6"/>')
    expect(await rejectedMessage('invalid-data', () => pixelsOf('drawing.png'))).toMatch(
      /drawing\.png.*JPEG, PNG, WebP, GIF or AVIF/,
    )
  })

  it('a small file of many pixels > error that names the file', async () => {
    const large = sharp({ create: { width: 2 ** 13, height: 2 ** 12 + 1, channels: 3, background: 'red' } })
    await put('large.png', await large.png().toBuffer())
    expect(await rejectedMessage('invalid-data', () => pixelsOf('large.png'))).toMatch(/large\.png.*8192 x 4097/)
  })
})
