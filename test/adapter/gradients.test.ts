import { describe, expect, it } from 'vitest'
import { type Adapter, adapterOf, applyAdapter, mergeAdapter } from '../../src/adapter/index.js'
import { findLayers, type Layer } from '../../src/adapter/layers.js'
import { toReadForm } from '../../src/adapter/weight-source.js'
import { buildTrainingGraphs, importGraph, type TrainingGraphs } from '../../src/graph/index.js'
import {
  type DType,
  decodeModel,
  encodeModel,
  type Model,
  mse,
  namedTensors,
  replaceTensors,
  type Tensor,
  type Tensors,
} from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { topological } from '../../src/ir/topology.js'
import { type GraphSpec, modelOf } from '../../src/onnx/export/export-graph.js'
import { edit } from '../../src/onnx/proto/message.js'
import type { NodeProto } from '../../src/onnx/proto/schema.js'
import { toTensorProto } from '../../src/onnx/proto/tensor.js'
import { Random } from '../../src/util/random.js'
import { info, int, modelBytes, node } from '../onnx/build.js'
import { numbers, run } from '../onnx/session.js'
import { drawing, type Form, forms, imports, randomAdapter, randomDora } from './forms.js'

const draw = drawing(new Random(4))

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
const dot = (a: readonly number[], b: readonly number[]) => sum(a.map((x, i) => x * b[i]!))

/** Gradients of the mean square of a model's output, by tensor. */
async function gradientsOf(model: Model, trainable: readonly string[] | undefined, feeds: Tensors): Promise<Tensors> {
  const graph = importGraph(model)
  const { training, parameters } = buildTrainingGraphs(graph, {
    loss: mse(),
    ...(trainable && { trainable }),
  })
  const inputs = new Map([...training.inputs].filter(([name]) => !parameters.has(name)))
  const results = await run(encodeModel(modelOf({ ...training, inputs })), feeds)
  return Object.fromEntries([...parameters.keys()].map((name) => [name, results[`grad/${name}`]!]))
}

/** The loss of the same model in plain arithmetic, from its output. */
async function lossOf(model: Model, { targets, ...feeds }: Tensors): Promise<number> {
  const y = numbers((await run(encodeModel(model), feeds))['y']!)
  const differences = y.map((value, i) => value - numbers(targets!)[i]!)
  return dot(differences, differences) / y.length
}

const move = (model: Model, direction: Tensors, step: number): Model => {
  const tensors = namedTensors(model)
  const moved = Object.entries(direction).map(([name, { data }]): [string, Tensor] => {
    const { dtype, dims, data: from } = tensors.get(name)!
    return [
      name,
      tensorFrom(
        dtype,
        dims,
        Array.from(from as Float64Array, (x, i) => x + step * (data[i] as number)),
      ),
    ]
  })
  return replaceTensors(model, new Map(moved))
}

/** The model with the norms of DoRA as stored tensors. */
async function freezeNorms(model: Model, { targets: _, ...feeds }: Tensors, dtype: DType): Promise<Model> {
  const { proto } = model
  const graph = proto.graph!
  const isNorm = ({ name = '' }: NodeProto) => /\/lora_norm(_\d+)?\/(ReduceL2|Sqrt)$/.test(name)
  const names = graph.node.filter(isNorm).map(({ output }) => output[0]!)
  const output = [...graph.output, ...names.map((name) => info(name, undefined, dtype))]
  const found = await run(encodeModel({ ...model, proto: edit(proto, { graph: edit(graph, { output }) }) }), feeds)
  const frozen = edit(graph, {
    node: graph.node.filter((each) => !isNorm(each)),
    initializer: [...graph.initializer, ...names.map((name) => toTensorProto(name, found[name]!))],
    // Up to IR version 3 initializers are declared among the inputs.
    ...(proto.irVersion! < 4n && {
      input: [...graph.input, ...names.map((name) => info(name, found[name]!.dims, dtype))],
    }),
  })
  return { ...model, proto: edit(proto, { graph: frozen }) }
}

async function feedsOf({ model, feeds, dtype }: Form): Promise<Tensors> {
  const { y } = await run(encodeModel(model), feeds)
  return { ...feeds, targets: draw(dtype, y!.dims) }
}

/** Gradient of s B A in PEFT's layout, [out, in], from that of the stored weight. */
function gradientOfProduct(layer: Layer, gradient: Tensor): number[][] {
  const read = toReadForm(layer.source!, Float64Array.from(numbers(gradient)))
  const { part, outAxis, alpha, out } = layer
  const width = part ? sum(part.sizes) : out
  const inputs = read.length / width
  const first = part ? sum(part.sizes.slice(0, part.index)) : 0
  return Array.from({ length: out }, (_, o) =>
    Array.from(
      { length: inputs },
      (_, i) => read[outAxis === 0 ? (first + o) * inputs + i : i * width + first + o]! / alpha,
    ),
  )
}

describe.each(forms.map((form) => [form.name, form] as const))('gradients of an adapter of %s', (_, form) => {
  const { model, modules, dtype, isFloat } = form
  const adapter = randomAdapter(model, modules)
  const adapted = applyAdapter(model, adapter)
  const names = modules.flatMap((module) => [`${module}.lora_A.weight`, `${module}.lora_B.weight`])
  const [step, tolerance] = dtype === 'float64' ? [1e-4, 1e-7] : [1e-2, 2e-3]

  it('are those of the adapter only', async () => {
    expect(Object.keys(await gradientsOf(adapted, undefined, await feedsOf(form))).toSorted()).toEqual(names.toSorted())
  })

  it('agree with differences along directions', async () => {
    const feeds = await feedsOf(form)
    const gradients = await gradientsOf(adapted, undefined, feeds)
    for (const moving of [names, ...names.map((name) => [name])]) {
      const direction = Object.fromEntries(moving.map((name) => [name, draw('float64', gradients[name]!.dims)]))
      await expectSlope(adapted, gradients, direction, feeds)
    }
  })

  it.runIf(!form.name.includes('Loop'))('with DoRA > agree with differences at constant norms', async () => {
    const feeds = await feedsOf(form)
    const { adapted } = randomDora(form)
    const gradients = await gradientsOf(adapted, undefined, feeds)
    const all = [...names, ...modules.map((module) => `${module}.lora_magnitude_vector`)]
    expect(Object.keys(gradients).toSorted()).toEqual(all.toSorted())
    const direction = Object.fromEntries(all.map((name) => [name, draw('float64', gradients[name]!.dims)]))
    await expectSlope(await freezeNorms(adapted, feeds, dtype), gradients, direction, feeds)
  })

  /** Compares the slope of the loss along a direction with gradients. */
  async function expectSlope(model: Model, gradients: Tensors, direction: Tensors, feeds: Tensors): Promise<void> {
    const slope = async (h: number) => {
      const [up, down] = [
        await lossOf(move(model, direction, h), feeds),
        await lossOf(move(model, direction, -h), feeds),
      ]
      return (up - down) / (2 * h)
    }
    // The second slope removes the third derivative, which is large for steps of float32 and for a product in a Loop.
    const expected = (4 * (await slope(step)) - (await slope(2 * step))) / 3
    const actual = sum(Object.entries(direction).map(([name, each]) => dot(numbers(gradients[name]!), numbers(each))))
    expect(Math.abs(actual - expected)).toBeLessThan(tolerance * Math.max(1, Math.abs(expected)))
  }

  it.runIf(isFloat && !/float16|groups/.test(form.name))('are the gradient of the weight, projected', async () => {
    const feeds = await feedsOf(form)
    const found = await gradientsOf(adapted, undefined, feeds)
    const merged = mergeAdapter(adapted)
    const layers = findLayers(merged).filter(({ module }) => modules.includes(module))
    const weights = await gradientsOf(merged, [layers[0]!.weight.tensor], feeds)
    // The tensors of an adapter, replaced by their gradients, in PEFT's layout.
    const gradients = adapterOf(replaceTensors(adapted, new Map(Object.entries(found))))
    for (const [k, layer] of layers.entries()) {
      const { a, b, scale } = adapter.layers[k]!
      const dWeight = gradientOfProduct(layer, weights[layer.weight.tensor]!)
      const r = a.dims[0]!
      const [down, up] = [numbers(a), numbers(b)]
      const inputs = down.length / r
      const dA = down.map(
        (_, at) => scale * sum(dWeight.map((row, o) => up[o * r + Math.floor(at / inputs)]! * row[at % inputs]!)),
      )
      const dB = up.map(
        (_, at) => scale * dot(dWeight[Math.floor(at / r)]!, down.slice((at % r) * inputs, ((at % r) + 1) * inputs)),
      )
      close(gradients, k, dA, dB, dtype === 'float64' ? 1e-6 : 1e-4)
    }
  })
})

function close({ layers }: Adapter, k: number, dA: readonly number[], dB: readonly number[], tolerance: number): void {
  for (const [actual, expected] of [
    [numbers(layers[k]!.a), dA],
    [numbers(layers[k]!.b), dB],
  ] as const) {
    const largest = Math.max(...expected.map(Math.abs))
    expect(Math.max(...expected.map((x, i) => Math.abs(x - actual[i]!)))).toBeLessThan(tolerance * largest)
  }
}

describe('the training graph of an adapter', () => {
  const nodesOf = ({ outputs }: GraphSpec) => topological(outputs.values())
  const build = (model: Model, trainable?: readonly string[]) =>
    buildTrainingGraphs(importGraph(model), { loss: mse(), ...(trainable && { trainable }) })
  const adapt = (model: Model, modules: readonly string[]) => applyAdapter(model, randomAdapter(model, modules))

  /** Sorted shapes of the results of the backward pass. */
  const backwardShapes = ({ training, evaluation }: TrainingGraphs): readonly string[] => {
    const before = new Set(nodesOf(evaluation).map(({ operator, name }) => `${operator} ${name}`))
    const backward = nodesOf(training).filter(({ operator, name }) => !before.has(`${operator} ${name}`))
    return backward.flatMap(({ outputs }) => outputs.map(({ shape = [] }) => [...shape].sort().join()))
  }
  const shapeOf = ({ in: inputs, out, kernel = [] }: Layer) => [inputs, out, ...kernel].sort().join()

  it.each(forms.map((form) => [form.name, form] as const))('of %s > has no gradient of the weight', (_, form) => {
    const [layer] = findLayers(form.model)
    const shapes = backwardShapes(build(adapt(form.model, form.modules)))
    expect(shapes).not.toContain(shapeOf(layer!))
    // The gradient of a grouped weight is computed in another shape.
    if (form.isFloat && layer!.source!.views.length === 0 && layer!.groups === undefined)
      expect(backwardShapes(build(form.model, [layer!.weight.tensor]))).toContain(shapeOf(layer!))
  })

  it('dequantizes a block-quantized weight only for the gradient of an activation, once', () => {
    const products = ['first', 'second'].map((name, i) => ({
      ...node('MatMulNBits', i === 0 ? 'x q s' : 'h q2 s', i === 0 ? 'h' : 'y', attributes, 'com.microsoft'),
      name: `/${name}/MatMul`,
    }))
    const model = blockModel(products)
    const operators = ({ training }: TrainingGraphs) => nodesOf(training).map(({ operator }) => operator)
    const dequantized = (modules: readonly string[]) =>
      operators(build(adapt(model, modules))).filter((operator) => operator === 'DequantizeLinear').length
    expect(dequantized(['second'])).toBe(0)
    expect(dequantized(['first', 'second'])).toBe(1)
  })

  it('computes block-quantized products in the accuracy of their type; the file keeps its own', () => {
    const products = [
      {
        ...node('MatMulNBits', 'x q s', 'y', { ...attributes, accuracy_level: int(4) }, 'com.microsoft'),
        name: '/first/MatMul',
      },
    ]
    const model = adapt(blockModel(products), ['first'])
    const { training, evaluation } = build(model)
    for (const graph of [training, evaluation]) {
      const [found] = nodesOf(graph).filter(({ operator }) => operator === 'MatMulNBits')
      expect(found!.attributes['accuracy_level']).toBe(0)
    }
    expect(modelOf(importGraph(model)).proto.graph!.node.map(({ opType }) => opType)).toContain('MatMulNBits')
    const kept = encodeModel(model)
    expect(findLayers(decodeModel(kept))[0]!.sites[0]!.attributes['accuracy_level']).toBe(4)
  })
})

const attributes = { K: int(32), N: int(32), bits: int(4), block_size: int(16) }

function blockModel(nodes: readonly NodeProto[]): Model {
  const quantized = (factor: number) =>
    tensorFrom(
      'uint8',
      [32, 2, 8],
      Array.from({ length: 512 }, (_, i) => (i * factor) % 256),
    )
  const initializers = {
    q: quantized(37),
    q2: quantized(41),
    s: tensorFrom('float32', [32, 2], new Array<number>(64).fill(0.1)),
  }
  return decodeModel(
    modelBytes(
      { nodes, inputs: [info('x', ['N', 32])], outputs: [info('y')], initializers },
      { opset: 21, more: imports(21) },
    ),
  )
}
