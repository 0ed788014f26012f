import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { checkImageHeader } from '../../../src/data/image/image-header.js'
import { thrownMessage } from '../../thrown.js'

const raw = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: { r: 200, g: 100, b: 50 } } })
const check = (bytes: Uint8Array) => checkImageHeader('photo.png', bytes)
const ascii = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0))

/** A PNG that declares a size and has no pixels. */
function pngOf(width: number, height: number): Uint8Array {
  const bytes = new Uint8Array(45)
  bytes.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52])
  const view = new DataView(bytes.buffer)
  view.setUint32(16, width)
  view.setUint32(20, height)
  return bytes
}

describe('checkImageHeader', () => {
  test.each([
    ['PNG', raw(300, 200).png()],
    ['JPEG', raw(300, 200).jpeg()],
    ['progressive JPEG', raw(300, 200).jpeg({ progressive: true })],
    ['JPEG with metadata', raw(300, 200).withMetadata({ orientation: 6 }).jpeg()],
    ['WebP', raw(300, 200).webp()],
    ['lossless WebP', raw(300, 200).webp({ lossless: true })],
    ['WebP with metadata', raw(300, 200).withMetadata({ orientation: 6 }).webp()],
    ['transparent WebP', raw(300, 200).ensureAlpha(0.5).webp()],
    ['GIF', raw(300, 200).gif()],
    ['AVIF', raw(300, 200).avif({ effort: 0 })],
  ])('%s > reads the size', async (_, image) => {
    const { width, height } = await sharp(await image.toBuffer()).metadata()
    expect([width, height]).toEqual([300, 200])
    expect(check(await image.toBuffer())).toEqual([300, 200])
  })

  test.each([
    ['SVG', ascii('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>')],
    ['BMP', ascii('BM\x08\0\x08\0\0\0\0')],
    ['HEIC', ascii('\0\0\0\x18ftypheic\0\0\0\0mif1heic')],
    ['TIFF', ascii('II*\0\x08\0\0\0\0\0')],
    ['nothing', new Uint8Array(0)],
    ['a RIFF file that is no WebP', ascii('RIFF\x10\0\0\0WAVEfmt ')],
  ])('%s > error that names the file', (_, bytes) => {
    expect(thrownMessage('invalid-data', () => check(bytes))).toMatch(/photo\.png.*JPEG, PNG, WebP, GIF or AVIF/)
  })

  test.each([
    [8_323_096, 20],
    [2 ** 16 + 1, 1],
    [1, 2 ** 16 + 1],
    [2 ** 13, 2 ** 12 + 1],
    [0, 5],
  ])('%i x %i pixels > error', (width, height) => {
    expect(thrownMessage('invalid-data', () => check(pngOf(width, height)))).toMatch(`photo.png`)
  })

  test('the largest images > are accepted', () => {
    expect(check(pngOf(2 ** 16, 2 ** 9))).toEqual([2 ** 16, 2 ** 9])
    expect(check(pngOf(2 ** 13, 2 ** 12))).toEqual([2 ** 13, 2 ** 12])
  })

  test('cut headers > error that names the file', async () => {
    for (const image of [raw(9, 9).png(), raw(9, 9).jpeg(), raw(9, 9).webp(), raw(9, 9).webp({ lossless: true })]) {
      const bytes = await image.toBuffer()
      for (let length = 0; length < 16; length++)
        expect(thrownMessage('invalid-data', () => check(bytes.subarray(0, length)))).toMatch('photo.png')
    }
  })
})
