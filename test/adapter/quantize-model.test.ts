import { describe, expect, it } from 'vitest'
import { dequantizeBlocks, quantizeBlocks } from '../../src/adapter/blocks.js'
import { quantizeModel } from '../../src/adapter/quantize-model.js'
import { transpose } from '../../src/adapter/stored-layers.js'
import { exportGraph, input, op, parameter } from '../../src/graph/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { decodeSafetensors } from '../../src/ir/safetensors.js'
import { type Tensor, tensor } from '../../src/ir/tensor.js'
import { namedTensors, replaceTensors } from '../../src/onnx/model.js'
import { errorWith } from '../thrown.js'
import { goldenTensors, readGolden, readGoldenModel } from './golden.js'
import { runModel } from './run.js'

const { tensors } = decodeSafetensors(readGolden('quantized.safetensors'), { checksum: false })

/** A weight [k, n]. */
const byInput = ({ dims, data }: Tensor) => ({ elements: data as Float32Array, outputStride: 1, inputStride: dims[1]! })

describe('blocks', () => {
  it.each([
    [64, 4],
    [64, 8],
    [70, 4],
    [70, 8],
  ])('of %i rows in %i bits are those of onnxruntime', (k, bits) => {
    const form = { n: 7, k, bits, blockSize: 32 }
    const { q, scales } = quantizeBlocks(byInput(tensors[`${k}.weight`]!), form, 'float32', 'w')
    // The scale of a block of zeros may be -0.
    const plain = (values: Tensor) => numbersOf(values).map((value) => value + 0)
    expect(plain(scales)).toEqual(plain(tensors[`${k}.scales${bits}`]!))
    expect(q).toEqual(tensors[`${k}.q${bits}`])
  })

  it.each([4, 8])('of %i bits have the elements that they were made from, within half a step', (bits) => {
    const form = { n: 7, k: 70, bits, blockSize: 32 }
    const stored = tensors['70.weight']!
    const weight = numbersOf(transpose(stored))
    for (const dtype of ['float32', 'float16'] as const) {
      const blocks = quantizeBlocks(byInput(stored), form, dtype, 'w')
      const steps = numbersOf(blocks.scales)
      for (const [i, value] of dequantizeBlocks(blocks, form).entries()) {
        const step = Math.abs(steps[Math.floor(i / 70) * 3 + Math.floor((i % 70) / 32)]!)
        // The largest level is 2^(bits-1) - 1, so an element near the opposite end is a whole step away.
        expect(Math.abs(value - weight[i]!)).toBeLessThanOrEqual(step * 1.01)
      }
    }
  })

  it('whose scale is too large for its type are refused, with the weight', () => {
    const weight = { elements: Float64Array.of(6e5, ...Array(15).fill(0)), outputStride: 16, inputStride: 1 }
    const quantize = (bits: number, dtype: 'float32' | 'float16') =>
      quantizeBlocks(weight, { n: 1, k: 16, bits, blockSize: 16 }, dtype, 'layer.q_proj')
    expect(() => quantize(4, 'float16')).toThrow(errorWith('not-finite', "'layer.q_proj'"))
    expect(numbersOf(quantize(8, 'float16').scales)[0]).toBeCloseTo(-6e5 / 128, -1)
    expect(numbersOf(quantize(4, 'float32').scales)).toEqual([-6e5 / 8])
  })

  it('with zero points are read, packed or as numbers', () => {
    const form = { n: 2, k: 16, bits: 4, blockSize: 16 }
    const q = tensor(
      'uint8',
      [2, 1, 8],
      Uint8Array.from({ length: 16 }, (_, i) => 0x21 + i),
    )
    const scales = tensor('float32', [2], Float32Array.of(1, 2))
    const packed = tensor('uint8', [2], Uint8Array.of(3, 5))
    const numbers = tensor('float32', [2], Float32Array.of(3, 5))
    const elements = dequantizeBlocks({ q, scales, zeroPoints: packed }, form)
    expect([...elements.subarray(0, 4)]).toEqual([-2, -1, -1, -1])
    expect([...elements.subarray(16, 18)]).toEqual([(9 - 5) * 2, (2 - 5) * 2])
    expect(dequantizeBlocks({ q, scales, zeroPoints: numbers }, form)).toEqual(elements)
    expect(() => dequantizeBlocks({ q, scales }, { ...form, n: 3 })).toThrow(errorWith('invalid-model', '[3, 16]'))
  })
})

describe('quantizeModel', () => {
  it.each([4, 8] as const)('replaces every MatMul by one of %i bits with the same product', async (bits) => {
    const model = readGoldenModel('llama')
    const quantized = quantizeModel(model, { bits })
    const nodes = quantized.proto.graph!.node.filter(({ opType }) => opType === 'MatMulNBits')
    expect(nodes.map(({ name }) => name)).toContain('/model/layers.0/self_attn/q_proj/MatMul')
    expect(nodes).toHaveLength(15)
    const [before, after] = [namedTensors(model), namedTensors(quantized)]
    const weights = [...before.keys()].filter((name) => !after.has(name))
    expect(weights).toHaveLength(15)
    const rounded = weights.map((name) => {
      const [k, n] = before.get(name)!.dims as [number, number]
      const blocks = { q: after.get(`${name}_Q${bits}`)!, scales: after.get(`${name}_scales`)! }
      const elements = dequantizeBlocks(blocks, { n, k, bits, blockSize: 32 })
      const values = elements.map((_, i) => elements[(i % n) * k + Math.floor(i / n)]!)
      return [name, tensorFrom('float32', [k, n], values)] as const
    })
    const feeds = { input_ids: goldenTensors()['tokens']! }
    const { y } = await runModel(quantized, feeds)
    const { y: expected } = await runModel(replaceTensors(model, new Map(rounded)), feeds)
    const expectedNumbers = numbersOf(expected!)
    for (const [i, value] of numbersOf(y!).entries()) expect(value).toBeCloseTo(expectedNumbers[i]!, 4)
  })

  it.each([0, 1])('replaces a Gemm by a product and a sum: transB %i', async (transB) => {
    const form = { n: 3, k: 40, bits: 8, blockSize: 16 }
    const weight = Float32Array.from({ length: 120 }, (_, i) => Math.sin(i))
    const bias = Float32Array.of(1, 2, 3)
    const x = Float32Array.from({ length: 80 }, (_, i) => Math.cos(i))
    const stored = transB ? tensor('float32', [3, 40], weight) : transpose(tensor('float32', [3, 40], weight))
    const build = (alpha: number) => ({
      external: null,
      proto: exportGraph({
        name: 'gemm',
        inputs: new Map([['x', rows]]),
        outputs: new Map([
          [
            'y',
            op.Gemm(rows, parameter('w', stored), parameter('bias', tensor('float32', [3], bias)), { transB, alpha }),
          ],
        ]),
      }),
    })
    const rows = input('x', 'float32', ['N', 40])
    const quantized = quantizeModel(build(1), { bits: 8, blockSize: 16 })
    expect(quantized.proto.graph!.node.map(({ opType }) => opType)).toEqual(['MatMulNBits', 'Add'])
    expect([...namedTensors(quantized).keys()].sort()).toEqual(['bias', 'w_Q8', 'w_scales'])
    const rounded = dequantizeBlocks(
      quantizeBlocks({ elements: weight, outputStride: 40, inputStride: 1 }, form, 'float32', 'w'),
      form,
    )
    const { y } = await runModel(quantized, { x: tensor('float32', [2, 40], x) })
    for (const [i, value] of numbersOf(y!).entries()) {
      const [row, column] = [Math.floor(i / 3), i % 3]
      const terms = Array.from({ length: 40 }, (_, j) => x[40 * row + j]! * rounded[40 * column + j]!)
      expect(value).toBeCloseTo(
        terms.reduce((sum, term) => sum + term, bias[column]!),
        4,
      )
    }
    expect(() => quantizeModel(build(2))).toThrow(errorWith('invalid-model', 'nothing to quantize'))
  })

  it.each([{}, { perm: [1, 0] }])('replaces a product with the transpose of a weight: %j', async (attributes) => {
    const rows = input('x', 'float32', ['N', 32])
    const elements = Float32Array.from({ length: 96 }, (_, i) => Math.sin(i))
    const stored = tensor('float32', [3, 32], elements)
    const y = op.MatMul(rows, op.Transpose(parameter('w', stored), attributes))
    const proto = exportGraph({ name: 'product', inputs: new Map([['x', rows]]), outputs: new Map([['y', y]]) })
    const model = { external: null, proto }
    const quantized = quantizeModel(model, { bits: 8 })
    expect(quantized.proto.graph!.node.map(({ opType }) => opType)).toEqual(['MatMulNBits'])
    expect([...namedTensors(quantized).keys()].sort()).toEqual(['w_Q8', 'w_scales'])
    const feeds = { x: tensor('float32', [1, 32], new Float32Array(32).fill(1)) }
    const [before, after] = [await runModel(model, feeds), await runModel(quantized, feeds)]
    for (const [i, value] of numbersOf(after['y']!).entries()) expect(value).toBeCloseTo(numbersOf(before['y']!)[i]!, 1)
  })

  it('refuses options, and models without a product', () => {
    const model = readGoldenModel('llama')
    expect(() => quantizeModel(model, { bits: 5 as 4 })).toThrow(errorWith('invalid-option', 'bits'))
    expect(() => quantizeModel(model, { blockSize: 24 })).toThrow(errorWith('invalid-option', 'blockSize'))
    expect(() => quantizeModel(quantizeModel(model))).toThrow(errorWith('invalid-model', 'MatMul'))
  })
})
