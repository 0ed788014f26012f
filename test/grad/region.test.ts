import * as ort from 'onnxruntime-node'
import { expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { input } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { op } from '../../src/op/op.js'

const x = input('x', 'float32', [1, 2, 4, 4])
const images = input('images', 'int64', ['R'])
const corners = (columns: number) => input('rois', 'float32', ['R', columns])

/** The gradient of x for no regions at all, which detectors come up with. */
async function gradientOfNothing(rois: Value, y: Value): Promise<ort.Tensor> {
  const dy = input('dy', 'float32', y.shape)
  const [dx] = gradients([[y, dy]], [x])
  const inputs = new Map([x, rois, images, dy].map((value) => [value.name!, value]))
  const bytes = encode('ModelProto', exportGraph({ name: 'nothing', inputs, outputs: new Map([['dx', dx!]]) }))
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
  const empty = (dims: readonly number[]) => new ort.Tensor('float32', new Float32Array(0), [0, ...dims])
  const results = await session.run({
    x: new ort.Tensor('float32', new Float32Array(32).fill(1), [1, 2, 4, 4]),
    rois: empty([rois.shape![1] as number]),
    images: new ort.Tensor('int64', new BigInt64Array(0), [0]),
    dy: empty([2, 2, 2]),
  })
  return results['dx']!
}

const pooled = { output_height: 2, output_width: 2 }
const whole = corners(5)
const aligned = corners(4)

it.each([
  ['RoiAlign with as many samples as elements', aligned, op.RoiAlign(x, aligned, images, pooled)],
  ['RoiAlign with two samples', aligned, op.RoiAlign(x, aligned, images, { ...pooled, sampling_ratio: 2 })],
  ['the maximum of RoiAlign', aligned, op.RoiAlign(x, aligned, images, { ...pooled, mode: 'max' })],
  ['MaxRoiPool', whole, op.MaxRoiPool(x, whole, { pooled_shape: [2, 2] })],
])('%s gives zeros for no regions', async (_, rois, y) => {
  const dx = await gradientOfNothing(rois, y)
  expect(dx.dims).toEqual([1, 2, 4, 4])
  expect(dx.data).toEqual(new Float32Array(32))
})
