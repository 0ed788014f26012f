import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mlp } from '../../models/mlp.js'
import { modelOf } from '../../src/graph/index.js'
import { adamw, crossEntropy, fromArrays, type Model, type Tensor, Trainer } from '../../src/index.js'
import { checksumTensor } from '../../src/ir/tensor.js'
import { readModel, writeModel } from '../../src/node/files/model.js'
import { node } from '../../src/node/index.js'
import { decodeModel, encodeModel, namedTensors, replaceTensors } from '../../src/onnx/model.js'
import { create, edit } from '../../src/onnx/proto/message.js'
import { copyElements } from '../../src/onnx/proto/tensor.js'

const MiB = 2 ** 20

/** On Windows an open file cannot be replaced, so models are read as a whole. */
describe.skipIf(process.platform === 'win32')('large initializers stay in the file of a model', () => {
  /** Layers of 80 KiB, 64 KiB and 2 KiB. */
  const model = modelOf(mlp({ features: 160, hidden: [128, 128], classes: 4, seed: 3 }))
  const bytes = encodeModel(model)
  const [first, second] = model.proto.graph!.initializer.filter(({ rawData }) => rawData!.length >= 2 ** 16)
  let folder = ''
  const at = (name: string) => join(folder, name)
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'onnx-ire-bytes-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  async function store(name: string, content: Uint8Array = bytes): Promise<string> {
    await writeFile(at(name), content)
    return at(name)
  }

  /** Checksums: comparing arrays element by element takes seconds. */
  const elements = (given: Model) => [...namedTensors(given)].map(([name, tensor]) => [name, checksumTensor(tensor)])
  const expectSame = (found: Uint8Array, expected: Uint8Array) =>
    expect(Buffer.compare(found, expected), 'comparison of bytes').toBe(0)

  /** The bytes that this process has read from files, which Linux counts; 0 elsewhere. */
  const bytesRead = () =>
    process.platform === 'linux' ? Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]) : 0

  it('they are not read until they are used', async () => {
    const [count, length] = [4, 8 * MiB]
    const large = new Uint8Array(length)
    const initializer = Array.from({ length: count }, (_, i) =>
      create('TensorProto', { name: `t${i}`, dims: [BigInt(length / 4)], dataType: 1, rawData: large }),
    )
    await writeModel(at('large.onnx'), {
      proto: edit(model.proto, { graph: create('GraphProto', { initializer }) }),
      external: null,
    })
    const before = bytesRead()
    const read = await readModel(at('large.onnx'))
    const tensor = namedTensors(read).get('t3')!
    expect(bytesRead() - before).toBeLessThan(length / 2)
    copyElements(tensor, new Float32Array(length / 4))
    await writeModel(at('copy.onnx'), read)
    expectSame(await readFile(at('copy.onnx')), await readFile(at('large.onnx')))
    for (const name of ['large.onnx', 'copy.onnx']) await rm(at(name))
  })

  it('tensors and raw data are those of the file', async () => {
    const read = await readModel(await store('m.onnx'))
    expect(elements(read)).toEqual(elements(model))
    for (const [i, { rawData }] of read.proto.graph!.initializer.entries())
      expectSame(rawData!, model.proto.graph!.initializer[i]!.rawData!)
    const part = new Float32Array(second!.rawData!.length / 4)
    copyElements(namedTensors(read).get(second!.name!)!, part)
    expectSame(new Uint8Array(part.buffer), second!.rawData!)
  })

  it.each<[string, (given: Model) => Model]>([
    ['unchanged', (given) => given],
    ['model edited', (given) => ({ ...given, proto: edit(given.proto, { producerName: 'another' }) })],
    [
      'tensor renamed',
      ({ proto, external }) => {
        const initializer = proto.graph!.initializer.map((each) => edit(each, { name: `${each.name}/renamed` }))
        return { proto: edit(proto, { graph: edit(proto.graph!, { initializer }) }), external }
      },
    ],
    [
      'one tensor replaced',
      (given) => {
        const tensor = namedTensors(given).get(first!.name!) as Tensor & { data: Float32Array }
        return replaceTensors(given, new Map([[first!.name!, { ...tensor, data: tensor.data.map((x) => x + 1) }]]))
      },
    ],
  ])('%s > is encoded and written as if all bytes were in memory', async (_, change) => {
    const expected = encodeModel(change(decodeModel(bytes)))
    const changed = change(await readModel(await store('m.onnx')))
    expectSame(encodeModel(changed), expected)
    await writeModel(at('out.onnx'), changed)
    expectSame(await readFile(at('out.onnx')), expected)
    await writeModel(at('out.onnx'), changed, { externalData: true })
    expect(elements(await readModel(at('out.onnx')))).toEqual(elements(decodeModel(expected)))
  })

  it('the file is replaced, or removed > the model remains complete', async () => {
    const read = await readModel(await store('m.onnx'))
    await writeModel(at('m.onnx'), { proto: edit(read.proto, { producerName: 'another' }), external: null })
    expectSame(encodeModel(read), bytes)
    await rename(at('m.onnx'), at('moved.onnx'))
    expectSame(encodeModel(read), bytes)
  })

  it('the file is written to > io for its tensors; trained tensors are exported', async () => {
    const read = await readModel(await store('m.onnx'))
    const runtime = node({ threads: 1 })
    const trainer = await Trainer.create(read, { loss: crossEntropy(), optimizer: adamw(), batchSize: 4, runtime })
    await store(
      'm.onnx',
      bytes.map((byte) => byte ^ 1),
    )
    const label = `tensor ${JSON.stringify(first!.name)}`
    const failure = { code: 'io', message: expect.stringMatching(/was changed after .*read the model again/) }
    expect(() => namedTensors(read).get(first!.name!)!.data).toThrow(expect.objectContaining(failure))
    expect(() => namedTensors(read).get(first!.name!)!.data).toThrow(label)
    const data = fromArrays({
      x: { dims: [4, 160], data: new Float32Array(4 * 160).fill(0.5) },
      labels: { dtype: 'int64', dims: [4], data: BigInt64Array.of(0n, 1n, 2n, 3n) },
    })
    await trainer.train(data, { totalSteps: 1 })
    await writeModel(at('tuned.onnx'), trainer.export())
    expect(elements(await readModel(at('tuned.onnx')))).toEqual(elements(trainer.export()))
    await trainer.dispose()
    await runtime.dispose()
  })

  it('damaged or unusual files > are read as bytes in memory are', async () => {
    const half = encodeModel({ proto: create('ModelProto', { graph: model.proto.graph }), external: null })
    const twoGraphs = new Uint8Array([
      ...half,
      ...encodeModel({
        proto: create('ModelProto', { graph: create('GraphProto', { name: 'second' }) }),
        external: null,
      }),
    ])
    expect(elements(await readModel(await store('two.onnx', twoGraphs)))).toEqual(elements(decodeModel(twoGraphs)))
    // Field 100 as a group, which has an end tag.
    const group = new Uint8Array([...bytes, 0xa3, 0x06, 0xa4, 0x06])
    expectSame(encodeModel(await readModel(await store('group.onnx', group))), group)
    await store('short.onnx')
    await truncate(at('short.onnx'), bytes.length - 100)
    await expect(readModel(at('short.onnx'))).rejects.toMatchObject({ code: 'invalid-model' })
  })
})
