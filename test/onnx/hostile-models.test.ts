import { describe, expect, it } from 'vitest'
import { importGraph, printGraph } from '../../src/graph/index.js'
import { decodeModel, encodeModel, gradientModel, inspectModel } from '../../src/index.js'
import { create } from '../../src/onnx/proto/message.js'
import type { FunctionProto, GraphProto, NodeProto } from '../../src/onnx/proto/schema.js'
import type { ErrorCode } from '../../src/util/errors.js'
import { float, graph, info, int, int64s, ints, modelBytes, node } from './build.js'
import { errorAt } from './errors.js'

const bytesOf = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'))

/** Sends a model through everything that reads one. */
function exercise(bytes: Uint8Array): void {
  const decoded = decodeModel(bytes)
  encodeModel(decoded)
  inspectModel(decoded)
  printGraph(importGraph(decoded))
  importGraph(decodeModel(gradientModel(bytes)))
}

/** Files that fuzzing found: each one was an internal error. */
const found: readonly [what: string, base64: string, code: ErrorCode, place: string][] = [
  [
    'Upsample in operator set 13, which has none',
    'CAg6WwoTCgF4CgFzEgF5IghVcHNhbXBsZRIBZyoZCAQQAUIBc0oQAACAPwAAgD8AAABAAAAAQFobCgF4EhYKFAgBEhAKAggBCgIIAQoCCAQKAggEYgkKAXkSBAoCCAFCAhAN',
    'unsupported-operator',
    'Upsample',
  ],
  [
    'ConvTranspose with a weight of one axis',
    'CAg6VAoYCgF4CgF3EgF5Ig1Db252VHJhbnNwb3NlEgFnKhkIBBABQgF3ShAAAIA/AACAPwAAgD8AAIA/Wg8KAXgSCgoICAESBAoCCARiCQoBeRIECgIIAUICEA0=',
    'invalid-shape',
    'ConvTranspose',
  ],
  [
    'Clip of integers with NaN as its bounds',
    'CAg6TwoqCgF4EgF5IgRDbGlwKg0KA21pbhUAAMB/oAEBKg0KA21heBUAAMB/oAEBEgFnWhMKAXgSDgoMCAcSCAoCCAIKAggEYgkKAXkSBAoCCAdCAhAG',
    'invalid-model',
    'Clip',
  ],
  [
    'Resize by Infinity',
    'CAg6bgomCgF4CgAKAXMSAXkiBlJlc2l6ZSoRCgRtb2RlIgZsaW5lYXKgAQMSAWcqGQgEEAFCAXNKEAAAgD8AAIA/AACAfwAAgH9aGwoBeBIWChQIARIQCgIIAQoCCAEKAggICgIICGIJCgF5EgQKAggBQgIQEQ==',
    'invalid-shape',
    'Infinity',
  ],
]

/** Valid files that fuzzing found. */
const valid: readonly [what: string, base64: string][] = [
  [
    "a function named 'constructor'",
    'CAg6RAoTCgF4EgF5Igtjb25zdHJ1Y3RvchIBZ1oUCgF4Eg8KDQgBEgkKAxIBTgoCCARiFAoBeRIPCg0IARIJCgMSAU4KAggEQgIQEcoBJwoLY29uc3RydWN0b3IiAWEqAWI6DAoBYRIBYiIEVGFuaEoCEBFSAA==',
  ],
  [
    "an input named 'constructor'",
    'CAg6UQoWCgtjb25zdHJ1Y3RvchIBeSIEVGFuaBIBZ1oeCgtjb25zdHJ1Y3RvchIPCg0IARIJCgMSAU4KAggEYhQKAXkSDwoNCAESCQoDEgFOCgIIBEICEBE=',
  ],
]

describe('files that fuzzing found', () => {
  it.each(found)('%s > typed error that names the node', (_, base64, code, place) => {
    expect(() => exercise(bytesOf(base64))).toThrow(errorAt(code, place))
  })
  it.each(valid)('%s > is read', (_, base64) => {
    expect(() => exercise(bytesOf(base64))).not.toThrow()
  })
})

/** Model of one node, whose result has no declared shape. */
const single = (of: NodeProto, inputs: GraphProto['input'], version = 17, initializers = {}): Uint8Array =>
  modelBytes({ nodes: [of], inputs, outputs: [info('y')], initializers }, { opset: version })

const bodyOf = (inputs: GraphProto['input'], nodes: readonly NodeProto[], outputs: GraphProto['output']): GraphProto =>
  create('GraphProto', { name: 'body', input: inputs, node: nodes, output: outputs })

const increment = bodyOf(
  [info('s', [2]), info('a', [2])],
  [node('Add', 's a', 'next'), node('Identity', 'next', 'slice')],
  [info('next'), info('slice')],
)

const vector = (name: string) => info(name, [4])
const matrix = (name: string) => info(name, [2, 2])

/** Models that onnxruntime refuses too. */
const refused: readonly [what: string, file: () => Uint8Array, code: ErrorCode, operator: string][] = [
  [
    'Range of matrices',
    () => single(node('Range', 'x a b', 'y'), [matrix('x'), matrix('a'), matrix('b')]),
    'invalid-shape',
    'Range',
  ],
  [
    'Squeeze of more axes than there are',
    () => single(node('Squeeze', 'x a', 'y'), [matrix('x'), info('a', [1000], 'int64')]),
    'invalid-shape',
    'Squeeze',
  ],
  [
    'ReduceSum over more axes than there are',
    () => single(node('ReduceSum', 'x a', 'y'), [matrix('x'), info('a', [3], 'int64')]),
    'invalid-shape',
    'ReduceSum',
  ],
  [
    'LSTM of hidden_size 0',
    () =>
      single(node('LSTM', 'x w r', 'y', { hidden_size: int(0) }), [
        info('x', [2, 1, 3]),
        info('w', [1, 8, 3]),
        info('r', [1, 8, 2]),
      ]),
    'invalid-model',
    'LSTM',
  ],
  [
    'LSTM with an initial state of two axes',
    () =>
      single(node('LSTM', 'x w r _ _ h', 'y', { hidden_size: int(2) }), [
        info('x', [2, 1, 3]),
        info('w', [1, 8, 3]),
        info('r', [1, 8, 2]),
        info('h', [1, 2]),
      ]),
    'invalid-shape',
    'LSTM',
  ],
  [
    'Clip that reads a name which the file does not have',
    () => single(node('Clip', 'x lost', 'y'), [matrix('x')]),
    'invalid-model',
    "reads 'lost', which is not an input, an initializer or an output of a node: onnxruntime refuses the file, too",
  ],
  [
    'Slice of operator set 1 without values',
    () => single(node('Slice', 'x', 'y', { starts: ints(), ends: {} }), [matrix('x')], 1),
    'invalid-model',
    'Slice',
  ],
  [
    'Scan with a body of another rank',
    () =>
      single(node('Scan', 'x a', 'y z', { num_scan_inputs: int(1), body: graph(increment) }), [
        info('x', [2, 2, 2]),
        info('a', [3, 2]),
      ]),
    'invalid-shape',
    'Scan',
  ],
  [
    'Scan of operator set 8 without its first state',
    () =>
      single(
        node('Scan', '_ _ a', 'y z', { num_scan_inputs: int(1), body: graph(increment) }),
        [info('a', [1, 3, 2])],
        8,
      ),
    'invalid-model',
    'Scan',
  ],
  [
    'Loop with a body of fewer inputs than states',
    () => {
      const body = bodyOf(
        [info('i', [], 'int64'), info('go', [], 'bool')],
        [node('Identity', 'x', 's')],
        [info('go', [], 'bool'), info('s')],
      )
      return single(node('Loop', 'n _ x', 'y', { body: graph(body) }), [vector('x')], 17, { n: int64s(3) })
    },
    'invalid-model',
    'Loop',
  ],
  [
    'ScatterElements with updates of another shape than its indices',
    () => single(node('ScatterElements', 'x i u', 'y'), [matrix('x'), info('i', [2, 1], 'int64'), matrix('u')]),
    'invalid-shape',
    'ScatterElements',
  ],
  [
    'ScatterND with updates of another shape than its indices address',
    () => single(node('ScatterND', 'x i u', 'y'), [matrix('x'), info('i', [1, 1], 'int64'), info('u', [2, 2])]),
    'invalid-shape',
    'ScatterND',
  ],
  [
    'MaxUnpool with indices of another shape than its data',
    () =>
      single(node('MaxUnpool', 'x i', 'y', { kernel_shape: ints(2) }), [
        info('x', [1, 1, 2]),
        info('i', [1, 2], 'int64'),
      ]),
    'invalid-shape',
    'MaxUnpool',
  ],
]

describe('models that onnxruntime refuses too', () => {
  it.each(refused)('%s > typed error that names the operator', (_, file, code, operator) => {
    expect(() => gradientModel(file())).toThrow(errorAt(code, operator))
  })

  it('declared shapes that contradict each other > invalid-model, which names the node', () => {
    const file = modelBytes({
      nodes: [node('Split', 'x s', 'y z')],
      inputs: [info('x', [3, 2]), info('s', [2], 'int64')],
      outputs: [info('y', [2, 2]), info('z', [2, 2])],
    })
    expect(() => gradientModel(file)).toThrow(errorAt('invalid-model', 'Split'))
  })
})

describe('chains and names without a limit', () => {
  it('functions that call each other 5,000 deep > invalid-model', () => {
    const functions = Array.from(
      { length: 5000 },
      (_, i): FunctionProto =>
        create('FunctionProto', {
          name: `f${i}`,
          domain: 'own',
          input: ['a'],
          output: ['b'],
          node: [i === 4999 ? node('Tanh', 'a', 'b') : node(`f${i + 1}`, 'a', 'b', {}, 'own')],
          opsetImport: [create('OperatorSetIdProto', { domain: '', version: 17n })],
        }),
    )
    const file = modelBytes(
      { nodes: [node('f0', 'x', 'y', {}, 'own')], inputs: [vector('x')], outputs: [info('y')] },
      { more: { functions } },
    )
    expect(() => exercise(file)).toThrow(errorAt('invalid-model', '256'))
  })

  it.each([
    ['5,000 nested brackets', `${'('.repeat(5000)}N${')'.repeat(5000)}`],
    ['400 digits', '9'.repeat(400)],
    ['a product of large numbers', '9999999999999999*9999999999999999'],
  ])('a length named by %s > is an unknown length', (_, name) => {
    const file = single(node('Concat', 'x x', 'y', { axis: int(0) }), [info('x', [name, 4])])
    expect(() => exercise(file)).not.toThrow()
  })

  it('an axis of DFT that is text > typed error', () => {
    const file = single(node('DFT', 'x', 'y', { axis: { type: 3, s: new TextEncoder().encode('first') } }), [
      info('x', [1, 4, 1]),
    ])
    expect(() => exercise(file)).toThrow(errorAt('invalid-model', 'DFT'))
  })

  it('Clip of operator set 6 with NaN as a bound of floats > is read', () => {
    const file = single(node('Clip', 'x', 'y', { min: float(Number.NaN) }), [vector('x')], 6)
    expect(() => exercise(file)).not.toThrow()
  })

  it('BatchNormalization with a mean of unknown shape > has a gradient', () => {
    const file = single(node('BatchNormalization', 'x s b m v', 'y'), [
      info('x', [2, 3]),
      info('s', [3]),
      info('b', [3]),
      info('m'),
      info('v', [3]),
    ])
    expect(() => exercise(file)).not.toThrow()
  })
})

describe('many operands and outputs', () => {
  const repeated = (opType: string, count: number, attributes = {}) =>
    single(node(opType, 'x '.repeat(count), 'y', attributes), [info('x', [2, 3])])
  const nodesOfGradient = (file: Uint8Array) => decodeModel(gradientModel(file)).proto.graph!.node

  it.each(['Max', 'Min'])('%s of one tensor 100,000 times > its gradient has no node for each', (opType) => {
    expect(nodesOfGradient(repeated(opType, 100_000)).length).toBeLessThan(10)
  })

  it('Max of 1,000 tensors > its gradient has 4 nodes for each', () => {
    const names = Array.from({ length: 1000 }, (_, i) => `x${i}`)
    const file = single(
      node('Max', names.join(' '), 'y'),
      names.map((name) => info(name, [2])),
    )
    expect(nodesOfGradient(file).length).toBeLessThan(4010)
  })

  it('Concat of 70,000 operands, more than Split has outputs > has a gradient', () => {
    const splits = nodesOfGradient(repeated('Concat', 70_000, { axis: int(0) })).filter(
      ({ opType }) => opType === 'Split',
    )
    expect(splits.map(({ output }) => output.length)).toEqual([2, 65_536, 70_000 - 65_536])
  })

  it('Split into more parts than it has outputs > invalid-model', () => {
    const file = single(node('Split', 'x', 'y', { num_outputs: int(65_536) }), [info('x', ['N'])], 18)
    expect(() => exercise(file)).toThrow(errorAt('invalid-model', 'Split'))
  })

  it('many sequences of many elements > invalid-model', () => {
    const file = modelBytes({
      nodes: Array.from({ length: 20 }, (_, i) => node('SplitToSequence', 'x', `s${i}`)),
      inputs: [info('x', [65_536])],
      outputs: [info('x')],
    })
    expect(() => exercise(file)).toThrow(errorAt('invalid-model', 'sequences'))
  })
})
