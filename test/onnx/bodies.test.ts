import { describe, expect, it } from 'vitest'
import { findTrainable, importGraph } from '../../src/graph/index.js'
import { decodeModel, encodeModel, gradientModel, namedTensors, replaceTensors, type Tensor } from '../../src/index.js'
import { bodiesOf, topological } from '../../src/ir/topology.js'
import type { Node } from '../../src/ir/value.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { float, floats32, graph, graphProto, info, int, ints, modelBytes, node, value } from './build.js'
import { numbers, run } from './session.js'

const square = (...data: readonly number[]) => floats32([2, 2], data)
const flag = (taken: boolean): Tensor => ({ dtype: 'bool', dims: [], data: Uint8Array.of(Number(taken)) })
const x = floats32([1, 2], [1, 2])

/** x W with one W per branch, both named `weight` (an initializer and a Constant), and a bias with a unique name. */
const branching = (opset = 17) => {
  const then = graphProto({
    nodes: [node('MatMul', 'x weight', 'p'), node('Add', 'p bias', 'then')],
    outputs: [info('then')],
    initializers: { weight: square(1, 2, 3, 4), bias: floats32([2], [10, 20]) },
  })
  const otherwise = graphProto({
    nodes: [node('Constant', '', 'weight', { value: value(square(5, 6, 7, 8)) }), node('MatMul', 'x weight', 'else')],
    outputs: [info('else')],
  })
  return modelBytes(
    {
      inputs: [info('x', [1, 2]), info('cond', [], 'bool')],
      outputs: [info('y', [1, 2])],
      nodes: [node('If', 'cond', 'y', { then_branch: graph(then), else_branch: graph(otherwise) })],
    },
    { opset },
  )
}
const [thenWeight, elseWeight] = ['If_y/then_branch/weight', 'If_y/else_branch/weight']

describe('tensors inside bodies', () => {
  const model = decodeModel(branching())

  it('are parameters with unique names', () => {
    expect([...importGraph(model).parameters.keys()].toSorted()).toEqual(['bias', elseWeight, thenWeight].toSorted())
    expect([...namedTensors(model).keys()].toSorted()).toEqual(['bias', elseWeight, thenWeight].toSorted())
  })

  it('are weights of layers in bodies', () => {
    expect([...findTrainable(importGraph(model)).keys()].toSorted()).toEqual(
      ['bias', elseWeight, thenWeight].toSorted(),
    )
  })

  it('are replaced in the file, and everything else keeps its bytes', async () => {
    const replaced = replaceTensors(model, new Map([[elseWeight, square(1, 0, 0, 1)]]))
    const bytes = encodeModel(replaced)
    expect(numbers((await run(bytes, { x, cond: flag(false) }))['y']!)).toEqual([1, 2])
    expect(numbers((await run(bytes, { x, cond: flag(true) }))['y']!)).toEqual([17, 30])
    const back = replaceTensors(decodeModel(bytes), new Map([[elseWeight, square(5, 6, 7, 8)]]))
    expect(encodeModel(back)).toEqual(branching())
  })

  it('are captured by the bodies of an exported graph', async () => {
    const bytes = encode('ModelProto', exportGraph(importGraph(model)))
    expect(numbers((await run(bytes, { x, cond: flag(true) }))['y']!)).toEqual([17, 30])
    expect(numbers((await run(bytes, { x, cond: flag(false) }))['y']!)).toEqual([19, 22])
  })

  it('have gradients if their branch runs, otherwise zeros', async () => {
    const gradient = gradientModel(branching())
    const feeds = {
      x,
      [thenWeight]: square(1, 2, 3, 4),
      [elseWeight]: square(5, 6, 7, 8),
      bias: floats32([2], [10, 20]),
      'dy/y': floats32([1, 2], [1, 10]),
    }
    const taken = await run(gradient, { ...feeds, cond: flag(true) })
    expect(numbers(taken[`grad/${thenWeight}`]!)).toEqual([1, 10, 2, 20])
    expect(numbers(taken[`grad/${elseWeight}`]!)).toEqual([0, 0, 0, 0])
    expect(numbers(taken['grad/bias']!)).toEqual([1, 10])
    expect(numbers(taken['grad/x']!)).toEqual([21, 43])
    const other = await run(gradient, { ...feeds, cond: flag(false) })
    expect(numbers(other[`grad/${elseWeight}`]!)).toEqual([1, 10, 2, 20])
    expect(numbers(other['grad/bias']!)).toEqual([0, 0])
  })
})

describe('bodies', () => {
  it('with old operators > contain the upgraded nodes', async () => {
    // Softmax of operator set 12 flattens, and becomes several nodes of today.
    const then = graphProto({ nodes: [node('Softmax', 'x', 'then', { axis: int(0) })], outputs: [info('then')] })
    const otherwise = graphProto({
      nodes: [node('ReduceSum', 'x', 'else', { axes: ints(1) })],
      outputs: [info('else')],
    })
    const bytes = modelBytes(
      {
        inputs: [info('x', [2, 2]), info('cond', [], 'bool')],
        outputs: [info('y')],
        nodes: [node('If', 'cond', 'y', { then_branch: graph(then), else_branch: graph(otherwise) })],
      },
      { opset: 12 },
    )
    const imported = importGraph(decodeModel(bytes))
    const [main, ...others] = topological(imported.outputs.values())
    expect(others).toEqual([])
    const inside = bodiesOf(main as Node).map(({ outputs, scope }) =>
      topological(outputs, (each) => each.scope === scope),
    )
    expect(inside[0]!.length).toBeGreaterThan(1)
    const again = encode('ModelProto', exportGraph(imported))
    const feeds = { x: square(1, 2, 3, 4), cond: flag(true) }
    const [found, wanted] = [await run(again, feeds), await run(bytes, feeds)]
    for (const [i, each] of numbers(found['y']!).entries()) expect(each).toBeCloseTo(numbers(wanted['y']!)[i]!, 6)
  })

  it.each(['', 'ai.onnx'])(
    "of an If of domain '%s' with a constant condition > replace it; the other is not imported",
    async (domain) => {
      const then = graphProto({
        nodes: [node('LeakyRelu', 'x', 'then', { alpha: float(0.5) })],
        outputs: [info('then')],
      })
      // There is no axis 7.
      const otherwise = graphProto({
        nodes: [node('Transpose', 'x', 'else', { perm: ints(7, 8) })],
        outputs: [info('else')],
      })
      const bytes = modelBytes({
        inputs: [info('x', [1, 2])],
        outputs: [info('y', [1, 2])],
        nodes: [
          node('Shape', 'x', 'shape'),
          node('Size', 'shape', 'rank'),
          node('Equal', 'rank two', 'flat'),
          node('If', 'flat', 'y', { then_branch: graph(then), else_branch: graph(otherwise) }, domain),
        ],
        initializers: { two: { dtype: 'int64', dims: [], data: BigInt64Array.of(2n) } },
      })
      const graph_ = importGraph(decodeModel(bytes))
      expect(topological(graph_.outputs.values()).map(({ operator }) => operator)).toEqual(['LeakyRelu'])
      const again = encode('ModelProto', exportGraph(graph_))
      expect(numbers((await run(again, { x: floats32([1, 2], [-1, 2]) }))['y']!)).toEqual([-0.5, 2])
    },
  )

  it('read values of enclosing bodies, and results that no other node reads', async () => {
    // The second output of MaxPool is read inside alone.
    const inner = graphProto({
      nodes: [node('Cast', 'places', 'f', { to: int(1) }), node('Mul', 'f twice', 'inner')],
      outputs: [info('inner')],
    })
    const innerElse = graphProto({ nodes: [node('Identity', 'twice', 'innerElse')], outputs: [info('innerElse')] })
    const then = graphProto({
      nodes: [
        node('Add', 'most most', 'twice'),
        node('If', 'cond', 'then', { then_branch: graph(inner), else_branch: graph(innerElse) }),
      ],
      outputs: [info('then')],
    })
    const otherwise = graphProto({ nodes: [node('Neg', 'most', 'else')], outputs: [info('else')] })
    const bytes = modelBytes({
      inputs: [info('x', [1, 1, 4]), info('cond', [], 'bool')],
      outputs: [info('y')],
      nodes: [
        node('MaxPool', 'x', 'most places', { kernel_shape: ints(2), strides: ints(2) }),
        node('If', 'cond', 'y', { then_branch: graph(then), else_branch: graph(otherwise) }),
      ],
    })
    const again = encode('ModelProto', exportGraph(importGraph(decodeModel(bytes))))
    const results = await run(again, { x: floats32([1, 1, 4], [1, 5, 7, 2]), cond: flag(true) })
    expect(numbers(results['y']!)).toEqual([10, 28])
  })
})
