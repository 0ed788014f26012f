import { describe, expect, it } from 'vitest'
import { gradientsWithin } from '../../src/grad/gradient.js'
import { cpuGradientTables } from '../../src/grad/gradient-tables.js'
import { input, tensorFrom } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { cpuTargetOf } from '../../src/lowering/cpu/block.js'
import { lower } from '../../src/lowering/lower.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'
import { distance, operatorsOf, outputsOf } from './outputs.js'
import { cpu, cpuAs } from './providers.js'

/** BatchNormalization in training mode of x, its running statistics, and its gradients. */
function specOf(lengths: readonly number[], momentum: number, channels = 3): GraphSpec {
  const x = input('x', 'float32', ['N', channels, ...lengths])
  const vectors = ['scale', 'bias', 'mean', 'var'].map((name) => input(name, 'float32', [channels]))
  const [scale, bias, mean, variance] = vectors as [Value, Value, Value, Value]
  const [y, newMean, newVar] = op.BatchNormalization(x, scale, bias, mean, variance, { training_mode: 1, momentum })
  const dy = input('dy', 'float32', x.shape)
  const [dx, dScale] = gradientsWithin([[y, dy]], [x, scale], () => true, cpuGradientTables)
  return {
    name: 'normalization',
    inputs: new Map([x, ...vectors, dy].map((value) => [value.name!, value])),
    outputs: new Map(Object.entries({ y, newMean, newVar, dx: dx!, dScale: dScale! })),
  }
}

/** Values whose channel c has mean `offset` c and a deviation of about 1. */
function feedsOf(lengths: readonly number[], offset: number, images = 2, channels = 3): Tensors {
  const random = new Random(7)
  const dims = [images, channels, ...lengths]
  const size = dims.reduce((product, length) => product * length)
  const positions = size / (images * channels)
  const noise = (length: number) => Array.from({ length }, () => random.normal())
  const x = noise(size).map((value, i) => value + offset * (Math.floor(i / positions) % channels))
  const vector = (values: readonly number[]) => tensorFrom('float32', [channels], values)
  return {
    x: tensorFrom('float32', dims, x),
    scale: vector([0.5, 1, 2]),
    bias: vector([0.1, -0.2, 0.3]),
    mean: vector([0.5, 0.5, 0.5]),
    var: vector([1, 2, 3]),
    dy: tensorFrom('float32', dims, noise(size)),
  }
}

describe('BatchNormalization in training mode, lowered for the CPU', () => {
  it.each([
    ['images', [28, 30], 0, 0.9],
    ['images, statistics of the batch', [28, 30], 1, 0],
    ['sequences', [900], 3, 0.5],
    ['volumes', [9, 10, 11], 1, 0.9],
    ['means of 100 and 200 standard deviations', [28, 30], 100, 0.9],
  ] as const)('%s > values, statistics and gradients as by the kernel', async (_, lengths, offset, momentum) => {
    const [spec, feeds] = [specOf(lengths, momentum), feedsOf(lengths, offset)]
    const expected = await outputsOf(cpuAs('wasm'), spec, feeds)
    const lowered = lower(spec, (await cpuTargetOf(cpu, spec))!)
    expect(operatorsOf(lowered)).not.toContain('BatchNormalization')
    expect(distance(await outputsOf(cpuAs('wasm'), lowered, feeds), expected)).toBeLessThan(offset > 10 ? 2e-4 : 2e-5)
  })

  it('a large mean > the variance of centered values, to the rounding of x', async () => {
    const [spec, feeds] = [specOf([28, 30], 0), feedsOf([28, 30], 1000)]
    const lowered = lower(spec, (await cpuTargetOf(cpu, spec))!)
    const { newVar } = await outputsOf(cpuAs('wasm'), lowered, feeds)
    const x = Array.from(feeds.x!.data as Float32Array)
    for (const channel of [0, 1, 2]) {
      const own = x.filter((_, i) => Math.floor(i / 840) % 3 === channel)
      const mean = own.reduce((sum, value) => sum + value, 0) / own.length
      const variance = own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / own.length
      expect(Math.abs((newVar!.data[channel] as number) / variance - 1)).toBeLessThan(1e-4)
    }
  })

  it('a constant channel > the bias', async () => {
    const spec = specOf([28, 30], 0)
    const feeds = feedsOf([28, 30], 0)
    const constant = { ...feeds, x: tensorFrom('float32', [2, 3, 28, 30], new Float32Array(5040).fill(0.1)) }
    const { y, newVar } = await outputsOf(cpu, spec, constant)
    expect(Math.max(...(newVar!.data as Float32Array))).toBeLessThan(1e-8)
    for (const [i, value] of (y!.data as Float32Array).entries())
      expect(Math.abs(value - [0.1, -0.2, 0.3][Math.floor(i / 840) % 3]!)).toBeLessThan(1e-3)
  })

  it.each([
    ['small images', [26, 26]],
    ['no positions', []],
  ] as const)('%s > the kernel', async (_, lengths) => {
    const { inputs, outputs } = specOf(lengths, 0)
    const forward = { name: 'forward', inputs, outputs: new Map([['y', outputs.get('y')!]]) }
    expect(await cpuTargetOf(cpu, forward)).toBeUndefined()
  })
})

describe('sums of products, lowered for the CPU', () => {
  const [a, b] = ['a', 'b'].map((name) => input(name, 'float32', ['N', 3, 16, 40])) as [Value, Value]
  const specWith = (sum: Value): GraphSpec => ({
    name: 'sums',
    inputs: new Map([a, b].map((value) => [value.name!, value])),
    outputs: new Map([['sum', sum]]),
  })
  const random = new Random(3)
  const noise = () =>
    tensorFrom(
      'float32',
      [2, 3, 16, 40],
      Array.from({ length: 3840 }, () => random.normal()),
    )
  const feeds = { a: noise(), b: noise() }

  it.each([
    ['rows over two axes', op.ReduceSum(op.Mul(a, b), [2, 3], { keepdims: 0 })],
    ['rows over two axes, which remain', op.ReduceSum(op.Mul(a, b), [-1, 2], { keepdims: 1 })],
    ['rows over three axes', op.ReduceSum(op.Mul(a, b), [1, 2, 3], { keepdims: 1 })],
    ['squares', op.ReduceSum(op.Mul(a, a), [2, 3], { keepdims: 0 })],
  ] as const)('%s > products of rows, the same sums', async (_, sum) => {
    const spec = specWith(sum)
    const lowered = lower(spec, (await cpuTargetOf(cpu, spec))!)
    expect(operatorsOf(lowered)).toContain('FusedMatMul')
    expect(operatorsOf(lowered)).not.toContain('ReduceSum')
    const [found, expected] = [
      await outputsOf(cpuAs('wasm'), lowered, feeds),
      await outputsOf(cpuAs('wasm'), spec, feeds),
    ]
    expect(distance(found, expected)).toBeLessThan(1e-5)
  })

  it.each([
    ['short rows', op.ReduceSum(op.Mul(a, b), [3], { keepdims: 0 })],
    ['all elements', op.ReduceSum(op.Mul(a, b), [0, 1, 2, 3], { keepdims: 0 })],
    ['other axes', op.ReduceSum(op.Mul(a, b), [1, 2], { keepdims: 0 })],
    ['a factor that is broadcast', op.ReduceSum(op.Mul(a, 2), [2, 3], { keepdims: 0 })],
  ] as const)('%s > as they are', async (_, sum) => {
    expect(await cpuTargetOf(cpu, specWith(sum))).toBeUndefined()
  })
})

describe('sums of rows, lowered for the CPU', () => {
  const x = input('x', 'float32', ['N', 256])
  const specWith = (sum: Value): GraphSpec => ({
    name: 'sums',
    inputs: new Map([['x', x]]),
    outputs: new Map([['sum', sum]]),
  })
  const random = new Random(4)

  it.each([
    ['first axis', op.ReduceSum(x, [0], { keepdims: 0 }), [256]],
    ['first axis, which remains, counted from the end', op.ReduceSum(x, [-2], { keepdims: 1 }), [1, 256]],
  ] as const)('%s > product with ones, the same sums', async (_, given, dims) => {
    const spec = specWith(given)
    const lowered = lower(spec, (await cpuTargetOf(cpu, spec))!)
    expect(operatorsOf(lowered)).toContain('MatMul')
    expect(operatorsOf(lowered)).not.toContain('ReduceSum')
    // It would be shared with other sums.
    expect(operatorsOf(lowered)).not.toContain('Shape')
    for (const rows of [0, 1, 7, 300]) {
      const elements = Array.from({ length: 256 * rows }, () => random.normal())
      const feeds = { x: tensorFrom('float32', [rows, 256], elements) }
      const { sum } = await outputsOf(cpuAs('wasm'), lowered, feeds)
      expect(sum!.dims).toEqual(dims)
      for (const [i, found] of (sum!.data as Float32Array).entries()) {
        const expected = elements.reduce((total, value, at) => total + (at % 256 === i ? value : 0), 0)
        expect(found).toBeCloseTo(expected, 4)
      }
    }
  })

  const column = input('x', 'float32', ['N', 1, 256])
  const double = input('x', 'float64', ['N', 256])
  it.each([
    ['last axis', op.ReduceSum(x, [1], { keepdims: 0 })],
    ['both axes', op.ReduceSum(x, null, { keepdims: 0 })],
    ['three axes', op.ReduceSum(column, [0], { keepdims: 0 })],
    ['double precision', op.ReduceSum(double, [0], { keepdims: 0 })],
    ['short rows', op.ReduceSum(op.Slice(x, [0], [255], [1]), [0], { keepdims: 0 })],
  ] as const)('%s > as they are', async (_, sum) => {
    expect(await cpuTargetOf(cpu, specWith(sum))).toBeUndefined()
  })
})

describe('affine maps per channel, lowered for the CPU', () => {
  const x = input('x', 'float32', ['N', 3, 14, 15])
  const [k, b] = ['k', 'b'].map((name) => input(name, 'float32', [3, 1, 1])) as [Value, Value]
  const specWith = (y: Value): GraphSpec => ({
    name: 'map',
    inputs: new Map([x, k, b].map((value) => [value.name!, value])),
    outputs: new Map([['y', y]]),
  })

  it('large images > a convolution, the same values', async () => {
    const random = new Random(2)
    const noise = (dims: number[]) =>
      tensorFrom(
        'float32',
        dims,
        Array.from({ length: dims.reduce((product, length) => product * length) }, () => random.normal()),
      )
    const feeds = { x: noise([2, 3, 14, 15]), k: noise([3, 1, 1]), b: noise([3, 1, 1]) }
    const spec = specWith(op.Add(op.Mul(x, k), b))
    const lowered = lower(spec, (await cpuTargetOf(cpu, spec))!)
    expect(operatorsOf(lowered)).toContain('Conv')
    const expected = await outputsOf(cpuAs('wasm'), spec, feeds)
    expect(distance(await outputsOf(cpuAs('wasm'), lowered, feeds), expected)).toBeLessThan(1e-6)
  })

  it.each([
    ['numbers per row', op.Add(op.Mul(x, input('k', 'float32', [14, 1])), b)],
    ['a sum of images', op.Add(op.Mul(x, k), x)],
    ['small images', op.Add(op.Mul(input('x', 'float32', ['N', 3, 13, 15]), k), b)],
  ] as const)('%s > as they are', async (_, y) => {
    expect(await cpuTargetOf(cpu, specWith(y))).toBeUndefined()
  })
})
