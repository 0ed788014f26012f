import type { Adapter, AdapterLayer } from '../../src/adapter/index.js'
import { adaptableLayers, adapterOf, applyAdapter, lora } from '../../src/adapter/index.js'
import { decodeModel, type Model, type Tensor, type Tensors } from '../../src/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { sizeOf } from '../../src/ir/tensor.js'
import { create } from '../../src/onnx/proto/message.js'
import type { ModelProto, NodeProto } from '../../src/onnx/proto/schema.js'
import { Random } from '../../src/util/random.js'
import { float, graph, graphProto, info, int, int64s, ints, modelBytes, node } from '../onnx/build.js'

type Float = 'float32' | 'float64' | 'float16'

/** A small model with one layer that an adapter can change, in one of the forms in which exporters write it. */
export interface Form {
  readonly name: string
  readonly model: Model
  readonly feeds: Tensors
  /** Modules to change; the first has the form. */
  readonly modules: readonly string[]
  /** Type of the computation. Kernels that are float32 only are checked with that precision. */
  readonly dtype: Float
  /** Whether the weight is not quantized. */
  readonly isFloat: boolean
}

/**
 * A function that draws random numbers with standard deviation `scale`, for one test file: the files of a process share
 * this module.
 */
export const drawing =
  (random: Random) =>
  (dtype: Float, dims: readonly number[], scale = 1): Tensor =>
    tensorFrom(
      dtype,
      dims,
      random.fill(new Float64Array(sizeOf(dims)), 'normal').map((x) => scale * x),
    )

const random = new Random(1).stream('forms')
const draw = drawing(random)

const bytes = (...dims: readonly number[]): Tensor =>
  tensorFrom(
    'uint8',
    dims,
    Array.from({ length: sizeOf(dims) }, () => random.integer(256)),
  )

interface Parts {
  readonly name: string
  readonly nodes: readonly NodeProto[]
  readonly initializers: Readonly<Record<string, Tensor>>
  readonly x: Tensor
  readonly dtype?: Float
  readonly modules?: readonly string[]
  readonly isFloat?: boolean
  readonly opset?: number
  readonly ir?: number
}

export const imports = (opset: number): Partial<ModelProto> => ({
  opsetImport: [
    create('OperatorSetIdProto', { domain: '', version: BigInt(opset) }),
    create('OperatorSetIdProto', { domain: 'com.microsoft', version: 1n }),
  ],
})

function form({ dtype = 'float64', modules = ['layer'], isFloat = true, opset = 21, ir = 10, ...parts }: Parts): Form {
  const { name, nodes, initializers, x } = parts
  const declared = x.dims.map((dim, axis) => (axis === 0 ? 'N' : dim))
  const inputs = [
    info('x', declared, x.dtype),
    ...(ir < 4 ? Object.entries(initializers).map(([key, each]) => info(key, each.dims, each.dtype)) : []),
  ]
  const content = { nodes, inputs, outputs: [info('y', undefined, dtype)], initializers }
  const model = decodeModel(modelBytes(content, { opset, ir, more: imports(opset) }))
  return { name, model, feeds: { x }, modules, dtype, isFloat }
}

/** A node with a name as torch.onnx gives it. */
const named = (name: string, ...args: Parameters<typeof node>): NodeProto => ({ ...node(...args), name })

const product = (opType: string, inputs: string, attributes: Parameters<typeof node>[3] = {}, domain?: string) =>
  named(`/layer/${opType}`, opType, inputs, 'y', attributes, domain)

const x64 = draw('float64', [2, 3, 6])
const x32 = draw('float32', [2, 3, 32])
const rows = draw('float64', [4, 6])
const image = draw('float32', [2, 3, 7, 7])

const nBits = (bits: number, zeros: 'none' | 'bytes' = 'none', more: Parameters<typeof node>[3] = {}): Parts => ({
  name: `MatMulNBits of ${bits} bits${zeros === 'bytes' ? ' with zero points' : ''}`,
  nodes: [
    product(
      'MatMulNBits',
      `x q scales${zeros === 'bytes' ? ' zeros' : ''}`,
      { K: int(32), N: int(5), bits: int(bits), block_size: int(16), ...more },
      'com.microsoft',
    ),
  ],
  initializers: {
    q: bytes(5, 2, 2 * bits),
    scales: tensorFrom(
      'float32',
      [5, 2],
      Array.from({ length: 10 }, (_, i) => (0.02 + 0.01 * i) / 2 ** bits),
    ),
    ...(zeros === 'bytes' && { zeros: bytes(5, Math.ceil((2 * bits) / 8)) }),
  },
  x: x32,
  dtype: 'float32',
  isFloat: false,
})

/** Query, key and value in one product, as onnxruntime-genai packs them. */
const packed = (split: NodeProto, more: Readonly<Record<string, Tensor>> = {}): Parts => ({
  name: 'packed qkv_proj',
  nodes: [
    named('/model/layers.0/attn/qkv_proj/MatMul', 'MatMul', 'x model.layers.0.attn.qkv_proj.MatMul.weight', 'product'),
    named('/model/layers.0/attn/qkv_proj/Add', 'Add', 'product bias', 'qkv'),
    split,
    node('Concat', 'v k q', 'y', { axis: int(-1) }),
  ],
  initializers: {
    'model.layers.0.attn.qkv_proj.MatMul.weight': draw('float64', [6, 8]),
    bias: draw('float64', [8]),
    ...more,
  },
  x: x64,
  modules: ['q_proj', 'k_proj', 'v_proj'].map((name) => `model.layers.0.self_attn.${name}`),
})

const sizes = { sizes: int64s(4, 2, 2) }
const split = node('Split', 'qkv sizes', 'q k v', { axis: int(-1) })

/** x := tanh (x W) with a weight of the main graph. */
const loopBody = graphProto({
  nodes: [
    named('/layer/MatMul', 'MatMul', 'state w', 'product'),
    node('Tanh', 'product', 'next'),
    node('Identity', 'condition', 'again'),
  ],
  inputs: [info('i', [], 'int64'), info('condition', [], 'bool'), info('state', undefined, 'float64')],
  outputs: [info('again', [], 'bool'), info('next', undefined, 'float64')],
})

export const forms: readonly Form[] = [
  { name: 'MatMul', nodes: [product('MatMul', 'x w')], initializers: { w: draw('float64', [6, 5]) }, x: x64 },
  {
    name: 'MatMul of operator set 7, IR version 3',
    nodes: [product('MatMul', 'x w')],
    initializers: { w: draw('float32', [6, 5]) },
    x: draw('float32', [2, 3, 6]),
    dtype: 'float32' as const,
    opset: 7,
    ir: 3,
  },
  {
    name: 'MatMul of a transposed weight',
    nodes: [node('Transpose', 'w', 't', { perm: ints(1, 0) }), product('MatMul', 'x t')],
    initializers: { w: draw('float64', [5, 6]) },
    x: x64,
  },
  {
    name: 'MatMul of a reshaped, transposed and cast float16 weight',
    nodes: [
      node('Reshape', 'w dims', 'r'),
      node('Transpose', 'r', 't', { perm: ints(1, 0) }),
      node('Cast', 't', 'c', { to: int(1) }),
      product('MatMul', 'x c'),
    ],
    initializers: { w: draw('float16', [5, 2, 3]), dims: int64s(0, -1) },
    x: draw('float32', [2, 3, 6]),
    dtype: 'float32' as const,
  },
  {
    name: 'MatMul whose module is computed twice',
    nodes: [
      named('/layer/MatMul', 'MatMul', 'x w', 'h'),
      node('Tanh', 'h', 't'),
      named('/layer_1/MatMul', 'MatMul', 't w', 'y'),
    ],
    initializers: { w: draw('float64', [6, 6]) },
    x: x64,
  },
  {
    name: 'Gemm with transB, alpha and beta',
    nodes: [product('Gemm', 'x w c', { transB: int(1), alpha: float(0.5), beta: float(2) })],
    initializers: { w: draw('float64', [5, 6]), c: draw('float64', [5]) },
    x: rows,
  },
  {
    name: 'Gemm with transA',
    nodes: [node('Transpose', 'x', 't', { perm: ints(1, 0) }), product('Gemm', 't w', { transA: int(1) })],
    initializers: { w: draw('float64', [6, 5]) },
    x: rows,
  },
  {
    name: 'FusedMatMul with transA, transB and alpha',
    nodes: [
      node('Transpose', 'x', 't', { perm: ints(0, 2, 1) }),
      product('FusedMatMul', 't w', { transA: int(1), transB: int(1), alpha: float(0.25) }, 'com.microsoft'),
    ],
    initializers: { w: draw('float32', [5, 6]) },
    x: draw('float32', [2, 3, 6]),
    dtype: 'float32' as const,
  },
  {
    name: 'Conv with strides, pads and dilations',
    nodes: [
      product('Conv', 'x w c', {
        strides: ints(2, 1),
        pads: ints(1, 0, 2, 1),
        dilations: ints(1, 2),
        kernel_shape: ints(3, 2),
      }),
    ],
    initializers: { w: draw('float32', [4, 3, 3, 2]), c: draw('float32', [4]) },
    x: image,
    dtype: 'float32' as const,
  },
  {
    name: 'Gather',
    nodes: [product('Gather', 'w x')],
    initializers: { w: draw('float64', [7, 5]) },
    x: tensorFrom('int64', [2, 3], [0, 6, 3, 3, 1, 0]),
  },
  packed(split, sizes),
  {
    name: 'DequantizeLinear and MatMul, by column',
    nodes: [node('DequantizeLinear', 'q s z', 'w', { axis: int(1) }), product('MatMul', 'x w')],
    initializers: {
      q: bytes(32, 5),
      s: tensorFrom('float32', [5], [0.01, 0.02, 0.015, 0.03, 0.01]),
      z: bytes(5),
    },
    x: x32,
    dtype: 'float32' as const,
    isFloat: false,
  },
  {
    name: 'DequantizeLinear in blocks, Transpose and MatMul',
    nodes: [
      node('DequantizeLinear', 'q s', 'd', { axis: int(1), block_size: int(16) }),
      node('Transpose', 'd', 'w', { perm: ints(1, 0) }),
      product('MatMul', 'x w'),
    ],
    initializers: {
      q: { ...bytes(5, 16), dtype: 'int4' as const, dims: [5, 32] },
      s: tensorFrom(
        'float32',
        [5, 2],
        Array.from({ length: 10 }, (_, i) => 0.05 + 0.01 * i),
      ),
    },
    x: x32,
    dtype: 'float32' as const,
    isFloat: false,
  },
  nBits(2),
  nBits(4),
  nBits(4, 'bytes'),
  nBits(8, 'bytes'),
  {
    ...nBits(4),
    name: 'MatMulNBits with a bias',
    nodes: [
      product(
        'MatMulNBits',
        'x q scales _ _ c',
        { K: int(32), N: int(5), bits: int(4), block_size: int(16) },
        'com.microsoft',
      ),
    ],
    initializers: { ...nBits(4).initializers, c: draw('float32', [5]) },
  },
  {
    name: 'GatherBlockQuantized of the bytes of an output layer',
    nodes: [
      node('Reshape', 'q dims', 'rows'),
      product(
        'GatherBlockQuantized',
        'rows x s',
        { bits: int(4), block_size: int(16), gather_axis: int(0), quantize_axis: int(1) },
        'com.microsoft',
      ),
    ],
    initializers: {
      q: bytes(7, 2, 8),
      dims: int64s(7, -1),
      s: tensorFrom(
        'float32',
        [7, 2],
        Array.from({ length: 14 }, (_, i) => 0.05 + 0.01 * i),
      ),
    },
    x: tensorFrom('int64', [2, 3], [0, 6, 3, 3, 1, 0]),
    dtype: 'float32' as const,
    isFloat: false,
  },
  {
    name: 'GatherBlockQuantized',
    nodes: [
      product(
        'GatherBlockQuantized',
        'q x s',
        { bits: int(4), block_size: int(16), gather_axis: int(0), quantize_axis: int(1) },
        'com.microsoft',
      ),
    ],
    initializers: {
      q: bytes(7, 16),
      s: tensorFrom(
        'float32',
        [7, 2],
        Array.from({ length: 14 }, (_, i) => 0.05 + 0.01 * i),
      ),
    },
    x: tensorFrom('int64', [2, 3], [0, 6, 3, 3, 1, 0]),
    dtype: 'float32' as const,
    isFloat: false,
  },
  {
    name: 'MatMul in the body of a Loop',
    nodes: [node('Loop', 'trips _ x', 'y', { body: graph(loopBody) })],
    initializers: { w: draw('float64', [6, 6], 0.4), trips: tensorFrom('int64', [], [3]) },
    x: x64,
  },
  {
    name: 'Conv of several groups',
    nodes: [
      product('Conv', 'x w c', {
        group: int(2),
        strides: ints(2, 2),
        pads: ints(1, 1, 1, 1),
        kernel_shape: ints(3, 3),
      }),
    ],
    initializers: { w: draw('float32', [6, 2, 3, 3]), c: draw('float32', [6]) },
    x: draw('float32', [2, 4, 7, 7]),
    dtype: 'float32' as const,
  },
  {
    name: 'Conv of one axis',
    nodes: [product('Conv', 'x w', { pads: ints(1, 0), kernel_shape: ints(3) })],
    initializers: { w: draw('float32', [4, 3, 3]) },
    x: draw('float32', [2, 3, 7]),
    dtype: 'float32' as const,
  },
  {
    name: 'Conv of three axes and several groups',
    nodes: [product('Conv', 'x w c', { group: int(2), kernel_shape: ints(2, 1, 2) })],
    initializers: { w: draw('float32', [4, 2, 2, 1, 2]), c: draw('float32', [4]) },
    x: draw('float32', [2, 4, 3, 2, 3]),
    dtype: 'float32' as const,
  },
  {
    name: 'DequantizeLinear and Conv, by channel',
    nodes: [
      node('DequantizeLinear', 'q s', 'w', { axis: int(0) }),
      product('Conv', 'x w c', { kernel_shape: ints(3, 2) }),
    ],
    initializers: {
      q: tensorFrom(
        'int8',
        [4, 3, 3, 2],
        Array.from({ length: 72 }, () => random.integer(256) - 128),
      ),
      s: tensorFrom('float32', [4], [0.01, 0.02, 0.015, 0.03]),
      c: draw('float32', [4]),
    },
    x: image,
    dtype: 'float32' as const,
    isFloat: false,
  },
  {
    name: 'QuantizeLinear, DequantizeLinear and MatMul',
    nodes: [node('QuantizeLinear', 'f s z', 'q'), node('DequantizeLinear', 'q s z', 'w'), product('MatMul', 'x w')],
    initializers: {
      f: draw('float32', [32, 5]),
      s: tensorFrom('float32', [], [0.25]),
      z: tensorFrom('int8', [], [-3]),
    },
    x: x32,
    dtype: 'float32' as const,
    isFloat: false,
  },
  {
    name: 'GatherBlockQuantized with zero points',
    nodes: [
      product(
        'GatherBlockQuantized',
        'q x s z',
        { bits: int(4), block_size: int(16), gather_axis: int(0), quantize_axis: int(1) },
        'com.microsoft',
      ),
    ],
    initializers: {
      q: bytes(7, 24),
      s: tensorFrom(
        'float32',
        [7, 3],
        Array.from({ length: 21 }, (_, i) => 0.05 + 0.01 * i),
      ),
      z: bytes(7, 2),
    },
    x: tensorFrom('int64', [2, 3], [0, 6, 3, 3, 1, 0]),
    dtype: 'float32' as const,
    isFloat: false,
  },
  {
    ...packed(split, sizes),
    name: 'packed qkv_proj of MatMulNBits',
    nodes: [
      named(
        '/model/layers.0/attn/qkv_proj/MatMulNBits',
        'MatMulNBits',
        'x q_scaled scales',
        'qkv',
        { K: int(32), N: int(8), bits: int(4), block_size: int(16) },
        'com.microsoft',
      ),
      split,
      node('Concat', 'v k q', 'y', { axis: int(-1) }),
    ],
    initializers: {
      q_scaled: bytes(8, 2, 8),
      scales: tensorFrom(
        'float32',
        [8, 2],
        Array.from({ length: 16 }, (_, i) => 0.002 + 0.001 * i),
      ),
      ...sizes,
    },
    x: x32,
    dtype: 'float32' as const,
    isFloat: false,
  },
].map(form)

/** An adapter with random A and B for some modules of a model. */
export function randomAdapter(model: Model, modules: readonly string[], r = 2): Adapter {
  const layers = adaptableLayers(model).filter(({ module }) => modules.includes(module))
  const draw = drawing(new Random(2))
  return {
    config: { r, alpha: 3 },
    layers: layers.map(
      ({ module, kind, in: inputs, out, kernel = [], groups = 1 }): AdapterLayer => ({
        module,
        kind,
        a: draw('float32', [r, inputs, ...kernel]),
        b: draw('float32', [out, r / groups, ...kernel.map(() => 1)]),
        scale: 3 / r,
      }),
    ),
  }
}

/** A model with a new adapter that has magnitudes (DoRA), and the same with random A, B and magnitudes. */
export function randomDora({ model, modules, dtype }: Form): {
  readonly fresh: Model
  readonly adapted: Model
  readonly adapter: Adapter
} {
  const fresh = lora(model, { r: 2, alpha: 3, dora: true, targets: modules })
  const { config, layers } = adapterOf(fresh)
  const draw = drawing(new Random(3))
  const adapter = {
    config,
    layers: layers.map((layer): AdapterLayer => {
      const magnitudes = numbersOf(layer.magnitude!).map((m, i) => m * (0.5 + 0.3 * i))
      return {
        ...layer,
        a: draw(dtype, layer.a.dims),
        b: draw(dtype, layer.b.dims),
        magnitude: tensorFrom(dtype, layer.magnitude!.dims, magnitudes),
      }
    }),
  }
  return { fresh, adapted: applyAdapter(model, adapter), adapter }
}
