import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { constant, input } from '../../src/ir/leaf.js'
import { tensor } from '../../src/ir/tensor.js'
import { readCsv } from '../../src/node/data/csv.js'
import { imageFiles, imageFolder } from '../../src/node/data/image-folder.js'
import { imageMasks } from '../../src/node/data/image-masks.js'
import { writeModel } from '../../src/node/files/model.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { op } from '../../src/op/op.js'
import { describeInBrowser } from './browser.js'
import type { Plains } from './pages/tensors.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onnx-ire-web-files-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describeInBrowser('files in Chromium', (browser) => {
  const call = <T>(name: string, ...args: readonly unknown[]) => browser().worker<T>('files', name, ...args)
  const share = (name: string, bytes: Uint8Array) => {
    browser().exchange.set(name, bytes)
    return name
  }

  it('models and external data > every kind of source > are loaded', async () => {
    const data = Float32Array.from({ length: 600 }, (_, i) => i)
    const w = constant(tensor('float32', [600], data), 'w')
    const x = input('x', 'float32', [600])
    const graph = { name: 'net', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Mul(x, w)]]), parameters: [] }
    await writeModel(join(folder, 'net.onnx'), modelOf(graph as never), { externalData: true })
    // The data file is in another folder, under a name of equal length.
    const model = readFileSync(join(folder, 'net.onnx'))
    model.write('weights/n.bin', model.indexOf('net.onnx.data'))
    share('net.onnx', model)
    share('weights/n.bin', readFileSync(join(folder, 'net.onnx.data')))
    share('corrupt.onnx', model.subarray(0, model.length - 7))
    const found = await call<Record<string, unknown>>('models')
    for (const from of ['address', 'picked', 'folder', 'saved', 'buffer'])
      expect(found[from], from).toEqual({ w: [...data] })
    const refused = (code: string, message: RegExp) => ({ code, message: expect.stringMatching(message) })
    expect(found['alone']).toEqual(refused('external-data', /"weights\/n.bin", which is a separate file: provide it/))
    expect(found['others']).toEqual(refused('external-data', /"weights\/n.bin", which is not among the given files/))
    expect(found['corrupt']).toEqual(refused('invalid-model', /^\/exchange\/corrupt.onnx: /))
    expect(found['text']).toEqual(refused('invalid-model', /^page.onnx: not an ONNX model: .*web page/))
    expect(found['missing']).toEqual(
      refused('io', /^cannot fetch the model http:\/\/.*:\d+\/exchange\/nothing.onnx: .*404/),
    )
    expect(found['unreachable']).toEqual(refused('io', /^cannot fetch the model http.*CORS/))
    expect(found['notStored']).toEqual(refused('io', /^cannot read models\/nothing.onnx: there is no such file$/))
  })

  it('downloadModel > offers the model as a file', async () => {
    const coming = browser().tab.waitForEvent('download')
    await browser().page('files', 'download', 'tuned.onnx')
    const download = await coming
    expect(download.suggestedFilename()).toBe('tuned.onnx')
    share('downloaded', readFileSync((await download.path())!))
    expect(await call('sameBytes', 'downloaded')).toBe(true)
  })

  it('checkpoints > are stored and read', async () => {
    expect(await call('checkpoints')).toEqual({
      before: [],
      // 30 is of a future that was left.
      steps: [25, 20],
      cutOff: [3],
      again: [1000, 16, 16],
      names: ['checkpoint-00000020.safetensors', 'checkpoint-00000025.safetensors', 'notes.txt'],
      missing: {
        code: 'io',
        message: expect.stringMatching(/checkpoint-00000010.safetensors: there is no such file$/),
      },
      refused: { code: 'invalid-option', message: expect.stringMatching(/keep/) },
      folderAsFile: { code: 'io', message: expect.stringMatching(/^cannot read runs\/a: .*folder/) },
    })
  })

  it('checkpoint folder of a run in the page > refuses a writer in the worker until the run ends', async () => {
    const page = <T>(name: string, ...args: readonly unknown[]) => browser().page<T>('files', name, ...args)
    const locked = { code: 'locked', message: expect.stringContaining('runs/shared') }
    await page('lockFolder', 'runs/shared')
    await page('saveStep', 'runs/shared', 1)
    // Each waits seconds for the lock.
    const refused = [call('saveStep', '/runs/shared/', 2), call('lockFolder', 'runs/shared')]
    expect(await Promise.all(refused)).toEqual([locked, locked])
    expect(await call('saveStep', 'runs/other', 2)).toEqual([2])
    await page('unlockFolder', 'runs/shared')
    expect(await call('saveStep', 'runs/shared', 2)).toEqual([2, 1])
    await call('lockFolder', 'runs/shared')
    expect(await page('saveStep', 'runs/shared', 3)).toEqual(locked)
    // A worker that ends without unlocking, as in a reloaded page.
    await browser().reload()
    expect(await call('saveStep', 'runs/shared', 3)).toEqual([3, 2, 1])
  })

  it('storage is full > the error says so, and earlier files stay', async () => {
    const session = await browser().tab.context().newCDPSession(browser().tab)
    const origin = new URL(browser().url).origin
    await call('clearStorage')
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 3 * 2 ** 20 })
    try {
      const full = { code: 'io', message: expect.stringMatching(/storage for this site is full; remove/) }
      expect(await call('fillStorage')).toEqual({
        kept: 2 ** 20,
        names: ['small.bin'],
        write: full,
        replace: full,
        model: full,
        checkpoint: full,
        steps: [],
      })
    } finally {
      await session.send('Storage.overrideQuotaForOrigin', { origin })
      await call('clearStorage')
    }
  })

  it('IDX files, compressed or not > are read', async () => {
    const plain = Uint8Array.from([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])
    const read = { dtype: 'uint8', dims: [3], data: [7, 8, 9], array: 'Uint8Array' }
    expect(await call('idx', share('plain', plain))).toEqual(read)
    expect(await call('idx', share('packed', gzipSync(plain)))).toEqual(read)
    const refused = (message: RegExp) => ({ code: 'invalid-data', message: expect.stringMatching(message) })
    expect(await call('idx', share('short', plain.subarray(0, 9)))).toEqual(refused(/^\/exchange\/short: .*11.*9/))
    expect(await call('idx', share('torn', gzipSync(plain).subarray(0, 20)))).toEqual(
      refused(/\/exchange\/torn: .*gzip/),
    )
  })

  it('gzip bombs > are refused as IDX and as CSV', async () => {
    const bomb = share('bomb', gzipSync(new Uint8Array(2 ** 26 + 2 ** 20)))
    const refused = { code: 'invalid-data', message: expect.stringMatching(/bomb: it decompresses to more than/) }
    expect(await call('idx', bomb)).toEqual(refused)
    expect(await call('csv', bomb, { tensors: { x: '*' } })).toEqual(refused)
  })

  it('an image with a side of 2^17 > is refused by its header', async () => {
    const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgACAAAAAAABCAIAAAAAAAAA', 'base64')
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([2 ** 17, 1])
    expect(await call('picture', share('wide-header.png', png), {})).toEqual({
      code: 'invalid-data',
      message: expect.stringMatching(/wide-header.png: it has 131072 x 1 pixels/),
    })
  })

  it('CSV files > rows and errors > equal those in Node', async () => {
    const options = { tensors: { x: ['a', 'b'], label: { columns: 'kind', as: 'class' } } } as const
    const files = [
      'a,b,kind\n1,2,cat\n3,4,"dog, small"\n5,6,cat\n',
      '\ufeffa,b,kind\r\n1,"2",cat\r\n\r\n3,4,"two\r\nlines"\r\n',
      'a,b,kind\n1,2,cat\n3,four,cat\n',
      'a,b,kind\n1,2,cat\n3,4\n',
      'a,b,kind\n1,2,"cat\n3,4,cat\n',
      'a,b,kind\n1,2,c"at\n',
      'a,b,kind\n1,2,"ca"t\n',
      'a,b,a\n1,2,3\n',
      'a,b,kind\n1,,cat\n',
      'x,y\n1,2\n',
      '',
    ]
    for (const [i, content] of files.entries()) {
      const path = join(folder, `${i}.csv`)
      writeFileSync(path, content)
      const expected = await readCsv(path, options).then(
        async (data) => ({
          tensors: await data.batch(Array.from({ length: data.length! }, (_, i) => i)),
          classes: data.classes,
        }),
        ({ code, message }) => ({ code, message: message.replaceAll(`${folder}/`, '') }),
      )
      share(`${i}.csv`, gzipSync(content))
      const found = await call<typeof expected>('csv', `${i}.csv`, options)
      if ('code' in expected) expect(found, content).toEqual(expected)
      else {
        const { tensors, classes } = found as unknown as { tensors: Plains; classes: unknown }
        expect(classes).toEqual(expected.classes)
        expect(numbers(tensors)).toEqual(numbers(expected.tensors as never))
      }
    }
  })

  it('folders of images > equal those in Node', async () => {
    const noise = (width: number, height: number, channels: 3 | 4) =>
      sharp(Buffer.from(Array.from({ length: width * height * channels }, (_, i) => (i * i * 31) % 256)), {
        raw: { width, height, channels },
      })
    const smooth = (width: number, height: number) =>
      sharp(
        Buffer.from(
          Array.from({ length: width * height * 3 }, (_, i) => {
            const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)]
            return 128 + 100 * Math.sin(x / 9 + (i % 3)) * Math.cos(y / 7)
          }),
        ),
        { raw: { width, height, channels: 3 } },
      )
    const pictures: Record<string, Buffer> = {
      'cat/gray.png': await noise(6, 4, 3).greyscale().png().toBuffer(),
      'cat/palette.png': await smooth(6, 4).png({ palette: true }).toBuffer(),
      'cat/deep/rgb.png': await noise(6, 4, 3).png().toBuffer(),
      'dog/lossless.webp': await noise(6, 4, 3).webp({ lossless: true }).toBuffer(),
      'dog/turned.jpg': await smooth(4, 6).jpeg({ quality: 100 }).withMetadata({ orientation: 6 }).toBuffer(),
      'dog/notes.txt': Buffer.from('no picture'),
    }
    for (const [name, bytes] of Object.entries(pictures)) {
      await mkdir(dirname(join(folder, 'pictures', name)), { recursive: true })
      await writeFile(join(folder, 'pictures', name), bytes)
      share(name, bytes)
    }
    const inNode = await imageFolder(join(folder, 'pictures'), { image: { scale: 1 } })
    const expected = await inNode.batch([0, 1, 2, 3, 4])
    const found = await call<{ classes: unknown; files: string[]; tensors: Plains; stored: unknown[] }>(
      'pictures',
      Object.keys(pictures),
      { scale: 1 },
    )
    expect(found.classes).toEqual(['cat', 'dog'])
    expect(found.files).toEqual(inNode.files.map((path) => path.slice(folder.length + '/pictures/'.length)))
    expect(found.stored).toEqual([found.classes, found.files, found.tensors])
    expect(numbers(found.tensors)['labels']).toEqual(numbers(expected as never)['labels'])
    // Decoders of JPEG may differ by a level or two.
    const differences = (from: number, to: number) => {
      const [a, b] = [numbers(found.tensors)['image']!, numbers(expected as never)['image']!]
      return Math.max(...a.slice(from * 72, to * 72).map((x, i) => Math.abs(x - b[from * 72 + i]!)))
    }
    expect(differences(0, 4)).toBe(0)
    expect(differences(4, 5)).toBeLessThanOrEqual(3)

    // Masks: gray values and the palette of a PNG file, as in Node.
    const classes = Buffer.from(Array.from({ length: 24 }, (_, i) => i % 3))
    const gray = sharp(classes, { raw: { width: 6, height: 4, channels: 1 } })
    const colored = sharp(
      Buffer.from([...classes].flatMap((label) => [250 * Number(label === 1), 250 * Number(label === 2), 0])),
      { raw: { width: 6, height: 4, channels: 3 } },
    )
    const deep = sharp(new Uint16Array(24).fill(3), { raw: { width: 6, height: 4, channels: 1 } })
    const masks = [
      await gray.png().toBuffer(),
      await colored.png({ palette: true, dither: 0 }).toBuffer(),
      await deep.toColourspace('grey16').png().toBuffer(),
    ]
    for (const [i, mask] of masks.entries())
      for (const [of, bytes] of Object.entries({ photos: pictures['cat/deep/rgb.png']!, masks: mask })) {
        await mkdir(join(folder, of), { recursive: true })
        await writeFile(join(folder, of, `${i}.png`), bytes)
        share(`${of}/${i}.png`, bytes)
      }
    const options = { image: { size: [8, 12], scale: 1 }, mask: { ignoreIndex: 9 } } as const
    const paired = await imageMasks(join(folder, 'photos'), join(folder, 'masks'), options)
    const shown = await call<{ files: string[]; tensors: Plains }>('masks', ['0.png', '1.png'], options)
    expect(shown.files).toEqual(['0.png', '1.png'])
    expect(numbers(shown.tensors)['labels']).toEqual(numbers((await paired.batch([0, 1])) as never)['labels'])
    expect(await call('masks', ['2.png'], options)).toEqual({
      code: 'invalid-data',
      message: expect.stringMatching(/^the mask 2.png has 16 bits/),
    })

    // Shrinking averages over what goes into a pixel; transparency shows the background.
    const large = await smooth(64, 48).png().toBuffer()
    const holes = await noise(6, 4, 4).png().toBuffer()
    for (const [name, bytes, image, tolerance] of [
      ['large.png', large, { scale: 1, size: 16, fit: 'cover' }, 1.5],
      ['wide.png', large, { scale: 1, size: [20, 100], fit: 'contain', background: 99 }, 2.5],
      ['holes.png', holes, { scale: 1, background: 200 }, 2.5],
    ] as const) {
      const path = join(folder, name)
      writeFileSync(path, bytes)
      const expected = await imageFiles([path], { image }).batch([0])
      const found = await call<Plains>('picture', share(name, bytes), image)
      expect(found['image']!.dims).toEqual(expected['image']!.dims)
      const worst = Math.max(
        ...numbers(found)['image']!.map((x, i) => Math.abs(x - (expected['image']!.data as Float32Array)[i]!)),
      )
      expect(worst, name).toBeLessThan(tolerance)
    }

    share('bad.png', large.subarray(0, 40))
    expect(await call('picture', 'bad.png', {})).toEqual({
      code: 'invalid-data',
      message: expect.stringMatching(/^cannot decode the image bad.png: .*; replace the file or remove it$/),
    })
    expect(await call('pictures', ['cat/gray.png', 'dog/notes.txt'], {})).toEqual({
      code: 'invalid-data',
      message: expect.stringMatching(/^imageFolder: dog .*\*\.jpg/),
    })
  })

  it('pixels of a canvas > are read', async () => {
    const uint8 = (channels: number, data: number[]) => ({
      dtype: 'uint8',
      dims: [1, 1, 2, channels],
      data,
      array: 'Uint8Array',
    })
    expect(await call('drawn')).toEqual([
      uint8(3, [255, 0, 128, 0, 0, 0]),
      uint8(4, [255, 0, 128, 255, 0, 0, 0, 0]),
      uint8(3, [255, 0, 128, 255, 255, 255]),
    ])
  })
})

/** Tensors as lists of numbers. */
const numbers = (tensors: Plains): Record<string, number[]> =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, { data }]) => [name, Array.from(data as ArrayLike<number | string>, Number)]),
  )
