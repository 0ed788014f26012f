import { describe, expect, it } from 'vitest'
import { exportGraph, gradients, importGraph } from '../../../src/graph/index.js'
import { decodeModel, type Tensor } from '../../../src/index.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { create } from '../../../src/onnx/proto/message.js'
import { floats32, type GraphParts, graph, graphProto, info, int, int64s, modelBytes, node } from '../build.js'
import { errorAt } from '../errors.js'
import { difference, run } from '../session.js'

const index = (value: number): Tensor => ({ dtype: 'int64', dims: [], data: BigInt64Array.of(BigInt(value)) })
const positions = { zero: index(0), one: index(1), last: index(-1), four: index(4), sizes: int64s(1, 3, 2) }
const x = floats32(
  [6, 4],
  Array.from({ length: 24 }, (_, i) => Math.sin(i)),
)
const parts = (nodes: GraphParts['nodes'], dims: readonly (number | string)[] = [6, 4]): GraphParts => ({
  nodes,
  inputs: [info('x', dims)],
  outputs: [create('ValueInfoProto', { name: 'y' })],
  initializers: positions,
})

/** Checks that a sequence model has the same outputs in onnxruntime and after import. */
async function expectEqual(nodes: GraphParts['nodes'], dims?: readonly (number | string)[]): Promise<void> {
  const bytes = modelBytes(parts(nodes, dims), { opset: 16 })
  const imported = importGraph(decodeModel(bytes))
  const written = exportGraph({ name: 'test', inputs: imported.inputs, outputs: imported.outputs })
  expect(written.graph!.node.map(({ opType }) => opType!).filter((name) => name.includes('Sequence'))).toEqual([])
  const [wanted, found] = [await run(bytes, { x }), await run(encode('ModelProto', written), { x })]
  expect(difference(found['y']!, wanted['y']!)).toBeLessThan(1e-6)
  const y = imported.outputs.get('y')!
  if (y.dtype === 'float32') expect(gradients([[y, y]], [imported.inputs.get('x')!])[0]).not.toBeNull()
}

describe('a sequence that is built and read at constant positions', () => {
  it.each([
    ['one tensor of each row', [node('SplitToSequence', 'x', 's'), node('SequenceAt', 's last', 'y')]],
    [
      'without the axis',
      [node('SplitToSequence', 'x', 's', { axis: int(1), keepdims: int(0) }), node('SequenceAt', 's one', 'y')],
    ],
    ['of given sizes', [node('SplitToSequence', 'x sizes', 's'), node('SequenceAt', 's one', 'y')], ['N', 4]],
    ['of one size, the last one shorter', [node('SplitToSequence', 'x four', 's'), node('SequenceAt', 's last', 'y')]],
    ['joined', [node('SplitToSequence', 'x sizes', 's'), node('ConcatFromSequence', 's', 'y', { axis: int(0) })]],
    [
      'stacked',
      [
        node('SequenceConstruct', 'x x', 's'),
        node('Relu', 'x', 'r'),
        node('SequenceInsert', 's r one', 't'),
        node('ConcatFromSequence', 't', 'y', { axis: int(-1), new_axis: int(1) }),
      ],
    ],
    [
      'filled step by step',
      [
        node('SequenceEmpty', '', 's'),
        node('SequenceInsert', 's x', 't'),
        node('Relu', 'x', 'r'),
        node('SequenceInsert', 't r', 'u'),
        node('SequenceErase', 'u zero', 'v'),
        node('Identity', 'v', 'w'),
        node('SequenceAt', 'w zero', 'y'),
      ],
    ],
    ['counted', [node('SplitToSequence', 'x sizes', 's'), node('SequenceLength', 's', 'y')]],
  ] as const)('%s', (_, nodes, dims?: readonly (number | string)[]) => expectEqual(nodes, dims))

  it('can be read in a body', async () => {
    const branch = (name: string, position: string) =>
      graph(graphProto({ nodes: [node('SequenceAt', `s ${position}`, name)], outputs: [info(name)] }))
    await expectEqual([
      node('SplitToSequence', 'x sizes', 's'),
      node('ReduceSum', 'x', 'sum', { keepdims: int(0) }),
      node('Cast', 'sum', 'condition', { to: int(9) }),
      node('If', 'condition', 'y', { then_branch: branch('a', 'zero'), else_branch: branch('b', 'one') }),
    ])
  })
})

/** The body of a Loop that appends x to the sequence that it carries. */
const appending = graph(
  graphProto({
    nodes: [node('Identity', 'go', 'more'), node('SequenceInsert', 'before x', 'after')],
    inputs: [info('step', [], 'int64'), info('go', [], 'bool'), create('ValueInfoProto', { name: 'before' })],
    outputs: [info('more', [], 'bool'), create('ValueInfoProto', { name: 'after' })],
  }),
)

describe('a sequence that cannot be resolved > import > throws an error that names the node', () => {
  it.each([
    [
      'a position that is computed',
      [
        node('SplitToSequence', 'x', 's'),
        node('ArgMax', 'x', 'm', { keepdims: int(0), axis: int(1) }),
        node('ReduceMax', 'm', 'i', { keepdims: int(0) }),
        node('SequenceAt', 's i', 'y'),
      ],
      [6, 4],
      'unsupported-operator',
      "SequenceAt '",
    ],
    [
      'an unknown number of tensors',
      [node('SplitToSequence', 'x', 's'), node('SequenceAt', 's zero', 'y')],
      ['N', 4],
      'unsupported-operator',
      "SplitToSequence 'SplitToSequence_s'",
    ],
    [
      'a position outside',
      [node('SplitToSequence', 'x sizes', 's'), node('SequenceAt', 's four', 'y')],
      [6, 4],
      'invalid-model',
      /^SequenceAt 'SequenceAt_y' .*position 4\b.* 3 /,
    ],
    [
      'an operator of tensors',
      [node('SplitToSequence', 'x', 's'), node('Relu', 's', 'y')],
      [6, 4],
      'unsupported-operator',
      "Relu 'Relu_y'",
    ],
    ['an output', [node('SplitToSequence', 'x', 'y')], [6, 4], 'unsupported-operator', "output 'y'"],
    [
      'a tensor in its place',
      [node('SequenceAt', 'x zero', 'y')],
      [6, 4],
      'invalid-model',
      /^SequenceAt .*input number 0/,
    ],
    [
      'carried by a Loop',
      [
        node('SequenceEmpty', '', 's'),
        node('Loop', 'four  s', 't', { body: appending }),
        node('ConcatFromSequence', 't', 'y', { axis: int(0) }),
      ],
      [6, 4],
      'unsupported-operator',
      /^Loop 'Loop_t' carries a sequence/,
    ],
  ] as const)('%s', (_, nodes, dims, code, place) => {
    expect(() => importGraph(decodeModel(modelBytes(parts(nodes, dims), { opset: 16 })))).toThrow(errorAt(code, place))
  })
})
