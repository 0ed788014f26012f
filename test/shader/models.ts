import { lenet, llama, mlp } from '../../models/index.js'
import { adamw, crossEntropy, type Dataset, type Runtime, Trainer } from '../../src/index.js'
import { sizeOf, type Tensors } from '../../src/ir/tensor.js'
import { Random } from '../../src/util/random.js'
import { modelFrom } from '../train/problem.js'

const batchSize = 8

const models = {
  mlp: { graph: () => mlp({ features: 30, hidden: [24], classes: 5, seed: 1 }), x: [30], labels: [], classes: 5 },
  lenet: { graph: () => lenet({ classes: 5, seed: 1 }), x: [1, 28, 28], labels: [], classes: 5 },
  llama: {
    graph: () => llama({ vocabulary: 20, context: 6, width: 16, heads: 2, layers: 1, seed: 1 }),
    x: null,
    labels: [6],
    classes: 20,
  },
} as const

export type ShaderModel = keyof typeof models

/** Losses of steps with AdamW on random examples, the same everywhere. The last batch of an epoch is smaller. */
export async function lossesOf(model: ShaderModel, runtime: Runtime, steps: number): Promise<number[]> {
  const { graph, x, labels, classes } = models[model]
  const random = new Random(5)
  const length = 2 * batchSize + 3
  const integers = (dims: readonly number[]) =>
    BigInt64Array.from({ length: sizeOf(dims) }, () => BigInt(Math.floor(random.uniform() * classes)))
  const inputDims = [length, ...(x ?? labels)]
  const inputs = x
    ? ({ dtype: 'float32', dims: inputDims, data: random.fill(new Float32Array(sizeOf(inputDims)), 'normal') } as const)
    : ({ dtype: 'int64', dims: inputDims, data: integers(inputDims) } as const)
  const targets = { dtype: 'int64', dims: [length, ...labels], data: integers([length, ...labels]) } as const
  const rows = (tensor: typeof inputs | typeof targets, from: ArrayLike<number>): Tensors[string] => {
    const row = sizeOf(tensor.dims.slice(1))
    const parts = Array.from(from, (i) => tensor.data.slice(i * row, (i + 1) * row))
    const data = tensor.data.slice(0, from.length * row)
    for (const [i, part] of parts.entries()) (data as Float32Array).set(part as Float32Array, i * row)
    return { dtype: tensor.dtype, dims: [from.length, ...tensor.dims.slice(1)], data }
  }
  const name = x ? 'x' : 'tokens'
  const data: Dataset = {
    length,
    batch: (indices) => ({ [name]: rows(inputs, indices), labels: rows(targets, indices) }),
  }
  const trainer = await Trainer.create(modelFrom(graph()), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 3e-3 }),
    runtime,
    batchSize,
    seed: 2,
  })
  const losses: number[] = []
  const onStep = ({ loss }: { readonly loss: number }) => void losses.push(loss)
  for await (const _ of trainer.fit(data, { totalSteps: steps, onStep }));
  await trainer.dispose()
  return losses
}
