import type { DType } from '../../src/ir/dtype.js'
import { input, int64s, scalar, tensorFrom } from '../../src/ir/leaf.js'
import type { Tensor } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'
import type { Form } from '../../tools/kernels/form.js'

type Build = (...x: Value[]) => Value | readonly Value[]

/** `symbolic` leaves the lengths to the run. */
function form(operator: string, dtype: DType, feeds: readonly Tensor[], build: Build, symbolic = false): Form {
  const inputs = feeds.map(({ dtype, dims }, i) =>
    input(`x${i}`, dtype, symbolic ? dims.map((_, axis) => `d${axis}`) : dims),
  )
  const name = `${dtype}${symbolic ? ', of lengths known when run' : ''}`
  return { operator, name, dtype, inputs, outputs: [build(...inputs)].flat(), feeds, open: false }
}

const of = (dtype: DType, dims: readonly number[], ...values: readonly number[]) => tensorFrom(dtype, dims, values)
const large = 2 ** 24 + 1
const values: Readonly<Partial<Record<DType, readonly number[]>>> = {
  bool: [0, 1, 1, 0, 1, 0],
  uint8: [0, 255, 3, 128, 5, 7],
  int32: [-(2 ** 31), 2 ** 31 - 1, large, -large, 65535, -65536],
  int64: [-(2 ** 31), 2 ** 31 - 1, large, -large, 65535, -65536],
}
const matrix = (dtype: DType) => of(dtype, [2, 3], ...values[dtype]!)
const other = (dtype: DType) => of(dtype, [2, 3], 1, 0, 1, 1, 0, 0)
const places = (dtype: DType) => of(dtype, [2, 3], 0, 1, 0, 1, 1, 0)
const everywhere = ['bool', 'uint8', 'int32', 'int64'] as const

const moves = everywhere.flatMap((dtype) => [
  form('Concat', dtype, [matrix(dtype), other(dtype)], (a, b) => op.Concat([a!, b!], { axis: 1 })),
  form('GatherElements', dtype, [matrix(dtype), places('int64')], (x, i) => op.GatherElements(x!, i!)),
  form('GatherND', dtype, [matrix(dtype), of('int64', [2, 2], 0, 1, 1, 2)], (x, i) => op.GatherND(x!, i!)),
  form('Pad', dtype, [matrix(dtype)], (x) => op.Pad(x!, [1, 0, 0, 2])),
  form('ScatterElements', dtype, [matrix(dtype), places('int64'), other(dtype)], (x, i, y) =>
    op.ScatterElements(x!, i!, y!, { axis: 1 }),
  ),
  form('ScatterND', dtype, [matrix(dtype), of('int64', [2, 2], 0, 1, 1, 2), of(dtype, [2], 1, 0)], (x, i, y) =>
    op.ScatterND(x!, i!, y!),
  ),
  form('Slice', dtype, [matrix(dtype)], (x) => op.Slice(x!, [1], [3], [1])),
  form('Slice', dtype, [matrix(dtype)], (x) => op.Slice(x!, [-1, 2], [-9, -9], [0, 1], [-1, -2]), true),
  form('Split', dtype, [matrix(dtype)], (x) => op.Split(x!, [1, 2], { axis: 1 })),
  form('Squeeze', dtype, [{ ...matrix(dtype), dims: [1, 6] }], (x) => op.Squeeze(x!, [0])),
  form('Tile', dtype, [matrix(dtype)], (x) => op.Tile(x!, [1, 2])),
  form('Transpose', dtype, [matrix(dtype)], (x) => op.Transpose(x!, { perm: [1, 0] })),
  // The CPU has no kernel for uint8.
  ...(dtype === 'uint8' ? [] : [form('Trilu', dtype, [matrix(dtype)], (x) => op.Trilu(x!, { upper: 0 }))]),
  form('Where', dtype, [other('bool'), other(dtype), matrix(dtype)], (c, x, y) =>
    dtype === 'bool' ? op.Equal(op.Equal(x!, y!), c!) : op.Where(c!, x!, y!),
  ),
])

const operands = (dtype: DType) =>
  [of(dtype, [2, 4], 7, -7, 7, -7, 6, -6, 0, 5), of(dtype, [2, 4], 3, 3, -3, -3, 3, 3, 5, 5)] as const

const arithmetic = (['int32', 'int64'] as const).flatMap((dtype) => [
  form('Mod', dtype, operands(dtype), (a, b) => op.Mod(a!, b!)),
  form('Mod', dtype, operands(dtype), (a, b) => op.Mod(a!, b!, { fmod: 1 })),
  form('Pow', dtype, [of(dtype, [3], 4, 9, 2), of('float32', [3], 0.5, 1.5, 3)], (x, y) => op.Pow(x!, y!)),
  form('Neg', dtype, operands(dtype), (a) => op.Neg(a!)),
  form('Abs', dtype, operands(dtype), (a) => op.Abs(a!)),
  form('Sign', dtype, operands(dtype), (a) => op.Sign(a!)),
  form('Add', dtype, operands(dtype), (a, b) => op.Sub(op.Mul(op.Add(a!, b!), a!), op.Div(a!, b!))),
  form('Max', dtype, operands(dtype), (a, b) => op.Max([op.Min([a!, b!]), 1])),
  form('ReduceSum', dtype, operands(dtype), (a) => op.ReduceSum(a!, [1], { keepdims: 0 })),
  form('ReduceMax', dtype, operands(dtype), (a) => op.ReduceMax(a!, [0])),
  form('Sum', dtype, operands(dtype), (a, b) => op.Equal(op.Mul(a!, 2), b!)),
])

const scores = () => of('float32', [2, 4], 0.5, 3, -1, 3, 7, 0, 1, 7)
const counted = [false, true].flatMap((symbolic) => [
  form('ArgMax', 'float32', [scores()], (x) => op.ArgMax(x!, { axis: 1, keepdims: 0 }), symbolic),
  form('ArgMax', 'int64', [scores()], (x) => op.Add(op.ArgMax(x!, { axis: 1 }), 1), symbolic),
  form('TopK', 'int64', [scores()], (x) => op.Mul(op.TopK(x!, [2])[1]!, 2), symbolic),
  form('Shape', 'float32', [scores()], (x) => op.Add(x!, op.Cast(op.Gather(op.Shape(x!), 1), { to: 1 })), symbolic),
  form('Shape', 'int64', [places('int64')], (x) => op.Add(x!, op.Shape(x!, { start: 1 })), symbolic),
  form('Size', 'float32', [scores()], (x) => op.Div(x!, op.CastLike(op.Size(x!), x!)), symbolic),
  form(
    'Range',
    'int64',
    [places('int64')],
    (x) => {
      const length = op.Squeeze(op.Shape(x!, { start: 1 }), [0])
      return op.Add(x!, op.Range(0, length, 1))
    },
    symbolic,
  ),
  form('OneHot', 'int64', [places('int64')], (x) => op.OneHot(x!, scalar('int64', 3), int64s([5, 9])), symbolic),
  form('EyeLike', 'int64', [places('int64')], (x) => op.Add(op.EyeLike(x!, { k: 1 }), x!), symbolic),
  form(
    'Reshape',
    'int64',
    [places('int64')],
    (x) => op.Reshape(x!, op.Concat([op.Shape(x!, { start: 1 }), int64s([-1])], { axis: 0 })),
    symbolic,
  ),
  form('Cast', 'float32', [scores()], (x) => op.Cast(op.Mul(op.Cast(x!, { to: 7 }), 3), { to: 1 }), symbolic),
])

/** Operators on integers and booleans, for which WebGPU has few kernels. */
export const integerForms = (): readonly Form[] => [...moves, ...arithmetic, ...counted]
