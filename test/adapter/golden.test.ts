import { describe, expect, it } from 'vitest'
import { applyAdapter, mergeAdapter, mergeQuantized, quantizeModel } from '../../src/adapter/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import type { Tensor } from '../../src/ir/tensor.js'
import type { Model } from '../../src/onnx/model.js'
import { goldenTensors, readGoldenModel, readGoldenPeft } from './golden.js'
import { differenceOf, runModel } from './run.js'

const tensors = goldenTensors()
const models = { mixed: { ids: tensors['ids']! }, llama: { input_ids: tensors['tokens']! } }
const run = async (model: Model, feeds: Record<string, Tensor>) => numbersOf((await runModel(model, feeds))['y']!)

describe('an adapter of PEFT over the ONNX model', () => {
  it.each([
    ['mixed', 'linear'],
    ['mixed', 'kinds'],
    ['mixed', 'rslora'],
    ['mixed', 'dora'],
    ['mixed', 'dora-kinds'],
    ['mixed', 'half'],
    ['mixed', 'bfloat'],
    ['mixed', 'modules-to-save'],
    ['llama', 'llama'],
  ] as const)('has the outputs of PyTorch, beside the weights and merged: %s, %s', async (base, name) => {
    const model = readGoldenModel(base)
    const expected = numbersOf(tensors[name]!)
    const without = numbersOf(tensors[base === 'llama' ? 'llama-base' : base]!)
    expect(differenceOf(await run(model, models[base]), without)).toBeLessThan(1e-5)
    expect(differenceOf(without, expected)).toBeGreaterThan(0.05)
    const beside = applyAdapter(model, readGoldenPeft(name).adapter)
    expect(differenceOf(await run(beside, models[base]), expected)).toBeLessThan(1e-5)
    expect(differenceOf(await run(mergeAdapter(beside), models[base]), expected)).toBeLessThan(1e-5)
  })
})

describe('mergeQuantized', () => {
  const { adapter } = readGoldenPeft('llama')
  it.each([4, 8] as const)('of a float base is the merged model in %i bits', async (bits) => {
    const beside = applyAdapter(readGoldenModel('llama'), adapter)
    const found = await run(mergeQuantized(beside, { bits }), models.llama)
    expect(found).toEqual(await run(quantizeModel(mergeAdapter(beside), { bits }), models.llama))
    expect(differenceOf(found, numbersOf(tensors['llama']!))).toBeLessThan(bits === 8 ? 0.05 : 0.8)
  })

  it('of a base in 8 bits is near the adapter beside the weights', async () => {
    const beside = applyAdapter(quantizeModel(readGoldenModel('llama'), { bits: 8 }), adapter)
    const merged = mergeQuantized(beside, { bits: 8 })
    const expected = await run(beside, models.llama)
    const error = differenceOf(await run(merged, models.llama), expected)
    expect(error).toBeGreaterThan(0)
    expect(error).toBeLessThan(0.05)
    // The output layer has no adapter and is not quantized again.
    const outputLayer = ({ proto }: Model) => proto.graph!.node.find(({ name }) => name === '/lm_head/MatMul')
    expect(outputLayer(merged)).toEqual(outputLayer(beside))
  })
})
