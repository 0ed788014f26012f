import { fileURLToPath } from 'node:url'
import * as ort from 'onnxruntime-node'
import * as web from 'onnxruntime-web'
import { describe, expect, it, test } from 'vitest'
import {
  type Adapter,
  adapterFeeds,
  adapterOf,
  applyAdapter,
  checksumBase,
  lora,
  makeLoraReady,
  quantizeModel,
} from '../../src/adapter/index.js'
import { input, op, parameter } from '../../src/graph/index.js'
import { dtypes } from '../../src/ir/dtype.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import type { Tensor } from '../../src/ir/tensor.js'
import { readModel } from '../../src/node/files/model.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { encodeModel, type Model, namedTensors } from '../../src/onnx/model.js'
import { fromOrtTensor } from '../../src/runtime/ort.js'
import { errorWith } from '../thrown.js'
import { goldenTensors, readGoldenModel, readGoldenPeft } from './golden.js'
import { runModel } from './run.js'

const tensors = goldenTensors()
const { adapter } = readGoldenPeft('llama')
const tokens = { input_ids: tensors['tokens']! }

/** A session of a model, with a function that runs it with an adapter. */
async function open(model: Model, feeds: Readonly<Record<string, Tensor>>) {
  const session = await ort.InferenceSession.create(encodeModel(model), { logSeverityLevel: 3 })
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, { dtype, data, dims }]) => [
      name,
      new ort.Tensor(dtype as 'int64', data as BigInt64Array, dims),
    ]),
  )
  const run = async (adapter: Adapter | null) => {
    const { y } = await session.run({ ...inputs, ...adapterFeeds(adapter, session.inputMetadata, ort.Tensor) })
    return [...(y!.data as Float32Array)]
  }
  return { session, run }
}

const near = (found: readonly number[], expected: readonly number[], digits = 4) => {
  expect(found).toHaveLength(expected.length)
  for (const [i, value] of found.entries()) expect(value).toBeCloseTo(expected[i]!, digits)
}

describe('a model whose adapter is an input', () => {
  it('runs alone, and with adapters of any rank, over one session', async () => {
    const { session, run } = await open(makeLoraReady(readGoldenModel('llama'), { optional: false }), tokens)
    const base = numbersOf(tensors['llama-base']!)
    near(await run(null), base)
    near(await run(adapter), numbersOf(tensors['llama']!))
    const half = { ...adapter, layers: adapter.layers.filter(({ module }) => module.endsWith('q_proj')) }
    const beside = await runModel(applyAdapter(readGoldenModel('llama'), half), tokens)
    near(await run(half), numbersOf(beside['y']!))
    const twice = { ...adapter, layers: adapter.layers.map((layer) => ({ ...layer, scale: 0 })) }
    near(await run(twice), base)
    await session.release()
  })

  it('swaps adapters in onnxruntime-web, too', async () => {
    const model = encodeModel(makeLoraReady(readGoldenModel('llama'), { optional: false }))
    const session = await web.InferenceSession.create(model, { logSeverityLevel: 3 })
    const { data, dims } = tokens.input_ids
    const input_ids = new web.Tensor('int64', data as BigInt64Array, dims)
    for (const [name, each] of [
      ['llama-base', null],
      ['llama', adapter],
    ] as const) {
      const { y } = await session.run({ input_ids, ...adapterFeeds(each, session.inputMetadata, web.Tensor) })
      near([...(y!.data as Float32Array)], numbersOf(tensors[name]!))
    }
    await session.release()
  })

  it('has layers of every kind, named as those of the adapter it had', async () => {
    const { adapter } = readGoldenPeft('kinds')
    const model = applyAdapter(readGoldenModel('mixed'), adapter)
    const ready = makeLoraReady(model, { optional: false })
    const names = ready.proto.graph!.input.map(({ name }) => name)
    expect(names).toContain('embed.lora_embedding_A')
    expect(names).toContain('block.fc1.lora_B.weight')
    const { session, run } = await open(ready, { ids: tensors['ids']! })
    // A Conv over 0 channels gives NaN if the memory of its output holds NaN, as it does after this run.
    const damaged = adapter.layers.map((layer) => ({ ...layer, scale: Number.NaN }))
    await run({ ...adapter, layers: damaged })
    near(await run(null), numbersOf(tensors['mixed']!))
    near(await run(adapter), numbersOf(tensors['kinds']!))
    const { y } = await runModel(makeLoraReady(model), { ids: tensors['ids']! })
    near(numbersOf(y!), numbersOf(tensors['mixed']!))
    await session.release()
  })

  it('is that of a base in 4 bits, too', async () => {
    const base = quantizeModel(readGoldenModel('llama'))
    const { session, run } = await open(makeLoraReady(base, { optional: false }), tokens)
    near(await run(null), numbersOf((await runModel(base, tokens))['y']!))
    near(await run(adapter), numbersOf((await runModel(applyAdapter(base, adapter), tokens))['y']!))
    await session.release()
  })

  it('is that of a float64 model', async () => {
    const double = (...dims: number[]): Tensor => ({
      dtype: 'float64',
      dims,
      data: Float64Array.from({ length: dims[0]! * dims[1]! }, (_, i) => Math.cos(i)),
    })
    const x = input('x', 'float64', ['N', 3])
    const y = op.MatMul(x, parameter('fc.weight', double(3, 2)))
    const model = modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    const { layers, config } = adapterOf(lora(model, { r: 2, targets: 'fc' }))
    const adapter = { config, layers: layers.map((layer) => ({ ...layer, b: double(2, 2) })) }
    const { session, run } = await open(makeLoraReady(model, { optional: false }), { x: double(4, 3) })
    near(await run(adapter), numbersOf((await runModel(applyAdapter(model, adapter), { x: double(4, 3) }))['y']!))
    await session.release()
  })

  it('is that of a float16 model with packed query, key and value, for some of the parts', async () => {
    const model = await readModel(
      fileURLToPath(new URL('../language/golden/qwen2-genai/onnx/model_q4f16.onnx', import.meta.url)),
    )
    const { layers, config } = adapterOf(lora(model, { r: 3, targets: ['k_proj', 'up_proj'] }))
    const tuned = layers.map(({ b, ...rest }) => {
      const values = Float32Array.from({ length: b.data.length }, (_, i) => 0.05 * Math.sin(i))
      return { ...rest, b: tensorFrom('float32', b.dims, values) }
    })
    const cache = (name: string) => [name, new ort.Tensor('float16', new Uint16Array(0), [1, 1, 0, 16])] as const
    const caches = [0, 1].flatMap((i) => [cache(`past_key_values.${i}.key`), cache(`past_key_values.${i}.value`)])
    const int64 = (...values: number[]) => new ort.Tensor('int64', values.map(BigInt), [1, values.length])
    const feeds = { input_ids: int64(1, 2, 3, 4), attention_mask: int64(1, 1, 1, 1), ...Object.fromEntries(caches) }
    const logits = async (each: Model, adapter?: Adapter) => {
      const session = await ort.InferenceSession.create(encodeModel(each), { logSeverityLevel: 3 })
      const more = adapter ? adapterFeeds(adapter, session.inputMetadata, ort.Tensor) : {}
      const { logits } = await session.run({ ...feeds, ...more })
      const numbers = numbersOf(fromOrtTensor(logits as Parameters<typeof fromOrtTensor>[0]))
      await session.release()
      return numbers
    }
    const adapter = { layers: tuned, config }
    const beside = await logits(applyAdapter(model, adapter))
    near(await logits(makeLoraReady(model, { optional: false }), adapter), beside, 2)
    expect(Math.max(...(await logits(model)).map((value, i) => Math.abs(value - beside[i]!)))).toBeGreaterThan(0.02)
  })

  it('runs without its inputs if they are optional, and keeps everything else', async () => {
    const model = readGoldenModel('llama')
    const ready = makeLoraReady(model)
    const { initializer, input } = ready.proto.graph!
    const name = 'model.layers.1.mlp.up_proj.lora_A.weight'
    expect(namedTensors(ready).get(name)).toMatchObject({ dtype: 'float32', dims: [16, 0] })
    const { dim } = input.find((each) => each.name === name)!.type!.tensorType!.shape!
    expect(dim.map(({ dimValue, dimParam }) => dimValue ?? dimParam)).toEqual([16n, 'lora_r'])
    near(numbersOf((await runModel(ready, tokens))['y']!), numbersOf(tensors['llama-base']!))
    for (const tensor of model.proto.graph!.initializer) expect(initializer).toContain(tensor)
    expect(ready.proto.metadataProps).toEqual(model.proto.metadataProps)
    expect(makeLoraReady(lora(model, { r: 3 })).proto).toEqual(ready.proto)
  })

  it.each(['float16', 'bfloat16', 'float64'] as const)(
    'of a model in %s > has inputs and defaults of its type',
    (dtype) => {
      const x = input('x', dtype, ['N', 4])
      const y = op.MatMul(x, parameter('fc', tensorFrom(dtype, [4, 3], new Float64Array(12))))
      const model = modelOf({ name: 'fc', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
      const graph = makeLoraReady(model).proto.graph!
      const types = new Map(graph.input.map(({ name, type }) => [name, type!.tensorType!.elemType]))
      for (const name of ['fc.lora_A.weight', 'fc.lora_B.weight']) {
        expect(types.get(name)).toBe(dtypes[dtype].onnx)
        expect(graph.initializer.find((each) => each.name === name)!.dataType).toBe(dtypes[dtype].onnx)
      }
    },
  )

  it('has inputs of the chosen layers only', () => {
    const { input } = makeLoraReady(readGoldenModel('llama'), { targets: ['q_proj', 'lm_head'] }).proto.graph!
    expect(input.map(({ name }) => name).slice(1)).toEqual([
      'model.layers.0.self_attn.q_proj.lora_A.weight',
      'model.layers.0.self_attn.q_proj.lora_B.weight',
      'model.layers.1.self_attn.q_proj.lora_A.weight',
      'model.layers.1.self_attn.q_proj.lora_B.weight',
      'lm_head.lora_A.weight',
      'lm_head.lora_B.weight',
    ])
    expect(() => makeLoraReady(readGoldenModel('llama'), { targets: 'nothing' })).toThrow(
      errorWith('invalid-option', 'nothing'),
    )
  })
})

test('checksumBase is that of the model without its adapter', () => {
  const model = readGoldenModel('llama')
  expect(checksumBase(model)).toMatch(/^[0-9a-f]{8}$/)
  expect(checksumBase(applyAdapter(model, adapter))).toBe(checksumBase(model))
  expect(checksumBase(quantizeModel(model))).not.toBe(checksumBase(model))
})

describe('adapterFeeds', () => {
  const inputs = [
    { name: 'x', type: 'float32', shape: ['N', 4] },
    { name: 'fc.lora_A.weight', type: 'float16', shape: [4, 'lora_r'] },
    { name: 'fc.lora_B.weight', type: 'float16', shape: ['lora_r', 3] },
  ]
  const layer = (module: string, inputs: number): Adapter => ({
    layers: [
      {
        module,
        kind: 'linear',
        a: { dtype: 'float32', dims: [2, inputs], data: new Float32Array(2 * inputs) },
        b: { dtype: 'float32', dims: [3, 2], data: new Float32Array(6) },
        scale: 1,
      },
    ],
    config: { r: 2, alpha: 2 },
  })

  it('has the types of the inputs', () => {
    const feeds = adapterFeeds(layer('fc', 4), inputs, ort.Tensor)
    expect(Object.entries(feeds).map(([name, { type, dims }]) => [name, type, dims])).toEqual([
      ['fc.lora_A.weight', 'float16', [4, 2]],
      ['fc.lora_B.weight', 'float16', [2, 3]],
    ])
    expect(adapterFeeds(null, inputs, ort.Tensor)['fc.lora_A.weight']?.dims).toEqual([4, 0])
  })

  it('refuses an adapter of another model', () => {
    expect(() => adapterFeeds(layer('other', 4), inputs, ort.Tensor)).toThrow(
      errorWith('invalid-data', "'other.lora_A"),
    )
    expect(() => adapterFeeds(layer('fc', 5), inputs, ort.Tensor)).toThrow(errorWith('invalid-data', '[5, 2]'))
    expect(() => adapterFeeds(null, inputs.slice(0, 1), ort.Tensor)).toThrow(errorWith('invalid-data', 'optional'))
    const { adapter } = readGoldenPeft('dora')
    expect(() => adapterFeeds(adapter, inputs, ort.Tensor)).toThrow(errorWith('invalid-data', 'DoRA'))
  })
})
