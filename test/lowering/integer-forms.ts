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

const signed = (dtype: DType) => of(dtype, [6], 0, 1, -1, 100, -128, 85)
const masks = (dtype: DType) => of(dtype, [2, 1], 0x55, -2)
const bytes = (dtype: DType, ...dims: number[]) => {
  const length = dims.reduce((a, b) => a * b, 1)
  const lowest = dtype === 'int8' ? -128 : 0
  return of(dtype, dims, ...Array.from({ length }, (_, i) => ((53 * i) % 256) + lowest))
}

const bits = (['int32', 'int64'] as const).flatMap((dtype) => [
  ...(['BitwiseAnd', 'BitwiseOr', 'BitwiseXor'] as const).map((operator) =>
    form(operator, dtype, [signed(dtype), masks(dtype)], (a, b) => op[operator](a!, b!)),
  ),
  form('BitwiseNot', dtype, [signed(dtype)], (x) => op.BitwiseNot(x!)),
])

const counts = (dtype: DType) => of(dtype, [2, 1], 0, 7)
const unsigned = (['uint8', 'uint32'] as const).flatMap((dtype) => {
  const most = dtype === 'uint8' ? 255 : 2 ** 32 - 1
  const numbers = of(dtype, [4], 1, most, most - 5, 129)
  return [
    ...(['LEFT', 'RIGHT'] as const).map((direction) =>
      form('BitShift', dtype, [numbers, counts(dtype)], (x, y) => op.BitShift(x!, y!, { direction })),
    ),
    form('BitwiseNot', dtype, [numbers], (x) => op.BitwiseNot(x!)),
    form('BitwiseXor', dtype, [numbers, counts(dtype)], (a, b) => op.BitwiseXor(a!, b!)),
  ]
})

const one = (dtype: DType, value: number) => of(dtype, [], value)
const scales = (length: number) => of('float32', [length], ...Array.from({ length }, (_, i) => 0.01 + 0.003 * i))
const zeros = (dtype: DType, length: number) => of(dtype, [length], ...Array.from({ length }, (_, i) => 3 + 17 * i))
const step = one('float32', 0.02)

/** Products of few terms and of more than float32 adds exactly, with zero points and scales per column or channel. */
const quantized = [
  ...[3, 700].flatMap((terms) => [
    ...(['uint8', 'int8'] as const).map((dtype) =>
      form(
        'MatMulInteger',
        dtype,
        [bytes(dtype, 4, terms), bytes('int8', terms, 4), one(dtype, 9), zeros('int8', 4)],
        (a, b, aZero, bZero) => op.MatMulInteger(a!, b!, aZero!, bZero!),
      ),
    ),
    form(
      'QLinearMatMul',
      'uint8',
      [
        ...[bytes('uint8', 2, terms), step, one('uint8', 9)],
        ...[bytes('int8', terms, 4), scales(4), zeros('int8', 4)],
        ...[one('float32', 5), one('uint8', 20)],
      ],
      (...x) => op.QLinearMatMul(x[0]!, x[1]!, x[2]!, x[3]!, x[4]!, x[5]!, x[6]!, x[7]!),
    ),
  ]),
  form(
    'ConvInteger',
    'uint8',
    [bytes('uint8', 2, 4, 5, 5), bytes('uint8', 4, 2, 3, 3), one('uint8', 9), one('uint8', 99)],
    (x, w, xZero, wZero) => op.ConvInteger(x!, w!, xZero!, wZero!, { pads: [1, 0, 1, 2], strides: [2, 1], group: 2 }),
  ),
  form('ConvInteger', 'uint8', [bytes('uint8', 1, 40, 4, 4), bytes('uint8', 2, 40, 3, 3)], (x, w) =>
    op.ConvInteger(x!, w!),
  ),
  form(
    'QLinearConv',
    'uint8',
    [
      bytes('uint8', 2, 3, 5, 5),
      step,
      one('uint8', 9),
      bytes('int8', 4, 3, 3, 3),
      scales(4),
      of('int8', [4], 0, 0, 0, 0),
      one('float32', 3),
      one('uint8', 128),
      of('int32', [4], 5000, -70000, 0, 123),
    ],
    (...x) => op.QLinearConv(x[0]!, x[1]!, x[2]!, x[3]!, x[4]!, x[5]!, x[6]!, x[7]!, x[8]!, { pads: [1, 1, 1, 1] }),
  ),
]

const words = of('int64', [2, 7], 1, 2, 3, 1, 2, 2, 3, 3, 1, 3, 2, 1, 1, 2)
/** Sequences of one and of two numbers, the latter with gaps. */
const count = (mode: string, indexes: readonly number[], weights?: readonly number[]) =>
  form('TfIdfVectorizer', 'int64', [words], (x) =>
    op.TfIdfVectorizer(x!, {
      max_gram_length: 2,
      max_skip_count: 2,
      min_gram_length: 1,
      mode,
      ngram_counts: [0, 3],
      ngram_indexes: indexes,
      pool_int64s: [1, 2, 3, 1, 2, 2, 3],
      weights,
    }),
  )
const sequences = [
  count('TF', [4, 0, 1, 2, 3]),
  count('IDF', [0, 1, 2, 3, 4], [0.5, 2, 1, 3, 0.25]),
  count('TFIDF', [0, 1, 2, 3, 4], [0.5, 2, 1, 3, 0.25]),
]

const windows = (['HannWindow', 'HammingWindow', 'BlackmanWindow'] as const).flatMap((operator) => [
  form(operator, 'float32', [], () => op[operator](scalar('int64', 9), { periodic: 0 })),
  form(operator, 'float32', [one('int64', 10)], (size) => op[operator](size!, { periodic: 0 })),
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

/** Operators on integers and booleans, for which WebGPU has few kernels, and forms that `tools/kernels` lacks. */
export const integerForms = (): readonly Form[] => [
  ...moves,
  ...arithmetic,
  ...bits,
  ...unsigned,
  ...quantized,
  ...sequences,
  ...windows,
  ...counted,
]
