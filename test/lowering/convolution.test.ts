import { describe, expect, it } from 'vitest'
import { constant, input, tensorFrom } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { withBodies } from '../../src/ir/topology.js'
import type { Value } from '../../src/ir/value.js'
import { lower } from '../../src/lowering/lower.js'
import { webgpu as target } from '../../src/lowering/webgpu/target.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'
import { normal } from '../train/problem.js'
import { onCpuAndGpu } from './cpu-and-gpu.js'
import { distance, outputsOf } from './outputs.js'
import { cpu } from './providers.js'

type Attributes = Parameters<typeof op.Conv>[3] & object
interface Form {
  readonly x: readonly number[]
  readonly w: readonly number[]
  readonly attributes?: Attributes
  /** Axes of x and of w whose lengths are not known before the run. */
  readonly open?: readonly (readonly number[])[] | 'all of x'
  readonly bias?: boolean
  /** Build with operators of a newer set, in which ConvTranspose has no kernel. */
  readonly newer?: boolean
  readonly becomes: string
}

/** Convolutions and the operator that each is lowered to for WebGPU. */
const forms: Readonly<Record<string, Form>> = {
  // onnxruntime 1.30 computes wrong results for these without lowering: 6, 9 and 18 channels, outputs a multiple of 4.
  'few outputs of 6 channels': { x: [2, 6, 9, 8], w: [8, 6, 3, 3], becomes: 'ConvTranspose' },
  '9 channels, stride 2': {
    x: [2, 9, 9, 8],
    w: [8, 9, 3, 3],
    attributes: { strides: [2, 2] },
    becomes: 'Pad Pad Conv',
  },
  '18 channels, SAME, stride 2, bias': {
    x: [2, 18, 9, 8],
    w: [4, 18, 3, 3],
    attributes: { strides: [2, 2], auto_pad: 'SAME_UPPER' },
    bias: true,
    becomes: 'Pad Pad Conv',
  },
  '6 channels, 1 x 1, stride 2': {
    x: [2, 6, 9, 8],
    w: [8, 6, 1, 1],
    attributes: { strides: [2, 2] },
    becomes: 'Pad Pad Conv',
  },
  'data of which not even the number of axes is known': {
    x: [2, 6, 9, 8],
    w: [8, 6, 3, 3],
    attributes: { strides: [2, 2] },
    open: 'all of x',
    becomes: 'Pad Pad Conv',
  },
  '6 channels over one axis': { x: [2, 6, 9], w: [8, 6, 3], attributes: { strides: [2] }, becomes: 'Pad Pad Conv' },
  '30 channels, many outputs': { x: [2, 30, 36, 36], w: [32, 30, 3, 3], becomes: 'ConvTranspose' },
  'a number of channels that only the run tells': {
    x: [2, 6, 9, 8],
    w: [8, 6, 3, 3],
    attributes: { strides: [2, 1], pads: [1, 0, 1, 2], dilations: [1, 2] },
    open: [[1], [1]],
    bias: true,
    becomes: 'Unsqueeze Unsqueeze Conv Squeeze',
  },
  'channels that only the run tells, over one axis': {
    x: [2, 6, 9],
    w: [8, 6, 3],
    attributes: { strides: [2] },
    open: [[1], [1]],
    becomes: 'Unsqueeze Unsqueeze Conv Squeeze',
  },
  '6 channels in a newer operator set': { x: [2, 6, 9, 8], w: [8, 6, 3, 3], newer: true, becomes: 'Pad Pad Conv' },
  // Correct but slow without lowering.
  'one channel, 5 x 5, pads and bias': {
    x: [2, 1, 12, 11],
    w: [6, 1, 5, 5],
    attributes: { pads: [2, 2, 2, 2] },
    bias: true,
    becomes: 'ConvTranspose',
  },
  'dilations and unequal pads': {
    x: [2, 5, 12, 11],
    w: [7, 5, 3, 2],
    attributes: { pads: [1, 0, 3, 1], dilations: [2, 3] },
    becomes: 'ConvTranspose',
  },
  'one axis': { x: [2, 5, 12], w: [7, 5, 3], attributes: { pads: [1, 2] }, becomes: 'ConvTranspose' },
  'SAME with lengths that only the run tells': {
    x: [2, 5, 12, 11],
    w: [6, 5, 4, 3],
    attributes: { auto_pad: 'SAME_LOWER' },
    open: [[0, 2, 3], []],
    becomes: 'ConvTranspose',
  },
  'the gradient of weights: images in the place of channels': {
    x: [6, 5, 14, 14],
    w: [16, 5, 10, 10],
    open: [[1], [1]],
    becomes: 'ConvTranspose',
  },
  // Not lowered.
  'pads longer than the window': {
    x: [2, 4, 5, 5],
    w: [8, 4, 2, 2],
    attributes: { pads: [2, 2, 2, 2] },
    becomes: 'Conv',
  },
  'many channels': { x: [2, 32, 20, 20], w: [64, 32, 3, 3], becomes: 'Conv' },
  '1 x 1': { x: [2, 6, 9, 8], w: [8, 6, 1, 1], becomes: 'Conv' },
  groups: { x: [2, 6, 9, 8], w: [8, 3, 3, 3], attributes: { group: 2 }, becomes: 'Conv' },
}

function built({ x, w, attributes, open = [], bias, newer }: Form): { spec: GraphSpec; feeds: Tensors } {
  const random = new Random(5)
  const names = ['x', 'w', ...(bias ? ['b'] : [])]
  const dims = [x, w, [w[0]!]]
  const values = names.map((name, i) =>
    input(
      name,
      'float32',
      open === 'all of x'
        ? i === 0
          ? undefined
          : dims[i]
        : dims[i]!.map((length, axis) => (open[i]?.includes(axis) ? `${name}${axis}` : length)),
    ),
  )
  const [data, weights, added = null] = values as [Value, Value, Value?]
  const y = op.Conv(data, weights, added, attributes ?? {})
  return {
    spec: {
      name: 'conv',
      inputs: new Map(names.map((name, i) => [name, values[i]!])),
      outputs: new Map([['y', newer ? op.RMSNormalization(y, op.ReduceSum(y, [0, 1, 2], { keepdims: 0 })) : y]]),
    },
    feeds: Object.fromEntries(names.map((name, i) => [name, normal(random, dims[i]!)])),
  }
}

/** The relevant operators; the results check the transposition of the weights. */
const operators = ({ outputs }: GraphSpec) =>
  withBodies(outputs.values())
    .map(({ operator }) => operator)
    .filter((name) => ['Conv', 'ConvTranspose', 'Pad', 'Unsqueeze', 'Squeeze'].includes(name))

/** Kernels that pick taps: those of columns, and others. */
const pickings: Readonly<
  Record<
    string,
    {
      x: readonly number[]
      kernels: readonly number[]
      taps: readonly number[]
      attributes: Attributes
      open?: readonly number[]
    }
  >
> = {
  'columns of channels over all images': {
    x: [3, 1, 2, 7, 6],
    kernels: [6, 1, 1, 3, 2],
    taps: [0, 1, 2, 3, 4, 5],
    attributes: { pads: [0, 1, 0, 0, 1, 2], strides: [1, 2, 1], dilations: [1, 1, 2] },
    open: [2],
  },
  'columns of images, channel by channel': {
    x: [2, 3, 7, 6],
    kernels: [12, 1, 2, 2],
    taps: [0, 1, 2, 3],
    attributes: { group: 3, auto_pad: 'SAME_UPPER', strides: [2, 2] },
    open: [0],
  },
  'rows, backwards': {
    x: [2, 1, 5, 4, 6],
    kernels: [3, 1, 1, 1, 3],
    taps: [2, 1, 0],
    attributes: { pads: [0, 0, 1, 0, 0, 1] },
  },
  'the same tap twice': { x: [2, 1, 9], kernels: [3, 1, 4], taps: [3, 0, 3], attributes: {}, open: [0] },
}

onCpuAndGpu('a convolution that picks taps on WebGPU', (on) => {
  it.each(Object.entries(pickings))('%s', async (_, { x, kernels, taps, attributes, open = [] }) => {
    const size = kernels.slice(2).reduce((a, b) => a * b)
    const ones = Array.from({ length: kernels[0]! * size }, (_, i) =>
      Number(i % size === taps[Math.floor(i / size) % taps.length]),
    )
    const data = input(
      'x',
      'float32',
      x.map((length, axis) => (open.includes(axis) ? `d${axis}` : length)),
    )
    const y = op.Conv(data, constant(tensorFrom('float32', kernels, ones)), null, attributes)
    const spec: GraphSpec = { name: 'picked', inputs: new Map([['x', data]]), outputs: new Map([['y', y]]) }
    const found = withBodies(lower(spec, target).outputs.values()).map(({ operator }) => operator)
    expect(found).toContain('Gather')
    expect(found).not.toContain('Conv')
    const feeds = { x: normal(new Random(6), x) }
    const expected = await outputsOf(cpu, spec, feeds)
    expect(await outputsOf(on().runtime, spec, feeds)).toEqual(expected)
  })
})

describe('convolution with a one-hot kernel > is lowered to Gather', () => {
  it('other kernels > are not lowered to Gather', () => {
    const x = input('x', 'float32', [2, 1, 6, 6])
    const kernel = (...values: number[]) => op.Conv(x, constant(tensorFrom('float32', [1, 1, 2, 2], values)))
    for (const y of [kernel(0, 1, 1, 0), kernel(0, 2, 0, 0), kernel(0, 0, 0, 0)]) {
      const spec: GraphSpec = { name: 'other', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }
      const found = withBodies(lower(spec, target).outputs.values()).map(({ operator }) => operator)
      expect(found).not.toContain('Gather')
    }
  })
})

onCpuAndGpu('a convolution on WebGPU', (on) => {
  it.each(Object.entries(forms))('%s', async (_, form) => {
    const { spec, feeds } = built(form)
    expect(operators(lower(spec, target)).join(' ')).toBe(form.becomes)
    const expected = await outputsOf(cpu, spec, feeds)
    const { runtime, within } = on()
    expect(distance(await outputsOf(runtime, spec, feeds), expected)).toBeLessThan(within(1e-4, 1e-4))
  })
})

type TransposedAttributes = Parameters<typeof op.ConvTranspose>[3] & object

/**
 * Wrong without lowering with one output per group and an even number of channels; slow with one channel and disjoint
 * windows.
 */
const transposedForms: Readonly<
  Record<
    string,
    { x: readonly number[]; w: readonly number[]; attributes: TransposedAttributes; bias?: boolean; becomes: string }
  >
> = {
  'groups of one output': {
    x: [2, 4, 5, 4],
    w: [4, 1, 3, 3],
    attributes: { group: 2, pads: [1, 0, 1, 0] },
    bias: true,
    becomes: 'Pad ConvTranspose Slice Add',
  },
  'groups of one output, stride 2, one axis': {
    x: [2, 12, 5],
    w: [12, 1, 3],
    attributes: { group: 3, strides: [2] },
    becomes: 'Pad ConvTranspose Slice',
  },
  'groups of one output and one channel': {
    x: [2, 3, 5, 4],
    w: [3, 1, 3, 3],
    attributes: { group: 3 },
    becomes: 'ConvTranspose',
  },
  'windows side by side': { x: [3, 1, 5, 4], w: [1, 1, 2, 3], attributes: { strides: [2, 3] }, becomes: 'Mul' },
  'windows side by side, with a rest': {
    x: [3, 1, 5, 4],
    w: [1, 1, 2, 2],
    attributes: { strides: [2, 2], output_padding: [1, 0] },
    becomes: 'Mul Pad',
  },
}

onCpuAndGpu('a transposed convolution on WebGPU', (on) => {
  it.each(Object.entries(transposedForms))('%s', async (_, { x, w, attributes, bias, becomes }) => {
    const random = new Random(8)
    const group = attributes.group ?? 1
    const dims = { x, w, ...(bias ? { b: [w[1]! * group] } : {}) }
    const [data, weights, added = null] = Object.entries(dims).map(([name, shape]) =>
      input(name, 'float32', name === 'x' ? ['N', ...shape.slice(1)] : shape),
    )
    const y = op.ConvTranspose(data!, weights!, added, attributes)
    const spec: GraphSpec = {
      name: 'transposed',
      inputs: new Map([data!, weights!, ...(added ? [added] : [])].map((value) => [value.name!, value])),
      outputs: new Map([['y', y]]),
    }
    const found = withBodies(lower(spec, target).outputs.values()).map(({ operator }) => operator)
    expect(found.filter((name) => !['Reshape', 'Unsqueeze'].includes(name)).join(' ')).toBe(becomes)
    const feeds = Object.fromEntries(Object.entries(dims).map(([name, shape]) => [name, normal(random, shape)]))
    const expected = await outputsOf(cpu, spec, feeds)
    const { runtime, within } = on()
    expect(distance(await outputsOf(runtime, spec, feeds), expected)).toBeLessThan(within(1e-5, 1e-4))
  })
})
