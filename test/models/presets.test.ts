import { describe, expect, test } from 'vitest'
import { build, type LlamaOptions, type Preset } from '../../models/index.js'
import { findTrainable, importGraph } from '../../src/graph/index.js'
import type { Graph } from '../../src/index.js'
import { modelFrom } from '../train/problem.js'
import { preset, presetNames } from './presets.js'

const trained = (graph: Graph) => [...findTrainable(graph).values()]
const count = (graph: Graph): number =>
  trained(graph).reduce((sum, { shape }) => sum + (shape as readonly number[]).reduce((a, b) => a * b, 1), 0)

describe('presets > parameters as published', () => {
  test.each([
    ['resnet-18', 11_689_512], // https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet18.html
    ['resnet-34', 21_797_672], // ... .resnet34.html
    ['resnet-50', 25_557_032], // ... .resnet50.html
    ['resnet-18-cifar', 11_173_962], // https://github.com/kuangliu/pytorch-cifar
    ['lenet', 61_706], // https://d2l.ai/chapter_convolutional-neural-networks/lenet.html
    ['mlp', 669_706],
    ['qwen2.5-0.5b', 494_032_768], // https://huggingface.co/Qwen/Qwen2.5-0.5B; transformers' Qwen2ForCausalLM
    ['smollm2-135m', 134_515_008], // https://huggingface.co/HuggingFaceTB/SmolLM2-135M; LlamaForCausalLM
  ])('%s: %i', (name, published) => {
    expect(count(build(preset(name)))).toBe(published)
  })

  test.each([
    ['resnet-20', '0.27'], // He et al. 2016, table 6
    ['resnet-56', '0.85'],
    ['wrn-16-8', '11.0'], // Zagoruyko and Komodakis 2016, table 4
    ['wrn-28-10', '36.5'],
    ['vit-t-16', '5.7'], // Touvron et al. 2021 (DeiT), table 1: 5M and 22M; timm has 5.7 and 22.1
    ['vit-s-16', '22.1'],
    ['llama-60m', '60'],
  ])('%s: %s million', (name, published) => {
    const digits = published.split('.')[1]?.length ?? 0
    expect((count(build(preset(name))) / 1e6).toFixed(digits)).toBe(published)
  })

  test.each([
    ['llama-60m', 60],
    ['llama-119m', 119],
    ['llama-229m', 229],
  ])('%s > within 1% of the %i million in its name, by the formula', (name, millions) => {
    const found = count(build(preset(name)))
    expect(Math.abs(found / 1e6 / millions - 1)).toBeLessThan(0.01)
    const { vocabulary = 0, width = 0, layers = 0, hidden = 0 } = preset(name) as LlamaOptions
    expect(found).toBe(layers * (4 * width ** 2 + 3 * width * hidden + 2 * width) + width + 2 * vocabulary * width)
  })

  test('tied head > shares the embedding', () => {
    const options: LlamaOptions = { vocabulary: 29, width: 8, heads: 2, layers: 1, hidden: 4 }
    const [tied, untied] = [true, false].map((tied) => count(build({ kind: 'llama', ...options, tied })))
    expect(untied! - tied!).toBe(29 * 8)
  })
})

test('presets > every preset > has a description', () => {
  expect(presetNames.length).toBeGreaterThanOrEqual(20)
  for (const name of presetNames) expect([name, preset(name).about]).toEqual([name, expect.stringMatching(/\w{3}/)])
})

const small: readonly Preset[] = [
  { kind: 'mlp', features: 5, hidden: [4, 3], classes: 3 },
  { kind: 'lenet' },
  { kind: 'convnet', stages: [4, 6] },
  { kind: 'resnet', size: 32, stem: 'imagenet', block: 'bottleneck', stages: [4, 6], depths: [1, 2], classes: 3 },
  { kind: 'resnet', size: 8, stem: 'cifar', stages: [4, 8], depths: [2, 1], shortcut: 'padding', classes: 3 },
  { kind: 'wide-resnet', size: 8, depth: 10, widen: 1, dropout: 0.3, classes: 3 },
  { kind: 'vit', size: 8, patch: 4, width: 8, heads: 2, layers: 2, dropout: 0.1, classes: 3 },
  { kind: 'transformer', vocabulary: 7, context: 6, width: 8, heads: 2, layers: 2, dropout: 0.1 },
  { kind: 'llama', vocabulary: 7, context: 6, width: 10, heads: 2, layers: 2, hidden: 12, dropout: 0.1 },
  { kind: 'llama', vocabulary: 7, context: 6, width: 8, heads: 2, layers: 1, hidden: 12, tied: true },
  { kind: 'llama', vocabulary: 7, context: 6, width: 16, heads: 4, keyHeads: 2, layers: 1, hidden: 12, qkvBias: true },
]

test.each(small)(
  'file of a $kind > every randomly initialized tensor > is trained, except running statistics',
  (options) => {
    const graph = build(options)
    const drawn = [...graph.parameters.keys()].filter((name) => !name.includes('running_'))
    expect([...findTrainable(importGraph(modelFrom(graph))).keys()].sort()).toEqual(drawn.sort())
  },
)

test.each(small)('weights of a $kind > depend on the seed only', (options) => {
  const drawn = (seed?: number) => [...build(options, seed).parameters].map(([name, { source }]) => [name, source])
  expect(drawn(3)).toEqual(drawn(3))
  expect(drawn(4)).not.toEqual(drawn(3))
  expect(drawn()).toEqual(drawn(0))
})

describe('presets > initial weights', () => {
  const data = (graph: Graph, name: string): Float32Array => {
    const { source } = graph.parameters.get(name)!
    return source.kind === 'parameter' ? (source.tensor.data as Float32Array) : new Float32Array()
  }
  const deviation = (values: Float32Array): number =>
    Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length)

  test('residual convolutions > have variance 2 / (k^2 output channels)', () => {
    const graph = build({ kind: 'resnet', size: 32, stem: 'cifar', stages: [32, 64], depths: [1, 1], classes: 3 })
    expect(deviation(data(graph, 'layer1.0.conv2.weight'))).toBeCloseTo(Math.sqrt(2 / (9 * 32)), 2)
    expect(deviation(data(graph, 'layer2.0.downsample.0.weight'))).toBeCloseTo(Math.sqrt(2 / 64), 2)
  })

  test('zeroScale > residual blocks start as identities', () => {
    const options: Preset = { kind: 'resnet', size: 8, stem: 'cifar', stages: [4], depths: [2], classes: 3 }
    expect(deviation(data(build(options), 'layer1.1.bn2.weight'))).toBe(1)
    expect(deviation(data(build({ ...options, zeroScale: true }), 'layer1.1.bn2.weight'))).toBe(0)
  })

  test('vision transformer > normal, truncated at two deviations of 0.02', () => {
    const values = data(
      build({ kind: 'vit', size: 8, patch: 4, width: 64, layers: 1, heads: 2 }),
      'block0.mlp.expand.weight',
    )
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(0.04)
    // The standard normal cut at +-2 has variance 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737.
    expect(deviation(values) / 0.02).toBeCloseTo(Math.sqrt(0.7737), 1)
  })

  test('Llama > smaller by sqrt(2 layers) in layers that add to the residual stream', () => {
    const graph = build({ kind: 'llama', width: 64, layers: 8, hidden: 128 })
    expect(deviation(data(graph, 'block7.mlp.up.weight'))).toBeCloseTo(0.02, 3)
    expect(deviation(data(graph, 'block7.mlp.down.weight'))).toBeCloseTo(0.02 / 4, 3)
    expect(deviation(data(graph, 'block7.attention.output.weight'))).toBeCloseTo(0.02 / 4, 3)
  })
})

test.each<[RegExp, Preset]>([
  [/vit: patches of 5 pixels do not divide a side of 32/, { kind: 'vit', size: 32, patch: 5 }],
  [/block0\.attention: a width of 10 does not divide into 4 heads/, { kind: 'llama', width: 10 }],
  [/block0\.attention: 4 heads cannot share 3 keys and values/, { kind: 'llama', keyHeads: 3 }],
  [/resnet: depths has 1 numbers and stages 4/, { kind: 'resnet', depths: [2] }],
  [/wide-resnet: a depth of 20 is not 6 n \+ 4/, { kind: 'wide-resnet', depth: 20 }],
])('presets > invalid sizes > rejects: %s', (message, options) => {
  expect(() => build(options)).toThrow(
    expect.objectContaining({ code: 'invalid-option', message: expect.stringMatching(message) }),
  )
})
