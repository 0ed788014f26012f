import { describe, expect, it } from 'vitest'
import { gradientsWithin } from '../../src/grad/gradient.js'
import { cpuGradientTables, gradientTables } from '../../src/grad/gradient-tables.js'
import type { Tensor } from '../../src/index.js'
import { constant, input } from '../../src/ir/leaf.js'
import { tensor } from '../../src/ir/tensor.js'
import { topological, withBodies } from '../../src/ir/topology.js'
import type { Value } from '../../src/ir/value.js'
import { compileGraph } from '../../src/lowering/compile.js'
import { blockOf, cpuTargetOf } from '../../src/lowering/cpu/block.js'
import { cpuTarget } from '../../src/lowering/cpu/target.js'
import { lower } from '../../src/lowering/lower.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { op } from '../../src/op/op.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { Random } from '../../src/util/random.js'
import { normal } from '../train/problem.js'
import { distance, operatorsOf, outputsOf } from './outputs.js'
import { cpu, cpuAs } from './providers.js'

const random = new Random(5)
const noise = (...dims: number[]): Tensor => normal(random, dims)

type Attributes = NonNullable<Parameters<typeof op.Conv>[3]>

interface Case {
  readonly lengths: readonly [number, number]
  readonly kernel: readonly [number, number]
  readonly attributes?: Attributes
  readonly channels?: number
  /** Outputs of a convolution of one group; default: a depthwise convolution. */
  readonly outputs?: number
}

const cases: Readonly<Record<string, Case>> = {
  '3x3': { lengths: [6, 5], kernel: [3, 3], attributes: { pads: [1, 1, 1, 1] } },
  '3x3, stride 2': { lengths: [8, 8], kernel: [3, 3], attributes: { pads: [1, 1, 1, 1], strides: [2, 2] } },
  '3x3, stride 2, odd lengths': {
    lengths: [7, 9],
    kernel: [3, 3],
    attributes: { pads: [1, 1, 1, 1], strides: [2, 2] },
  },
  'no pads, 5x3': { lengths: [7, 6], kernel: [5, 3] },
  'pads of 0 to 3': { lengths: [5, 6], kernel: [3, 4], attributes: { pads: [0, 3, 2, 1] } },
  'last rows and columns that no window covers': {
    lengths: [10, 11],
    kernel: [2, 3],
    attributes: { strides: [3, 3] },
  },
  dilations: { lengths: [9, 8], kernel: [3, 2], attributes: { dilations: [2, 3], pads: [2, 1, 1, 2] } },
  'dilations and strides': {
    lengths: [9, 11],
    kernel: [3, 2],
    attributes: { dilations: [2, 3], strides: [3, 2], pads: [2, 1, 1, 2] },
  },
  'kernel larger than the image': { lengths: [3, 3], kernel: [7, 7], attributes: { pads: [3, 3, 3, 3] } },
  SAME: { lengths: [7, 6], kernel: [3, 3], attributes: { auto_pad: 'SAME_UPPER', strides: [2, 1] } },
  '48 channels': { lengths: [4, 4], kernel: [3, 3], channels: 48 },
  '24 channels, which blocks do not divide': { lengths: [4, 4], kernel: [3, 3], channels: 24 },
}

const narrow: Readonly<Record<string, Case>> = {
  '3x3': { lengths: [14, 15], kernel: [3, 3], attributes: { pads: [1, 1, 1, 1] }, outputs: 16 },
  '3x4 of 48 channels, stride 2, pads of 0 to 3': {
    lengths: [16, 14],
    kernel: [3, 4],
    attributes: { pads: [0, 3, 2, 1], strides: [2, 1] },
    channels: 48,
    outputs: 64,
  },
  SAME: { lengths: [14, 14], kernel: [2, 3], attributes: { auto_pad: 'SAME_LOWER' }, outputs: 32 },
  dilations: { lengths: [15, 14], kernel: [2, 3], attributes: { dilations: [2, 1] }, outputs: 32 },
}

/** Shapes of the weights of a case. */
const weightsOf = ({ kernel, channels = 32, outputs }: Case): readonly number[] =>
  outputs === undefined ? [channels, 1, ...kernel] : [outputs, channels, ...kernel]

/** A convolution with bias, and its gradients. */
function specOf(of: Case, tables: typeof gradientTables): GraphSpec {
  const { lengths, attributes = {}, channels = 32, outputs } = of
  const x = input('x', 'float32', ['N', channels, ...lengths])
  const w = input('w', 'float32', weightsOf(of))
  const b = input('b', 'float32', [outputs ?? channels])
  const y = op.Conv(x, w, b, { ...attributes, group: outputs === undefined ? channels : 1 })
  const weight = input('dy', 'float32', y.shape)
  const [dx, dw, db] = gradientsWithin([[y, weight]], [x, w, b], () => true, tables) as Value[]
  return {
    name: 'convolution',
    inputs: new Map([x, w, b, weight].map((value) => [value.name!, value])),
    outputs: new Map(Object.entries({ y, dx: dx!, dw: dw!, db: db! })),
  }
}

const lowered = async (spec: GraphSpec) => lower(spec, cpuTarget(await blockOf(cpu)))

describe('lowering for the CPU', () => {
  const all = [
    ...Object.entries(cases).map(([name, of]) => [`depthwise ${name}`, of] as const),
    ...Object.entries(narrow).map(([name, of]) => [`few outputs ${name}`, of] as const),
  ]
  it.each(all)('%s > values and gradients as without', async (_, of) => {
    const { channels = 32, lengths, outputs = channels } = of
    const plain = specOf(of, gradientTables)
    const [, , ...windows] = plain.outputs.get('y')!.shape as readonly number[]
    const all = {
      x: noise(3, channels, ...lengths),
      w: noise(...weightsOf(of)),
      b: noise(outputs),
      dy: noise(3, outputs, ...windows),
    }
    const lowered = specOf(of, cpuGradientTables)
    // Under the name of a provider without lowerings, the graph runs as it is.
    const expected = await outputsOf(cpuAs('wasm'), plain, all)
    // Sums over channels too are longer.
    const tolerance = of.outputs === undefined ? 1e-5 : 5e-5
    expect(distance(await outputsOf(cpuAs('wasm'), lowered, all), expected)).toBeLessThan(tolerance)
    expect(distance(await outputsOf(cpu, lowered, all), expected)).toBeLessThan(tolerance)
  })

  it.each([
    ['as the input gradient of MobileNet', { kernel: [3, 3], pads: [1, 1, 1, 1], output_padding: [1, 1] }, true],
    [
      'dilations, other strides and pads',
      { kernel: [4, 5], dilations: [2, 1], strides: [3, 4], pads: [0, 2, 1, 1] },
      true,
    ],
    ['a given output shape', { kernel: [3, 4], output_shape: [11, 13] }, true],
    ['SAME, stride 2 of columns', { kernel: [2, 5], strides: [1, 2], auto_pad: 'SAME_UPPER' }, true],
    ['stride 1', { kernel: [3, 3], strides: [1, 1] }, true],
    ['windows side by side', { kernel: [2, 2] }, false],
    ['pads larger than the reach of the kernel', { kernel: [3, 3], pads: [3, 0, 0, 0] }, false],
  ] as const)(
    'depthwise ConvTranspose, %s > as without, blocked or not',
    async (_, { kernel, ...attributes }, blocked) => {
      const x = input('x', 'float32', ['N', 32, 5, 6])
      const [w, b] = [input('w', 'float32', [32, 1, ...kernel]), input('b', 'float32', [32])]
      const y = op.ConvTranspose(x, w, b, { strides: [2, 2], ...attributes, group: 32 })
      const spec = { name: 'transposed', inputs: new Map(Object.entries({ x, w, b })), outputs: new Map([['y', y]]) }
      expect(operatorsOf(await lowered(spec)).includes('ConvTranspose')).toBe(!blocked)
      const feeds = { x: noise(3, 32, 5, 6), w: noise(32, 1, ...kernel), b: noise(32) }
      const expected = await outputsOf(cpuAs('wasm'), spec, feeds)
      expect(distance(await outputsOf(cpu, spec, feeds), expected)).toBeLessThan(1e-5)
    },
  )

  it('the gradient of a weight gradient > as without', async () => {
    const twice = (tables: typeof gradientTables): GraphSpec => {
      const { inputs, outputs } = specOf(cases['3x3, stride 2']!, tables)
      const [w, x] = [inputs.get('w')!, inputs.get('x')!]
      const [ddx] = gradientsWithin([[outputs.get('dw')!, w]], [x], () => true, tables)
      return {
        name: 'twice',
        inputs: new Map([...inputs].filter(([name]) => name !== 'b')),
        outputs: new Map([['ddx', ddx!]]),
      }
    }
    const feeds = { x: noise(2, 32, 8, 8), w: noise(32, 1, 3, 3), dy: noise(2, 32, 4, 4) }
    const expected = await outputsOf(cpuAs('wasm'), twice(gradientTables), feeds)
    expect(distance(await outputsOf(cpu, twice(cpuGradientTables), feeds), expected)).toBeLessThan(1e-5)
  })

  it('all three convolutions > blocked, with one reordering of x and of dy', async () => {
    const operators = operatorsOf(await lowered(specOf(cases['3x3']!, cpuGradientTables)))
    expect(operators.filter((name) => name === 'Conv')).toHaveLength(3)
    expect(operators.filter((name) => name === 'ReorderOutput')).toHaveLength(3)
  })

  it.each([
    ['few outputs', {}, true],
    ['65 outputs and more', { outputs: 80 }, false],
    ['outputs that blocks do not divide', { outputs: 20 }, false],
    ['channels that blocks do not divide', { channels: 20 }, false],
    ['small images', { lengths: [13, 15] }, false],
    ['1x1 kernels', { kernel: [1, 1], attributes: {} }, false],
  ] as [string, Partial<Case>, boolean][])('convolution of one group, %s > blocked or not', async (_, of, blocked) => {
    const { inputs, outputs } = specOf({ ...narrow['3x3']!, ...of }, cpuGradientTables)
    const forward = { name: 'forward', inputs, outputs: new Map([['y', outputs.get('y')!]]) }
    expect(operatorsOf(await lowered(forward)).includes('ReorderOutput')).toBe(blocked)
  })

  it('channels that blocks do not divide > unchanged', async () => {
    const spec = specOf({ ...cases['3x3']!, channels: 20 }, cpuGradientTables)
    const operators = operatorsOf(await lowered(spec))
    expect(operators).not.toContain('ReorderInput')
  })

  it('the mask of Relu > one node with the same values; other comparisons and types are unchanged', async () => {
    const x = input('x', 'float32', [8])
    const cast = (mask: Value, to = 1) => op.Cast(mask, { to })
    const outputs = { relu: cast(op.Greater(x, 0)), other: cast(op.Greater(x, 1)), integer: cast(op.Greater(x, 0), 6) }
    const spec = { name: 'masks', inputs: new Map([['x', x]]), outputs: new Map(Object.entries(outputs)) }
    const masks = lower(spec, (await cpuTargetOf(cpu, spec))!)
    expect(operatorsOf(masks).filter((name) => name === 'HardSigmoid')).toHaveLength(1)
    expect(operatorsOf(masks).filter((name) => name === 'Cast')).toHaveLength(2)
    const data = Float32Array.of(-3e38, -1, -0, 0, 2 ** -124, 1e-3, 1, 3e38)
    const feeds = { x: { dtype: 'float32' as const, dims: [8], data } }
    const [found, expected] = [
      await outputsOf(cpuAs('wasm'), masks, feeds),
      await outputsOf(cpuAs('wasm'), spec, feeds),
    ]
    expect(found).toEqual(expected)
  })

  /** Attention over heads of a tensor [N, T, H D], with its gradients. */
  function attention(keys: (k: Value) => Value, tokens = 5): GraphSpec {
    const [heads, width] = [3, 4]
    const [q, k, v] = ['q', 'k', 'v'].map((name) => input(name, 'float32', [2, tokens, heads * width])) as Value[]
    const split = (x: Value) => op.Reshape(x, [0, 0, heads, width])
    const perHead = (x: Value) => op.Transpose(split(x), { perm: [0, 2, 1, 3] })
    const weights = op.Softmax(op.MatMul(perHead(q!), keys(split(k!))))
    const y = op.Transpose(op.MatMul(weights, perHead(v!)), { perm: [0, 2, 1, 3] })
    const dy = input('dy', 'float32', y.shape)
    const [dq, dk, dv] = gradientsWithin([[y, dy]], [q!, k!, v!], () => true, cpuGradientTables) as Value[]
    return {
      name: 'attention',
      inputs: new Map([q!, k!, v!, dy].map((value) => [value.name!, value])),
      outputs: new Map(Object.entries({ y, dq: dq!, dk: dk!, dv: dv! })),
    }
  }

  it.each([
    ['one transpose', (k: Value) => op.Transpose(k, { perm: [0, 2, 3, 1] })],
    ['two', (k: Value) => op.Transpose(op.Transpose(k, { perm: [0, 2, 1, 3] }), { perm: [0, 1, 3, 2] })],
  ] as const)('attention with keys by %s > the same values; only whole rows move', async (_, keys) => {
    const spec = attention(keys)
    const target = (await cpuTargetOf(cpu, spec))!
    const moved = withBodies(lower(spec, target).outputs.values()).filter(({ operator }) => operator === 'Transpose')
    expect(moved.map(({ attributes }) => attributes['perm'])).toEqual(moved.map(() => [0, 2, 1, 3]))
    // Heads of q, k and v, and of dy; y, dq, dk and dv.
    expect(new Set(moved.map(({ inputs }) => inputs[0])).size).toBe(8)
    const feeds = { q: noise(2, 5, 12), k: noise(2, 5, 12), v: noise(2, 5, 12), dy: noise(2, 5, 3, 4) }
    const expected = await outputsOf(cpuAs('wasm'), spec, feeds)
    expect(distance(await outputsOf(cpu, spec, feeds), expected)).toBeLessThan(1e-5)
  })

  it('products of one matrix with several > not replaced', async () => {
    const [a, b] = [input('a', 'float32', [2, 3, 4, 5]), input('b', 'float32', [2, 1, 6, 5])]
    const y = op.MatMul(a, op.Transpose(b, { perm: [0, 1, 3, 2] }))
    const outputs = new Map([['y', op.Transpose(y, { perm: [0, 1, 3, 2] })]])
    expect(await cpuTargetOf(cpu, { outputs })).toBeUndefined()
  })

  it('weight gradient of a convolution over one axis > columns by a convolution over three, never blocked', () => {
    const [x, w] = [input('x', 'float32', ['N', 16, 40]), input('w', 'float32', [32, 16, 9])]
    const y = op.Conv(x, w, { strides: [2], pads: [4, 4] })
    const [dw] = gradientsWithin([[y, input('dy', 'float32', y.shape)]], [w], () => true, cpuGradientTables)
    const convolutions = topological([dw!]).filter(({ operator }) => operator === 'Conv')
    expect(convolutions.map(({ inputs }) => inputs[0]!.shape!.length)).toEqual([5])
  })

  it('input gradient of a strided convolution over one axis > transposes one matrix per image and group', () => {
    const [x, w] = [input('x', 'float32', ['N', 16, 40]), input('w', 'float32', [32, 8, 9])]
    const y = op.Conv(x, w, { strides: [2], pads: [4, 4], group: 2 })
    const [dx] = gradientsWithin([[y, input('dy', 'float32', y.shape)]], [x], () => true, cpuGradientTables)
    const transposed = topological([dx!]).filter(({ operator, inputs }) => {
      return operator === 'Transpose' && inputs[0]!.shape![0] === 'N'
    })
    expect(transposed.map(({ inputs }) => inputs[0]!.shape)).toEqual([['N', 2, 2, 8, 20]])
    expect(transposed[0]!.attributes.perm).toEqual([0, 1, 3, 4, 2])
  })

  it('a graph without these convolutions and masks > no lowering', async () => {
    const x = input('x', 'float32', ['N', 8])
    const w = input('w', 'float32', [8, 8])
    expect(await cpuTargetOf(cpu, { outputs: new Map([['y', op.Relu(op.MatMul(x, w))]]) })).toBeUndefined()
  })

  it('a runtime without blocked layout > no convolution in it', async () => {
    const without: Runtime = {
      ...cpu,
      compile: async (model) => {
        if (Buffer.from(model).includes('ReorderInput')) throw new Error('not a registered operator')
        return cpu.compile(model)
      },
    }
    expect(await blockOf(without)).toBeUndefined()
    const spec = specOf(cases['3x3']!, cpuGradientTables)
    const feeds = { x: noise(2, 32, 6, 5), w: noise(32, 1, 3, 3), b: noise(32), dy: noise(2, 32, 6, 5) }
    expect(distance(await outputsOf(without, spec, feeds), await outputsOf(cpu, spec, feeds))).toBeLessThan(1e-5)
  })
})

describe('explicit pads', () => {
  it('MaxPool with SAME pads and a stride above its kernel, and LpPool with ceil_mode, run as ONNX defines them', async () => {
    const x = input('x', 'float32', [1, 1, 6])
    const same = { kernel_shape: [1], strides: [4], auto_pad: 'SAME_UPPER' }
    const last = op.LpPool(x, { kernel_shape: [2], strides: [3], ceil_mode: 1, p: 1 })
    const outputs = new Map([
      ['most', op.MaxPool(x, same)[0]],
      // Windows from 0 and 3; one from 6 would begin after the data.
      ['sums', op.Add(last, constant(tensor('float32', [2], Float32Array.of(10, 20))))],
    ])
    const program = await compileGraph(cpu, { name: 'pools', inputs: new Map([['x', x]]), outputs })
    const { most, sums } = await program.run({ x: tensor('float32', [1, 1, 6], Float32Array.of(1, 2, 3, 4, 5, 6)) })
    await program.release()
    expect(most).toEqual(tensor('float32', [1, 1, 2], Float32Array.of(1, 5)))
    expect(sums).toEqual(tensor('float32', [1, 1, 2], Float32Array.of(13, 29)))
  })
})

describe('RotaryEmbedding', () => {
  it.each([3, 4])('angles of one example turn all, as if they were repeated > %i axes', async (rank) => {
    const [dims, attributes] = rank === 3 ? [[5, 16], { num_heads: 2 }] : [[2, 5, 8], {}]
    const x = input('x', 'float32', ['N', ...dims])
    const outputOf = async (batch: 'N' | 1, repeated: boolean) => {
      const [cos, sin] = ['cos', 'sin'].map((name) => input(name, 'float32', [batch, 5, 4]))
      const inputs = new Map([x, cos!, sin!].map((each) => [each.name!, each]))
      const spec = {
        name: 'rotary',
        inputs,
        outputs: new Map([['y', op.RotaryEmbedding(x, cos!, sin!, null, attributes)]]),
      }
      const repeat = ({ dtype, data }: Tensor): Tensor => {
        const [one, n] = [Array.from(data as Float32Array), repeated ? 3 : 1]
        return tensor(dtype as 'float32', [n, 5, 4], Float32Array.from(Array.from({ length: n }, () => one).flat()))
      }
      return outputsOf(cpu, spec, { ...feeds, cos: repeat(feeds.cos), sin: repeat(feeds.sin) })
    }
    const feeds = { x: noise(3, ...dims), cos: noise(1, 5, 4), sin: noise(1, 5, 4) }
    expect(distance(await outputOf(1, false), await outputOf('N', true))).toBeLessThan(1e-6)
  })
})
