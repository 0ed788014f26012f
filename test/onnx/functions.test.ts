import { describe, expect, it } from 'vitest'
import { importGraph } from '../../src/graph/index.js'
import {
  decodeModel,
  encodeModel,
  type Graph,
  gradientModel,
  namedTensors,
  replaceTensors,
  type Tensor,
} from '../../src/index.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { importGraph as importModel } from '../../src/onnx/import/import-graph.js'
import { inlineFunctions } from '../../src/onnx/inline-functions.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { create } from '../../src/onnx/proto/message.js'
import type { AttributeProto, FunctionProto, NodeProto } from '../../src/onnx/proto/schema.js'
import { attributeTypes } from '../../src/onnx/proto/schema.js'
import { thrownError, thrownMessage } from '../thrown.js'
import { float, floats32, graph, graphProto, info, int, modelBytes, node, value } from './build.js'
import { numbers, run } from './session.js'

const domain = 'test.functions'

/** An attribute that takes what the call gives to `ref`. */
const reference = (ref: string, type: number): Partial<AttributeProto> => ({ refAttrName: ref, type })

interface Parts {
  readonly name: string
  readonly inputs: string
  readonly outputs: string
  readonly nodes: readonly NodeProto[]
  readonly more?: Partial<FunctionProto>
  readonly opset?: number
}

const fn = ({ name, inputs, outputs, nodes, more, opset = 17 }: Parts): FunctionProto =>
  create('FunctionProto', {
    name,
    domain,
    input: inputs.split(' '),
    output: outputs.split(' '),
    node: nodes,
    opsetImport: [
      create('OperatorSetIdProto', { domain: '', version: BigInt(opset) }),
      create('OperatorSetIdProto', { domain, version: 1n }),
    ],
    ...more,
  })

/** x [2, 3] -> y through `nodes`. */
const model = (
  functions: readonly FunctionProto[],
  nodes: readonly NodeProto[],
  initializers: Readonly<Record<string, Tensor>> = {},
): Uint8Array =>
  modelBytes(
    { inputs: [info('x', [2, 3])], outputs: [info('y', [2, 3])], nodes, initializers },
    {
      more: {
        functions,
        opsetImport: [
          create('OperatorSetIdProto', { domain: '', version: 17n }),
          create('OperatorSetIdProto', { domain, version: 1n }),
        ],
      },
    },
  )

const call = (name: string, inputs: string, outputs: string, attributes = {}) =>
  node(name, inputs, outputs, attributes, domain)

const x = floats32([2, 3], [1, -2, 3, -4, 5, -6])
const inlined = (bytes: Uint8Array) => encode('ModelProto', exportGraph(importGraph(decodeModel(bytes))))

/** A model whose nodes are those of its functions. */
function withoutFunctions(bytes: Uint8Array): Uint8Array {
  const read = inlineFunctions(decodeModel(bytes))
  expect(read.proto.functions).toEqual([])
  return encodeModel(read)
}

/**
 * Runs a model whose functions are inlined when it is imported, and in its file, and checks the results against
 * onnxruntime, which supports functions.
 */
async function compute(bytes: Uint8Array): Promise<number[]> {
  const ours = numbers((await run(inlined(bytes), { x }))['y']!)
  const inFile = numbers((await run(withoutFunctions(bytes), { x }))['y']!)
  const theirs = numbers((await run(bytes, { x }))['y']!)
  for (const [i, each] of ours.entries()) {
    expect(each).toBeCloseTo(theirs[i]!, 5)
    expect(inFile[i]).toBeCloseTo(theirs[i]!, 5)
  }
  return ours
}

const importError = (bytes: Uint8Array) => thrownError(() => importGraph(decodeModel(bytes)))

const leaky = fn({
  name: 'Leaky',
  inputs: 'a',
  outputs: 'b',
  nodes: [node('LeakyRelu', 'a', 'b', { alpha: reference('slope', attributeTypes.float) })],
  more: { attribute: ['slope'] },
})

describe('functions of a model', () => {
  it('replace their calls, with separate names', async () => {
    const twice = fn({
      name: 'Twice',
      inputs: 'a',
      outputs: 'c',
      nodes: [node('Add', 'a a', 'x'), node('Identity', 'x', 'c')],
    })
    expect(await compute(model([twice], [call('Twice', 'x', 'c'), call('Twice', 'c', 'y')]))).toEqual(
      numbers(x).map((each) => 4 * each),
    )
  })

  it('take attributes from their calls', async () => {
    const bytes = model(
      [leaky],
      [call('Leaky', 'x', 'z', { slope: float(0.5) }), call('Leaky', 'z', 'y', { slope: float(0.25) })],
    )
    expect(await compute(bytes)).toEqual([1, -0.25, 3, -0.5, 5, -0.75])
  })

  it('omit attributes that their calls do not pass', async () => {
    expect((await compute(model([leaky], [call('Leaky', 'x', 'y')])))[1]).toBeCloseTo(-0.02, 6)
  })

  it('have attributes with defaults', async () => {
    const slope = create('AttributeProto', { name: 'slope', ...float(0.5) })
    const withDefault = { ...leaky, attribute: [], attributeProto: [slope] }
    const bytes = model([withDefault], [call('Leaky', 'x', 'z'), call('Leaky', 'z', 'y', { slope: float(0.25) })])
    expect(await compute(bytes)).toEqual([1, -0.25, 3, -0.5, 5, -0.75])
  })

  it('have bodies as default attributes', async () => {
    const body = (operator: string) =>
      create('AttributeProto', {
        name: 'body',
        ...graph(graphProto({ nodes: [node(operator, 'a', 'z')], outputs: [info('z')] })),
      })
    const either = (operator: string) =>
      fn({
        name: 'Either',
        inputs: 'a',
        outputs: 'b',
        nodes: [
          node('ReduceSum', 'a', 's', { keepdims: int(0) }),
          node('Cast', 's', 'c', { to: int(9) }),
          node('If', 'c', 'b', {
            then_branch: reference('body', attributeTypes.graph),
            else_branch: reference('body', attributeTypes.graph),
          }),
        ],
        more: { attributeProto: [body(operator)] },
      })
    const bytes = model([either('LpNormalization')], [call('Either', 'x', 'y')])
    const read = decodeModel(bytes)
    const on = (found: Graph) => run(encode('ModelProto', exportGraph(found)), { x })
    const there = await on(importModel(read))
    expect(numbers(there['y']!)).toEqual(numbers((await on(importGraph(read)))['y']!))
    expect(numbers(there['y']!)[0]).toBeCloseTo(1 / Math.sqrt(14), 6)
    expect(numbers((await on(importGraph(inlineFunctions(read))))['y']!)).toEqual(numbers(there['y']!))
    expect(importError(model([either('Unheard')], [call('Either', 'x', 'y')])).message).toContain(
      'Unheard x 1: Unheard_z',
    )
  })

  it('take the value of a Constant from an attribute', async () => {
    const scaled = fn({
      name: 'Scaled',
      inputs: 'a',
      outputs: 'b',
      nodes: [
        node('Constant', '', 'factor', { value_float: reference('factor', attributeTypes.float) }),
        node('Constant', '', 'offsets', { value_floats: reference('offsets', attributeTypes.floats) }),
        node('Mul', 'a factor', 'c'),
        node('Add', 'c offsets', 'b'),
      ],
      more: { attribute: ['factor', 'offsets'] },
    })
    const offsets = { type: attributeTypes.floats, floats: [1, 2, 3] }
    const bytes = model([scaled], [call('Scaled', 'x', 'y', { factor: float(2), offsets })])
    expect(await compute(bytes)).toEqual([3, -2, 9, -7, 12, -9])
    expect([...importGraph(decodeModel(bytes)).parameters.keys()]).toEqual([])
  })

  it('call each other and pass attributes on', async () => {
    const outer = fn({
      name: 'Outer',
      inputs: 'a',
      outputs: 'b',
      nodes: [call('Leaky', 'a', 'c', { slope: reference('steepness', attributeTypes.float) }), node('Neg', 'c', 'b')],
      more: { attribute: ['steepness'] },
    })
    const bytes = model([leaky, outer], [call('Outer', 'x', 'y', { steepness: float(0.5) })])
    expect(await compute(bytes)).toEqual([-1, 1, -3, 2, -5, 3])
  })

  it('separate opset imports > are used', async () => {
    // Up to operator set 12 the axes of a ReduceSum are an attribute.
    const axes = { axes: { type: attributeTypes.ints, ints: [1n] }, keepdims: int(1) }
    const old = fn({ name: 'Sums', inputs: 'a', outputs: 'b', nodes: [node('ReduceSum', 'a', 'b', axes)], opset: 12 })
    const bytes = model([old], [call('Sums', 'x', 's'), node('Mul', 'x s', 'y')])
    expect(numbers((await run(inlined(bytes), { x }))['y']!)).toEqual([2, -4, 6, 20, -25, 30])
    expect(thrownMessage('invalid-model', () => inlineFunctions(decodeModel(bytes)))).toMatch(/'Sums'.* 12 .* 17/)
  })

  it('can be called without optional inputs', async () => {
    const clipped = fn({
      name: 'Clipped',
      inputs: 'a low high',
      outputs: 'b',
      nodes: [node('Clip', 'a low high', 'b')],
    })
    const bytes = model([clipped], [call('Clipped', 'x _ three', 'y')], { three: floats32([], [3]) })
    for (const each of [inlined(bytes), withoutFunctions(bytes)])
      expect(numbers((await run(each, { x }))['y']!)).toEqual([1, -2, 3, -4, 3, -6])
  })

  it('contain control flow that reads their inputs', async () => {
    const then = graphProto({
      nodes: [node('LeakyRelu', 'a', 'p', { alpha: reference('slope', attributeTypes.float) })],
      outputs: [info('p')],
    })
    const otherwise = graphProto({ nodes: [node('Neg', 'a', 'q')], outputs: [info('q')] })
    const branching = fn({
      name: 'Branching',
      inputs: 'a',
      outputs: 'b',
      nodes: [
        node('ReduceSum', 'a', 's', { keepdims: int(0) }),
        node('Constant', '', 'zero', { value_float: float(0) }),
        node('Less', 's zero', 'negative'),
        node('If', 'negative', 'b', { then_branch: graph(then), else_branch: graph(otherwise) }),
      ],
      more: { attribute: ['slope'] },
    })
    const bytes = model([branching], [call('Branching', 'x', 'y', { slope: float(0.5) })])
    for (const each of [inlined(bytes), withoutFunctions(bytes)])
      expect(numbers((await run(each, { x }))['y']!)).toEqual([1, -1, 3, -2, 5, -3])
  })

  it('take precedence over operators of the same name', async () => {
    const relu = { ...fn({ name: 'Relu', inputs: 'a', outputs: 'b', nodes: [node('Neg', 'a', 'b')] }), domain: '' }
    const bytes = model([relu], [node('Relu', 'x', 'y')])
    for (const each of [inlined(bytes), withoutFunctions(bytes)])
      expect(numbers((await run(each, { x }))['y']!)).toEqual(numbers(x).map((each) => -each))
  })

  it('in a body, with outputs that are inputs, unused or computed twice', async () => {
    const several = fn({
      name: 'Several',
      inputs: 'a',
      outputs: 'b a c',
      nodes: [node('Neg', 'a', 'b'), node('Abs', 'a', 'c')],
    })
    const then = graphProto({ nodes: [call('Several', 'x', '_ p _')], outputs: [info('p')] })
    const otherwise = graphProto({ nodes: [call('Several', 'x', 'q')], outputs: [info('q')] })
    const bytes = model(
      [several],
      [
        node('ReduceSum', 'x', 's', { keepdims: int(0) }),
        node('Cast', 's', 'nonzero', { to: int(9) }),
        node('If', 'nonzero', 'z', { then_branch: graph(then), else_branch: graph(otherwise) }),
        call('Several', 'z', '_ _ positive'),
        node('Add', 'z positive', 'y'),
      ],
    )
    for (const each of [inlined(bytes), withoutFunctions(bytes)])
      expect(numbers((await run(each, { x }))['y']!)).toEqual([2, 0, 6, 0, 10, 0])
  })
})

describe('tensors inside functions', () => {
  const weight = floats32([3, 3], [1, 0, 0, 0, 2, 0, 0, 0, 3])
  const layer = (name: string) =>
    fn({
      name,
      inputs: 'a',
      outputs: 'b',
      nodes: [node('Constant', '', 'w', { value: value(weight) }), node('MatMul', 'a w', 'b')],
    })

  it('are parameters, one for all calls, and are trained in the file', async () => {
    const bytes = model([layer('Layer')], [call('Layer', 'x', 'z'), call('Layer', 'z', 'y')])
    const graph = importGraph(decodeModel(bytes))
    expect([...graph.parameters.keys()]).toEqual(['w'])
    expect(await compute(bytes)).toEqual([1, -8, 27, -4, 20, -54])

    const doubled = { ...weight, data: (weight.data as Float32Array).map((each) => 2 * each) }
    const replaced = encodeModel(replaceTensors(decodeModel(bytes), new Map([['w', doubled]])))
    expect(numbers((await run(replaced, { x }))['y']!)).toEqual([4, -32, 108, -16, 80, -216])
    expect(decodeModel(replaced).proto.functions.length).toBe(1)
    expect([...importGraph(inlineFunctions(decodeModel(bytes))).parameters.keys()]).toEqual(['w'])
  })

  it('in bodies > are parameters, one for all calls, also without functions', async () => {
    const then = graphProto({
      nodes: [node('MatMul', 'a w', 'p')],
      outputs: [info('p')],
      initializers: { w: weight, unused: weight },
    })
    const shift = floats32([3], [1, 2, 3])
    const otherwise = graphProto({
      nodes: [
        node('Constant', '', 'w', { value: value(shift) }),
        node('Add', 'a w', 'r'),
        node('Constant', '', 'q', { value: value(floats32([2, 3], [1, 2, 3, 4, 5, 6])) }),
      ],
      outputs: [info('q')],
    })
    const branching = fn({
      name: 'Branching',
      inputs: 'a',
      outputs: 'b',
      nodes: [
        node('ReduceMax', 'a', 's', { keepdims: int(0) }),
        node('Constant', '', 'ten', { value_float: float(10) }),
        node('Less', 's ten', 'small'),
        node('If', 'small', 'b', { then_branch: graph(then), else_branch: graph(otherwise) }),
      ],
    })
    const bytes = model([branching], [call('Branching', 'x', 'z'), call('Branching', 'z', 'y')])
    const plain = inlineFunctions(decodeModel(bytes))
    const names = [...importGraph(decodeModel(bytes)).parameters.keys()]
    expect([...importGraph(plain).parameters.keys()].sort()).toEqual(names.sort())
    expect(numbers((await run(encodeModel(plain), { x }))['y']!)).toEqual(await compute(bytes))
  })

  it('are differentiated through', async () => {
    const gradient = gradientModel(model([layer('Layer')], [call('Layer', 'x', 'z'), call('Layer', 'z', 'y')]))
    const dy = floats32([2, 3], [1, 0, 0, 0, 0, 0])
    const results = await run(gradient, { x, w: weight, 'dy/y': dy })
    expect(numbers(results['grad/w']!)).toEqual(Array.from({ length: 9 }, (_, i) => derivative(i)))
  })

  /** d (x w w)_00 / d w_kl = x_0k w_l0 + (x w)_0k [l = 0]. */
  function derivative(i: number): number {
    const [k, l] = [Math.floor(i / 3), i % 3]
    const [w, row] = [numbers(weight), numbers(x).slice(0, 3)]
    const product = [0, 1, 2].reduce((sum, j) => sum + row[j]! * w[3 * j + k]!, 0)
    return row[k]! * w[3 * l]! + (l === 0 ? product : 0)
  }

  it('with equal names > are named by their functions', () => {
    const bytes = model([layer('A'), layer('B')], [call('A', 'x', 'z'), call('B', 'z', 'y')])
    expect([...importGraph(decodeModel(bytes)).parameters.keys()]).toEqual(['A/w', 'B/w'])
    expect([...namedTensors(decodeModel(bytes)).keys()]).toEqual(['A/w', 'B/w'])
    expect([...namedTensors(inlineFunctions(decodeModel(bytes))).keys()]).toEqual(['A/w', 'B/w'])
  })

  it('with a name of the main graph > get another name', () => {
    const bytes = model([layer('A')], [call('A', 'x', 'w'), node('Neg', 'w', 'y')])
    expect([...importGraph(decodeModel(bytes)).parameters.keys()]).toEqual(['A/w'])
  })
})

describe('invalid functions', () => {
  it('recursion > import > throws invalid-model', () => {
    const loop = fn({ name: 'Loop', inputs: 'a', outputs: 'b', nodes: [call('Pool', 'a', 'b')] })
    const pool = fn({ name: 'Pool', inputs: 'a', outputs: 'b', nodes: [call('Loop', 'a', 'b')] })
    expect(importError(model([loop, pool], [call('Loop', 'x', 'y')]))).toMatchObject({
      code: 'invalid-model',
      message: expect.stringContaining("'Loop' calls itself"),
    })
    const bytes = model([loop, pool], [call('Loop', 'x', 'y')])
    expect(thrownMessage('invalid-model', () => inlineFunctions(decodeModel(bytes)))).toContain("'Loop' calls itself")
  })

  it('nested calls that multiply > import > throws invalid-model without expanding them', () => {
    const levels = Array.from({ length: 40 }, (_, i) =>
      fn({
        name: `F${i}`,
        inputs: 'a',
        outputs: 'c',
        nodes: i === 0 ? [node('Neg', 'a', 'c')] : [call(`F${i - 1}`, 'a', 'b'), call(`F${i - 1}`, 'b', 'c')],
      }),
    )
    expect(importError(model(levels, [call('F39', 'x', 'y')]))).toMatchObject({
      code: 'invalid-model',
      message: expect.stringMatching(/\b250000 nodes/),
    })
    const bytes = model(levels, [call('F39', 'x', 'y')])
    expect(thrownMessage('invalid-model', () => inlineFunctions(decodeModel(bytes)))).toMatch(/\b250000 nodes/)
  })

  it('unsupported operators > import > throws an error that names them', () => {
    const odd = fn({ name: 'Odd', inputs: 'a', outputs: 'b', nodes: [node('NoSuchThing', 'a', 'b')] })
    expect(importError(model([odd], [call('Odd', 'x', 'y')]))).toMatchObject({
      code: 'unsupported-operator',
      message: expect.stringContaining('NoSuchThing x 1'),
    })
  })

  it('an output without a node > import > throws invalid-model', () => {
    const empty = fn({ name: 'Empty', inputs: 'a', outputs: 'b', nodes: [node('Neg', 'a', 'c')] })
    expect(importError(model([empty], [call('Empty', 'x', 'y')]))).toMatchObject({
      code: 'invalid-model',
      message: expect.stringMatching(/'b' .*'Empty'/),
    })
  })

  it('names of the calling graph > import > throws invalid-model', () => {
    const peeking = fn({ name: 'Peeking', inputs: 'a', outputs: 'b', nodes: [node('Add', 'a x', 'b')] })
    expect(importError(model([peeking], [call('Peeking', 'x', 'y')]))).toMatchObject({
      code: 'invalid-model',
      message: expect.stringContaining("'x'"),
    })
  })
})
