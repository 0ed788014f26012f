import { describe, expect, it } from 'vitest'
import { constant, input, int64s, scalar, tensorFrom } from '../../src/ir/leaf.js'
import type { Shape } from '../../src/ir/shape.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'

const x = (...shape: Shape): Value => input('x', 'float32', shape)
const int64 = 7
const float32 = 1
const elements = (value: Value): readonly (number | string)[] | undefined => value.contents

describe('shape arithmetic written by exporters > is folded', () => {
  it('PyTorch: x.view(x.size(0), -1)', () => {
    const input = x('N', 512, 1, 1)
    const size = op.Gather(op.Shape(input), scalar('int64', 0))
    const target = op.Concat([op.Unsqueeze(size, [0]), int64s([-1])], { axis: 0 })
    expect(op.Reshape(input, target).shape).toEqual(['N', 512])
  })

  it('Shape -> Slice -> Cast -> Squeeze -> Unsqueeze -> Concat -> Reshape', () => {
    const input = x('N', 8, 8, 8)
    const size = op.Squeeze(op.Cast(op.Slice(op.Shape(input), [0], [1]), { to: 6 }), [0])
    const target = op.Concat([op.Cast(op.Unsqueeze(size, [0]), { to: int64 }), int64s([512])], { axis: 0 })
    expect(op.Reshape(input, target).shape).toEqual(['N', 512])
  })

  it('TensorFlow: lengths cast to floats, scaled and cast back', () => {
    const input = x('N', 'H', 'W', 3)
    const sizes = op.Slice(op.Cast(op.Shape(input), { to: float32 }), [1], [3])
    const doubled = op.Cast(op.Mul(sizes, constant(tensorFrom('float32', [2], [2, 2]))), { to: int64 })
    const target = op.Concat([op.Slice(op.Shape(input), [0], [1]), doubled, op.Slice(op.Shape(input), [3], [4])], {
      axis: 0,
    })
    expect(elements(target)).toEqual(['N', 'H*2', 'W*2', 3])
  })

  it('PyTorch: expand, -1 replaced by Where(Equal(shape, -1), shape of ones, shape)', () => {
    const input = x('N', 1, 'S')
    const shape = op.Concat([op.Shape(input, { end: 1 }), int64s([4, -1])], { axis: 0 })
    const ones = op.ConstantOfShape(op.Shape(shape), { value: tensorFrom('int64', [1], [1]) })
    const target = op.Where(op.Equal(shape, op.Mul(ones, -1)), ones, shape)
    expect(elements(target)).toEqual(['N', 4, 1])
    expect(op.Expand(input, target).shape).toEqual(['N', 4, 'S'])
  })

  it('attention: (batch, sequence, width) into heads and back', () => {
    const input = x('B', 'S', 768)
    const [b, s] = [0, 1].map((axis) => op.Unsqueeze(op.Gather(op.Shape(input), scalar('int64', axis)), [0]))
    const heads = op.Transpose(op.Reshape(input, op.Concat([b!, s!, int64s([12, 64])], { axis: 0 })), {
      perm: [0, 2, 1, 3],
    })
    expect(heads.shape).toEqual(['B', 12, 'S', 64])
    const merged = op.Reshape(
      op.Transpose(heads, { perm: [0, 2, 1, 3] }),
      op.Concat([b!, s!, int64s([-1])], { axis: 0 }),
    )
    expect(merged.shape).toEqual(['B', 'S', 768])
  })

  it('rows of a batch flattened and split again', () => {
    const rows = op.Reshape(x('B', 'S', 64), [-1, 64])
    expect(rows.shape).toEqual(['B*S', 64])
    expect(
      op.Reshape(rows, op.Concat([op.Shape(x('B', 'S'), { end: 1 }), int64s([-1, 64])], { axis: 0 })).shape,
    ).toEqual(['B', 'S', 64])
  })

  it('channel shuffle: (N, C, H, W) through five axes', () => {
    const input = x('N', 116, 'H', 'W')
    const split = op.Reshape(
      input,
      op.Concat([op.Shape(input, { end: 1 }), int64s([2, 58]), op.Shape(input, { start: 2 })], { axis: 0 }),
    )
    const shuffled = op.Transpose(split, { perm: [0, 2, 1, 3, 4] })
    expect(
      op.Reshape(
        shuffled,
        op.Concat([op.Shape(input, { end: 1 }), int64s([-1]), op.Shape(input, { start: 2 })], { axis: 0 }),
      ).shape,
    ).toEqual(['N', 116, 'H', 'W'])
  })

  it("PyTorch: F.pad's list of pads, reversed in pairs", () => {
    const given = op.Concat([int64s([1, 2]), int64s([0, 0])], { axis: 0 })
    const pairs = op.Slice(op.Reshape(given, [-1, 2]), [-1], [-(2 ** 63)], [0], [-1])
    const pads = op.Cast(op.Reshape(op.Transpose(pairs, { perm: [1, 0] }), [-1]), { to: int64 })
    expect(elements(pads)).toEqual([0, 1, 0, 2])
    expect(op.Pad(x('N', 'S'), pads).shape).toEqual(['N', 'S+3'])
  })

  it('static dims next to computed ones stay static', () => {
    const length = input('length', 'int64', [])
    const target = op.Concat([op.Shape(x('N'), { end: 1 }), op.Unsqueeze(length, [0]), int64s([64])], { axis: 0 })
    const [n, unknown, width] = op.Reshape(x('N', 'M'), target).shape!
    expect([n, width]).toEqual(['N', 64])
    expect(unknown).toMatch(/^\?/)
  })

  it('positions: Range up to a dim, then one table row per position', () => {
    const length = op.Gather(op.Shape(x('B', 'S')), scalar('int64', 1))
    const positions = op.Range(scalar('int64', 0), length, scalar('int64', 1))
    expect(op.Gather(x(1024, 64), positions).shape).toEqual(['S', 64])
  })
})

describe('known integer results > become constants', () => {
  const known = (value: Value) => {
    expect(value.source.kind).toBe('constant')
    return value.contents
  }

  it.each<[string, () => Value, readonly number[]]>([
    ['Shape', () => op.Shape(x(2, 3, 4)), [2, 3, 4]],
    ['Shape of the last axes', () => op.Shape(x(2, 3, 4), { start: -2 }), [3, 4]],
    ['Size', () => op.Size(x(2, 3, 4)), [24]],
    ['Gather', () => op.Gather(op.Shape(x(2, 3, 4)), [-1, 0]), [4, 2]],
    ['Slice', () => op.Slice(int64s([1, 2, 3, 4, 5]), [-1], [-(2 ** 63)], [0], [-2]), [5, 3, 1]],
    ['Slice of an empty range', () => op.Slice(int64s([1, 2, 3]), [2], [1]), []],
    ['Concat', () => op.Concat([int64s([1]), int64s([]), int64s([2, 3])], { axis: 0 }), [1, 2, 3]],
    ['Squeeze', () => op.Squeeze(int64s([7]), [0]), [7]],
    ['Unsqueeze', () => op.Unsqueeze(scalar('int64', 7), [0, 1]), [7]],
    ['Range', () => op.Range(scalar('int64', 5), scalar('int64', -1), scalar('int64', -2)), [5, 3, 1]],
    ['ConstantOfShape', () => op.ConstantOfShape(int64s([3]), { value: tensorFrom('int64', [1], [9]) }), [9, 9, 9]],
    ['Expand', () => op.Expand(int64s([4]), [2, 2]), [4, 4, 4, 4]],
    ['Expand of a column', () => op.Expand(op.Unsqueeze(int64s([1, 2]), [1]), [2, 2]), [1, 1, 2, 2]],
    ['Transpose', () => op.Transpose(op.Reshape(int64s([1, 2, 3, 4]), [2, 2])), [1, 3, 2, 4]],
    [
      'Gather of columns',
      () => op.Gather(op.Reshape(int64s([1, 2, 3, 4]), [2, 2]), [1, 1, -2], { axis: 1 }),
      [2, 2, 1, 4, 4, 3],
    ],
    [
      'Slice of rows',
      () => op.Slice(op.Reshape(int64s([1, 2, 3, 4]), [2, 2]), [-1], [-(2 ** 63)], [0], [-1]),
      [3, 4, 1, 2],
    ],
    [
      'Concat of rows',
      () => op.Concat([op.Reshape(int64s([1, 2]), [1, 2]), op.Reshape(int64s([3, 4]), [1, 2])], { axis: -2 }),
      [1, 2, 3, 4],
    ],
    ['Tile', () => op.Tile(int64s([1, 2]), [2]), [1, 2, 1, 2]],
    ['Reshape', () => op.Reshape(int64s([1, 2]), [2, 1]), [1, 2]],
    ['Split', () => op.Split(int64s([1, 2, 3]), [1, 2])[1]!, [2, 3]],
    ['NonZero', () => op.NonZero(int64s([0, 5, 0, 1])), [1, 3]],
  ])('%s', (_, build, expected) => {
    expect(known(build())).toEqual(expected)
  })
})

describe('dims of slices', () => {
  const slice = (length: number | string, start: number, end: number, step = 1) =>
    op.Slice(x(length), [start], [end], [0], [step]).shape![0]
  const toEnd = 2 ** 63

  it.each<[string, number | string, number, number, number, number | string]>([
    ['all', 'N', 0, toEnd, 1, 'N'],
    ['from the second', 'N', 1, toEnd, 1, 'N-1'],
    ['to the last but one', 'N', 0, -1, 1, 'N-1'],
    ['the first', 'N', 0, 1, 1, 1],
    ['the last', 'N', -1, toEnd, 1, 1],
    ['at most 512', 'N', 0, 512, 1, 'min(N,512)'],
    ['the last 8', 'N', -8, toEnd, 1, 'min(N,8)'],
    ['every second', 'N', 0, toEnd, 2, 'ceil(N/2)'],
    ['backwards', 'N', -1, -toEnd, -1, 'N'],
    ['beyond the end', 5, 3, 100, 1, 2],
    ['before the start', 5, -100, 2, 1, 2],
    ['every second backwards from beyond', 5, 100, -100, -2, 3],
    ['crossed bounds', 5, 4, 2, 1, 0],
    ['backwards from before the start', 5, -100, -100, -1, 1],
  ])('%s', (_, length, start, end, step, expected) => {
    expect(slice(length, start, end, step)).toBe(expected)
  })

  it('symbolic end > the dim is an expression', () => {
    const end = op.Shape(x('B', 'S'), { start: 1 })
    expect(op.Slice(x(1024, 64), [0], end, [0]).shape).toEqual(['S', 64])
  })
})

describe('invalid static operands', () => {
  it.each<[string, () => unknown, RegExp]>([
    [
      'Reshape to another number of elements',
      () => op.Reshape(x(2, 3), [4, 2]),
      /Reshape: \[2, 3\] cannot be reshaped to \[4, 2\]/,
    ],
    ['Reshape with a remainder', () => op.Reshape(x(2, 3), [4, -1]), /cannot be reshaped to \[4, -1\]/],
    ['Reshape with two -1', () => op.Reshape(x(2, 3), [-1, -1]), /more than one -1/],
    ['Reshape copying an axis outside the rank', () => op.Reshape(x(2), [2, 0]), /nothing to copy at axis 1/],
    ['Squeeze of a longer axis', () => op.Squeeze(x(2, 3), [1]), /axis 1 has length 3, not 1/],
    ['Unsqueeze of an axis twice', () => op.Unsqueeze(x(2), [0, -3]), /repeat/],
    ['Transpose with an invalid permutation', () => op.Transpose(x(2, 3), { perm: [0, 0] }), /no order of 2 axes/],
    ['Expand to shapes that do not broadcast', () => op.Expand(x(2, 3), [4, 3]), /do not broadcast/],
    ['Tile with too few repeats', () => op.Tile(x(2, 3), [2]), /1 repeats for 2 axes/],
    ['Concat of different ranks', () => op.Concat([x(2, 3), x(2)], { axis: 0 }), /different rank/],
    ['Concat of different lengths', () => op.Concat([x(2, 3), x(2, 4)], { axis: 0 }), /lengths 3 and 4 differ/],
    ['Split into lengths that exceed the axis', () => op.Split(x(5), [2, 2]), /splits 5 elements into \[2, 2\]/],
    ['Slice with a step of 0', () => op.Slice(x(5), [0], [1], [0], [0]), /a step of 0/],
    ['Slice of an axis outside the rank', () => op.Slice(x(5), [0], [1], [1]), /axis 1 is outside/],
    ['Pad with too few pads', () => op.Pad(x(2, 3), [1, 1]), /2 pads for 2 axes/],
    ['Pad that crops more than the axis has', () => op.Pad(x(2), [-2, -1]), /negative or broken length/],
    ['Pad in an unknown mode', () => op.Pad(x(2), [0, 1], null, null, { mode: 'mirror' }), /mode 'mirror' is none of/],
    [
      'DepthToSpace with a remainder',
      () => op.DepthToSpace(x(1, 6, 2, 2), { blocksize: 2 }),
      /does not divide into blocks of 2/,
    ],
    [
      'Gather with an index out of range',
      () => op.Gather(op.Shape(x(2, 3)), [2]),
      /index 2 is outside an axis of 2 elements/,
    ],
    ['GatherElements of another rank', () => op.GatherElements(x(2, 3), int64s([0])), /differ in rank/],
    ['ConstantOfShape of a negative length', () => op.ConstantOfShape(int64s([-1])), /negative or broken length/],
  ])('%s > rejects', (_, build, message) => {
    expect(build).toThrow(message)
  })
})

describe('very large shapes from untrusted files', () => {
  it('large known contents > are not computed', () => {
    expect(op.ConstantOfShape(int64s([2 ** 50])).shape).toEqual([2 ** 50])
    expect(op.Range(scalar('int64', 0), scalar('int64', 2 ** 60), scalar('int64', 1)).contents).toBeUndefined()
    expect(op.Tile(int64s([1]), [2 ** 40]).contents).toBeUndefined()
    expect(op.Expand(int64s([1]), [2 ** 40]).contents).toBeUndefined()
    expect(op.Reshape(x(4), input('shape', 'int64', [2 ** 40])).shape).toBeUndefined()
    expect(op.Unsqueeze(x(4), input('axes', 'int64', [2 ** 40])).shape).toBeUndefined()
    expect(() => op.Split(x(4), null, { num_outputs: 2 ** 40 })).toThrow(/parts/)
    expect(() => op.Split(x(4), input('split', 'int64', [2 ** 40]))).toThrow(/parts/)
  })

  it('expressions that double with every operator > are not built', () => {
    let value = op.Shape(x('N'))
    for (let i = 0; i < 60; i++) value = op.Add(value, value)
    expect(`${value.contents}`.length).toBeLessThan(600)
  })
})
