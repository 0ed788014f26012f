import { describe, expect, it } from 'vitest'
import { adapterOf, applyAdapter, lora, mergeAdapter, mergeQuantized, removeAdapter } from '../../src/adapter/index.js'
import { findLayers } from '../../src/adapter/layers.js'
import { readModuleWeight, readWeight } from '../../src/adapter/merged-weight.js'
import { buildTrainingGraphs, importGraph, input, op, parameter } from '../../src/graph/index.js'
import { encodeModel, type Model, mse, namedTensors } from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { edit } from '../../src/onnx/proto/message.js'
import type { NodeProto } from '../../src/onnx/proto/schema.js'
import { toTensorProto } from '../../src/onnx/proto/tensor.js'
import { node } from '../onnx/build.js'
import { difference, numbers, run } from '../onnx/session.js'
import { type Form, forms, randomDora } from './forms.js'

const outputOf = async (model: Model, { feeds }: Form) => (await run(encodeModel(model), feeds))['y']!

describe.each(forms.map((form) => [form.name, form] as const))('DoRA of %s', (name, form) => {
  const { model, modules, dtype, isFloat } = form
  const { fresh, adapted, adapter } = randomDora(form)

  it('new > computes what the model computes', async () => {
    const found = await outputOf(fresh, form)
    // onnxruntime rounds activations if DequantizeLinear and MatMul are one kernel, which a second reader prevents.
    const base = isFloat ? model : dequantized(model)
    expect(difference(found, await outputOf(base, form))).toBeLessThan(dtype === 'float64' ? 1e-12 : 1e-5)
  })

  it('removed > leaves the bytes of the base', () => {
    expect(Buffer.compare(encodeModel(removeAdapter(adapted)), encodeModel(model))).toBe(0)
  })

  it.runIf(isFloat)('merged > computes the same; the norms are the magnitudes', async () => {
    const merged = mergeAdapter(adapted)
    const beside = await outputOf(adapted, form)
    const isHalf = name.includes('float16')
    expect(difference(await outputOf(merged, form), beside)).toBeLessThan(isHalf ? 2e-3 : 1e-5)
    expect(difference(beside, await outputOf(model, form))).toBeGreaterThan(0.01)
    // PEFT's norms of a convolution of several groups are others.
    if (name.includes('groups')) return
    const again = adapterOf(lora(merged, { r: 2, dora: true, targets: modules }))
    for (const [i, { magnitude }] of again.layers.entries())
      expect(difference(magnitude!, adapter.layers[i]!.magnitude!)).toBeLessThan(isHalf ? 2e-3 : 1e-5)
  })

  it.runIf(!isFloat)('has outputs and gradients of the dequantized model', async () => {
    const float = applyAdapter(dequantized(model), adapter)
    const [found, expected] = [await outputOf(adapted, form), await outputOf(float, form)]
    expect(difference(found, expected)).toBeLessThan(1e-5)
    expect(difference(found, await outputOf(model, form))).toBeGreaterThan(0.01)
    const targets = tensorFrom('float32', expected.dims, new Float64Array(numbers(expected).length))
    const [gradients, others] = await Promise.all(
      [adapted, float].map(async (each) => {
        const { training, parameters } = buildTrainingGraphs(importGraph(each), { loss: mse() })
        const inputs = new Map([...training.inputs].filter(([input]) => !parameters.has(input)))
        return run(encodeModel(modelOf({ ...training, inputs })), { ...form.feeds, targets })
      }),
    )
    for (const module of modules)
      for (const role of ['A.weight', 'B.weight', 'magnitude_vector']) {
        const gradient = `grad/${module}.lora_${role}`
        expect(difference(gradients![gradient]!, others![gradient]!), gradient).toBeLessThan(1e-4)
      }
  })

  it.runIf(name.includes('MatMulNBits'))('merged and quantized again > computes nearly the same', async () => {
    const requantized = mergeQuantized(adapted, { bits: 8, blockSize: 16 })
    expect(difference(await outputOf(requantized, form), await outputOf(adapted, form))).toBeLessThan(0.05)
  })
})

/** The model with its first layer over a float weight. */
function dequantized(model: Model): Model {
  const [layer] = findLayers(model)
  const { kind, in: inputs, out, kernel = [], sites } = layer!
  const base = sites[0]!.node
  const tensors = namedTensors(model)
  const bias = base.opType === 'MatMulNBits' ? base.input[5] : undefined
  const columns = () => {
    const rows = readModuleWeight(layer!, tensors)
    return Array.from({ length: inputs * out }, (_, i) => rows[(i % out) * inputs + Math.floor(i / out)]!)
  }
  const [opType, dims, elements] =
    kind === 'linear'
      ? ['MatMul', [inputs, out], columns()]
      : [
          kind === 'conv' ? 'Conv' : 'Gather',
          kind === 'conv' ? [out, inputs, ...kernel] : [inputs, out],
          readWeight(layer!, tensors),
        ]
  const [x, y] = [sites[0]!.input, base.output[0]!]
  const input = kind === 'embedding' ? ['float', x] : [x, 'float', ...(kind === 'conv' ? base.input.slice(2) : [])]
  const attribute = kind === 'conv' ? base.attribute : []
  const float = {
    ...node(opType, '', ''),
    name: base.name,
    input,
    output: [bias ? 'product' : y],
    attribute,
  } as NodeProto
  const graph = model.proto.graph!
  const nodes = graph.node.flatMap((each) =>
    each !== base ? [each] : [float, ...(bias ? [node('Add', `product ${bias}`, y)] : [])],
  )
  const weight = toTensorProto('float', tensorFrom('float32', dims, elements))
  const proto = edit(graph, { node: nodes, initializer: [...graph.initializer, weight] })
  return { ...model, proto: edit(model.proto, { graph: proto }) }
}

describe('DoRA', () => {
  it.each([{ dora: true }, { dropout: 0.1 }])('in the body of a Loop > cannot be trained: %j', (options) => {
    const { model, modules } = forms.find(({ name }) => name === 'MatMul in the body of a Loop')!
    const build = (each: typeof options | object) =>
      buildTrainingGraphs(importGraph(lora(model, { ...each, targets: modules })), { loss: mse() })
    expect(() => build({})).not.toThrow()
    expect(() => build(options)).toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringContaining(Object.keys(options)[0]!) }),
    )
  })

  it('of a weight with an output of zeros, which has no norm to divide by > is refused', () => {
    const weight = parameter('fc', tensorFrom('float32', [2, 3], [1, 0, 2, 3, 0, 4]))
    const x = input('x', 'float32', ['N', 2])
    const y = op.MatMul(x, weight)
    const model = modelOf({ name: 'fc', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    expect(() => lora(model, { targets: 'fc', r: 1 })).not.toThrow()
    expect(() => lora(model, { targets: 'fc', r: 1, dora: true })).toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringMatching(/'fc'.* output 1 is 0/) }),
    )
  })

  it.each(forms.filter(({ name }) => name.startsWith('packed')).map((form) => [form.name, form] as const))(
    'of a part of %s > leaves the other parts as they are',
    async (_, form) => {
      const [, part] = form.modules
      const { adapted } = randomDora({ ...form, modules: [part!] })
      const [found, base] = [await outputOf(adapted, form), await outputOf(form.model, form)]
      // The output is that of value, key and query side by side.
      const isPart = (i: number) => i % 8 >= 2 && i % 8 < 4
      const changes = numbers(found).map((value, i) => Math.abs(value - numbers(base)[i]!))
      expect(Math.min(...changes.filter((_, i) => isPart(i)))).toBeGreaterThan(1e-4)
      expect(Math.max(...changes.filter((_, i) => !isPart(i)))).toBeLessThan(1e-5)
    },
  )
})
