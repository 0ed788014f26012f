import { type DType, dtypes } from '../../src/ir/dtype.js'
import { input, scalar, tensorFrom } from '../../src/ir/leaf.js'
import type { Tensor } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'
import type { Form } from './form.js'

type Build = (...x: Value[]) => Value | readonly Value[]

interface Options {
  /** Whether lengths are symbolic in the graph; known lengths would be folded into constants. */
  readonly symbolic?: boolean
  readonly open?: boolean
}

function plain(operator: string, dtype: DType, feeds: readonly Tensor[], build: Build, options: Options = {}): Form {
  const { symbolic = false, open = false } = options
  const inputs = feeds.map(({ dtype, dims }, i) =>
    input(`x${i}`, dtype, symbolic ? dims.map((_, axis) => `d${i}_${axis}`) : dims),
  )
  return { operator, name: `${operator} of ${dtype}`, dtype, inputs, outputs: [build(...inputs)].flat(), feeds, open }
}

const floats = ['float32', 'float64'] as const
const of = (dtype: DType, dims: readonly number[], ...values: readonly number[]) => tensorFrom(dtype, dims, values)
const matrix = (dtype: DType) => of(dtype, [2, 3], 0.5, -1.5, 0, 3, -0.2, 7)
const other = (dtype: DType) => of(dtype, [2, 3], 0.5, 2, 1, -3, -0.1, 8)
const whole = (dtype: DType) => of(dtype, [2, 3], 1, 2, 0, 3, 5, 7)
const shifts = (dtype: DType) => of(dtype, [2, 3], 0, 1, 2, 1, 0, 2)
const truth = () => of('bool', [2, 3], 0, 1, 1, 0, 1, 0)
const words: Tensor = { dtype: 'string', dims: [3], data: ['a b', 'cat', 'b a c'] }
const bytes = (...dims: readonly number[]) =>
  of('uint8', dims, ...Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => (37 * i) % 256))
const one = (dtype: DType, value: number) => of(dtype, [], value)

const pointwise = (['Ceil', 'Floor', 'Hardmax', 'IsNaN', 'IsInf', 'Round', 'Sign'] as const).flatMap((operator) =>
  floats.map((dtype) => plain(operator, dtype, [matrix(dtype)], (x) => op[operator](x!))),
)

const comparisons = (['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'] as const).flatMap((operator) => [
  ...[...floats, 'int32' as const, 'int64' as const].map((dtype) =>
    plain(operator, dtype, [matrix(dtype), other(dtype)], (a, b) => op[operator](a!, b!)),
  ),
])

const logical = [
  ...(['And', 'Or', 'Xor', 'Equal'] as const).map((operator) =>
    plain(operator, 'bool', [truth(), truth()], (a, b) => op[operator](a!, b!)),
  ),
  plain('Not', 'bool', [truth()], (x) => op.Not(x!)),
]

const bits = [
  ...(['BitwiseAnd', 'BitwiseOr', 'BitwiseXor'] as const).flatMap((operator) =>
    (['int32', 'int64'] as const).map((dtype) =>
      plain(operator, dtype, [whole(dtype), shifts(dtype)], (a, b) => op[operator](a!, b!)),
    ),
  ),
  ...(['int32', 'int64'] as const).map((dtype) => plain('BitwiseNot', dtype, [whole(dtype)], (x) => op.BitwiseNot(x!))),
  ...(['uint8', 'uint32', 'uint64'] as const).map((dtype) =>
    plain('BitShift', dtype, [whole(dtype), shifts(dtype)], (a, b) => op.BitShift(a!, b!, { direction: 'LEFT' })),
  ),
  plain('BitCast', 'float32', [matrix('float32')], (x) => op.BitCast(x!, { to: dtypes.int32.onnx })),
  plain('BitCast', 'float64', [matrix('float64')], (x) => op.BitCast(x!, { to: dtypes.int64.onnx })),
]

const casts = floats.flatMap((dtype) =>
  (['int32', 'int64', 'bool'] as const).flatMap((to) => [
    { ...plain('Cast', dtype, [matrix(dtype)], (x) => op.Cast(x!, { to: dtypes[to].onnx })), name: `Cast to ${to}` },
    { ...plain('Cast', dtype, [truthOr(to)], (x) => op.Cast(x!, { to: dtypes[dtype].onnx })), name: `Cast of ${to}` },
    {
      ...plain('CastLike', dtype, [matrix(dtype), truthOr(to)], (x, y) => op.CastLike(x!, y!)),
      name: `CastLike ${to}`,
    },
  ]),
)
function truthOr(dtype: DType): Tensor {
  return dtype === 'bool' ? truth() : whole(dtype)
}

const indices = floats.flatMap((dtype) => [
  plain('Shape', dtype, [matrix(dtype)], (x) => op.Shape(x!), { symbolic: true }),
  plain('Size', dtype, [matrix(dtype)], (x) => op.Size(x!), { symbolic: true }),
  plain('ArgMax', dtype, [matrix(dtype)], (x) => op.ArgMax(x!, { axis: 1 })),
  plain('ArgMin', dtype, [matrix(dtype)], (x) => op.ArgMin(x!, { axis: 1 })),
  plain('NonZero', dtype, [matrix(dtype)], (x) => op.NonZero(x!)),
])

const detection = plain(
  'NonMaxSuppression',
  'float32',
  [
    of('float32', [1, 3, 4], 0, 0, 1, 1, 0, 0.1, 1, 1.1, 0, 2, 1, 3),
    of('float32', [1, 1, 3], 0.9, 0.8, 0.7),
    of('int64', [1], 3),
    of('float32', [1], 0.5),
    of('float32', [1], 0),
  ],
  (boxes, scores, most, overlap, least) => op.NonMaxSuppression(boxes!, scores!, most!, overlap!, least!),
)

const constants = floats.flatMap((dtype) => {
  const { onnx } = dtypes[dtype]
  const size = [one('int64', 8)]
  return [
    plain('EyeLike', dtype, [matrix(dtype)], (x) => op.EyeLike(x!, { dtype: onnx })),
    plain('ConstantOfShape', dtype, [of('int64', [2], 2, 3)], (shape) =>
      op.ConstantOfShape(shape!, { value: of(dtype, [1], 0.5) }),
    ),
    plain('HannWindow', dtype, size, (n) => op.HannWindow(n!, { output_datatype: onnx })),
    plain('HammingWindow', dtype, size, (n) => op.HammingWindow(n!, { output_datatype: onnx })),
    plain('BlackmanWindow', dtype, size, (n) => op.BlackmanWindow(n!, { output_datatype: onnx })),
    plain(
      'MelWeightMatrix',
      dtype,
      [one('int64', 4), one('int64', 16), one('int64', 8000), one(dtype, 100), one(dtype, 4000)],
      (bins, length, rate, low, high) =>
        op.MelWeightMatrix(bins!, length!, rate!, low!, high!, { output_datatype: onnx }),
    ),
    // As models have it: onnxruntime computes it when it loads the graph.
    {
      ...plain('MelWeightMatrix', dtype, [], () =>
        op.MelWeightMatrix(
          scalar('int64', 8),
          scalar('int64', 64),
          scalar('int64', 8000),
          scalar(dtype, 60),
          scalar(dtype, 3800),
          { output_datatype: onnx },
        ),
      ),
      name: 'MelWeightMatrix of constants',
    },
  ]
})

const random = floats.flatMap((dtype) => {
  const { onnx } = dtypes[dtype]
  const options = { open: true }
  const uniform = [of(dtype, [2, 3], 0.1, 0.2, 0.9, 0.5, 0, 1)]
  return [
    plain('RandomNormal', dtype, [], () => op.RandomNormal({ shape: [2, 3], dtype: onnx }), options),
    plain('RandomUniform', dtype, [], () => op.RandomUniform({ shape: [2, 3], dtype: onnx }), options),
    plain('RandomNormalLike', dtype, [matrix(dtype)], (x) => op.RandomNormalLike(x!), options),
    plain('RandomUniformLike', dtype, [matrix(dtype)], (x) => op.RandomUniformLike(x!), options),
    plain('Bernoulli', dtype, uniform, (x) => op.Bernoulli(x!), options),
    plain('Multinomial', dtype, uniform, (x) => op.Multinomial(x!, { sample_size: 4 }), options),
  ]
})

const scale = one('float32', 0.02)
const zeroPoint = one('uint8', 100)
const pooled = plain('MaxPool', 'float32', [of('float32', [1, 1, 2, 2], 1, 3, 2, 0)], (x) => {
  const [y] = op.MaxPool(x!, { kernel_shape: [2, 2] })
  return y!
})

const indexed = (
  [
    ['side by side', { kernel_shape: [2, 2], strides: [2, 2] }],
    ['overlapping, with pads', { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }],
    ['column-major', { kernel_shape: [2, 2], storage_order: 1 }],
    ['ceil_mode and dilations', { kernel_shape: [2, 2], strides: [2, 2], dilations: [2, 1], ceil_mode: 1 }],
    ['SAME_LOWER', { kernel_shape: [2, 3], strides: [2, 1], auto_pad: 'SAME_LOWER' }],
  ] as const
).flatMap(([name, attributes]) =>
  [false, true].map((symbolic) => ({
    ...plain('MaxPool', 'float32', [plane()], (x) => op.MaxPool(x!, attributes), {
      symbolic: symbolic && !('auto_pad' in attributes),
    }),
    name: `MaxPool with indices, ${name}${symbolic ? ', of lengths known when run' : ''}`,
  })),
)
/** A tensor with equal elements. */
function plane(): Tensor {
  return of('float32', [2, 2, 5, 6], ...Array.from({ length: 120 }, (_, i) => ((i * 37) % 11) - 5))
}

const quantized = [
  plain('QuantizeLinear', 'float32', [matrix('float32'), scale, zeroPoint], (x, scale, zero) =>
    op.QuantizeLinear(x!, scale!, zero!),
  ),
  plain('DynamicQuantizeLinear', 'float32', [matrix('float32')], (x) => op.DynamicQuantizeLinear(x!)),
  plain('MatMulInteger', 'uint8', [bytes(2, 3), bytes(3, 2)], (a, b) => op.MatMulInteger(a!, b!)),
  plain('ConvInteger', 'uint8', [bytes(1, 2, 4, 4), bytes(3, 2, 2, 2)], (x, w) => op.ConvInteger(x!, w!)),
  plain(
    'QLinearMatMul',
    'uint8',
    [bytes(2, 3), scale, zeroPoint, bytes(3, 2), scale, zeroPoint, scale, zeroPoint],
    (a, aScale, aZero, b, bScale, bZero, scale, zero) =>
      op.QLinearMatMul(a!, aScale!, aZero!, b!, bScale!, bZero!, scale!, zero!),
  ),
  plain(
    'QLinearConv',
    'uint8',
    [bytes(1, 2, 4, 4), scale, zeroPoint, bytes(3, 2, 2, 2), scale, zeroPoint, scale, zeroPoint],
    (x, xScale, xZero, w, wScale, wZero, scale, zero) =>
      op.QLinearConv(x!, xScale!, xZero!, w!, wScale!, wZero!, scale!, zero!),
  ),
  plain(
    'GatherBlockQuantized',
    'float32',
    [bytes(3, 16), of('int64', [2], 2, 0), of('float32', [3, 2], 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)],
    (data, indices, scales) => op.GatherBlockQuantized(data!, indices!, scales!, { block_size: 16 }),
  ),
]

const textual = [
  plain('StringConcat', 'string', [words, words], (a, b) => op.StringConcat(a!, b!)),
  plain('StringSplit', 'string', [words], (x) => op.StringSplit(x!)),
  plain('StringNormalizer', 'string', [words], (x) =>
    op.StringNormalizer(x!, { case_change_action: 'UPPER', locale: 'C' }),
  ),
  plain('RegexFullMatch', 'string', [words], (x) => op.RegexFullMatch(x!, { pattern: 'c.t' })),
  plain('TfIdfVectorizer', 'int64', [of('int64', [4], 1, 2, 2, 3)], (x) =>
    op.TfIdfVectorizer(x!, {
      max_gram_length: 1,
      max_skip_count: 0,
      min_gram_length: 1,
      mode: 'TF',
      ngram_counts: [0],
      ngram_indexes: [0, 1],
      pool_int64s: [2, 3],
    }),
  ),
]

/**
 * Forms of operators without gradient, and of operators that the gradient cases contain only in combination with
 * others.
 */
export const plainForms = (): Form[] => [
  ...pointwise,
  ...comparisons,
  ...logical,
  ...bits,
  ...casts,
  ...indices,
  detection,
  ...constants,
  ...random,
  { ...pooled, name: 'without indices' },
  ...indexed,
  ...quantized,
  ...textual,
]
