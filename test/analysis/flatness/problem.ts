import { Random } from '../../../src/data/index.js'
import { input, modelOf, op, parameter, type Value } from '../../../src/graph/index.js'
import { type Dataset, fromArrays, labelColumn, type Model } from '../../../src/index.js'
import { numbersOf, tensorFrom } from '../../../src/ir/leaf.js'
import { sizeOf, type Tensor } from '../../../src/ir/tensor.js'

export const [features, classes, examples] = [4, 3, 20]

/** Standard normal numbers that depend on the name alone, times `scale`. */
export function drawn(name: string, dtype: 'float32' | 'float64', dims: readonly number[], scale = 1): Tensor {
  const values = new Random(31).stream(name).fill(new Float64Array(sizeOf(dims)), 'normal')
  return tensorFrom(
    dtype,
    dims,
    values.map((x) => scale * x),
  )
}

const weight = (name: string, dims: readonly number[], scale = 0.6, dtype: 'float32' | 'float64' = 'float64') =>
  parameter(name, drawn(name, dtype, dims, scale))

const modelFrom = (x: Value, y: Value): Model =>
  modelOf({ name: 'small', inputs: new Map([['x', x]]), outputs: new Map([['logits', y]]) })

/** Softmax regression in float64: w [4, 3], b [3]. */
export function regression(): Model {
  const x = input('x', 'float64', ['N', features])
  return modelFrom(x, op.Add(op.MatMul(x, weight('w', [features, classes])), weight('b', [classes])))
}

/** Two layers with tanh, in float64 or float32: 4 x 5 + 5 + 5 x 3 + 3 = 43 parameters. */
export function mlp(dtype: 'float32' | 'float64' = 'float64'): Model {
  const x = input('x', dtype, ['N', features])
  const hidden = op.Tanh(op.Gemm(x, weight('w1', [features, 5], 0.6, dtype), weight('b1', [5], 0.3, dtype)))
  return modelFrom(x, op.Gemm(hidden, weight('w2', [5, classes], 0.6, dtype), weight('b2', [classes], 0.3, dtype)))
}

/** A 3 x 3 convolution, norm, tanh, pooled to three classes, in float32: 18 + 2 + 2 + 6 + 3 = 31 parameters. */
export function convnet(): Model {
  const float = (name: string, values: readonly number[]) =>
    parameter(name, tensorFrom('float32', [values.length], values))
  const x = input('x', 'float32', ['N', 1, 5, 5])
  const [normed] = op.BatchNormalization(
    op.Conv(x, weight('kernel', [2, 1, 3, 3], 0.6, 'float32')),
    float('scale', [1, 1.5]),
    float('shift', [0.2, -0.1]),
    float('mean', [0.1, -0.3]),
    float('var', [1.5, 2]),
  )
  const pooled = op.Flatten(op.GlobalAveragePool(op.Tanh(normed)))
  return modelFrom(x, op.Gemm(pooled, weight('w', [2, classes], 1, 'float32'), weight('b', [classes], 0.3, 'float32')))
}

const classNumbers = Array.from({ length: examples }, (_, i) => (i * 7) % classes)

export const points = (dtype: 'float32' | 'float64' = 'float64'): Dataset =>
  fromArrays({ x: drawn('points', dtype, [examples, features]), labels: labelColumn(classNumbers) })

export const pictures = (): Dataset =>
  fromArrays({ x: drawn('pictures', 'float32', [examples, 1, 5, 5]), labels: labelColumn(classNumbers) })

/** The rows of a data set's x, and its labels. */
export async function rowsOf(data: Dataset): Promise<{ readonly x: number[][]; readonly labels: number[] }> {
  const batch = await data.batch(Uint32Array.from({ length: data.length }, (_, i) => i))
  const flat = numbersOf(batch['x']!)
  const width = flat.length / data.length
  return {
    x: Array.from({ length: data.length }, (_, i) => Array.from(flat.slice(i * width, (i + 1) * width))),
    labels: Array.from(numbersOf(batch['labels']!)),
  }
}
