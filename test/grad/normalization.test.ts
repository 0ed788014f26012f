import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import type { Seed } from '../../src/grad/gradient.js'
import { gradients } from '../../src/grad/gradient.js'
import type { DType } from '../../src/ir/dtype.js'
import { constant, input, tensorFrom } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import { sizeOf, tensor } from '../../src/ir/tensor.js'
import { topological } from '../../src/ir/topology.js'
import type { Value } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { normalizationExpansions } from '../../src/op/compose/normalization.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'
import { distance, outputsOf } from '../lowering/outputs.js'
import { cpuAs } from '../lowering/providers.js'

const wave = (length: number) => Float64Array.from({ length }, (_, i) => Math.sin(1.3 * i + 0.4) + 0.1 * i)
const fixed = (dtype: DType, ...values: readonly number[]) => constant(tensorFrom(dtype, [values.length], values))

interface Form {
  readonly dims: readonly number[]
  readonly build: (x: Value) => Value
}

const scale = fixed('float64', 0.5, -1.2, 2, 0.7)
const bias = fixed('float64', 0.1, 0.2, -0.3, 0.4)
const mean = fixed('float64', 0.3, -0.2, 0.1, 0)
const variance = fixed('float64', 0.5, 1.5, 0.8, 1)

const forms: Record<string, Form> = {
  'BatchNormalization, frozen': {
    dims: [2, 4, 3, 2],
    build: (x) => op.BatchNormalization(x, scale, bias, mean, variance)[0],
  },
  'BatchNormalization, training': {
    dims: [3, 4, 2],
    build: (x) => op.BatchNormalization(x, scale, bias, mean, variance, { training_mode: 1 })[0],
  },
  GroupNormalization: {
    dims: [2, 4, 3, 2],
    build: (x) => op.GroupNormalization(x, scale, bias, { num_groups: 2, stash_type: 11 }),
  },
  LayerNormalization: { dims: [3, 2, 4], build: (x) => op.LayerNormalization(x, scale, bias)[0] },
  RMSNormalization: { dims: [3, 2, 4], build: (x) => op.RMSNormalization(x, scale) },
  LpNormalization: { dims: [3, 4], build: (x) => op.LpNormalization(x) },
  Softmax: { dims: [2, 3, 4], build: (x) => op.Softmax(x, { axis: 1 }) },
  LogSoftmax: { dims: [2, 3, 4], build: (x) => op.LogSoftmax(x) },
  'MatMul with a batch': { dims: [2, 3, 4], build: (x) => op.MatMul(x, op.Einsum([x], { equation: '...ij->...ji' })) },
  'Gemm of a slice': { dims: [3, 4], build: (x) => op.Gemm(x, x, null, { transB: 1 }) },
}

async function run(
  outputs: ReadonlyMap<string, Value>,
  x: Value,
  feed: ort.Tensor,
): Promise<ort.InferenceSession.ReturnType> {
  const model = exportGraph({ name: 'g', inputs: new Map([['x', x]]), outputs })
  const session = await ort.InferenceSession.create(encode('ModelProto', model), { logSeverityLevel: 3 })
  return session.run({ x: feed })
}

/** The gradient of sum(y^2 / 2), from a graph whose input has the declared shape `shape`. */
async function gradientOf({ dims, build }: Form, shape: Shape | undefined): Promise<ort.Tensor> {
  const x = input('x', 'float64', shape)
  const y = build(x)
  const [dx] = gradients([[y, y]], [x])
  const length = dims.reduce((a, b) => a * b)
  return (await run(new Map([['dx', dx!]]), x, new ort.Tensor('float64', wave(length), dims)))['dx']!
}

describe('gradients of normalizations of unknown rank', () => {
  it.each(Object.entries(forms))('%s', async (_, form) => {
    const [known, unknown] = [await gradientOf(form, form.dims), await gradientOf(form, undefined)]
    expect(unknown.dims).toEqual(known.dims)
    const expected = known.data as Float64Array
    ;(unknown.data as Float64Array).forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i]!, 10)
    })
  })

  it('rejects a normalization whose axis cannot be counted from the end', () => {
    const x = input('x', 'float32', undefined)
    const y = op.RMSNormalization(x, fixed('float32', 1, 2), { axis: 1 })
    expect(() => gradients([[y, y]], [x])).toThrow(expect.objectContaining({ code: 'not-differentiable' }))
  })
})

describe('rows whose norm or deviation is 0', () => {
  const weights = fixed('float32', 1, -2, 0.5, 3, 2, -1)

  /** The gradient of sum(y dy) for a row of equal numbers and a row of others, and that of half its square sum. */
  async function gradientsOf(build: (x: Value) => Value, constant: number, dims: readonly number[]) {
    const x = input('x', 'float32', dims)
    const y = build(x)
    const dy = op.Reshape(op.Slice(weights, [0], [sizeOf(y.shape as readonly number[])], [0]), op.Shape(y))
    const [dx] = gradients([[y, dy]], [x])
    const [dxx] = gradients([[dx!, dx!]], [x])
    const feed = new ort.Tensor('float32', Float32Array.of(...Array(3).fill(constant), 1, -2, 2), dims)
    const outputs = { y, dx: dx!, ...(dxx && { dxx }) }
    const results = await run(new Map(Object.entries(outputs)), x, feed)
    return Object.fromEntries(
      Object.entries(results).map(([name, { data }]) => [name, Array.from(data as Float32Array)]),
    )
  }

  it.each([1, 2])('LpNormalization of p = %d > the gradient 0', async (p) => {
    const { y, dx, dxx } = await gradientsOf((x) => op.LpNormalization(x, { p, axis: 1 }), 0, [2, 3])
    expect(y!.slice(0, 3)).toEqual([0, 0, 0])
    expect(dx!.slice(0, 3)).toEqual([0, 0, 0])
    expect(dxx!.every(Number.isFinite)).toBe(true)
    // x = [1, -2, 2], dy = [3, 2, -1]: sum(dy x) is -3.
    const [slopes, norm] = p === 1 ? [[1, -1, 1], 5] : [[1 / 3, -2 / 3, 2 / 3], 3]
    for (const [i, dy] of [3, 2, -1].entries())
      expect(dx![3 + i]).toBeCloseTo((dy - (slopes[i]! * -3) / norm) / norm, 5)
  })

  it.each([1, 2, 3])('GlobalLpPool of p = %d > the gradient 0', async (p) => {
    const { y, dx } = await gradientsOf((x) => op.GlobalLpPool(x, { p }), 0, [1, 2, 3])
    expect(y![0]).toBe(0)
    expect(dx!.slice(0, 3).map(Math.abs)).toEqual([0, 0, 0])
    const size = (1 + 2 ** p + 2 ** p) ** (1 / p)
    for (const [i, x] of [1, -2, 2].entries())
      expect(dx![3 + i]).toBeCloseTo(-2 * Math.sign(x) * (Math.abs(x) / size) ** (p - 1), 5)
  })

  it('MeanVarianceNormalization > dy without its mean, over the number that is added to the deviation', async () => {
    // As onnxruntime's provider WebGPU runs it. That of the CPU divides by the deviation alone.
    const build = (x: Value) => normalizationExpansions.MeanVarianceNormalization([x], { axes: [1] })
    const { y, dx } = await gradientsOf(build, 7, [2, 3])
    expect(y!.slice(0, 3)).toEqual([0, 0, 0])
    const mean = (1 - 2 + 0.5) / 3
    for (const [i, dy] of [1, -2, 0.5].entries()) expect(dx![i]! / 1e9).toBeCloseTo(dy - mean, 5)
  })
})

describe('BatchNormalization', () => {
  it('float16 with float32 statistics > each operand gets a gradient of its own type', () => {
    const x = input('x', 'float16', ['N', 2, 'W'])
    const wrt = [x, ...['scale', 'bias'].map((name) => input(name, 'float16', [2]))]
    const statistics = ['mean', 'variance'].map((name) => input(name, 'float32', [2]))
    const [y] = op.BatchNormalization(wrt[0]!, wrt[1]!, wrt[2]!, statistics[0]!, statistics[1]!)
    const dx = gradients([[y, y]], [...wrt, ...statistics])
    expect(dx.map((value) => value!.dtype)).toEqual(['float16', 'float16', 'float16', 'float32', 'float32'])
  })

  it('training mode > running statistics > old * momentum + batch * (1 - momentum), with the variance over n', async () => {
    const x = input('x', 'float64', [2, 1, 3])
    const one = fixed('float64', 1)
    const outputs = op.BatchNormalization(x, one, one, fixed('float64', 10), fixed('float64', 20), {
      momentum: 0.75,
      training_mode: 1,
    })
    const feed = new ort.Tensor('float64', Float64Array.from([1, 2, 3, 4, 5, 9]), [2, 1, 3])
    const results = await run(new Map(outputs.map((value, i) => [`y${i}`, value])), x, feed)
    const population = [1, 2, 3, 4, 5, 9].reduce((sum, value) => sum + (value - 4) ** 2, 0) / 6
    expect((results['y1']!.data as Float64Array)[0]).toBeCloseTo(0.75 * 10 + 0.25 * 4, 10)
    expect((results['y2']!.data as Float64Array)[0]).toBeCloseTo(0.75 * 20 + 0.25 * population, 10)
  })

  it('inference > needs no running statistics as outputs', () => {
    const x = input('x', 'float32', [2, 3, 4])
    const channel = (name: string) => input(name, 'float32', [3])
    expect(op.BatchNormalization(x, channel('s'), channel('b'), channel('m'), channel('v'))).toHaveLength(1)
  })
})

describe('BatchNormalization of a pointwise convolution', () => {
  const random = new Random(3)
  const noise = (...dims: number[]) => tensor('float32', dims, random.fill(new Float32Array(sizeOf(dims)), 'normal'))

  interface Layer {
    readonly channels?: number
    /** Spatial lengths of the images. */
    readonly lengths: readonly number[]
    readonly outputs: number
    readonly attributes?: Parameters<typeof op.Conv>[3]
  }

  /** Gradients of a convolution, normalized over the batch; `apart` by the rules of both operators. */
  const specOf = ({ channels = 4, lengths, outputs, attributes = {} }: Layer, apart: boolean) => {
    const x = input('x', 'float32', ['N', channels, ...lengths])
    const w = input('w', 'float32', [outputs, channels, ...lengths.map(() => 1)])
    const [scale, bias, mean, variance] = ['scale', 'bias', 'mean', 'variance'].map((name) =>
      input(name, 'float32', [outputs]),
    ) as [Value, Value, Value, Value]
    const z = op.Conv(x, w, null, attributes)
    const training = { training_mode: 1, momentum: 0 } as const
    const [y] = op.BatchNormalization(apart ? op.Identity(z) : z, scale, bias, mean, variance, training)
    const dy = input('dy', 'float32', y.shape)
    const wrt = [x, w, scale, bias]
    const results = gradients([[y, dy]], wrt).map((gradient, i) => [`d${wrt[i]!.name}`, gradient!] as const)
    const inputs = [...wrt, mean, variance, dy].map((value) => [value.name!, value] as const)
    const readers = topological(results.map(([, value]) => value)).filter(({ inputs }) => inputs.includes(z))
    return { spec: { name: 'layer', inputs: new Map(inputs), outputs: new Map(results) }, readers }
  }

  it.each<[string, Layer]>([
    ['small images', { lengths: [5, 3], outputs: 6 }],
    ['large images', { lengths: [24, 25], outputs: 6 }],
    ['one spatial axis', { lengths: [7], outputs: 6 }],
    ['three spatial axes', { lengths: [3, 2, 4], outputs: 6 }],
  ])('%s > the gradients of both operators, without a pass over the result of the convolution', async (_, layer) => {
    const { spec, readers } = specOf(layer, false)
    expect(readers.map(({ operator }) => operator)).toEqual(['BatchNormalization'])
    const { lengths, outputs } = layer
    // Means that differ: sums that are not centered would be wrong.
    const x = noise(3, 4, ...lengths)
    for (const i of x.data.keys()) (x.data as Float32Array)[i]! += Math.floor(i / sizeOf(lengths)) % 4
    const perChannel = Object.fromEntries(['scale', 'bias', 'mean', 'variance'].map((name) => [name, noise(outputs)]))
    const weights = noise(outputs, 4, ...lengths.map(() => 1))
    const feeds = { x, w: weights, ...perChannel, dy: noise(3, outputs, ...lengths) }
    const expected = await outputsOf(cpuAs('wasm'), specOf(layer, true).spec, feeds)
    expect(distance(await outputsOf(cpuAs('wasm'), spec, feeds), expected)).toBeLessThan(5e-5)
  })

  it.each<[string, Layer]>([
    ['few outputs, for which products of x with itself take longer', { channels: 32, lengths: [4], outputs: 6 }],
    ['strides', { lengths: [5, 3], outputs: 6, attributes: { strides: [2, 1] } }],
    ['pads', { lengths: [5, 3], outputs: 6, attributes: { pads: [0, 1, 0, 0] } }],
  ])('%s > passes over the result of the convolution', (_, layer) => {
    const { readers } = specOf(layer, false)
    expect(readers.length).toBeGreaterThan(1)
  })
})

describe('LayerNormalization', () => {
  it('float16 > is computed in the type of its statistics and returns float16', () => {
    const wrt = [input('x', 'float16', ['N', 8]), input('scale', 'float16', [8]), input('bias', 'float16', [8])]
    const [y, mean] = op.LayerNormalization(wrt[0]!, wrt[1]!, wrt[2]!)
    expect([y.dtype, mean.dtype]).toEqual(['float16', 'float32'])
    expect(gradients([[y, y]], wrt).map((value) => value!.dtype)).toEqual(['float16', 'float16', 'float16'])
  })

  it('float16 > gradients of the mean and the deviation are divided in the type of these', () => {
    const x = input('x', 'float16', ['N', 8])
    const [, mean, invStdDev] = op.LayerNormalization(x, input('scale', 'float16', [8]))
    const [dx] = gradients(
      [
        [mean, mean],
        [invStdDev, invStdDev],
      ],
      [x],
    )
    expect(dx!.dtype).toBe('float16')
  })

  it('float32 > uses the saved statistics instead of computing them again', () => {
    const x = input('x', 'float32', ['N', 8])
    const scale = input('scale', 'float32', [8])
    const [y] = op.LayerNormalization(x, scale)
    const operators = new Set<string>()
    const visit = (value: Value) => {
      if (value.source.kind !== 'node') return
      operators.add(value.source.operator)
      for (const input of value.source.inputs) if (input) visit(input)
    }
    visit(gradients([[y, input('dy', 'float32', ['N', 8])]] satisfies Seed[], [x])[0]!)
    expect([...operators].toSorted()).toEqual(['LayerNormalization', 'Mul', 'ReduceMean', 'Sub'])
  })
})
