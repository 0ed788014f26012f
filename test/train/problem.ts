import { convnet } from '../../models/convnet.js'
import { mlp } from '../../models/mlp.js'
import { Random } from '../../src/data/index.js'
import { input, modelOf, op, parameter } from '../../src/graph/index.js'
import {
  type Dataset,
  type Dim,
  fromArrays,
  type Graph,
  labelColumn,
  type Model,
  type Tensor,
} from '../../src/index.js'

/** A graph as a model file would hold it. */
export const modelFrom = ({ name, inputs, outputs }: Graph): Model => modelOf({ name, inputs, outputs })

export const smallMlp = (): Model => modelFrom(mlp({ features: 6, hidden: [8], classes: 3, seed: 1 }))
export const smallConvnet = (): Model => modelFrom(convnet({ channels: 2, stages: [4, 6], classes: 3, seed: 2 }))

/** x W, for examples of six numbers and three classes. */
export function linear(examples: Dim = 'N'): Model {
  const x = input('x', 'float32', [examples, 6])
  const outputs = new Map([['logits', op.MatMul(x, parameter('w', normal(new Random(1), [6, 3])))]])
  return modelOf({ name: 'linear', inputs: new Map([['x', x]]), outputs })
}

export function normal(random: Random, dims: readonly number[]): Tensor {
  return { dtype: 'float32', dims, data: random.fill(new Float32Array(dims.reduce((a, b) => a * b, 1)), 'normal') }
}

/** Points around three centers, labeled by the center. `dims` are those of one example. */
export function clusters(length: number, dims: readonly number[], seed = 3): Dataset {
  const random = new Random(seed)
  const x = normal(random, [length, ...dims])
  const data = x.data as Float32Array
  const width = data.length / length
  const classes = Array.from({ length }, (_, i) => i % 3)
  for (let i = 0; i < data.length; i++) data[i]! += 2 * Math.cos(classes[Math.floor(i / width)]! * 2 + (i % width))
  return fromArrays({ x, labels: labelColumn(classes) })
}

/** -(1 - s) log p[label] - s mean_c log p[c] of one list of logits, in plain arithmetic. */
export function crossEntropyOf(logits: readonly number[], label: number, smoothing = 0): number {
  const most = Math.max(...logits)
  const total = Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0)) + most
  const logP = logits.map((z) => z - total)
  const mean = logP.reduce((sum, v) => sum + v, 0) / logP.length
  return -(1 - smoothing) * logP[label]! - smoothing * mean
}

export const softmaxOf = (logits: readonly number[]): number[] =>
  logits.map((_, c) => Math.exp(-crossEntropyOf(logits, c)))

export const argMax = (values: readonly number[]): number => values.indexOf(Math.max(...values))

/** All parameters in one list, for bitwise comparisons. */
export const flat = (parameters: Readonly<Record<string, ArrayLike<number>>>): number[] =>
  Object.values(parameters).flatMap((array) => Array.from(array))
