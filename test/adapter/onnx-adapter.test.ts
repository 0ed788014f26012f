import { describe, expect, it } from 'vitest'
import type { AdapterLayer } from '../../src/adapter/adapter.js'
import { decodeAdapterFile, encodeAdapterFile } from '../../src/adapter/adapter-file.js'
import { decodeOnnxAdapter, encodeOnnxAdapter } from '../../src/adapter/onnx-adapter.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { type Tensor, tensor } from '../../src/ir/tensor.js'
import { OnnxIreError } from '../../src/util/errors.js'
import { errorWith } from '../thrown.js'
import { readGolden, readGoldenPeft } from './golden.js'

const zeros = (...dims: number[]) => tensorFrom('float32', dims, new Float32Array(dims.reduce((x, y) => x * y, 1)))
const encode = (parameters: Readonly<Record<string, Tensor>>) =>
  encodeAdapterFile({ adapterVersion: 1, modelVersion: 1, parameters })

describe('an .onnx_adapter file that Olive wrote', () => {
  it.each(['float32', 'float16'] as const)('has the tensors of the PEFT folder, transposed and scaled: %s', (dtype) => {
    const { parameters } = decodeAdapterFile(readGolden(`olive-${dtype}.onnx_adapter`))
    const feeds = decodeAdapterFile(encodeOnnxAdapter(readGoldenPeft('llama').adapter, { dtype })).parameters
    expect(parameters['model.layers.0.self_attn.q_proj.lora_A.weight']?.dims).toEqual([16, 4])
    // Olive removes only `base_model.model.model`, and the names of this model begin with `model`.
    expect(Object.keys(parameters).sort()).toEqual(Object.keys(feeds).sort())
    for (const [name, expected] of Object.entries(parameters)) {
      const { dtype, dims } = feeds[name]!
      expect([name, dtype, dims]).toEqual([name, expected.dtype, expected.dims])
      // Olive rounds to float16 before it multiplies, which differs for the smallest numbers.
      const error = numbersOf(expected).map((value, i) => Math.abs(value - numbersOf(feeds[name]!)[i]!))
      expect(Math.max(...error)).toBeLessThanOrEqual(dtype === 'float32' ? 0 : 2 ** -24)
    }
  })

  it('is decoded as the adapter of the PEFT folder with the scale in B', () => {
    const { layers, config } = decodeOnnxAdapter(readGolden('olive-float32.onnx_adapter'))
    expect(config).toEqual({ r: 4, alpha: 4 })
    const { layers: expected } = readGoldenPeft('llama').adapter
    expect(layers.map(({ module }) => module).sort()).toEqual(expected.map(({ module }) => module).sort())
    for (const { module, kind, a, b, scale } of layers) {
      const original = expected.find((layer) => layer.module === module)!
      expect([kind, scale, a]).toEqual(['linear', 1, original.a])
      expect(numbersOf(b)).toEqual(numbersOf(original.b).map((value) => 2 * value))
    }
  })
})

describe('encodeOnnxAdapter', () => {
  it('writes the layout that decodeOnnxAdapter reads, for layers of every kind, filled up to one rank', () => {
    const { adapter } = readGoldenPeft('kinds')
    const { layers } = decodeOnnxAdapter(encodeOnnxAdapter(adapter))
    expect(layers.map(({ a }) => a.dims[0])).toEqual([3, 3, 3, 3])
    const [filled, ...rest] = layers
    expect(rest).toEqual(
      adapter.layers.slice(1).map((layer) => ({
        ...layer,
        scale: 1,
        b: tensorFrom(
          'float32',
          layer.b.dims,
          numbersOf(layer.b).map((value) => value * layer.scale),
        ),
      })),
    )
    const { a, b, scale } = adapter.layers[0]!
    expect(numbersOf(filled!.a)).toEqual([...numbersOf(a), ...Array(32).fill(0)])
    const expected = Array.from({ length: 12 }, (_, row) => [...numbersOf(b).slice(2 * row, 2 * row + 2), 0])
    expect(numbersOf(filled!.b)).toEqual(expected.flat().map((value) => Math.fround(value * scale)))
  })

  it('aligns lengths and elements as FlatBuffers requires, and writes its versions', () => {
    const file = encode({ a: tensor('float16', [3], Uint16Array.of(1, 2, 3)), bcde: zeros(0, 2), ü: zeros() })
    const { parameters, ...versions } = decodeAdapterFile(file)
    expect(versions).toEqual({ adapterVersion: 1, modelVersion: 1 })
    expect(Object.keys(parameters)).toEqual(['a', 'bcde', 'ü'])
    expect(parameters['a']).toEqual(tensor('float16', [3], Uint16Array.of(1, 2, 3)))
    expect(parameters['bcde']?.dims).toEqual([0, 2])
    expect(parameters['ü']?.dims).toEqual([])
    for (const { data } of Object.values(parameters)) expect((data as Float32Array).byteOffset % 8).toBe(0)
    expect(Buffer.from(file.subarray(4, 8)).toString()).toBe('TORT')
    const feeds = encodeOnnxAdapter(readGoldenPeft('linear').adapter, { adapterVersion: -5, modelVersion: 7 })
    expect(decodeAdapterFile(feeds)).toMatchObject({ adapterVersion: -5, modelVersion: 7 })
  })

  it('refuses DoRA and wrong options', () => {
    const { adapter } = readGoldenPeft('dora')
    expect(() => encodeOnnxAdapter(adapter)).toThrow(errorWith('invalid-data', 'DoRA'))
    const { adapter: linear } = readGoldenPeft('linear')
    expect(() => encodeOnnxAdapter(linear, { dtype: 'int4' as 'float16' })).toThrow(
      errorWith('invalid-option', 'dtype'),
    )
    expect(() => encodeOnnxAdapter(linear, { modelVersion: 2 ** 31 })).toThrow(
      errorWith('invalid-option', 'modelVersion'),
    )
    expect(() => encodeOnnxAdapter(linear, { type: 'float16' } as object)).toThrow(
      errorWith('invalid-option', "'type'"),
    )
    expect(() => encodeOnnxAdapter({ ...linear, layers: [] })).toThrow(errorWith('invalid-data', 'no layers'))
  })
})

describe('decodeOnnxAdapter', () => {
  const pair = { 'fc.lora_A.weight': zeros(4, 2), 'fc.lora_B.weight': zeros(2, 3) }
  it('removes the prefix of PEFT, which Olive writes for some models', () => {
    const named = Object.fromEntries(Object.entries(pair).map(([name, value]) => [`base_model.model.${name}`, value]))
    expect(decodeOnnxAdapter(encode(named)).layers.map((layer: AdapterLayer) => layer.module)).toEqual(['fc'])
  })

  it.each<[string, Readonly<Record<string, Tensor>>]>([
    ['no parameters', {}],
    ['fc.lora_B.weight is missing', { 'fc.lora_A.weight': zeros(4, 2) }],
    ['4-bit adapter', { ...pair, 'q.lora_A.quant.weight': zeros(1) }],
    ['not the name of a LoRA tensor', { ...pair, weight: zeros(1) }],
    ['DoRA', { ...pair, 'fc.lora_magnitude_vector': zeros(3) }],
    ['ranks must be equal', { ...pair, 'fc.lora_B.weight': zeros(3, 3) }],
    ['floating-point', { ...pair, 'fc.lora_A.weight': tensor('int8', [4, 2], new Int8Array(8)) }],
  ])('refuses a file: %s', (reason, parameters) => {
    expect(() => decodeOnnxAdapter(encode(parameters))).toThrow(errorWith('invalid-data', reason))
  })

  const file = encode(pair)
  it('reads or refuses a file with any changed byte, and refuses every shortened one', () => {
    for (let at = 0; at < file.length; at++)
      for (const flip of [1, 128, 255]) {
        const changed = file.slice()
        changed[at] = changed[at]! ^ flip
        expectTyped(() => decodeOnnxAdapter(changed))
      }
    const used = 8 * Math.ceil(file.length / 8) - 8
    for (let length = 0; length <= used; length++)
      expect(() => decodeAdapterFile(file.subarray(0, length))).toThrow(errorWith('damaged', ''))
  })

  const patch = (change: (view: DataView) => void) => {
    const changed = file.slice()
    change(new DataView(changed.buffer))
    return () => decodeAdapterFile(changed)
  }
  // The root table is at byte 20, the list at 40, its tables from 52 on.
  it.each<[string, (view: DataView) => void]>([
    ['format version is 2', (view) => view.setInt32(24, 2, true)],
    ['TORT', (view) => view.setUint8(4, 0)],
    ['the root is at', (view) => view.setUint32(0, 0xfffffff0, true)],
    ['vtable', (view) => view.setInt32(20, 1000, true)],
    ['vtable', (view) => view.setInt32(20, -(2 ** 31), true)],
    ['too short', (view) => view.setUint16(8, 2, true)],
    ['outside of it', (view) => view.setUint16(12, 60000, true)],
    ['list of parameters', (view) => view.setUint32(40, 0xffffffff, true)],
    ['occurs twice', (view) => view.setUint32(48, 52 - 48, true)],
    ['type 99', (view) => view.setInt32(52 + 12, 99, true)],
  ])('refuses a damaged reference or number: %s', (reason, change) => {
    expect(patch(change)).toThrow(errorWith('damaged', reason))
  })
})

function expectTyped(action: () => unknown): void {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(OnnxIreError)
  }
}
