import { afterAll, describe, expect, it } from 'vitest'
import { gradientsWithin } from '../../src/grad/gradient.js'
import { cpuGradientTables, gradientTables } from '../../src/grad/gradient-tables.js'
import type { Tensor } from '../../src/index.js'
import { input } from '../../src/ir/leaf.js'
import { topological } from '../../src/ir/topology.js'
import type { Value } from '../../src/ir/value.js'
import { cpuTargetOf } from '../../src/lowering/cpu/block.js'
import { lower } from '../../src/lowering/lower.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { op } from '../../src/op/op.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { Random } from '../../src/util/random.js'
import { cpu, cpuAs, distance, outputsOf } from './providers.js'

afterAll(() => cpu.dispose())

const random = new Random(5)
const noise = (...dims: number[]): Tensor => ({
  dtype: 'float32',
  dims,
  data: random.fill(new Float32Array(dims.reduce((a, b) => a * b, 1)), 'normal'),
})

type Attributes = NonNullable<Parameters<typeof op.Conv>[3]>

interface Case {
  readonly lengths: readonly [number, number]
  readonly kernel: readonly [number, number]
  readonly attributes?: Attributes
  readonly channels?: number
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

/** A depthwise convolution with bias, and its gradients. */
function specOf({ lengths, kernel, attributes = {}, channels = 32 }: Case, tables: typeof gradientTables): GraphSpec {
  const x = input('x', 'float32', ['N', channels, ...lengths])
  const w = input('w', 'float32', [channels, 1, ...kernel])
  const b = input('b', 'float32', [channels])
  const y = op.Conv(x, w, b, { ...attributes, group: channels })
  const weight = input('dy', 'float32', y.shape)
  const [dx, dw, db] = gradientsWithin([[y, weight]], [x, w, b], () => true, tables) as Value[]
  return {
    name: 'depthwise',
    inputs: new Map([x, w, b, weight].map((value) => [value.name!, value])),
    outputs: new Map(Object.entries({ y, dx: dx!, dw: dw!, db: db! })),
  }
}

const operatorsOf = ({ outputs }: GraphSpec) => topological(outputs.values()).map(({ operator }) => operator)

describe('lowering for the CPU', () => {
  it.each(Object.entries(cases))('depthwise %s > values and gradients as without', async (_, of) => {
    const { channels = 32, lengths, kernel } = of
    const plain = specOf(of, gradientTables)
    const feeds = { x: noise(3, channels, ...lengths), w: noise(channels, 1, ...kernel), b: noise(channels) }
    const [, , ...windows] = plain.outputs.get('y')!.shape as readonly number[]
    const all = { ...feeds, dy: noise(3, channels, ...windows) }
    const lowered = specOf(of, cpuGradientTables)
    // Under the name of a provider without lowerings, the graph runs as it is.
    const expected = await outputsOf(cpuAs('wasm'), plain, all)
    expect(distance(await outputsOf(cpuAs('wasm'), lowered, all), expected)).toBeLessThan(1e-5)
    expect(distance(await outputsOf(cpu, lowered, all), expected)).toBeLessThan(1e-5)
  })

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
    const target = await cpuTargetOf(cpu)
    const operators = operatorsOf(lower(specOf(cases['3x3']!, cpuGradientTables), target!))
    expect(operators.filter((name) => name === 'Conv')).toHaveLength(3)
    expect(operators.filter((name) => name === 'ReorderOutput')).toHaveLength(3)
  })

  it('channels that blocks do not divide > unchanged', async () => {
    const spec = specOf({ ...cases['3x3']!, channels: 20 }, cpuGradientTables)
    const operators = operatorsOf(lower(spec, (await cpuTargetOf(cpu))!))
    expect(operators).not.toContain('ReorderInput')
  })

  it('a runtime without blocked layout > no lowering', async () => {
    const without: Runtime = {
      ...cpu,
      compile: async (model) => {
        if (Buffer.from(model).includes('ReorderInput')) throw new Error('not a registered operator')
        return cpu.compile(model)
      },
    }
    expect(await cpuTargetOf(without)).toBeUndefined()
    const spec = specOf(cases['3x3']!, cpuGradientTables)
    const feeds = { x: noise(2, 32, 6, 5), w: noise(32, 1, 3, 3), b: noise(32), dy: noise(2, 32, 6, 5) }
    expect(distance(await outputsOf(without, spec, feeds), await outputsOf(cpu, spec, feeds))).toBeLessThan(1e-5)
  })
})
