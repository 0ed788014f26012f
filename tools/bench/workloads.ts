import type { Graph, Tensor } from 'onnx-ire'
import type { Random } from 'onnx-ire/data'
import { tensor } from 'onnx-ire/graph'
import { lenet as lenet5, llama, mlp, resnet, vit } from 'onnx-ire/models'
import { audio } from './models/audio.js'
import { densenet } from './models/densenet.js'
import { encoder } from './models/encoder.js'
import { lstm } from './models/lstm.js'
import { mobilenet } from './models/mobilenet.js'
import { unet } from './models/unet.js'

/** A model and its training data: random examples, because only time is measured. */
export interface Workload {
  /** Name of the model, by which every contender finds its implementation. */
  readonly model: string
  readonly title: string
  readonly graph: () => Graph
  readonly batch: number
  /** Sizes that do not follow from the shapes of the weights. */
  readonly sizes: Readonly<Record<string, number>>
  /** Axis of the classes in the logits; default: the last. */
  readonly classAxis?: number
  /** Largest acceptable ratio to the time of PyTorch. */
  readonly target: number
  /** Samples the inputs of one batch, by name, including `labels`. */
  readonly sample: (random: Random) => Readonly<Record<string, Tensor>>
}

/** A workload of any batch size. */
interface Family extends Omit<Workload, 'model' | 'batch' | 'sample'> {
  readonly sample: (random: Random, batch: number) => Readonly<Record<string, Tensor>>
}

const classes = 10
const vocabulary = 256
const context = 128
/** Largest acceptable ratio to the time of PyTorch of convolutional networks, and of all others. */
const convolutional = 1.1
const other = 1

const images = (size: number, count: number) => (random: Random, batch: number) => ({
  x: normal(random, [batch, 3, size, size]),
  labels: integers(random, [batch], count),
})

const families: Readonly<Record<string, Family>> = {
  mlp: {
    title: 'MLP 784-512-512-10',
    graph: () => mlp({ features: 784, hidden: [512, 512], classes, seed: 1 }),
    sizes: {},
    target: other,
    sample: (random, batch) => ({ x: normal(random, [batch, 784]), labels: integers(random, [batch], classes) }),
  },
  'mlp-130m': {
    title: 'MLP 4096-8192-8192-4096',
    graph: () => mlp({ features: 4096, hidden: [8192, 8192], classes: 4096, seed: 1 }),
    sizes: { features: 4096, hidden: 8192, classes: 4096 },
    target: other,
    sample: (random, batch) => ({ x: normal(random, [batch, 4096]), labels: integers(random, [batch], 4096) }),
  },
  resnet: {
    title: 'ResNet-18 (CIFAR form)',
    graph: () => resnet({ size: 32, stem: 'cifar', classes, seed: 1 }),
    sizes: {},
    target: convolutional,
    sample: images(32, classes),
  },
  resnet50: {
    title: 'ResNet-50 at 224 x 224',
    graph: () => resnet({ size: 224, block: 'bottleneck', depths: [3, 4, 6, 3], classes: 1000, seed: 1 }),
    sizes: {},
    target: convolutional,
    sample: images(224, 1000),
  },
  mobilenet: {
    title: 'MobileNetV2 at 224 x 224',
    graph: () => mobilenet({ seed: 1 }),
    sizes: {},
    target: convolutional,
    sample: images(224, 1000),
  },
  densenet: {
    title: 'DenseNet-121 at 224 x 224',
    graph: () => densenet({ seed: 1 }),
    sizes: {},
    target: convolutional,
    sample: images(224, 1000),
  },
  unet: {
    title: 'U-Net at 128 x 128',
    graph: () => unet({ seed: 1 }),
    sizes: {},
    classAxis: 1,
    target: convolutional,
    sample: (random, batch) => ({
      x: normal(random, [batch, 3, 128, 128]),
      labels: integers(random, [batch, 128, 128], 2),
    }),
  },
  audio: {
    title: '1-D convolutions over 8,000 samples',
    graph: () => audio({ seed: 1 }),
    sizes: {},
    target: convolutional,
    sample: (random, batch) => ({ x: normal(random, [batch, 1, 8000]), labels: integers(random, [batch], 35) }),
  },
  lstm: {
    title: 'LSTM, 2 layers of 256, 64 tokens',
    graph: () => lstm({ seed: 1 }),
    sizes: {},
    target: other,
    sample: (random, batch) => ({
      tokens: integers(random, [batch, 64], 1000),
      labels: integers(random, [batch], classes),
    }),
  },
  vit: {
    title: 'ViT-Tiny (32 x 32, patch 4)',
    graph: () => vit({ size: 32, patch: 4, width: 192, heads: 3, layers: 12, classes, seed: 1 }),
    sizes: { patch: 4, heads: 3, layers: 12 },
    target: other,
    sample: images(32, classes),
  },
  encoder: {
    title: 'Encoder as BERT, 4 blocks (d 256, context 128)',
    graph: () => encoder({ context, seed: 1 }),
    sizes: { heads: 4, layers: 4 },
    target: other,
    sample: (random, batch) => ({
      tokens: integers(random, [batch, context], 1000),
      labels: integers(random, [batch], classes),
    }),
  },
  llama: {
    title: 'Llama, 4 blocks (d 256, context 128)',
    graph: () => llama({ vocabulary, context, width: 256, heads: 4, layers: 4, seed: 1 }),
    sizes: { heads: 4, layers: 4 },
    target: other,
    sample: (random, batch) => ({
      tokens: integers(random, [batch, context], vocabulary),
      labels: integers(random, [batch, context], vocabulary),
    }),
  },
}

/** Usual batch size of every family, and for the cheap ones a smaller or larger one. */
const batches: readonly (readonly [family: string, usual: number, more?: number])[] = [
  ['mlp', 128, 1024],
  ['mlp-130m', 32],
  ['resnet', 32, 4],
  ['resnet50', 8],
  ['mobilenet', 8],
  ['densenet', 4],
  ['unet', 4],
  ['audio', 32, 4],
  ['lstm', 32, 128],
  ['vit', 32, 4],
  ['encoder', 8, 32],
  ['llama', 8, 1],
]

/** The workloads by name: that of the model, followed by the batch size if it is not the usual one. */
export const workloads: Readonly<Record<string, Workload>> = Object.fromEntries(
  batches.flatMap(([family, usual, more]) =>
    [usual, ...(more === undefined ? [] : [more])].map((batch) => {
      const { title, sample, ...rest } = families[family]!
      const workload: Workload = {
        ...rest,
        model: family,
        title: `${title}, batch ${batch}`,
        batch,
        sample: (random) => sample(random, batch),
      }
      return [batch === usual ? family : `${family}-b${batch}`, workload]
    }),
  ),
)

/** Workload for the browser, where larger models take too long. */
export const lenet: Workload = {
  model: 'lenet',
  title: 'LeNet-5, batch 64',
  graph: () => lenet5({ classes, seed: 1 }),
  batch: 64,
  sizes: {},
  target: 1,
  sample: (random) => ({ x: normal(random, [64, 1, 28, 28]), labels: integers(random, [64], classes) }),
}

/** Workload for the browser. */
export const smallLlama: Workload = {
  model: 'llama',
  title: 'Llama, 2 blocks (d 64, context 32), batch 8',
  graph: () => llama({ vocabulary: 64, context: 32, width: 64, heads: 4, layers: 2, seed: 1 }),
  batch: 8,
  sizes: { heads: 4, layers: 2 },
  target: 1,
  sample: (random) => ({ tokens: integers(random, [8, 32], 64), labels: integers(random, [8, 32], 64) }),
}

const normal = (random: Random, dims: readonly number[]): Tensor =>
  tensor('float32', dims, random.fill(new Float32Array(product(dims)), 'normal'))

const integers = (random: Random, dims: readonly number[], below: number): Tensor =>
  tensor(
    'int64',
    dims,
    BigInt64Array.from({ length: product(dims) }, () => BigInt(Math.floor(random.uniform() * below))),
  )

const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
