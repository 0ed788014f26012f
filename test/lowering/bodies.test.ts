import { describe, expect, it } from 'vitest'
import type { Tensor, Tensors } from '../../src/index.js'
import { body } from '../../src/ir/body.js'
import { constant, input, int64s, scalar, tensorFrom } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import { lower } from '../../src/lowering/lower.js'
import { webgpu as target } from '../../src/lowering/webgpu/target.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'
import { normal } from '../train/problem.js'
import { onCpuAndGpu } from './cpu-and-gpu.js'
import { distance, operatorsOf, outputsOf } from './outputs.js'
import { cpu } from './providers.js'

const noise = (...dims: number[]): Tensor => normal(new Random(3), dims)
const longs = (...numbers: number[]): Tensor => tensorFrom('int64', [numbers.length], numbers)

/** A Loop over one state of the shape of `initial`. */
function loop(rounds: Value, initial: Value, build: (i: Value, state: Value) => readonly Value[]): readonly Value[] {
  const inputs = [input('i', 'int64', []), input('go', 'bool', []), input('state', initial.dtype, initial.shape)]
  return op.Loop(rounds, null, [initial], {
    body: body(inputs, (i, go, state) => [go!, ...build(i!, state!)]),
  })
}

interface Case {
  readonly feeds: Tensors
  /** @param rounds a number of rounds, as a constant or as a number that is known only when the graph runs */
  readonly build: (
    inputs: Readonly<Record<string, Value>>,
    rounds: (count: number) => Value,
  ) => Readonly<Record<string, Value>>
  /** Operators that WebGPU runs wrong or not at all. */
  readonly gone: readonly string[]
}

const cases: Readonly<Record<string, Case>> = {
  'both branches of an If': {
    feeds: { x: noise(2, 3), ids: longs(2, 0, 1) },
    build: ({ x, ids }) => {
      const some = op.Greater(op.ReduceSum(x!, null, { keepdims: 0 }), 100)
      const [y] = op.If(some, {
        then_branch: body([], () => [op.Sign(op.Gather(x!, op.Sub(ids!, 1), { axis: 1 }))]),
        else_branch: body([], () => [op.LogSoftmax(op.Gather(x!, ids!, { axis: 1 }), { axis: 1 })]),
      })
      return { y: y! }
    },
    gone: ['Sign', 'LogSoftmax'],
  },
  'a value from outside as it is, and one that is lowered to it': {
    feeds: { x: noise(2, 3), ids: longs(2, 0, 1) },
    build: ({ x, ids }) => {
      const some = op.Greater(op.ReduceSum(x!, null, { keepdims: 0 }), -100)
      const moved = op.Add(ids!, 1)
      const [y, z] = op.If(some, {
        then_branch: body([], () => [op.Identity(x!), op.Identity(moved)]),
        else_branch: body([], () => [op.Neg(x!), moved]),
      })
      return { y: y!, z: z!, moved }
    },
    gone: [],
  },
  'a convolution of 6 channels in every round': {
    feeds: { x: noise(2, 8, 5, 5), narrow: noise(6, 8, 1, 1), wide: noise(8, 6, 3, 3) },
    build: ({ x, narrow, wide }, rounds) => {
      const pads = [1, 1, 1, 1]
      const [y] = loop(rounds(2), x!, (_, state) => [
        op.Softsign(op.Conv(op.Conv(state, narrow!), wide!, null, { pads })),
      ])
      return { y: y! }
    },
    gone: ['Softsign'],
  },
  'the number of the round, shapes and indices': {
    feeds: { x: noise(3, 4), ids: longs(1, 2, 0) },
    build: ({ x, ids }, count) => {
      const [y, rows, places] = loop(count(3), x!, (i, state) => {
        const row = op.Gather(state, i)
        const last = op.Sub(op.Shape(state, { end: 1 }), op.Add(i, 1))
        const best = op.ArgMax(state, { axis: 1, keepdims: 0 })
        const moved = op.Mod(op.Add(op.Add(best, ids!), i), 4)
        return [
          op.Add(state, op.Sign(op.Slice(state, last, op.Add(last, 1), int64s([0])))),
          op.Mul(row, op.Cast(i, { to: 1 })),
          moved,
        ]
      })
      return { y: y!, rows: rows!, places: places! }
    },
    gone: ['Sign'],
  },
  'places of the largest in every slice of a Scan': {
    feeds: { x: noise(2, 1, 2, 4, 4) },
    build: ({ x }) => {
      const state = constant(tensorFrom('float32', [], [1]))
      const inputs = [input('state', 'float32', []), input('slice', 'float32', [1, 2, 4, 4])]
      const [sum, spread] = op.Scan([state, x!], {
        num_scan_inputs: 1,
        body: body(inputs, (state, slice) => {
          const [y, indices] = op.MaxPool(slice!, { kernel_shape: [2, 2], strides: [2, 2] })
          const zeros = op.ConstantOfShape(int64s([32]))
          const flat = op.ScatterElements(zeros, op.Reshape(indices, [-1]), op.Reshape(y, [-1]))
          return [op.Add(state!, op.ReduceSum(op.Sign(y), null, { keepdims: 0 })), flat]
        }),
      })
      return { sum: sum!, spread: spread! }
    },
    gone: ['Sign', 'ConstantOfShape'],
  },
  'a body inside of a body': {
    feeds: { x: noise(4) },
    build: ({ x }, rounds) => {
      const [y] = loop(rounds(4), x!, (i, state) => {
        const large = op.Greater(op.Gather(state, i), 0)
        return op.If(large, {
          then_branch: body([], () => [op.Sub(state, op.Sign(op.Add(state, x!)))]),
          else_branch: body([], () => loop(rounds(2), state, (_, inner) => [op.Celu(op.Add(inner, op.Gather(x!, i)))])),
        })
      })
      return { y: y! }
    },
    gone: ['Sign', 'Celu'],
  },
}

/** Every case with numbers of rounds that are known, so that loops are unrolled, and with numbers that are not. */
const both = Object.entries(cases).flatMap(([name, each]) =>
  ([true, false] as const).map((isKnown) => [`${name}, rounds ${isKnown ? '' : 'un'}known`, isKnown, each] as const),
)

onCpuAndGpu('bodies on WebGPU', (on) => {
  it.each(both)('%s', async (_, isKnown, { feeds: given, build, gone }) => {
    const feeds = isKnown ? given : { ...given, zero: tensorFrom('int64', [], [0]) }
    const inputs = Object.fromEntries(
      Object.entries(feeds).map(([name, { dtype, dims }]) => [
        name,
        // The number of slices of a Scan.
        input(name, dtype, isKnown || dims.length < 5 ? dims : ['slices', ...dims.slice(1)]),
      ]),
    )
    const rounds = (count: number) =>
      isKnown ? scalar('int64', count) : op.Add(inputs['zero']!, scalar('int64', count))
    const graph: GraphSpec = {
      name: 'bodies',
      inputs: new Map(Object.entries(inputs)),
      outputs: new Map(Object.entries(build(inputs, rounds))),
    }
    const result = operatorsOf(lower(graph, target))
    if (isKnown) for (const operator of ['Loop', 'Scan']) expect(result).not.toContain(operator)
    for (const operator of gone) {
      expect(operatorsOf(graph)).toContain(operator)
      expect(result).not.toContain(operator)
    }
    const expected = await outputsOf(cpu, graph, feeds)
    const { runtime, within } = on()
    expect(distance(await outputsOf(runtime, graph, feeds), expected)).toBeLessThan(within(1e-5, 1e-4))
  })
})

describe('bodies > lowered for WebGPU', () => {
  it('body without changes > is shared', () => {
    const x = input('x', 'float32', [3])
    const rounds = input('rounds', 'int64', [])
    const [y] = loop(rounds, x, (_, state) => [op.Tanh(state)])
    const inputs = new Map(Object.entries({ x, rounds }))
    const graph: GraphSpec = { name: 'loop', inputs, outputs: new Map([['y', y!]]) }
    expect(lower(graph, target).outputs.get('y')).toBe(y)
  })
})
