import { afterAll, describe, expect, it } from 'vitest'
import { subset } from '../../src/data/index.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import {
  crossEntropy,
  type Dataset,
  evaluateModel,
  fromArrays,
  labelColumn,
  type Model,
  OnnxIreError,
  type PredictOptions,
  predict,
  type Tensor,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { argMax, clusters, smallMlp } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const points = clusters(40, [6])

async function gathered(model: Model, data: Dataset, options: Omit<PredictOptions, 'runtime'> = {}) {
  const rows: [index: number, logits: number[]][] = []
  const sizes: number[] = []
  for await (const { indices, outputs } of predict(model, data, { runtime, ...options })) {
    const { dims, data: values } = Object.values(outputs)[0]!
    expect(dims[0]).toBe(indices.length)
    const width = dims[1]!
    for (const [i, index] of indices.entries())
      rows.push([index, Array.from(values as Float32Array).slice(i * width, (i + 1) * width)])
    sizes.push(indices.length)
  }
  return { rows, sizes }
}

describe('predict', () => {
  it('yields the outputs of all examples in order, for any batch size', async () => {
    const { rows, sizes } = await gathered(smallMlp(), points, { batchSize: 16 })
    expect(sizes).toEqual([16, 16, 8])
    expect(rows.map(([index]) => index)).toEqual(Array.from({ length: 40 }, (_, i) => i))
    const { accuracy } = await evaluateModel(smallMlp(), points, { loss: crossEntropy(), runtime })
    expect(rows.filter(([index, logits]) => argMax(logits) === index % 3).length / 40).toBeCloseTo(accuracy!, 9)
    const one = await gathered(smallMlp(), points, { batchSize: 1 })
    for (const [i, [, logits]] of rows.entries())
      for (const [c, z] of logits.entries()) expect(one.rows[i]![1][c]).toBeCloseTo(z, 5)
  })

  it('pads the last batch of a model with a fixed number of examples, also for strings', async () => {
    const x = input('x', 'float32', [4, 2])
    const word = input('word', 'string', [4])
    const model = modelOf({
      name: 'fixed',
      inputs: new Map([
        ['x', x],
        ['word', word],
      ]),
      outputs: new Map([
        ['y', op.Mul(x, parameter('w', tensor('float32', [2], Float32Array.of(2, 3))))],
        ['same', op.Identity(word)],
      ]),
    })
    const values = Float32Array.from({ length: 12 }, (_, i) => i)
    const words: Tensor = { dtype: 'string', dims: [6], data: ['a', 'b', 'c', 'd', 'e', 'f'] }
    const data = fromArrays({ x: { dims: [6, 2], data: values }, word: words, labels: labelColumn([0, 0, 0, 0, 0, 0]) })
    const seen: unknown[] = []
    for await (const { indices, outputs } of predict(model, data, { runtime }))
      seen.push([[...indices], [...outputs['y']!.data], outputs['same']!.data])
    expect(seen).toEqual([
      [
        [0, 1, 2, 3],
        [0, 3, 4, 9, 8, 15, 12, 21],
        ['a', 'b', 'c', 'd'],
      ],
      [
        [4, 5],
        [16, 27, 20, 33],
        ['e', 'f'],
      ],
    ])
  })

  it('returns outputs that are [T, N, ...] as [N, T, ...], also from a padded batch with as many steps as examples', async () => {
    for (const examples of ['N', 2]) {
      const x = input('x', 'float32', [examples, 2, 1])
      const outputs = new Map([['y', op.Transpose(x, { perm: [1, 0, 2] })]])
      const model = modelOf({ name: 'steps', inputs: new Map([['x', x]]), outputs })
      const data = fromArrays({ x: { dims: [3, 2, 1], data: Float32Array.of(1, 2, 3, 4, 5, 6) } })
      const rows: unknown[] = []
      for await (const { outputs } of predict(model, data, { runtime, batchSize: 2, timeFirst: 'y' }))
        rows.push([outputs['y']!.dims, [...outputs['y']!.data]])
      expect(rows).toEqual([
        [[2, 2, 1], [1, 2, 3, 4]], // biome-ignore format: one batch a line
        [[1, 2, 1], [5, 6]], // biome-ignore format: one batch a line
      ])
    }
    const wrong = gathered(smallMlp(), points, { timeFirst: ['y', 'logits'] })
    await expect(wrong).rejects.toThrow("no output matches 'y'")
  })

  it.each(['timefirst', 'batch'])('rejects the unknown option %s', async (name) => {
    await expect(gathered(smallMlp(), points, { [name]: 1 })).rejects.toThrow(`'${name}'`)
  })

  it('does not need data for inputs that no node reads', async () => {
    const [x, mean] = [input('x', 'float32', ['N', 2]), input('mean', 'float32', [1, 2])]
    const inputs = new Map([
      ['x', x],
      ['mean', mean],
    ])
    const model = modelOf({ name: 'unread', inputs, outputs: new Map([['y', op.Relu(x)]]) })
    const data = fromArrays({ x: { dims: [3, 2], data: Float32Array.of(-1, 2, -3, 4, -5, 6) } })
    const { rows } = await gathered(model, data)
    expect(rows.map(([, row]) => row)).toEqual([
      [0, 2],
      [0, 4],
      [0, 6],
    ])
  })

  it('yields only the requested outputs, and rejects data that does not match', async () => {
    const { rows } = await gathered(smallMlp(), subset(points, [3, 1]), { outputs: 'log*' })
    expect(rows.map(([index]) => index)).toEqual([0, 1])
    await expect(gathered(smallMlp(), points, { outputs: 'probabilities' })).rejects.toThrow(OnnxIreError)
    await expect(gathered(smallMlp(), clusters(4, [5]))).rejects.toThrow("'x' has the shape [4, 5]")
  })
})
