import { afterAll, describe, expect, it } from 'vitest'
import { llama } from '../../../models/llama.js'
import { resnet } from '../../../models/resnet.js'
import { transformer } from '../../../models/transformer.js'
import { vit } from '../../../models/vit.js'
import { peakBytes } from '../../../src/analysis/inspect/arena-peak.js'
import { buildTrainingGraphs, exportGraph, input, op, parameter } from '../../../src/graph/index.js'
import {
  adamw,
  crossEntropy,
  type Graph,
  inspectModel,
  ire,
  type Recompute,
  Trainer,
  type TrainingOptions,
} from '../../../src/index.js'
import { constant, scalar, tensorFrom } from '../../../src/ir/leaf.js'
import type { Tensors } from '../../../src/ir/tensor.js'
import { leavesOf, topological } from '../../../src/ir/topology.js'
import type { Value } from '../../../src/ir/value.js'
import { node } from '../../../src/node/index.js'
import type { GraphSpec } from '../../../src/onnx/export/export-graph.js'
import { modelOf } from '../../../src/onnx/export/export-graph.js'
import { importGraph } from '../../../src/onnx/import/import-graph.js'
import { cloneNode } from '../../../src/op/inline.js'
import { Random } from '../../../src/util/random.js'
import { distance, outputsOf } from '../../lowering/outputs.js'
import { cpuAs } from '../../lowering/providers.js'
import { webgpu } from '../../node/webgpu.js'
import { needs } from '../../requirements.js'
import { errorWith } from '../../thrown.js'
import { addedBytes } from './added-bytes.js'

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const length = 4
const build = (graph: Graph, recompute: Recompute | undefined, options: Partial<TrainingOptions> = {}) =>
  buildTrainingGraphs(graph, {
    loss: crossEntropy(),
    batchNorm: 'trained',
    ...options,
    ...(recompute === undefined ? {} : { recompute }),
  })

/** Random data for every input; parameters have their own values. */
function feedsFor({ inputs }: GraphSpec): Tensors {
  const random = new Random(5)
  return Object.fromEntries(
    [...inputs].map(([name, { source, dtype, shape }]) => {
      if (source.kind === 'parameter') return [name, source.tensor]
      const dims = shape!.map((dim) => (typeof dim === 'number' ? dim : length))
      const count = dims.reduce((a, b) => a * b, 1)
      const data =
        dtype === 'int64'
          ? BigInt64Array.from({ length: count }, () => BigInt(Math.floor(random.uniform() * 3)))
          : dtype === 'bool'
            ? new Uint8Array(count)
            : random.fill(new Float32Array(count), name.startsWith('noise/dropout') ? 'uniform' : 'normal')
      return [name, { dtype, dims, data }]
    }),
  )
}

const models: Readonly<Record<string, readonly [Graph, Partial<TrainingOptions>?]>> = {
  vit: [vit({ channels: 2, size: 8, patch: 4, width: 8, heads: 2, layers: 3, classes: 3, seed: 4 })],
  llama: [llama({ vocabulary: 11, context: 6, width: 8, heads: 2, layers: 3, hidden: 16, seed: 5 })],
  // BatchNormalization with the statistics of the batch.
  resnet: [resnet({ size: 12, stages: [4, 8], depths: [2, 2], classes: 3, seed: 3 })],
  // Dropout with fed noise.
  transformer: [
    transformer({ vocabulary: 11, context: 6, width: 8, heads: 2, layers: 3, dropout: 0.25, seed: 6 }),
    { dropout: 'on' },
  ],
}

describe.each(Object.entries(models))('recompute: blocks of %s', (_, [graph, options]) => {
  const stored = build(graph, undefined, { ...options, curvature: 'sampled' })
  const again = build(graph, 'blocks', { ...options, curvature: 'sampled' })
  const specs = {
    training: [stored.training, again.training],
    curvature: [stored.curvature!.spec, again.curvature!.spec],
    conditional: [stored.conditional!().spec, again.conditional!().spec],
  } as const

  it.each(Object.entries(specs))('%s > has copies, and equal results', async (_, [plain, copied]) => {
    const count = (spec: GraphSpec) => exportGraph(spec).graph!.node.length
    expect(count(copied)).toBeGreaterThan(count(plain) * 1.05)
    const feeds = feedsFor(plain)
    const [expected, found] = [await outputsOf(runtime, plain, feeds), await outputsOf(runtime, copied, feeds)]
    expect(Object.keys(found)).toEqual(Object.keys(expected))
    // onnxruntime may fuse forward nodes whose results no gradient reads.
    expect(distance(found, expected)).toBeLessThan(1e-6)
  })

  it('lowered for WebGPU > equal results', async () => {
    const feeds = feedsFor(stored.training)
    const expected = await outputsOf(cpuAs('webgpu'), stored.training, feeds)
    expect(distance(await outputsOf(cpuAs('webgpu'), again.training, feeds), expected)).toBeLessThan(1e-6)
  })
})

const gpuNeeded = await needs('webgpu')
it('recompute on WebGPU, with no node on the CPU > equal results', { ...gpuNeeded, timeout: 300_000 }, async () => {
  const gpu = webgpu({ cpuNodes: 'forbidden' })
  const x = input('x', 'float32', [4, 16])
  const layer = (x: Value, w: Value) => op.Add(x, op.Tanh(op.MatMul(x, w)))
  const random = new Random(2)
  const w = Array.from({ length: 6 }, (_, i) =>
    parameter(`w${i}`, { dtype: 'float32', dims: [16, 16], data: random.fill(new Float32Array(256), 'normal') }),
  )
  const graph = {
    name: 'g',
    inputs: new Map([['x', x]]),
    outputs: new Map([['y', w.reduce(layer, x)]]),
    parameters: new Map(w.map((value) => [value.name!, value])),
  }
  const [stored, again] = [build(graph, undefined).training, build(graph, 'blocks').training]
  expect(exportGraph(again).graph!.node.length).toBeGreaterThan(exportGraph(stored).graph!.node.length)
  const feeds = feedsFor(stored)
  try {
    expect(distance(await outputsOf(gpu, again, feeds), await outputsOf(gpu, stored, feeds))).toBeLessThan(1e-6)
  } finally {
    await gpu.dispose()
  }
})

/** Estimated memory of a training graph, without its gradients. */
function activationBytes({ inputs, outputs, name }: GraphSpec): number {
  const fed = new Set(inputs.values())
  const gradients = [...outputs].reduce(
    (sum, [key, { shape }]) =>
      key.startsWith('grad/') ? sum + 4 * (shape as readonly number[]).reduce((a, b) => a * b, 1) : sum,
    0,
  )
  expect(name).toContain('training')
  return peakBytes([...outputs.values()], (leaf) => !fed.has(leaf)) - gradients
}

const deep = () => staticBatch(vit({ size: 32, patch: 4, width: 64, heads: 2, layers: 12, classes: 10, seed: 1 }), 16)

/** A graph with a fixed batch size. */
function staticBatch(graph: Graph, size: number): Graph {
  const inputs = new Map(
    [...graph.inputs].map(
      ([name, { dtype, shape }]) => [name, input(name, dtype, [size, ...shape!.slice(1)])] as const,
    ),
  )
  const copies = new Map<Value, Value>([...graph.inputs].map(([name, value]) => [value, inputs.get(name)!]))
  for (const node of topological(graph.outputs.values()))
    for (const [i, copy] of cloneNode(node, copies).entries()) copies.set(node.outputs[i]!, copy)
  return { ...graph, inputs, outputs: new Map([...graph.outputs].map(([name, value]) => [name, copies.get(value)!])) }
}

it('gradients > in the order of use, whatever the order of the parameters', () => {
  const graph = models['llama']![0]
  const shuffled = { ...graph, parameters: new Map([...graph.parameters].sort(([a], [b]) => (a < b ? 1 : -1))) }
  const gradients = (of: Graph) =>
    [...build(of, undefined).training.outputs.keys()].filter((name) => name.startsWith('grad/'))
  expect([...shuffled.parameters.keys()]).not.toEqual([...graph.parameters.keys()])
  expect(gradients(shuffled)).toEqual(gradients(graph))
  const [first, last] = [gradients(graph)[0]!, gradients(graph).at(-1)!]
  expect(graph.outputs.values().next().value!.source).toMatchObject({
    inputs: [expect.anything(), graph.parameters.get(last.slice('grad/'.length))],
  })
  expect(leavesOf(graph.outputs.values()).filter(({ source }) => source.kind === 'parameter')[0]).toBe(
    graph.parameters.get(first.slice('grad/'.length)),
  )
})

describe('recompute > memory', () => {
  const graph = deep()
  const stored = activationBytes(build(graph, undefined).training)

  it('blocks of 12 layers > less than a third of the activations, by the estimate', () => {
    expect(activationBytes(build(graph, 'blocks').training)).toBeLessThan(stored / 3)
  })

  it('bytes > fewer copies the more memory is allowed, and none if all fits', () => {
    const nodes = (recompute?: Recompute) => exportGraph(build(graph, recompute).training).graph!.node.length
    const limits = [stored / 8, stored / 2, 0.8 * stored, 2 * stored]
    const counts = limits.map((limit) => nodes(Math.round(limit)))
    expect(counts[0]).toBe(nodes('blocks'))
    expect(counts[1]).toBeLessThan(counts[0]!)
    expect(counts[2]).toBeLessThan(counts[1]!)
    expect(counts[3]).toBe(nodes())
    for (const [i, limit] of limits.slice(1).entries())
      expect(activationBytes(build(graph, Math.round(limits[i + 1]!)).training)).toBeLessThan(1.3 * limit)
  })

  it('blocks of 12 layers > half of the memory that a process adds during a run', async () => {
    const added = await Promise.all([addedBytes('stored'), addedBytes('blocks')])
    expect(added[1]).toBeLessThan(added[0]! / 2)
  })

  it('inspectModel > the estimate follows the option', () => {
    const model = modelOf(vit({ size: 32, patch: 4, width: 64, heads: 2, layers: 12, classes: 10, seed: 1 }))
    const per = (recompute?: Recompute) =>
      inspectModel(model, recompute === undefined ? {} : { recompute }).cost.memory!.activations!.perExample
    expect(per('blocks')).toBeLessThan(per() / 3)
    expect(() => inspectModel(model, { recompute: 'nothing*' })).toThrow(errorWith('invalid-option', 'nothing*'))
  })
})

describe('frozen quantized weights', () => {
  it.each(['quantized', 'dequantized'] as const)(
    '24 layers of %s weights, 96 MiB as floats > a third of it is added in a run',
    async (name) => {
      expect(await addedBytes(name)).toBeLessThan(32 * 2 ** 20)
    },
  )

  it('DequantizeLinear > a copy for gradients, with the results of float weights', async () => {
    const size = 16
    const stored = (layer: number) => Array.from({ length: size * size }, (_, i) => ((i * (7 + layer)) % 23) - 11)
    const network = (weight: (numbers: readonly number[]) => Value): GraphSpec => {
      const x = input('x', 'float32', [length, size])
      const v = parameter('V', tensorFrom('float32', [size], new Float32Array(size).fill(0.5)))
      const y = [0, 1, 2].reduce((h, layer) => op.Tanh(op.MatMul(h, weight(stored(layer)))), op.Mul(x, v))
      const graph = { name: 'g', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }
      return build({ ...graph, parameters: new Map([['V', v]]) }, undefined, { trainable: 'V' }).training
    }
    const dims = [size, size]
    const quantized = network((numbers) =>
      op.DequantizeLinear(constant(tensorFrom('int8', dims, numbers)), scalar('float32', 0.0625), null),
    )
    const floats = network((numbers) =>
      constant(
        tensorFrom(
          'float32',
          dims,
          numbers.map((q) => q * 0.0625),
        ),
      ),
    )
    const operators = exportGraph(quantized).graph!.node.map(({ opType }) => opType)
    expect(operators.filter((name) => name === 'DequantizeLinear')).toHaveLength(6)
    const feeds = feedsFor(quantized)
    const expected = await outputsOf(runtime, floats, feeds)
    expect(distance(await outputsOf(runtime, quantized, feeds), expected)).toBeLessThan(1e-6)
  })
})

describe('recompute > options', () => {
  const graph = importGraph(modelOf(models['llama']![0]))

  it('patterns of names > blocks end there', async () => {
    const names = topological(graph.outputs.values()).flatMap(({ outputs }) => outputs[0]!.name ?? [])
    expect(names.length).toBeGreaterThan(0)
    const [stored, again] = [build(graph, undefined).training, build(graph, [names.at(-2)!]).training]
    expect(exportGraph(again).graph!.node.length).toBeGreaterThan(exportGraph(stored).graph!.node.length)
    const feeds = feedsFor(stored)
    expect(distance(await outputsOf(runtime, again, feeds), await outputsOf(runtime, stored, feeds))).toBeLessThan(1e-6)
  })

  it('unknown name > rejected', () => {
    expect(() => build(graph, 'nothing*').training).toThrow(errorWith('invalid-option', 'nothing*'))
  })

  it('bytes with unknown lengths > rejected', () => {
    const x = input('x', 'float32', ['N', 'T'])
    const w = parameter('w', { dtype: 'float32', dims: [1], data: new Float32Array(1) })
    const unknown: Graph = {
      name: 'g',
      inputs: new Map([['x', x]]),
      outputs: new Map([['y', op.Softmax(op.Exp(op.Mul(op.Sin(op.Mul(x, w)), w)))]]),
      parameters: new Map([['w', w]]),
    }
    expect(() => build(unknown, 1000, { trainable: 'w' }).training).toThrow(errorWith('invalid-option', "'T'"))
  })

  it.each([0, -1, 1.5, true, [], [1], {}])('Trainer with %j > rejected', async (recompute) => {
    const created = Trainer.create(modelOf(models['llama']![0]), {
      ...{ loss: crossEntropy(), optimizer: adamw(), runtime, recompute: recompute as never },
    })
    await expect(created).rejects.toMatchObject({ code: 'invalid-option' })
  })

  it('Trainer with IRE > the same losses', async () => {
    const losses = async (recompute?: Recompute) => {
      const trainer = await Trainer.create(modelOf(models['llama']![0]), {
        ...{ loss: crossEntropy(), runtime, batchSize: length, ...(recompute === undefined ? {} : { recompute }) },
        optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 1, gamma: 0.5, interval: 2 }),
      })
      const { tokens, labels } = feedsFor(build(graph, undefined).training)
      const found: number[] = []
      await trainer.train(
        { length, batch: () => ({ tokens: tokens!, labels: labels! }) },
        { totalSteps: 4, onStep: ({ loss }) => void found.push(loss) },
      )
      await trainer.dispose()
      return found
    }
    const [plain, again] = [await losses(), await losses('blocks')]
    expect(plain).toHaveLength(4)
    again.forEach((loss, i) => {
      expect(loss).toBeCloseTo(plain[i]!, 5)
    })
  })
})
