import { describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { constant, exportGraph, input, op, tensor, type Value } from '../../src/graph/index.js'
import { encodeModel } from '../../src/index.js'
import { body } from '../../src/ir/body.js'
import { int64s } from '../../src/ir/leaf.js'
import { walkNodes } from '../../src/onnx/import/model-nodes.js'
import { numbers, run } from './session.js'

const x = input('x', 'float32', ['N', 3, 4])

function written(...outputs: readonly Value[]) {
  return exportGraph({
    name: 'simple',
    inputs: new Map([['x', x]]),
    outputs: new Map(outputs.map((value, i) => [`y${i}`, value])),
  })
}
const operators = (...outputs: readonly Value[]) =>
  [...walkNodes(written(...outputs).graph!)].map(({ opType }) => opType)
const swapped = (y: Value) => op.Transpose(y, { perm: [0, 2, 1] })

describe('exported nodes', () => {
  it.each([
    ['transposes that cancel', op.Neg(swapped(swapped(x))), ['Neg']],
    ['two transposes', op.Neg(op.Transpose(swapped(x))), ['Transpose', 'Neg']],
    ['consecutive reshapes', op.Neg(op.Unsqueeze(op.Flatten(x), [0])), ['Reshape', 'Neg']],
    ['a reshape and its inverse', op.Neg(op.Squeeze(op.Unsqueeze(x, [1]), [1])), ['Neg']],
    ['a reshape to the same shape', op.Neg(op.Reshape(x, op.Shape(x))), ['Neg']],
    ['names', op.Neg(op.Identity(op.Identity(x))), ['Neg']],
    ['Expand to the same shape', op.Neg(op.Expand(x, op.Shape(x))), ['Neg']],
    [
      'a computed target shape that is constant',
      op.Neg(op.Reshape(swapped(x), op.Shape(x))),
      ['Transpose', 'Reshape', 'Neg'],
    ],
    ['a reshaped constant', op.Add(x, op.Reshape(floats(100), [25, 1, 1, 4])), ['Add']],
    ['an expanded constant', op.Add(x, op.Expand(floats(1), [3, 4])), ['Add']],
    ['arithmetic on constants', op.Mul(x, op.Floor(op.Add(floats(4), floats(4)))), ['Mul']],
  ])('%s > is simplified', (_, y, expected) => {
    expect(operators(y)).toEqual(expected)
  })

  it('a simplified node > is not read by others', () => {
    const turned = swapped(x)
    expect(operators(op.Neg(swapped(turned)), op.Exp(turned)).sort()).toEqual(['Exp', 'Neg', 'Transpose'])
  })

  it('equal shapes of different tensors > are computed once', () => {
    const wide = (y: Value) =>
      op.Expand(op.ReduceMax(y, [0, 1, 2], { keepdims: 0 }), op.Concat([op.Shape(y), int64s([2])], { axis: 0 }))
    expect(operators(wide(x), wide(op.Exp(x))).filter((operator) => operator === 'Shape')).toHaveLength(1)
  })

  it('in bodies > are simplified, but not across scopes', () => {
    const outside = swapped(x)
    const condition = op.Greater(op.ReduceMax(x, [0, 1, 2], { keepdims: 0 }), 0)
    const y = op.If(condition, {
      then_branch: body([], () => [op.Neg(op.Squeeze(op.Unsqueeze(op.Identity(outside), [0]), [0]))]),
      else_branch: body([], () => [op.Exp(swapped(outside))]),
    } as never)[0]!
    expect(operators(y).sort()).toEqual(['Exp', 'Greater', 'If', 'Neg', 'ReduceMax', 'Transpose', 'Transpose'])
  })
})

describe('long equal constants', () => {
  const initializers = (...values: readonly Value[]) => written(...values).graph!.initializer

  it('are written once', () => {
    expect(initializers(floats(100), floats(100))).toHaveLength(1)
  })

  it('difference in one element > both are written', () => {
    const other = Float32Array.from({ length: 100 }, (_, i) => Math.cos(i))
    other[99]! += 1
    expect(initializers(floats(100), constant(tensor('float32', [100], other)))).toHaveLength(2)
  })
})

/**
 * Axes permuted, split, joined, added and removed at random: onnxruntime finds each element where index arithmetic puts
 * it.
 */
describe('random reshapes and transposes', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))('%i', async (seed) => {
    const random = new Random(seed + 1)
    const below = (n: number) => Math.floor(random.uniform() * n)
    const n = 1 + below(2)
    let dims: readonly number[] = [n, 3, 4]
    let elements: readonly number[] = Array.from({ length: 12 * n }, (_, i) => i)
    let y: Value = x
    const outputs: [value: Value, dims: readonly number[], elements: readonly number[]][] = []
    for (let step = 0; step < 8; step++) {
      const kind = below(5)
      const axis = below(dims.length + 1)
      if (kind < 2) {
        const perm = dims.map((_, i) => i).sort(() => random.uniform() - 0.5)
        y = op.Transpose(y, { perm })
        elements = reordered(elements, dims, perm)
        dims = perm.map((from) => dims[from]!)
      } else if (kind === 2) {
        y = op.Unsqueeze(y, [axis])
        dims = dims.toSpliced(axis, 0, 1)
      } else if (kind === 3 && y.shape!.includes(1)) {
        const at = y.shape!.indexOf(1)
        y = op.Squeeze(y, [at])
        dims = dims.toSpliced(at, 1)
      } else {
        y = op.Flatten(y, { axis })
        dims = [product(dims.slice(0, axis)), product(dims.slice(axis))]
      }
      if (step === 7 || below(4) === 0) outputs.push([op.Neg(y), dims, elements])
    }
    const feeds = {
      x: tensor(
        'float32',
        [n, 3, 4],
        Float32Array.from({ length: 12 * n }, (_, i) => i),
      ),
    }
    const results = await run(
      encodeModel({ proto: written(...outputs.map(([value]) => value)), external: null }),
      feeds,
    )
    for (const [i, [, expectedDims, expected]] of outputs.entries()) {
      expect(results[`y${i}`]!.dims).toEqual(expectedDims)
      expect(numbers(results[`y${i}`]!)).toEqual(expected.map((element) => -element))
    }
  })
})

function floats(length: number): Value {
  const elements = Float32Array.from({ length }, (_, i) => Math.cos(i))
  return constant(tensor('float32', [length], elements))
}

const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)

function reordered(elements: readonly number[], dims: readonly number[], perm: readonly number[]): readonly number[] {
  const strides = dims.map((_, axis) => product(dims.slice(axis + 1)))
  const visit = (depth: number, offset: number): readonly number[] =>
    depth === perm.length
      ? [elements[offset]!]
      : Array.from({ length: dims[perm[depth]!]! }, (_, i) =>
          visit(depth + 1, offset + i * strides[perm[depth]!]!),
        ).flat()
  return visit(0, 0)
}
