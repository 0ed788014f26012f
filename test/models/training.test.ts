import { afterAll, expect, test } from 'vitest'
import { build, type Preset } from '../../models/index.js'
import { buildTrainingGraphs, modelOf } from '../../src/graph/index.js'
import { adamw, crossEntropy, type Dataset, encodeModel, fromArrays, type Tensor, Trainer } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { numbers, run } from '../onnx/session.js'
import { clusters, modelFrom } from '../train/problem.js'
import { elements } from './reference.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const image = { channels: 1, size: 8, classes: 3 }
const language = { vocabulary: 7, context: 6, width: 16, heads: 2, layers: 2 }
const small: readonly Preset[] = [
  { kind: 'mlp', features: 9, hidden: [16], classes: 3 },
  { kind: 'lenet', classes: 3 },
  { kind: 'resnet', ...image, stem: 'imagenet', block: 'bottleneck', stages: [4, 6], depths: [1, 2] },
  { kind: 'resnet', ...image, stem: 'cifar', stages: [4, 8], depths: [2, 1], shortcut: 'padding' },
  { kind: 'wide-resnet', ...image, depth: 10, widen: 1 },
  { kind: 'vit', ...image, patch: 4, width: 16, heads: 2, layers: 2 },
  { kind: 'transformer', ...language },
  { kind: 'llama', ...language, hidden: 24 },
  { kind: 'llama', ...language, width: 18, tied: true },
  { kind: 'llama', ...language, width: 24, heads: 6, keyHeads: 2, qkvBias: true, theta: 1000 },
]

/** Three clusters of images, or sentences that count on from where they begin. */
function dataFor(preset: Preset): Dataset {
  switch (preset.kind) {
    case 'mlp':
      return clusters(48, [preset.features!])
    case 'transformer':
    case 'llama': {
      const { vocabulary = 0, context = 0 } = preset
      const sentence = (start: number) => Array.from({ length: context + 1 }, (_, i) => (start + i) % vocabulary)
      const sentences = Array.from({ length: 48 }, (_, i) => sentence(i))
      const column = (from: number): Tensor => ({
        dtype: 'int64',
        dims: [48, context],
        data: BigInt64Array.from(
          sentences.flatMap((s) => s.slice(from, from + context)),
          BigInt,
        ),
      })
      return fromArrays({ tokens: column(0), labels: column(1) })
    }
    case 'lenet':
      return clusters(48, [1, 28, 28])
    default:
      return clusters(48, [image.channels, image.size, image.size])
  }
}

test.each(small)('training > a $kind > learns', async (preset) => {
  const trainer = await Trainer.create(modelFrom(build(preset, 1)), {
    loss: crossEntropy({ logits: 'logits' }),
    optimizer: adamw({ lr: 0.01 }),
    runtime,
    batchNorm: 'trained',
    batchSize: 16,
    seed: 2,
  })
  const losses: number[] = []
  for await (const { loss } of trainer.fit(dataFor(preset), { totalEpochs: 20 })) losses.push(loss)
  await trainer.dispose()
  expect(losses.every(Number.isFinite)).toBe(true)
  expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]!)
})

test.each(small)('training > every parameter of a $kind > has a gradient', async (preset) => {
  const graph = build(preset)
  const { training, data } = buildTrainingGraphs(graph, {
    loss: crossEntropy({ logits: 'logits' }),
    batchNorm: 'trained',
  })
  const examples = await dataFor(preset).batch([0, 1, 2, 3])
  const feeds = [...training.inputs].map(([name, { shape }]) => [
    name,
    data.has(name) ? examples[name]! : elements(name, shape as readonly number[]),
  ])
  const found = await run(encodeModel(modelOf(training)), Object.fromEntries(feeds))
  const drawn = [...graph.parameters.keys()].filter((name) => !name.includes('running_'))
  for (const name of drawn) {
    const most = Math.max(...numbers(found[`grad/${name}`]!).map(Math.abs))
    // Softmax does not see what is the same for all keys.
    if (!name.endsWith('key.bias')) expect([name, most > 1e-6]).toEqual([name, true])
  }
})
