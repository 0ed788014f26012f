import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { fromArrays } from '../../../src/data/arrays.js'
import type { MaskOptions } from '../../../src/data/image/mask-files.js'
import { pairFiles } from '../../../src/data/image/mask-files.js'
import {
  augmentImages,
  cutout,
  randAugment,
  randomCrop,
  randomFlip,
  randomResizedCrop,
} from '../../../src/data/index.js'
import { imageMasks } from '../../../src/node/index.js'
import { crc32 } from '../../../src/util/checksum.js'
import { Random } from '../../../src/util/random.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put, path } = temporaryFolder()

const [rows, columns] = [4, 6]
/** Class of a pixel of a test mask: left, middle and right third. */
const classAt = (x: number) => Math.floor(x / 2)
const colors = [
  [0, 0, 0],
  [200, 0, 0],
  [0, 200, 0],
] as const

/** A PNG file whose pixels are given by column. */
function png(pixelAt: (x: number) => readonly number[], palette = false): Promise<Buffer> {
  const pixels = Array.from({ length: rows * columns }, (_, i) => pixelAt(i % columns)).flat()
  const raw = { width: columns, height: rows, channels: pixelAt(0).length as 1 | 3 }
  return sharp(Uint8Array.from(pixels), { raw }).png({ palette }).toBuffer()
}

/** Writes an image, whose red channel is 100 times the class, and its mask. */
async function pair(name: string, mask: Promise<Buffer>, suffix = ''): Promise<void> {
  await put(`${name}/photos/a.png`, await png((x) => [100 * classAt(x), 0, 7]))
  await put(`${name}/photos/without.png`, await png(() => [1, 2, 3]))
  await put(`${name}/masks/a${suffix}.png`, await mask)
}
const open = (name: string, mask: MaskOptions = {}, image = {}) =>
  imageMasks(path(`${name}/photos`), path(`${name}/masks`), { mask, image })
const thirds = Array.from({ length: rows * columns }, (_, i) => classAt(i % columns))

describe('imageMasks', () => {
  it.each([
    ['gray values', (x: number) => [classAt(x)], {}],
    ['colors', (x: number) => colors[classAt(x)]!, { colors }],
    ['other colors', (x: number) => (classAt(x) === 2 ? [9, 9, 9] : colors[classAt(x)]!), { colors, ignoreIndex: 2 }],
  ])('%s > are classes', async (name, pixelAt, mask) => {
    await pair(name, png(pixelAt))
    const data = await open(name, mask)
    expect([data.length, data.files.length, data.unpaired.length]).toEqual([1, 1, 1])
    const { labels, image } = await data.batch([0])
    expect([labels!.dtype, labels!.dims, image!.dims]).toEqual(['int64', [1, rows, columns], [1, 3, rows, columns]])
    expect(Array.from(labels!.data as BigInt64Array, Number)).toEqual(thirds)
  })

  it('indices in the palette of a PNG file > are classes', async () => {
    // A file of 1 row and 3 columns with 8-bit indices 0, 2, 1 and a palette of three colors.
    const file = await sharp(Uint8Array.from([0, 0, 0, 0, 200, 0, 200, 0, 0]), {
      raw: { width: 3, height: 1, channels: 3 },
    })
      .png({ palette: true, colours: 4, dither: 0 })
      .toBuffer()
    await put('palette/photos/a.png', await png(() => [1, 2, 3]))
    await put('palette/masks/a.png', file)
    const { labels } = await (await open('palette')).batch([0])
    // The palette is in the order that the encoder chose: every color has a class of its own below 3.
    const classes = Array.from(labels!.data as BigInt64Array, Number)
    expect(new Set(classes)).toEqual(new Set([0, 1, 2]))
  })

  it('indices of transparent colors > are classes, too', async () => {
    const file = await sharp(Uint8Array.from([255, 255, 255, 255, 200, 0, 0, 255, 0, 0, 0, 255]), {
      raw: { width: 3, height: 1, channels: 4 },
    })
      .png({ palette: true, colours: 4, dither: 0 })
      .toBuffer()
    const at = file.indexOf('PLTE') - 4
    const end = at + 12 + file.readUInt32BE(at)
    const chunk = Buffer.from('....tRNS\x00\x80\x00....', 'latin1')
    chunk.writeUInt32BE(3)
    chunk.writeUInt32BE(crc32(chunk.subarray(4, 11)), 11)
    await put('transparent/photos/a.png', await png(() => [1, 2, 3]))
    for (const [name, bytes] of [
      ['opaque', file],
      ['transparent', Buffer.concat([file.subarray(0, end), chunk, file.subarray(end)])],
    ] as const)
      await put(`transparent/${name}/a.png`, bytes)
    const labels = async (name: string) =>
      (await (await imageMasks(path('transparent/photos'), path(`transparent/${name}`))).batch([0]))['labels']!
    expect(new Set((await labels('opaque')).data as BigInt64Array)).toEqual(new Set([0n, 1n, 2n]))
    expect(await labels('transparent')).toEqual(await labels('opaque'))
  })

  it('colors that a PNG file without indices suggests > are no classes', async () => {
    const file = await png((x) => [classAt(x), classAt(x), classAt(x)])
    const chunk = Buffer.from('....PLTE\x02\x02\x02\x01\x01\x01....', 'latin1')
    chunk.writeUInt32BE(6)
    chunk.writeUInt32BE(crc32(chunk.subarray(4, 14)), 14)
    // The first chunk, IHDR, ends at byte 33.
    await pair('suggested', Promise.resolve(Buffer.concat([file.subarray(0, 33), chunk, file.subarray(33)])))
    const { labels } = await (await open('suggested')).batch([0])
    expect(Array.from(labels!.data as BigInt64Array, Number)).toEqual(thirds)
  })

  it('binary masks > are 1 where a pixel is not 0, in the layout of the image', async () => {
    await pair(
      'binary',
      png((x) => [x > 2 ? 255 : 0]),
    )
    for (const [layout, dims] of [
      ['NCHW', [1, 1, rows, columns]],
      ['NHWC', [1, rows, columns, 1]],
    ] as const) {
      const { labels } = await (await open('binary', { as: 'binary' }, { layout })).batch([0])
      expect([labels!.dtype, labels!.dims]).toEqual(['float32', dims])
      expect([...(labels!.data as Float32Array)].slice(0, columns)).toEqual([0, 0, 0, 1, 1, 1])
    }
  })

  it('colored pixels of binary masks > are 1, black ones 0', async () => {
    await pair(
      'colored',
      png((x) => colors[classAt(x)]!),
    )
    for (const mask of [{}, { ignoreIndex: 255 }]) {
      const { labels } = await (await open('colored', { as: 'binary', ...mask })).batch([0])
      expect(Array.from(labels!.data as Float32Array)).toEqual(thirds.map((label) => Number(label > 0)))
    }
  })

  it('masks of 16 bits > are refused, since only 8 are read', async () => {
    const deep = (kind: 'grey16' | 'rgb16', channels: 1 | 3) =>
      sharp(new Uint16Array(rows * columns * channels).fill(3), { raw: { width: columns, height: rows, channels } })
        .toColourspace(kind)
        .png()
        .toBuffer()
    for (const [kind, file] of [
      ['gray', deep('grey16', 1)],
      ['rgb', deep('rgb16', 3)],
    ] as const) {
      await pair(`deep-${kind}`, file)
      for (const mask of [{}, { as: 'binary' }] as const) {
        const data = await open(`deep-${kind}`, mask)
        const message = await rejectedMessage('invalid-data', async () => data.batch([0]))
        expect(message).toMatch(/the mask .*a\.png has 16 bits .* save it with 8 bits/)
      }
    }
  })

  it('resizing > takes the nearest pixel, and pixels outside have ignoreIndex', async () => {
    await pair(
      'sizes',
      png((x) => [classAt(x)]),
    )
    const doubled = await (await open('sizes', {}, { size: [8, 12] })).batch([0])
    expect(Array.from(doubled['labels']!.data as BigInt64Array, Number).slice(0, 12)).toEqual([
      0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
    ])
    const contained = await (await open('sizes', { ignoreIndex: 255 }, { size: 6, fit: 'contain' })).batch([0])
    const lines = Array.from(contained['labels']!.data as BigInt64Array, Number)
    expect([lines[0], ...lines.slice(6, 12), lines.at(-1)]).toEqual([255, 0, 0, 1, 1, 2, 2, 255])
  })

  it('names > pair with a suffix; a mask without an image and unknown colors are errors', async () => {
    await pair(
      'suffix',
      png((x) => [classAt(x)]),
      '_mask',
    )
    expect((await open('suffix', { suffix: '_mask' })).length).toBe(1)
    expect(await rejectedMessage('invalid-data', () => open('suffix'))).toContain('a_mask.png')
    expect(await rejectedMessage('invalid-data', () => open('suffix', { suffix: '_other' }))).toContain('_other')
    await pair(
      'unknown',
      png(() => [3, 4, 5]),
    )
    const data = await open('unknown')
    expect(await rejectedMessage('invalid-data', async () => data.batch([0]))).toContain('[3, 4, 5]')
  })
})

it('images, or masks, of one name > are refused with both', () => {
  const of = (...images: string[]) =>
    rejectedMessage('invalid-data', async () => pairFiles(images, ['cat.png', 'a.png', 'a.gif'], (path) => path))
  return Promise.all([
    expect(of('a.jpg', 'cat.jpg', 'cat.png')).resolves.toContain('cat.jpg and cat.png'),
    expect(of('a.jpg', 'cat.jpg')).resolves.toContain('a.png and a.gif'),
  ])
})

describe('augmentImages with masks', () => {
  /** The class of every pixel by the image and by the mask, in a batch. */
  async function classes(augmentations: Parameters<typeof augmentImages>[1]['augmentations'], random?: Random) {
    await pair(
      'augmented',
      png((x) => [classAt(x)]),
    )
    const data = augmentImages(await open('augmented'), {
      input: 'image',
      augmentations,
      masks: { tensor: 'labels', outside: 9 },
    })
    const { image, labels } = await data.batch([0, 0, 0], random ? { random } : {})
    const [n, , height, width] = image!.dims as [number, number, number, number]
    expect(labels!.dims).toEqual([n, height, width])
    const red = Array.from({ length: n * height * width }, (_, i) => {
      const at = Math.floor(i / (height * width)) * 3 * height * width + (i % (height * width))
      return Math.round((image!.data as Float32Array)[at]! * 255)
    })
    return { red, labels: Array.from(labels!.data as BigInt64Array, Number) }
  }

  it('crops and flips > move images and masks alike', async () => {
    const augmentations = [randomCrop({ padding: 2, fill: 255 }), randomFlip(), cutout({ size: 1 })]
    let moved = 0
    for (let seed = 0; seed < 8; seed++) {
      const { red, labels } = await classes(augmentations.slice(0, 2), new Random(seed))
      expect(labels).toEqual(red.map((value) => (value === 255 ? 9 : value / 100)))
      if (labels.join() !== [...thirds, ...thirds, ...thirds].join()) moved++
    }
    expect(moved).toBe(8)
    const { labels } = await classes(augmentations.slice(2), new Random(1))
    expect(labels).toEqual([...thirds, ...thirds, ...thirds])
  })

  it('resized crops > have labels of the mask alone, near those of the image', async () => {
    const { red, labels } = await classes([randomResizedCrop({ size: [8, 12], scale: [0.4, 1] })], new Random(3))
    expect(labels.every((label) => label <= 2)).toBe(true)
    expect(red.filter((value, i) => Math.abs(value / 100 - labels[i]!) > 0.5001)).toEqual([])
    const evaluated = await classes([randomCrop({ size: [2, 2] })])
    expect(evaluated.labels).toEqual(Array.from({ length: 12 }, () => 1))
  })

  it('masks of another size than their images > can be flipped, but not cropped', async () => {
    const data = fromArrays({
      image: { dims: [1, 1, 4, 6], data: new Float32Array(24) },
      labels: { dims: [1, 1, 3], data: BigInt64Array.of(0n, 1n, 2n) },
    })
    const batch = async (augmentation: Parameters<typeof augmentImages>[1]['augmentations'][number], seed?: number) => {
      const augmented = augmentImages(data, {
        input: 'image',
        augmentations: [augmentation],
        masks: { tensor: 'labels' },
      })
      return augmented.batch([0], seed === undefined ? {} : { random: new Random(seed) })
    }
    expect((await batch(randomFlip({ probability: 1 }), 0))['labels']!.data).toEqual(BigInt64Array.of(2n, 1n, 0n))
    for (const refused of [
      () => batch(randomCrop(), 0),
      () => batch(randomCrop({ size: [1, 2] })),
      () => batch(randomResizedCrop({ size: 2 }), 0),
    ])
      expect(await rejectedMessage('invalid-data', refused)).toBe(
        "augmentImages: masks of 'labels' are [1, 3] and their images [4, 6]; resize them to the same size, which crops need",
      )
  })

  it('augmentations that cannot be applied to masks > are refused', async () => {
    expect(await rejectedMessage('invalid-option', () => classes([randAugment()]))).toContain('augmentations')
  })
})
