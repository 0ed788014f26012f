import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { input } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import type { Value } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { op } from '../../src/op/op.js'

type Build = (x: Value) => Value

const forms: Record<string, { readonly dims: readonly number[]; readonly build: Build }> = {
  Reshape: { dims: [2, 6], build: (x) => op.Reshape(x, [3, -1]) },
  Squeeze: { dims: [2, 1, 3], build: (x) => op.Squeeze(x, [1]) },
  'Squeeze, all': { dims: [2, 1, 3], build: (x) => op.Squeeze(x) },
  Transpose: { dims: [2, 3, 4], build: (x) => op.Transpose(x) },
  Expand: { dims: [2, 1], build: (x) => op.Expand(x, [3, 2, 4]) },
  Tile: { dims: [2, 3], build: (x) => op.Tile(x, [2, 3]) },
  'Tile, once': { dims: [2, 3], build: (x) => op.Tile(x, [1, 1]) },
  Concat: { dims: [2, 3], build: (x) => op.Concat([x, op.Neg(x)], { axis: -1 }) },
  Split: { dims: [6, 3], build: (x) => op.Split(x, [1, 5])[1]! },
  Slice: { dims: [4, 5], build: (x) => op.Slice(x, [1, -2], [3, 0], [0, 1], [1, -2]) },
  Pad: { dims: [2, 3], build: (x) => op.Pad(x, [1, 0, 2, -1]) },
  'Pad, edge': { dims: [2, 3], build: (x) => op.Pad(x, [1, 0, 2, 2], null, null, { mode: 'edge' }) },
  Gather: { dims: [4, 3], build: (x) => op.Gather(x, [1, 1, -1]) },
  'Gather, one': { dims: [4, 3], build: (x) => op.Gather(x, [1], { axis: -1 }) },
  GatherND: { dims: [4, 3], build: (x) => op.GatherND(x, op.Unsqueeze(op.Range(0, op.Shape(op.Shape(x)), 1), [-1])) },
  'Einsum, sums around an ellipsis': { dims: [2, 3, 4], build: (x) => op.Einsum([x], { equation: 'i...j->...' }) },
  'Einsum, diagonal behind an ellipsis': {
    dims: [2, 3, 4, 3],
    build: (x) => op.Einsum([x], { equation: '...iji->...j' }),
  },
  Compress: { dims: [2, 3], build: (x) => op.Compress(x, op.Reshape(op.Less(x, 0), [-1])) },
}

/** The gradient of sum(weights y^2 / 2), from a graph whose input has the declared shape `shape`. */
async function gradientOf(build: Build, dims: readonly number[], shape: Shape | undefined): Promise<ort.Tensor> {
  const x = input('x', 'float64', shape)
  const y = build(x)
  const [dx] = gradients([[y, y]], [x])
  const model = exportGraph({ name: 'g', inputs: new Map([['x', x]]), outputs: new Map([['dx', dx!]]) })
  const session = await ort.InferenceSession.create(encode('ModelProto', model), { logSeverityLevel: 3 })
  const data = Float64Array.from(
    { length: dims.reduce((a, b) => a * b, 1) },
    (_, i) => (i % 2 === 0 ? 1 : -1) * (0.5 + i),
  )
  const { dx: result } = await session.run({ x: new ort.Tensor('float64', data, dims) })
  return result!
}

describe('gradients of tensors of unknown rank > equal those of known rank', () => {
  it.each(Object.entries(forms))('%s', async (_, { dims, build }) => {
    const [known, unknown] = [await gradientOf(build, dims, dims), await gradientOf(build, dims, undefined)]
    expect(unknown.dims).toEqual(known.dims)
    expect(unknown.data).toEqual(known.data)
  })
})
