import { afterAll, describe, expect, it } from 'vitest'
import { peakBytes } from '../../src/analysis/inspect/arena-peak.js'
import { Random } from '../../src/data/index.js'
import { buildTrainingGraphs, exportGraph, gradients, input, op, parameter, type Value } from '../../src/graph/index.js'
import {
  accuracy,
  adamw,
  type CrossEntropyOptions,
  combine,
  crossEntropy,
  type Graph,
  ire,
  perplexity,
  Trainer,
  type TrainingOptions,
  topK,
} from '../../src/index.js'
import type { DType } from '../../src/ir/dtype.js'
import { constant, numbersOf, scalar, tensorFrom } from '../../src/ir/leaf.js'
import { sizeOf, type Tensor, type Tensors } from '../../src/ir/tensor.js'
import { leavesOf } from '../../src/ir/topology.js'
import { node } from '../../src/node/index.js'
import { type GraphSpec, modelOf } from '../../src/onnx/export/export-graph.js'
import { distance, outputsOf } from '../lowering/outputs.js'
import { cpuAs } from '../lowering/providers.js'
import { errorWith } from '../thrown.js'
import { addedBytes } from '../train/graphs/added-bytes.js'

const runtime = node({ threads: 1, worker: false })
// Higher levels replace DequantizeLinear and MatMul by MatMulNBits, which rounds activations to 8 bits.
const exact = node({ threads: 1, worker: false, graphOptimizationLevel: 'basic' })
afterAll(() => Promise.all([runtime.dispose(), exact.dispose()]))

const [batch, context, width, classes] = [3, 4, 32, 11]
const random = new Random(8)
const normal = (dtype: DType, dims: readonly number[]): Tensor =>
  tensorFrom(dtype, dims, random.fill(new Float64Array(sizeOf(dims)), 'normal'))
const weight = (name: string, dims: readonly number[], dtype: DType = 'float64'): Value =>
  parameter(name, normal(dtype, dims))

/** Heads of a language model: the logits of its features [B, T, 32]. */
const heads: Readonly<Record<string, { readonly dtype?: DType; readonly head: (h: Value) => Value }>> = {
  MatMul: { head: (h) => op.MatMul(h, weight('W', [width, classes])) },
  'MatMul and bias': { head: (h) => op.Add(op.MatMul(h, weight('W', [width, classes])), weight('b', [classes])) },
  'MatMul and bias [1, classes]': {
    head: (h) => op.Add(op.MatMul(h, weight('W', [width, classes])), weight('b', [1, classes])),
  },
  'transposed weight': { head: (h) => op.MatMul(h, op.Transpose(weight('W', [classes, width]), { perm: [1, 0] })) },
  Gemm: {
    head: (h) => {
      const flat = op.Reshape(h, [-1, width])
      const scores = op.Gemm(flat, weight('W', [classes, width]), weight('b', [classes]), { transB: 1 })
      return op.Reshape(scores, [-1, context, classes])
    },
  },
  'soft cap': {
    head: (h) => op.Mul(op.Tanh(op.Div(op.MatMul(h, weight('W', [width, classes])), 5)), 5),
  },
  adapter: {
    head: (h) => {
      const low = op.MatMul(h, weight('A', [width, 2]))
      return op.Add(
        op.MatMul(h, constant(normal('float64', [width, classes]))),
        op.MatMul(low, weight('B', [2, classes])),
      )
    },
  },
  DequantizeLinear: {
    dtype: 'float32',
    head: (h) => {
      const q = constant(
        tensorFrom(
          'int8',
          [width, classes],
          Array.from({ length: width * classes }, (_, i) => (i * 7) % 23),
        ),
      )
      return op.MatMul(h, op.DequantizeLinear(q, scalar('float32', 0.02), null))
    },
  },
  MatMulNBits: {
    dtype: 'float32',
    head: (h) => {
      const bytes = Array.from({ length: classes * 16 }, (_, i) => (i * 37) % 256)
      return op.MatMulNBits(
        h,
        constant(tensorFrom('uint8', [classes, 1, 16], bytes)),
        constant(normal('float32', [classes, 1])),
        { K: width, N: classes, bits: 4, block_size: 32 },
      )
    },
  },
}

/** A model of one layer before a head. */
function network({ dtype = 'float64', head }: (typeof heads)[string]): Graph {
  const x = input('x', dtype, ['N', context, width])
  const y = head(op.Tanh(op.MatMul(x, weight('V', [width, width], dtype))))
  const parameters = leavesOf([y]).filter(({ source }) => source.kind === 'parameter')
  return {
    name: 'g',
    inputs: new Map([['x', x]]),
    outputs: new Map([['y', y]]),
    parameters: new Map(parameters.map((value) => [value.name!, value])),
  }
}

const build = (graph: Graph, options: CrossEntropyOptions, others: Partial<TrainingOptions> = {}) =>
  buildTrainingGraphs(graph, { loss: crossEntropy(options), trainable: '*', ...others })

const noisy = new Random(9)
/** Data for every input: labels 0 ... 10, floats from a normal distribution, noise and weights in (0, 1). */
function feedsFor({ inputs }: GraphSpec): Tensors {
  return Object.fromEntries(
    [...inputs].map(([name, { source, dtype, shape }]) => {
      if (source.kind === 'parameter') return [name, source.tensor]
      const dims = shape!.map((dim) => (typeof dim === 'number' ? dim : batch))
      const numbers = noisy.fill(new Float64Array(sizeOf(dims)), name === 'x' ? 'normal' : 'uniform')
      return [name, tensorFrom(dtype, dims, dtype === 'int64' ? numbers.map((u) => Math.floor(u * classes)) : numbers)]
    }),
  )
}

const single = network(heads['MatMul']!)
const plain = { ...single, outputs: new Map([['y', op.Softmax(single.outputs.get('y')!, { axis: -1 })]]) }

const variants: Readonly<Record<string, CrossEntropyOptions>> = {
  plain: {},
  'label smoothing': { labelSmoothing: 0.2 },
  'class weights': { classWeights: Array.from({ length: classes }, (_, c) => 0.2 + c / 7) },
  'smoothing and class weights': {
    labelSmoothing: 0.1,
    classWeights: Array.from({ length: classes }, (_, c) => 0.2 + c / 7),
  },
  'ignored labels': { ignoreIndex: 3 },
  'weights of targets and examples': { mask: 'mask', sampleWeights: 'weights', labelSmoothing: 0.1 },
}

describe('crossEntropy > chunk > equals the loss without', () => {
  /** Compares the training and evaluation graphs, metrics included. */
  async function compare(graph: Graph, options: CrossEntropyOptions, chunk: number | 'auto', tolerance = 1e-12) {
    const others = { metrics: [accuracy(), perplexity()] }
    const [whole, chunked] = [build(graph, options, others), build(graph, { ...options, chunk }, others)]
    for (const part of ['training', 'evaluation'] as const) {
      const feeds = feedsFor(whole[part])
      const expected = await outputsOf(exact, whole[part], feeds)
      expect(distance(await outputsOf(exact, chunked[part], feeds), expected)).toBeLessThan(tolerance)
      expect(Object.keys(expected).filter((name) => name.startsWith('sum/')).length).toBeGreaterThan(0)
    }
  }

  it.each(Object.entries(heads))('head: %s', async (_, of) => {
    // 12 positions: chunks with a remainder, of one position, and one that is larger than all.
    for (const chunk of [5, 1, 64]) await compare(network(of), {}, chunk, of.dtype && 5e-6)
  })

  it.each(Object.entries(variants))('%s', async (_, options) => {
    await compare(network(heads['MatMul and bias']!), options, 5)
  })

  it('a trailing Softmax, and a chunk of automatic size', async () => {
    await compare(plain, {}, 'auto')
  })

  it('with activations that are computed again', async () => {
    const stored = build(single, { chunk: 5 }).training
    const feeds = feedsFor(stored)
    const again = build(single, { chunk: 5 }, { recompute: 'blocks' }).training
    expect(distance(await outputsOf(runtime, again, feeds), await outputsOf(runtime, stored, feeds))).toBeLessThan(
      1e-12,
    )
  })

  it('lowered for WebGPU', async () => {
    const graph = network({ dtype: 'float32', head: (h) => op.MatMul(h, weight('W', [width, classes], 'float32')) })
    const whole = build(graph, { ignoreIndex: 2 }).training
    const feeds = feedsFor(whole)
    const chunked = await outputsOf(cpuAs('webgpu'), build(graph, { ignoreIndex: 2, chunk: 5 }).training, feeds)
    expect(distance(chunked, await outputsOf(runtime, whole, feeds))).toBeLessThan(2e-6)
  })

  it('a frozen weight > has no gradient in the graph', () => {
    const operators = (trainable: string) =>
      exportGraph(build(single, { chunk: 5 }, { trainable }).training).graph!.node.find(
        ({ opType }) => opType === 'Loop',
      )!.attribute![0]!.g!.output!.length
    expect(operators('*')).toBe(operators('V') + 1)
  })
})

describe('crossEntropy > chunk > gradient', () => {
  it('directional differences in float64', async () => {
    const { training } = build(network(heads['MatMul and bias']!), { chunk: 5, labelSmoothing: 0.1 })
    const feeds = feedsFor(training)
    const lossAt = async (step: number) => {
      const moved = Object.fromEntries(
        Object.entries(feeds).map(([name, tensor]) => [
          name,
          directions[name]
            ? tensorFrom(
                'float64',
                tensor.dims,
                numbersOf(tensor).map((x, i) => x + step * directions[name]![i]!),
              )
            : tensor,
        ]),
      )
      return numbersOf((await outputsOf(runtime, training, moved))['loss']!)[0]!
    }
    const directions: Record<string, Float64Array> = {}
    for (const [name, tensor] of Object.entries(feeds))
      if (training.outputs.has(`grad/${name}`))
        directions[name] = noisy.fill(new Float64Array(sizeOf(tensor.dims)), 'normal')
    expect(Object.keys(directions).sort()).toEqual(['V', 'W', 'b'])
    const outputs = await outputsOf(runtime, training, feeds)
    const slope = Object.entries(directions).reduce(
      (sum, [name, direction]) =>
        sum + numbersOf(outputs[`grad/${name}`]!).reduce((part, dx, i) => part + dx * direction[i]!, 0),
      0,
    )
    const h = 1e-5
    expect(((await lossAt(h)) - (await lossAt(-h))) / (2 * h)).toBeCloseTo(slope, 6)
  })

  it('the walk through the loss, as for second derivatives > equals that of the training graph', async () => {
    const { evaluation, training, parameters } = build(single, { chunk: 5, labelSmoothing: 0.1 })
    const found = gradients([[evaluation.outputs.get('loss')!, scalar('float64', 1)]], [...parameters.values()])
    const outputs = new Map([...parameters.keys()].map((name, i) => [`grad/${name}`, found[i]!]))
    const feeds = feedsFor(training)
    const expected = await outputsOf(runtime, training, feeds)
    const walked = await outputsOf(runtime, { ...evaluation, outputs }, feeds)
    expect(Object.keys(walked)).toHaveLength(2)
    for (const [name, dx] of Object.entries(walked))
      expect(distance({ dx }, { dx: expected[name]! })).toBeLessThan(1e-10)
  })

  it('sampled labels > the classes that the noise selects', async () => {
    const { curvature } = build(single, { chunk: 5 }, { curvature: 'sampled' })
    const { spec, noise } = curvature!
    expect([...noise.values()].map(({ distribution }) => distribution)).toEqual(['uniform'])
    const feeds = feedsFor(spec)
    const [name] = [...noise.keys()]
    const z = numbersOf(
      (await outputsOf(runtime, { name: 'z', inputs: inputsOf(single), outputs: single.outputs }, pick(feeds, single)))[
        'y'
      ]!,
    )
    const labels = numbersOf(feeds[name!]!).map((u, position) => {
      const row = z.slice(position * classes, (position + 1) * classes).map(Math.exp)
      const total = row.reduce((a, b) => a + b)
      return row.findIndex((_, c) => row.slice(0, c + 1).reduce((a, b) => a + b) > u * total)
    })
    expect(new Set(labels).size).toBeGreaterThan(3)
    const given = build(single, {}).training
    const expected = await outputsOf(runtime, given, {
      ...pick(feeds, single),
      labels: tensorFrom('int64', [batch, context], labels),
    })
    const found = await outputsOf(runtime, spec, feeds)
    for (const parameter of ['grad/V', 'grad/W'])
      expect(distance({ dx: found[parameter]! }, { dx: expected[parameter]! })).toBeLessThan(1e-12)
  })

  it('trainer with IRE and micro-batches > a falling loss', async () => {
    const trainer = await Trainer.create(modelOf({ ...single, inputs: inputsOf(single, false) }), {
      loss: crossEntropy({ chunk: 5, ignoreIndex: 0 }),
      optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 1, gamma: 0.5, interval: 2 }),
      metrics: [perplexity()],
      ...{ runtime, batchSize: batch, microBatch: 2 },
    })
    const { x, labels } = feedsFor(build(single, {}).training)
    const data = { length: batch, batch: () => ({ x: x!, labels: labels! }) }
    const losses: number[] = []
    await trainer.train(data, { totalSteps: 12, onStep: ({ loss }) => void losses.push(loss) })
    const { loss, perplexity: measured } = await trainer.evaluate(data)
    expect(losses.at(-1)).toBeLessThan(0.8 * losses[0]!)
    expect(measured).toBeCloseTo(Math.exp(loss), 5)
    await trainer.dispose()
  })
})

const inputsOf = ({ inputs, parameters }: Graph, all = true) => new Map([...inputs, ...(all ? parameters : [])])
const pick = (feeds: Tensors, graph: Graph): Tensors =>
  Object.fromEntries(Object.entries(feeds).filter(([name]) => inputsOf(graph).has(name)))

describe('crossEntropy > chunk > memory', () => {
  const wide = (trained: boolean) => {
    const x = input('x', 'float32', [4, 128, 64])
    const zeros = (dims: readonly number[]) => tensorFrom('float32', dims, new Float32Array(sizeOf(dims)))
    const v = parameter('V', zeros([64, 64]))
    const w = trained ? parameter('W', zeros([64, 32_000])) : constant(zeros([64, 32_000]))
    return {
      name: 'g',
      inputs: new Map([['x', x]]),
      outputs: new Map([['y', op.MatMul(op.Tanh(op.MatMul(x, v)), w)]]),
      parameters: new Map(
        trained
          ? [
              ['V', v],
              ['W', w],
            ]
          : [['V', v]],
      ),
    } satisfies Graph
  }
  const peak = ({ inputs, outputs }: GraphSpec) => {
    const fed = new Set(inputs.values())
    return peakBytes([...outputs.values()], (leaf) => !fed.has(leaf))
  }

  it.each([true, false])(
    '32,000 classes, 512 positions, weight trained: %s > under a third, by the estimate',
    (trained) => {
      const [whole, chunked] = [build(wide(trained), {}), build(wide(trained), { chunk: 'auto' })]
      expect(peak(chunked.training)).toBeLessThan(peak(whole.training) / 3)
      expect(peak(chunked.evaluation)).toBeLessThan(peak(whole.evaluation) / 3)
    },
  )

  it('32,000 classes, 512 positions > under a half of what a process adds during a run', async () => {
    expect(await addedBytes('chunks')).toBeLessThan((await addedBytes('whole')) / 2)
  })
})

describe('crossEntropy > chunk > rejected', () => {
  const message = (action: () => unknown, text: string) => expect(action).toThrow(errorWith('invalid-option', text))

  it.each([0, -1, 1.5, Number.NaN])('%d positions', (chunk) => {
    message(() => crossEntropy({ chunk }), 'chunk')
  })

  it('probabilities, combine, second derivatives, top k', () => {
    message(() => crossEntropy({ chunk: 5, probabilities: true }), 'chunk')
    const loss = combine({ task: { loss: crossEntropy({ chunk: 5 }) } })
    message(() => buildTrainingGraphs(single, { loss }), 'chunk')
    message(() => build(single, { chunk: 5 }, { curvature: 'hutchinson' }).curvature, 'chunk')
    message(() => build(single, { chunk: 5 }, { metrics: [topK(2)] }), 'chunk')
  })

  it('logits that are no matrix product, or have classes along another axis', () => {
    const x = input('x', 'float64', ['N', 4, width])
    const graph = (y: Value): Graph => ({
      name: 'g',
      inputs: new Map([['x', x]]),
      outputs: new Map([['y', y]]),
      parameters: new Map([['V', leavesOf([y]).find(({ name }) => name === 'V')!]]),
    })
    const product = op.MatMul(x, weight('V', [width, width]))
    message(() => build(graph(op.ReduceMean(product, [1], { keepdims: 0 })), { chunk: 5 }), 'ReduceMean')
    message(() => build(graph(product), { chunk: 5, axis: 1 }), 'chunk')
  })
})
