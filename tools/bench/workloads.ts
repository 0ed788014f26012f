import type { Graph, Tensor } from 'onnx-ire'
import type { Random } from 'onnx-ire/data'
import { tensor } from 'onnx-ire/graph'
import { lenet as lenet5, llama, mlp, resnet, vit } from 'onnx-ire/models'

/** One model to train, and what it is trained on: random examples, for only the time counts. */
export interface Workload {
  readonly title: string
  readonly graph: () => Graph
  readonly batch: number
  /** Sizes that a peer cannot read off the weights. */
  readonly sizes: Readonly<Record<string, number>>
  /** The largest ratio to PyTorch's time that we want to have. */
  readonly mark: number
  /** The inputs of one batch by name, `labels` among them. */
  readonly draw: (random: Random) => Readonly<Record<string, Tensor>>
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
    mark: 1.3,
    draw: (random) => ({ x: normal(random, [128, 784]), labels: whole(random, [128], classes) }),
  },
  resnet: {
    title: 'ResNet-18 (CIFAR form), batch 32',
    graph: () => resnet({ size: 32, stem: 'cifar', classes, seed: 1 }),
    batch: 32,
    sizes: {},
    mark: 1.8,
    draw: (random) => ({ x: normal(random, [32, 3, 32, 32]), labels: whole(random, [32], classes) }),
  },
  vit: {
    title: 'ViT-Tiny (32 x 32, patch 4), batch 32',
    graph: () => vit({ size: 32, patch: 4, width: 192, heads: 3, layers: 12, classes, seed: 1 }),
    batch: 32,
    sizes: { patch: 4, heads: 3, layers: 12 },
    mark: 1.3,
    draw: (random) => ({ x: normal(random, [32, 3, 32, 32]), labels: whole(random, [32], classes) }),
  },
  llama: {
    title: 'Llama, 4 blocks (d 256, context 128), batch 8',
    graph: () => llama({ vocabulary, context, width: 256, heads: 4, layers: 4, seed: 1 }),
    batch: 8,
    sizes: { heads: 4, layers: 4 },
    mark: 1.3,
    draw: (random) => ({
      tokens: whole(random, [8, context], vocabulary),
      labels: whole(random, [8, context], vocabulary),
    }),
  },
}

/** For the browser, where larger ones take too long. */
export const lenet: Workload = {
  title: 'LeNet-5, batch 64',
  graph: () => lenet5({ classes, seed: 1 }),
  batch: 64,
  sizes: {},
  mark: 1,
  draw: (random) => ({ x: normal(random, [64, 1, 28, 28]), labels: whole(random, [64], classes) }),
}

const normal = (random: Random, dims: readonly number[]): Tensor =>
  tensor('float32', dims, random.fill(new Float32Array(product(dims)), 'normal'))

const whole = (random: Random, dims: readonly number[], below: number): Tensor =>
  tensor(
    'int64',
    dims,
    BigInt64Array.from({ length: product(dims) }, () => BigInt(Math.floor(random.uniform() * below))),
  )

const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
