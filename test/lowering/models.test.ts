import { afterAll, describe, expect, it } from 'vitest'
import { convnet } from '../../models/convnet.js'
import { lenet } from '../../models/lenet.js'
import { llama } from '../../models/llama.js'
import { mlp } from '../../models/mlp.js'
import { resnet } from '../../models/resnet.js'
import { vit } from '../../models/vit.js'
import { buildTrainingGraphs } from '../../src/graph/index.js'
import { crossEntropy, type Graph, type Tensor, type TrainingOptions } from '../../src/index.js'
import type { Tensors } from '../../src/ir/tensor.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { Random } from '../../src/util/random.js'
import { lastingWebgpu } from '../node/webgpu.js'
import { needs } from '../requirements.js'
import { outputsOf } from './outputs.js'
import { cpu, cpuAs } from './providers.js'
import { specialize } from './specialize.js'

const gpuNeeded = await needs('webgpu')
const gpu = gpuNeeded.skip ? undefined : lastingWebgpu({ cpuNodes: 'forbidden' })
const mixed = gpuNeeded.skip ? undefined : lastingWebgpu()
afterAll(() => Promise.all([gpu?.dispose(), mixed?.dispose()]))

const lengths = new Map([
  ['N', 3],
  ['H', 7],
  ['W', 6],
])
const options: TrainingOptions = { loss: crossEntropy(), batchNorm: 'trained' }
const models: Readonly<Record<string, readonly [Graph, TrainingOptions]>> = {
  mlp: [mlp({ features: 6, hidden: [8], classes: 3, seed: 1 }), { loss: crossEntropy({ labelSmoothing: 0.1 }) }],
  // A convolution of 6 channels and 16 outputs, and kernels of more taps than columns are made for.
  lenet: [lenet({ classes: 3, seed: 6 }), options],
  convnet: [convnet({ channels: 2, stages: [4, 6], classes: 3, seed: 2 }), options],
  // BatchNormalization, and a MaxPool whose windows overlap.
  resnet: [resnet({ size: 12, stages: [4], depths: [1], classes: 3, seed: 3 }), options],
  vit: [
    vit({ channels: 2, size: 8, patch: 4, width: 8, heads: 2, layers: 1, classes: 3, seed: 4 }),
    { loss: crossEntropy({ ignoreIndex: 1 }) },
  ],
  llama: [llama({ vocabulary: 11, context: 6, width: 8, heads: 2, layers: 1, hidden: 16, seed: 5 }), options],
}

/** Shaders take long to compile on a software GPU. */
const slow = { timeout: 300_000 }

/** Tensors for every input: random data, unchanged parameters. */
function feedsFor({ inputs }: GraphSpec, classes: number): Tensors {
  const random = new Random(7)
  return Object.fromEntries(
    [...inputs].map(([name, { dtype, shape, source }]): [string, Tensor] => {
      if (source.kind === 'parameter') return [name, source.tensor]
      const dims = shape!.map((dim) => (typeof dim === 'number' ? dim : lengths.get(dim)!))
      const size = dims.reduce((a, b) => a * b, 1)
      if (dtype !== 'int64') return [name, { dtype, dims, data: random.fill(new Float32Array(size), 'normal') }]
      return [name, { dtype, dims, data: BigInt64Array.from({ length: size }, (_, i) => BigInt((i * 7) % classes)) }]
    }),
  )
}

/** The largest error of each output, as a share of its largest element. */
async function errorsOf(runtime: Runtime, spec: GraphSpec, feeds: Tensors, expected: Tensors): Promise<number[]> {
  const found = await outputsOf(runtime, spec, feeds)
  expect(Object.keys(found)).toEqual(Object.keys(expected))
  return Object.entries(expected).map(([name, { dtype, dims, data }]) => {
    expect(found[name]).toMatchObject({ dtype, dims })
    const [right, wrong] = [data as Float32Array, found[name]!.data as Float32Array]
    const largest = right.reduce((most, y) => Math.max(most, Math.abs(y)), 1e-6)
    return right.reduce((most, y, i) => Math.max(most, Math.abs(wrong[i]! - y)), 0) / largest
  })
}

describe.each(Object.entries(models))('training step of %s', (_, [model, options]) => {
  const graphs = buildTrainingGraphs(model, { ...options, curvature: 'sampled' })
  const specs = Object.entries({
    training: graphs.training,
    evaluation: graphs.evaluation,
    curvature: graphs.curvature!.spec,
  })

  it.each(specs)('%s > lowered, on the CPU > equal results', async (_, spec) => {
    const feeds = feedsFor(spec, 3)
    const expected = await outputsOf(cpu, spec, feeds)
    const known = specialize(spec, lengths)
    for (const graph of [spec, known])
      expect(Math.max(...(await errorsOf(cpuAs('webgpu'), graph, feeds, expected)))).toBeLessThan(1e-4)
  })

  const { training } = graphs
  it('static dims > runs on the device alone', { ...gpuNeeded, ...slow }, async () => {
    const feeds = feedsFor(training, 3)
    const expected = await outputsOf(cpu, training, feeds)
    expect(Math.max(...(await errorsOf(gpu!, specialize(training, lengths), feeds, expected)))).toBeLessThan(1e-3)
  })

  it('symbolic dims > runs with shapes on the host', { ...gpuNeeded, ...slow }, async () => {
    const feeds = feedsFor(training, 3)
    const expected = await outputsOf(cpu, training, feeds)
    expect(Math.max(...(await errorsOf(mixed!, training, feeds, expected)))).toBeLessThan(1e-3)
  })
})
