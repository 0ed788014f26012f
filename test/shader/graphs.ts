import { input, scalar } from '../../src/ir/leaf.js'
import { sizeOf, type Tensor, type Tensors } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { ece } from '../../src/metric/agreement.js'
import { rocAuc } from '../../src/metric/ranking.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'

interface ShaderGraph {
  readonly inputs: readonly Value[]
  readonly outputs: readonly Value[]
  readonly feeds: Tensors
}

/** A graph of float32 inputs of these dims, with elements in [-1, 1]; integer inputs are below `below`. */
function graph(
  dims: readonly (readonly number[] | { readonly dims: readonly number[]; readonly below: number })[],
  build: (...x: readonly Value[]) => Value | readonly Value[],
): ShaderGraph {
  const random = new Random(3)
  const given = dims.map((one) => ('below' in one ? one : { dims: one as readonly number[], below: 0 }))
  const inputs = given.map(({ dims, below }, i) => input(`x${i}`, below > 0 ? 'int64' : 'float32', dims))
  const feeds = given.map(({ dims, below }, i): [string, Tensor] => {
    const length = sizeOf(dims)
    const next = () => random.uniform()
    return [
      `x${i}`,
      below > 0
        ? { dtype: 'int64', dims, data: BigInt64Array.from({ length }, () => BigInt(Math.floor(next() * below))) }
        : { dtype: 'float32', dims, data: Float32Array.from({ length }, () => 2 * next() - 1) },
    ]
  })
  const built = build(...inputs)
  return { inputs, outputs: Array.isArray(built) ? built : [built as Value], feeds: Object.fromEntries(feeds) }
}

const softmax = (x: Value) => op.Softmax(x, { axis: -1 })

/** Graphs of sizes beyond those of the operators' cases: edges of tiles, vectors, sums in parts, fused operators. */
export const shaderGraphs: Readonly<Record<string, () => ShaderGraph>> = {
  'product with edges, and operators behind it': () =>
    graph([[3, 37, 21], [21, 29], [29]], (x, w, b) => op.Mul(op.Tanh(op.Add(op.MatMul(x!, w!), b!)), 2)),
  'functions of numbers for which they are not defined': () =>
    graph([[40]], (x) => {
      const results = [op.Pow(x!, 0.7), op.Log(x!), op.Acosh(op.Mul(x!, 3)), op.Atanh(op.Mul(x!, 3))]
      return results.map((y) => op.Cast(op.IsNaN(y), { to: 1 }))
    }),
  'product of rows that are vectors': () =>
    graph([[37, 24], [19, 24], [19]], (x, w, b) => op.Relu(op.Gemm(x!, w!, b!, { transB: 1, alpha: 0.5, beta: 2 }))),
  'product of columns that are vectors': () =>
    graph(
      [
        [12, 40],
        [12, 36],
      ],
      (a, b) => op.Gemm(a!, b!, null, { transA: 1 }),
    ),
  'batched product of transposed views': () =>
    graph(
      [
        [2, 16, 3, 8],
        [2, 20, 3, 8],
      ],
      (q, k) => softmax(op.MatMul(op.Transpose(q!, { perm: [0, 2, 1, 3] }), op.Transpose(k!, { perm: [0, 2, 3, 1] }))),
    ),
  'cumulative sum along an axis before others': () => graph([[3, 70, 5]], (x) => op.CumSum(x!, scalar('int64', 1))),
  'long product in parts': () =>
    graph([[1000, 12], [1000, 9], [9]], (a, b, c) => op.Exp(op.Gemm(a!, b!, c!, { transA: 1, alpha: 0.01 }))),
  'long product in parts of an odd length': () => graph([[7, 1003], [1003]], (a, b) => op.MatMul(a!, b!)),
  'convolution with pads and strides': () =>
    graph([[2, 6, 17, 13], [10, 3, 3, 3], [10]], (x, w, b) =>
      op.Relu(op.Conv(x!, w!, b!, { strides: [2, 1], pads: [1, 0, 2, 1], group: 2, dilations: [1, 2] })),
    ),
  'convolution of a large kernel in parts': () =>
    graph(
      [
        [3, 5, 20, 20],
        [4, 5, 16, 16],
      ],
      (x, w) => op.Conv(x!, w!, null, {}),
    ),
  'transposed convolution with strides': () =>
    graph([[2, 6, 9, 7], [6, 5, 4, 3], [5]], (x, w, b) =>
      op.ConvTranspose(x!, w!, b!, { strides: [2, 3], pads: [1, 1, 0, 2], output_padding: [1, 0] }),
    ),
  'pools that overlap and exceed': () =>
    graph([[2, 3, 11, 13]], (x) => [
      op.AveragePool(x!, { kernel_shape: [3, 2], strides: [2, 2], pads: [1, 0, 1, 1] }),
      op.AveragePool(x!, { kernel_shape: [3, 3], pads: [1, 1, 1, 1], count_include_pad: 1 }),
      op.MaxPool(x!, { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 })[0] as Value,
    ]),
  'reductions in parts': () =>
    graph([[40, 1500]], (x) => [
      op.ReduceSum(x!, [0, 1], { keepdims: 0 }),
      op.ReduceMax(op.Mul(x!, x!), [1], { keepdims: 1 }),
      op.Sqrt(op.ReduceMean(op.Abs(x!), [0], { keepdims: 0 })),
    ]),
  'gathers and scatters with repeated indices': () =>
    graph([[9, 21], { dims: [33], below: 9 }, [33, 21]], (table, rows, added) => [
      op.Gather(table!, rows!, { axis: 0 }),
      op.ScatterElements(table!, op.Expand(op.Unsqueeze(rows!, [1]), [33, 21]), added!, { axis: 0, reduction: 'add' }),
      op.ArgMax(op.Gather(table!, rows!, { axis: 0 }), { axis: 1, keepdims: 0 }),
    ]),
  'more operands than a shader binds': () =>
    graph(
      Array.from({ length: 14 }, () => [5, 7]),
      (...x) => x.reduce((sum, value) => op.Add(sum, op.Sin(value))),
    ),
  'sums of metrics of confident classes': () =>
    graph([[60, 3], { dims: [60], below: 3 }], (x, labels) => {
      const comparison = { kind: 'classes', logits: op.Mul(x!, 40), axis: 1, labels: labels!, mask: null } as const
      return [rocAuc({ bins: 64 }), ece()].flatMap((metric) => [...metric.build(comparison)!.sums.values()])
    }),
  'moved elements behind each other': () =>
    graph([[4, 6, 10]], (x) => {
      const parts = op.Split(op.Transpose(x!, { perm: [2, 0, 1] }), [3, 7], { axis: 0, num_outputs: undefined })
      const joined = op.Concat([...parts].reverse(), { axis: 0 })
      return op.Pad(op.Slice(joined, [8], [0], [0], [-2]), [1, 0, 0, 0, 2, 1], 0.5)
    }),
}
