import { describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { constant, exportGraph, gradients, input, op, scalar, tensor, type Value } from '../../src/graph/index.js'
import { OnnxIreError, type Tensors } from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { numbers, run } from '../onnx/session.js'

type Inputs = Readonly<Record<string, Value>>

const evaluate = async (inputs: Inputs, outputs: Readonly<Record<string, Value>>, feeds: Tensors) => {
  const graph = { name: 'walk', inputs: new Map(Object.entries(inputs)), outputs: new Map(Object.entries(outputs)) }
  return run(encode('ModelProto', exportGraph(graph)), feeds)
}

const total = (y: Value): Value => op.ReduceSum(y, { keepdims: 0 })
const doubles = (dims: readonly number[], values: readonly number[]) => tensorFrom('float64', dims, values)

/** The gradient of a scalar function at a point, and by central differences. */
async function bothGradients(dims: readonly number[], f: (x: Value) => Value): Promise<[number[], number[]]> {
  const x = input('x', 'float64', dims)
  const y = f(x)
  const [dx] = gradients([[y, scalar('float64', 1)]], [x])
  const random = new Random(3)
  const at = Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.normal())
  const value = async (point: readonly number[]) =>
    numbers((await evaluate({ x }, { y }, { x: doubles(dims, point) }))['y']!)[0]!
  const differences: number[] = []
  for (let i = 0; i < at.length; i++) {
    const [up, down] = [1e-5, -1e-5].map((h) => at.map((v, k) => (k === i ? v + h : v)))
    differences.push(((await value(up!)) - (await value(down!))) / 2e-5)
  }
  return [numbers((await evaluate({ x }, { dx: dx! }, { x: doubles(dims, at) }))['dx']!), differences]
}

async function expectRight(dims: readonly number[], f: (x: Value) => Value): Promise<void> {
  const [rule, difference] = await bothGradients(dims, f)
  rule.forEach((value, i) => {
    expect(value).toBeCloseTo(difference[i]!, 6)
  })
}

describe('a Softmax whose NaN are replaced', () => {
  it('rows that are masked as a whole > have no gradient', async () => {
    const mask = constant(doubles([2, 3], [0, 0, -Infinity, -Infinity, -Infinity, -Infinity]))
    await expectRight([2, 3], (x) => {
      const y = op.Softmax(op.Add(x, mask))
      return total(op.Mul(op.Where(op.IsNaN(y), scalar('float64', 0), y), x))
    })
  })
})

describe('composite operators', () => {
  const rows = (x: Value) => op.Reshape(x, [1, 1, 2, 3])
  it('operands that are one tensor > get the whole gradient once', () =>
    expectRight([2, 3], (x) => total(op.Mul(op.Attention(rows(x), rows(x), rows(x))[0], rows(x)))))

  it('operands that are the same value > get the whole gradient once', async () => {
    await expectRight([2, 3], (x) => {
      const q = rows(x)
      return total(op.Mul(op.Attention(q, q, q)[0], q))
    })
  })

  it('operands that depend on each other > get their own gradients', async () => {
    await expectRight([2, 3], (x) => {
      const q = rows(x)
      const k = op.Tanh(q)
      return total(op.Mul(op.Attention(k, q, op.Mul(k, q))[0], q))
    })
  })
})

describe('the walk', () => {
  it('incoming gradients of another shape or type > are refused', () => {
    const b = input('b', 'float32', [3])
    const y = op.Add(input('x', 'float32', ['N', 3]), b)
    for (const dy of [scalar('float32', 1), scalar('float64', 1), input('dy', 'float32', ['N', 4])])
      expect(() => gradients([[y, dy]], [b])).toThrow(
        expect.objectContaining({
          code: 'invalid-shape',
          message: expect.stringContaining('of an output float32[N, 3]'),
        }),
      )
  })

  it('several paths > their gradients are added', async () => {
    await expectRight([4], (x) => {
      const y = op.Tanh(x)
      return total(op.Mul(op.Add(y, op.Mul(y, y)), op.Sub(x, y)))
    })
  })

  it('several seeds of one output > are added; inner values and leaves have gradients', async () => {
    const x = input('x', 'float32', [2])
    const middle = op.Mul(x, x)
    const y = op.Mul(middle, 3)
    const dy = constant(tensor('float32', [2], Float32Array.of(1, 10)))
    const [dx, dMiddle, dy_] = gradients(
      [
        [y, dy],
        [y, dy],
        [middle, dy],
      ],
      [x, middle, y],
    )
    const results = await evaluate(
      { x },
      { dx: dx!, dMiddle: dMiddle!, dy: dy_! },
      { x: tensor('float32', [2], Float32Array.of(2, -1)) },
    )
    expect(numbers(results['dMiddle']!)).toEqual([7, 70])
    expect(numbers(results['dx']!)).toEqual([28, -140])
    expect(numbers(results['dy']!)).toEqual([2, 20])
  })

  it('value without differentiable influence > gets null', () => {
    const [x, z] = [input('x', 'float32', [2]), input('z', 'float32', [2])]
    const y = op.Add(op.Floor(x), op.Cast(op.Shape(z), { to: 1 }))
    expect(gradients([[y, y]], [x, z, input('other', 'float32', [2])])).toEqual([null, null, null])
    expect(gradients([], [x])).toEqual([null])
  })

  it('operators without a gradient > are listed with the forms that rules reject', () => {
    const x = input('x', 'float32', undefined)
    const [, scale] = op.DynamicQuantizeLinear(x)
    const y = op.Add(op.Einsum([x], { equation: 'i...i->...' }), scale)
    try {
      gradients([[y, y]], [x])
    } catch (error) {
      expect(error).toBeInstanceOf(OnnxIreError)
      expect(error).toMatchObject({
        code: 'not-differentiable',
        message: expect.stringMatching(/^2 operators(?=.*DynamicQuantizeLinear)(?=.*Einsum 'i...i->...')/s),
      })
      return
    }
    throw new Error('it was differentiated')
  })

  describe('SAME padding with windows that onnxruntime moves', () => {
    const window = (stride: number, kernel: number) => ({
      strides: [stride],
      kernel_shape: [kernel],
      auto_pad: 'SAME_UPPER',
    })
    const w = (kernel: number) => input('w', 'float32', [1, 1, kernel])
    const gradientOf = (length: number | string, build: (x: Value) => Value) => () => {
      const x = input('x', 'float32', [1, 1, length])
      const y = build(x)
      return gradients([[y, y]], [x])
    }
    it.each([
      ['Conv', 10, (x: Value) => op.Conv(x, w(2), null, window(5, 2))],
      ['Conv', 'L', (x: Value) => op.Conv(x, w(1), null, window(4, 1))],
      ['AveragePool', 9, (x: Value) => op.AveragePool(x, window(3, 1))],
      ['LpPool', 12, (x: Value) => op.LpPool(x, window(4, 2))],
    ] as const)('%s over %s elements > has no gradient', (operator, length, build) => {
      const wanted = {
        code: 'not-differentiable',
        message: expect.stringMatching(`${operator}: auto_pad 'SAME_UPPER'`),
      }
      expect(gradientOf(length, build)).toThrow(expect.objectContaining(wanted))
    })

    it.each([
      ['Conv', 'L', (x: Value) => op.Conv(x, w(1), null, window(2, 1))],
      ['Conv', 9, (x: Value) => op.Conv(x, w(1), null, window(3, 1))],
      ['Conv', 11, (x: Value) => op.Conv(x, w(1), null, window(5, 1))],
      ['AveragePool', 8, (x: Value) => op.AveragePool(x, window(3, 1))],
    ] as const)('%s over %s elements, windows in their place > has one', (_, length, build) => {
      expect(gradientOf(length, build)()).toEqual([expect.anything()])
    })
  })

  it('chain of 20,000 nodes > does not overflow the stack', () => {
    const x = input('x', 'float32', [1])
    let y: Value = x
    for (let i = 0; i < 20_000; i++) y = op.Tanh(y)
    expect(gradients([[y, x]], [x])[0]!.shape).toEqual([1])
  })
})
