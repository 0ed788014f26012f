import { describe, expect, it } from 'vitest'
import { gradients } from '../../src/grad/gradient.js'
import { constant, input, numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { sizeOf } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'
import { outputsOf } from '../lowering/outputs.js'
import { cpu } from '../lowering/providers.js'

// More elements per result than float16, which ends at 65,504, counts.
const image = [1, 1, 300, 250]
const count = sizeOf(image)

const perChannel = (value: number) => constant(tensorFrom('float16', [1], [value]))
const batchNorm = (x: Value) =>
  op.BatchNormalization(x, perChannel(1), perChannel(0), perChannel(0), perChannel(1), { training_mode: 1 })

/** Operators of float16, each with the gradient of sum(y) * `dy` by every element. */
const means: Readonly<
  Record<string, { readonly build: (x: Value) => Value; readonly dy: number; readonly dx: number }>
> = {
  ReduceMean: { build: (x) => op.ReduceMean(x, [2, 3]), dy: 1000, dx: 1000 / count },
  GlobalAveragePool: { build: (x) => op.GlobalAveragePool(x), dy: 1000, dx: 1000 / count },
  AveragePool: { build: (x) => op.AveragePool(x, { kernel_shape: [300, 250] }), dy: 1000, dx: 1000 / count },
  'AveragePool of apart windows': {
    build: (x) => op.AveragePool(x, { kernel_shape: [300, 250], strides: [300, 250] }),
    ...{ dy: 1000, dx: 1000 / count },
  },
  'running mean of BatchNormalization': { build: (x) => batchNorm(x)[1], dy: 1000, dx: 100 / count },
}

describe('gradients of means in float16 over more elements than it counts', () => {
  describe.each(Object.entries(means))('%s', (_, { build, dy, dx: expected }) => {
    it.each([
      ['static', image],
      ['symbolic', ['N', 1, 'H', 'W']],
    ])('%s lengths', async (_, shape) => {
      const x = input('x', 'float16', shape)
      const y = build(x)
      const [dx] = gradients([[y, op.Expand(constant(tensorFrom('float16', [], [dy])), op.Shape(y))]], [x])
      expect(dx!.dtype).toBe('float16')
      const spec = { name: 'mean', inputs: new Map([['x', x]]), outputs: new Map([['dx', dx!]]) }
      const ones = new Uint16Array(count).fill(0x3c00)
      const found = await outputsOf(cpu, spec, { x: { dtype: 'float16', dims: image, data: ones } })
      const values = numbersOf(found['dx']!)
      for (const value of [values[0]!, values[count >> 1]!, values.at(-1)!]) expect(value / expected).toBeCloseTo(1, 2)
    })
  })
})

describe('gradients in float16 that add at indices', () => {
  const indices = constant(tensorFrom('int64', [3], [1, 0, 1]))
  const column = constant(tensorFrom('int64', [3, 1], [1, 0, 1]))

  it.each([
    ['Gather', (x: Value) => op.Gather(x, indices, { axis: 0 }), [2, 2, 4, 4, 0, 0]],
    ['Gather along the last axis', (x: Value) => op.Gather(x, indices, { axis: 1 }), [2, 4, 2, 4, 2, 4]],
    ['GatherElements', (x: Value) => op.GatherElements(x, column, { axis: 0 }), [2, 0, 4, 0, 0, 0]],
    ['GatherND', (x: Value) => op.GatherND(x, column), [2, 2, 4, 4, 0, 0]],
    [
      'MaxPool with overlapping windows',
      (x: Value) => op.MaxPool(op.Reshape(x, [1, 1, 6]), { kernel_shape: [3] })[0],
      [0, 0, 4, 0, 4, 0],
    ],
  ])('%s', async (_, build, expected) => {
    const x = input('x', 'float16', [3, 2])
    const y = build(x)
    const two = input('two', 'float16', [])
    const [dx] = gradients([[y, op.Expand(two, op.Shape(y))]], [x])
    expect(dx!.dtype).toBe('float16')
    const inputs = new Map([x, two].map((value) => [value.name!, value]))
    const found = await outputsOf(
      cpu,
      { name: 'sum', inputs, outputs: new Map([['dx', dx!]]) },
      { x: tensorFrom('float16', [3, 2], [1, 2, 4, 3, 5, 0]), two: tensorFrom('float16', [], [2]) },
    )
    expect([...numbersOf(found['dx']!)]).toEqual(expected)
  })
})
