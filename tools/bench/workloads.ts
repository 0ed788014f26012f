import type { Graph, Tensor } from 'onnx-ire'
import type { Random } from 'onnx-ire/data'
import { tensor } from 'onnx-ire/graph'
import { lenet as lenet5, llama, mlp, resnet, vit } from 'onnx-ire/models'

/** A model and its training data: random examples, because only time is measured. */
export interface Workload {
  readonly title: string
  readonly graph: () => Graph
  readonly batch: number
  /** Sizes that do not follow from the shapes of the weights. */
  readonly sizes: Readonly<Record<string, number>>
  /** Largest acceptable ratio to the time of PyTorch. */
  readonly target: number
  /** Samples the inputs of one batch, by name, including `labels`. */
  readonly sample: (random: Random) => Readonly<Record<string, Tensor>>
}

const classes = 10
const vocabulary = 256
const context = 128

export const workloads: Readonly<Record<string, Workload>> = {
  mlp: {
    title: 'MLP 784-512-512-10, batch 128',
    graph: () => mlp({ features: 784, hidden: [512, 512], classes, seed: 1 }),
    batch: 128,
    sizes: {},
    target: 1.3,
    sample: (random) => ({ x: normal(random, [128, 784]), labels: integers(random, [128], classes) }),
  },
  resnet: {
    title: 'ResNet-18 (CIFAR form), batch 32',
    graph: () => resnet({ size: 32, stem: 'cifar', classes, seed: 1 }),
    batch: 32,
    sizes: {},
    target: 1.8,
    sample: (random) => ({ x: normal(random, [32, 3, 32, 32]), labels: integers(random, [32], classes) }),
  },
  vit: {
    title: 'ViT-Tiny (32 x 32, patch 4), batch 32',
    graph: () => vit({ size: 32, patch: 4, width: 192, heads: 3, layers: 12, classes, seed: 1 }),
    batch: 32,
    sizes: { patch: 4, heads: 3, layers: 12 },
    target: 1.3,
    sample: (random) => ({ x: normal(random, [32, 3, 32, 32]), labels: integers(random, [32], classes) }),
  },
  llama: {
    title: 'Llama, 4 blocks (d 256, context 128), batch 8',
    graph: () => llama({ vocabulary, context, width: 256, heads: 4, layers: 4, seed: 1 }),
    batch: 8,
    sizes: { heads: 4, layers: 4 },
    target: 1.3,
    sample: (random) => ({
      tokens: integers(random, [8, context], vocabulary),
      labels: integers(random, [8, context], vocabulary),
    }),
  },
}

/** Workload for the browser, where larger models take too long. */
export const lenet: Workload = {
  title: 'LeNet-5, batch 64',
  graph: () => lenet5({ classes, seed: 1 }),
  batch: 64,
  sizes: {},
  target: 1,
  sample: (random) => ({ x: normal(random, [64, 1, 28, 28]), labels: integers(random, [64], classes) }),
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
