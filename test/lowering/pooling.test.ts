import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { input } from '../../src/ir/leaf.js'
import { lower } from '../../src/lowering/lower.js'
import { webgpu as target } from '../../src/lowering/webgpu/target.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'
import { onCpuAndGpu } from './cpu-and-gpu.js'
import { distance, outputsOf } from './outputs.js'
import { cpu } from './providers.js'
import { specialize } from './specialize.js'

type Attributes = Parameters<typeof op.MaxPool>[1]

/** The largest elements, their indices, and the gradient, for symbolic dims. */
function pooled(attributes: Attributes): GraphSpec {
  const x = input('x', 'float32', ['N', 2, 'H', 'W'])
  const [y, indices] = op.MaxPool(x, attributes)
  const dy = op.Mul(y, y)
  const [dx] = gradients([[y, dy]], [x])
  return {
    name: 'pool',
    inputs: new Map([['x', x]]),
    outputs: new Map([
      ['y', y],
      ['indices', indices],
      ['dx', dx!],
    ]),
  }
}

onCpuAndGpu('MaxPool with indices on WebGPU', (on) => {
  const pads = [...(['SAME_UPPER', 'SAME_LOWER'] as const)].flatMap((auto_pad) =>
    [
      { auto_pad, kernel_shape: [3, 3], strides: [2, 3] },
      { auto_pad, kernel_shape: [4, 3], strides: [3, 1], storage_order: 1 },
      { auto_pad, kernel_shape: [2, 2], strides: [2, 2] },
    ].map((attributes) => [`${auto_pad}, ${attributes.kernel_shape} by ${attributes.strides}`, attributes] as const),
  )
  it.each(pads)('%s, symbolic dims', async (_, attributes) => {
    const graph = pooled(attributes)
    for (const [h, w] of [
      [7, 6],
      [8, 5],
      [3, 9],
    ] as const) {
      const data = new Random(h).fill(new Float32Array(2 * 2 * h * w), 'normal')
      const feeds = { x: { dtype: 'float32', dims: [2, 2, h, w], data } } as const
      const expected = await outputsOf(cpu, graph, feeds)
      expect(distance(await outputsOf(on().runtime, graph, feeds), expected)).toBeLessThan(1e-5)
      const known = specialize(
        graph,
        new Map([
          ['N', 2],
          ['H', h],
          ['W', w],
        ]),
      )
      expect(distance(await outputsOf(on().runtime, known, feeds), expected)).toBeLessThan(1e-5)
    }
  })
})

describe('MaxPool with indices > lowered for WebGPU', () => {
  it('unknown number of axes > rejects', () => {
    const x = input('x', 'float32', undefined)
    const [, indices] = op.MaxPool(x, { kernel_shape: [2, 2] })
    const graph: GraphSpec = { name: 'pool', inputs: new Map([['x', x]]), outputs: new Map([['indices', indices]]) }
    expect(() => lower(graph, target)).toThrow(
      expect.objectContaining({
        code: 'unsupported-operator',
        message: expect.stringMatching(/^MaxPool: /),
      }),
    )
  })
})
