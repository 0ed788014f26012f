import { afterAll, describe, expect, it } from 'vitest'
import { inlineFunctions } from '../../../src/adapter/index.js'
import { Random } from '../../../src/data/index.js'
import { importGraph, input, modelOf, op, parameter, tensor, type Value } from '../../../src/graph/index.js'
import {
  crossEntropy,
  decodeModel,
  encodeModel,
  freeBatch,
  fromArrays,
  inspectModel,
  labelColumn,
  type Model,
  sgd,
  Trainer,
} from '../../../src/index.js'
import { node } from '../../../src/node/index.js'
import { declareDims } from '../../../src/onnx/import/declarations.js'
import { create, edit } from '../../../src/onnx/proto/message.js'
import { freeBatchAxis } from '../../../src/train/model/free-batch-axis.js'
import { info, modelProto, node as protoNode } from '../../onnx/build.js'
import { errorWith } from '../../thrown.js'
import { normal } from '../problem.js'

const runtime = node({ worker: false, threads: 1 })
afterAll(() => runtime.dispose())

/** A model as its file holds it. Its nodes are those for a free first length, which the file then fixes. */
function read([batch, ...dims]: readonly (number | string)[], build: (x: Value) => Value): Model {
  const x = input('x', 'float32', ['N', ...dims])
  const { proto } = modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', build(x)]]) })
  const graph = proto.graph!
  const fixed = graph.input.map((info) => declareDims(info, [batch!, ...dims]))
  const open = graph.output.map((info) => declareDims(info, undefined))
  const edited = edit(proto, { graph: edit(graph, { input: fixed, output: open }) })
  return decodeModel(encodeModel({ proto: edited, external: null }))
}

const weight = (name: string, ...dims: number[]) => parameter(name, normal(new Random(dims.length), dims))
const shapeOf = (model: Model) => importGraph(model).outputs.get('y')!.shape

/** A convolution, a global mean, a Reshape whose target contains the number of examples, and a layer. */
const image = (batch: number, target = [batch, 3]) =>
  read([batch, 2, 6, 6], (x) =>
    op.MatMul(op.Reshape(op.GlobalAveragePool(op.Conv(x, weight('conv', 3, 2, 3, 3))), target), weight('head', 3, 4)),
  )

/** Attention with two heads, whose shapes contain the number of examples, and a token that is added in front. */
const attention = read([1, 5, 8], (x) => {
  const tokens = op.Concat([parameter('token', normal(new Random(1), [1, 1, 8])), x], { axis: 1 })
  const heads = (w: string) => {
    const split = op.Reshape(op.MatMul(tokens, weight(w, 8, 8)), [1, 6, 2, 4])
    return op.Reshape(op.Transpose(split, { perm: [0, 2, 1, 3] }), [2, 6, 4])
  }
  const weights = op.Softmax(op.MatMul(heads('q'), op.Transpose(heads('k'), { perm: [0, 2, 1] })), { axis: -1 })
  const mixed = op.Transpose(op.Reshape(op.MatMul(weights, heads('v')), [1, 2, 6, 4]), { perm: [0, 2, 1, 3] })
  return op.MatMul(op.Reshape(mixed, [6, 8]), weight('out', 8, 3))
})

const recurrent = read([1, 4, 3], (x) => {
  const state = tensor('float32', [1, 1, 2], new Float32Array([0.3, -0.2]))
  const zero = op.Mul(parameter('h', state), 1)
  const [sequence] = op.GRU(
    op.Transpose(x, { perm: [1, 0, 2] }),
    weight('w', 1, 6, 3),
    weight('r', 1, 6, 2),
    null,
    null,
    zero,
    { hidden_size: 2 },
  )
  return op.Transpose(op.Squeeze(sequence, [1]), { perm: [1, 0, 2] })
})

/** A normalization as jax2onnx writes it, whose epsilon is cast to the type of the features. */
const normed = read([2, 4], (x) => {
  const epsilon = op.CastLike(parameter('epsilon', tensor('float32', [], new Float32Array([1e-5]))), x)
  return op.Div(x, op.Sqrt(op.Add(op.ReduceMean(op.Mul(x, x), [-1]), epsilon)))
})

const resized = read([1, 2, 4, 4], (x) => op.Resize(x, null, null, [1, 2, 8, 8], { mode: 'nearest' }))

describe('freeBatch', () => {
  it.each([
    ['a Reshape to [1, 3]', image(1), ['batch', 4], 1],
    ['a Reshape of four examples', image(4), ['batch', 4], 1],
    ['a Reshape to [1, -1]', image(1, [1, -1]), ['batch', 4], 1],
    ['a Reshape to [-1, 3]', image(1, [-1, 3]), ['batch', 4], 0],
    ['attention', attention, ['batch*6', 3], 9],
    ['an initial state', recurrent, ['batch', 4, 2], 1],
    ['sizes of a Resize', resized, ['batch', 2, 8, 8], 1],
    ['a number that is cast to the type of the examples', normed, ['batch', 4], 0],
  ] as const)(
    '%s > is rewritten, and gives each example the outputs that it has alone',
    async (_, model, shape, count) => {
      const { model: freed, fixed, changes } = await freeBatch(model, { runtime })
      expect(fixed).toBe(importGraph(model).inputs.get('x')!.shape![0])
      expect(changes).toHaveLength(count)
      expect(shapeOf(freed)).toEqual(shape)
      expect(importGraph(freed).inputs.get('x')!.shape![0]).toBe('batch')
      expect([...importGraph(freed).parameters.keys()]).toEqual([...importGraph(model).parameters.keys()])
      expect(await freeBatch(freed, { runtime })).toEqual({ model: freed, fixed: null, changes: [] })
    },
  )

  it("nodes of domain 'ai.onnx' > are rewritten, too", async () => {
    const model = image(1)
    const graph = model.proto.graph!
    const named = edit(graph, { node: graph.node.map((node) => edit(node, { domain: 'ai.onnx' })) })
    const { model: freed } = await freeBatch({ ...model, proto: edit(model.proto, { graph: named }) }, { runtime })
    expect(shapeOf(freed)).toEqual(['batch', 4])
  })

  it('a function that is called for layers of several widths > is allowed', async () => {
    const sets = ['', 'test'].map((domain) => create('OperatorSetIdProto', { domain, version: 17n }))
    const layer = create('FunctionProto', {
      name: 'Layer',
      domain: 'test',
      input: ['a', 'w'],
      output: ['o'],
      node: [protoNode('MatMul', 'a w', 'h'), protoNode('Relu', 'h', 'o')],
      opsetImport: sets,
    })
    const parts = {
      nodes: [protoNode('Layer', 'x w', 'r', {}, 'test'), protoNode('Layer', 'r v', 'y', {}, 'test')],
      inputs: [info('x', [1, 4])],
      outputs: [info('y', [1, 3])],
      initializers: { w: normal(new Random(1), [4, 5]), v: normal(new Random(2), [5, 3]) },
    }
    const proto = modelProto(parts, { more: { functions: [layer], opsetImport: sets } })
    const { model } = await freeBatch({ proto, external: null }, { runtime })
    expect(shapeOf(model)).toEqual(['batch', 3])
  })

  it('a Reshape in a function > is refused with the remedy, inlineFunctions, which works', async () => {
    const sets = ['', 'test'].map((domain) => create('OperatorSetIdProto', { domain, version: 17n }))
    const flat = create('FunctionProto', {
      name: 'Flat',
      domain: 'test',
      input: ['a', 't'],
      output: ['o'],
      node: [protoNode('Reshape', 'a t', 'h'), protoNode('Relu', 'h', 'o')],
      opsetImport: sets,
    })
    const parts = {
      nodes: [protoNode('Flat', 'x to', 'y', {}, 'test')],
      inputs: [info('x', [1, 2, 3])],
      outputs: [info('y', [1, 6])],
      initializers: { to: tensor('int64', [2], BigInt64Array.of(1n, 6n)) },
    }
    const model = { proto: modelProto(parts, { more: { functions: [flat], opsetImport: sets } }), external: null }
    await expect(freeBatch(model, { runtime })).rejects.toThrow(
      errorWith('invalid-option', '`onnx-ire adapter inline`, or inlineFunctions'),
    )
    const { model: freed } = await freeBatch(inlineFunctions(model), { runtime })
    expect(shapeOf(freed)).toEqual(['batch', 6])
  })

  it('a path instead of a model, or no runtime > names what to pass', async () => {
    const wrong = freeBatch as (model: unknown, options?: unknown) => Promise<unknown>
    await expect(wrong('m.onnx', { runtime })).rejects.toThrow(errorWith('invalid-model', 'readModel'))
    await expect(wrong(attention)).rejects.toThrow(errorWith('invalid-option', 'runtime'))
  })

  it.each([
    ['a mean over the examples', (x: Value) => op.ReduceMean(x, [0], { keepdims: 1 }), /ReduceMean/],
    ['one example', (x: Value) => op.Gather(x, [0], { axis: 0 }), /Gather.* for any number/],
    ['products of examples', (x: Value) => op.MatMul(x, op.Transpose(x, { perm: [1, 0] })), /combines/],
    ['a constant', (x: Value) => op.MatMul(op.Reshape(x, [6]), weight('w', 6, 3)), /MatMul/],
    ['weights of examples', (x: Value) => op.Softmax(x, { axis: 0 }), /output 'y' of an example differs/],
  ])('%s > is refused with the reason', async (_, build, reason) => {
    await expect(freeBatch(read([1, 6], build), { runtime })).rejects.toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringMatching(reason) }),
    )
  })

  it('inputs without a common first length > are refused', () => {
    const [x, state] = [input('x', 'float32', [1, 4]), input('state', 'float32', [2, 4])]
    const model = modelOf({
      name: 'm',
      inputs: new Map(Object.entries({ x, state })),
      outputs: new Map([['y', op.Add(x, state)]]),
    })
    expect(() => freeBatchAxis(model)).toThrow(errorWith('invalid-option', 'x [1, 4], state [2, 4]'))
  })
})

it('Trainer > trains a batch at once and gives the losses of the fixed model', async () => {
  const random = new Random(2)
  const data = fromArrays({
    x: normal(random, [16, 2, 6, 6]),
    labels: labelColumn(Array.from({ length: 16 }, (_, i) => i % 4)),
  })
  const train = async (freeBatch: boolean) => {
    const options = { loss: crossEntropy(), optimizer: sgd({ lr: 0.1 }), runtime, batchSize: 8, freeBatch }
    const trainer = await Trainer.create(image(1), options)
    const metrics = await trainer.train(data, { totalEpochs: 2 })
    const exported = trainer.export()
    await trainer.dispose()
    return { loss: metrics!.loss, exported }
  }
  const [fixed, free] = [await train(false), await train(true)]
  expect(free.loss).toBeCloseTo(fixed.loss, 5)
  expect(shapeOf(fixed.exported)).toEqual([1, 4])
  expect(shapeOf(free.exported)).toEqual(['batch', 4])
})

it('Trainer > refuses a model whose examples depend on each other', async () => {
  const model = read([1, 4], (x) => op.MatMul(op.Softmax(x, { axis: 0 }), weight('w', 4, 3)))
  const options = { loss: crossEntropy(), optimizer: sgd({ lr: 0.1 }), runtime, freeBatch: true }
  await expect(Trainer.create(model, options)).rejects.toThrow(errorWith('invalid-option', 'freeBatch'))
})

it('inspect > names the fixed batch and whether it can be freed', () => {
  expect(inspectModel(image(1)).batch).toEqual({ fixed: 1, obstacle: null })
  expect(inspectModel(image(4)).batch).toEqual({ fixed: 4, obstacle: null })
  expect(inspectModel(read(['N', 6], (x) => op.Relu(x))).batch).toBeNull()
  const { batch } = inspectModel(read([1, 6], (x) => op.Gather(x, [0], { axis: 0 })))
  expect(batch).toEqual({ fixed: 1, obstacle: { code: 'invalid-option', message: expect.stringContaining('Gather') } })
})
