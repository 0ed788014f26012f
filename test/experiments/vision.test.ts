import { afterAll, expect, test } from 'vitest'
import { mlp } from '../../models/mlp.js'
import { Random } from '../../src/data/index.js'
import { modelOf } from '../../src/graph/index.js'
import { fromArrays, labelColumn } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { flippedAndShifted } from '../../tools/experiments/vision/fashion.js'
import { hessianTrace } from '../../tools/experiments/vision/trace.js'

const runtime = node()
afterAll(() => runtime.dispose())

test('trace of the Hessian > softmax regression > equals the formula', async () => {
  const [n, features, classes] = [8, 3, 4]
  const random = new Random(5)
  const x = random.fill(new Float32Array(n * features), 'normal')
  const model = modelOf(mlp({ features, hidden: [], classes, seed: 3 }))
  const data = fromArrays({
    x: { dims: [n, features], data: x },
    labels: labelColumn(Array.from({ length: n }, (_, i) => i % classes)),
  })
  // tr H = mean_n (|x|^2 + 1) sum_c p_c (1 - p_c)
  const graph = mlp({ features, hidden: [], classes, seed: 3 })
  const [w, b] = [...graph.parameters.values()].map(({ source }) =>
    source.kind === 'parameter' ? (source.tensor.data as Float32Array) : new Float32Array(),
  )
  let trace = 0
  for (let i = 0; i < n; i++) {
    const row = x.subarray(i * features, (i + 1) * features)
    const z = Array.from({ length: classes }, (_, c) =>
      row.reduce((sum, v, k) => sum + v * w![k * classes + c]!, b![c]!),
    )
    const total = z.reduce((sum, v) => sum + Math.exp(v), 0)
    const spread = z.reduce((sum, v) => sum + (Math.exp(v) / total) * (1 - Math.exp(v) / total), 0)
    trace += ((row.reduce((sum, v) => sum + v * v, 0) + 1) * spread) / n
  }
  const estimate = await hessianTrace(model, data, runtime, { examples: n, batchSize: 4, probes: 400 })
  expect(Math.abs(estimate / trace - 1)).toBeLessThan(0.06)
})

test('augmentation > images are shifted and mirrored as a whole with black padding, reproducible for equal random numbers', () => {
  const side = 28
  const data = new Float32Array(64 * side * side).fill(-2)
  for (let n = 0; n < 64; n++) for (let i = 0; i < 3; i++) data[n * side * side + (10 + i) * side + 8] = 1 + n
  const batch = { x: { dtype: 'float32' as const, dims: [64, 1, side, side], data } }
  const moved = flippedAndShifted(batch, new Random(1)).x!.data as Float32Array
  const places = new Set<string>()
  for (let n = 0; n < 64; n++) {
    const image = moved.subarray(n * side * side, (n + 1) * side * side)
    const at = [...image.keys()].filter((i) => image[i] === 1 + n)
    expect(at).toHaveLength(3)
    const [row, column] = [Math.floor(at[0]! / side), at[0]! % side]
    expect(at).toEqual([0, 1, 2].map((i) => (row + i) * side + column))
    expect([8, 19].some((from) => Math.abs(column - from) <= 2) && Math.abs(row - 10) <= 2).toBe(true)
    places.add(`${row} ${column}`)
  }
  expect(places.size).toBeGreaterThan(20)
  expect(flippedAndShifted(batch, new Random(1)).x!.data).toEqual(moved)
})
