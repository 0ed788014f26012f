import { describe, expect, it } from 'vitest'
import { reportTensors } from '../../src/analysis/inspect/tensors.js'
import { gradients } from '../../src/grad/gradient.js'
import { input, parameter, scalar } from '../../src/ir/leaf.js'
import { tensor } from '../../src/ir/tensor.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { importGraph } from '../../src/onnx/import/import-graph.js'
import { decodeModel } from '../../src/onnx/model.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { create } from '../../src/onnx/proto/message.js'
import type { NodeProto, ValueInfoProto } from '../../src/onnx/proto/schema.js'
import { op } from '../../src/op/op.js'
import { findTrainable } from '../../src/train/model/trainable.js'
import { cpuTimeOf } from '../cpu-time.js'
import { thrownMessage } from '../thrown.js'
import { info, ints, node, text } from './build.js'

const importNodes = (nodes: readonly NodeProto[], inputs: readonly ValueInfoProto[] = [], outputs = ['y']) =>
  importGraph(
    decodeModel(
      encode(
        'ModelProto',
        create('ModelProto', {
          irVersion: 8n,
          opsetImport: [create('OperatorSetIdProto', { version: 17n })],
          graph: create('GraphProto', {
            name: 'g',
            node: nodes,
            input: inputs,
            output: outputs.map((name) => create('ValueInfoProto', { name })),
          }),
        }),
      ),
    ),
  )

describe('walks over many nodes take linear time', () => {
  it.each([
    ['unknown operators', node('Unknown', 'x', 'y'), 'Unknown x 100000'],
    ['empty nodes', create('NodeProto', {}), 'x 100000'],
  ])('%s', async (_, each, expected) => {
    const nodes = Array<NodeProto>(100_000).fill(each)
    const { seconds } = await cpuTimeOf(() =>
      expect(thrownMessage('unsupported-operator', () => importNodes(nodes))).toMatch(expected),
    )
    expect(seconds).toBeLessThan(6)
  })

  it('a parameter with many users', async () => {
    const w = parameter('w', tensor('float32', [2], Float32Array.of(1, 2)))
    const x = input('x', 'float32', ['N', 2])
    const sums = Array.from({ length: 30_000 }, () => op.Mul(x, w))
    const graph = {
      name: 'g',
      inputs: new Map([['x', x]]),
      parameters: new Map([['w', w]]),
      outputs: new Map([['y', op.Sum(sums)]]),
    }
    const { seconds } = await cpuTimeOf(() => {
      const model = modelOf({ name: 'g', inputs: graph.inputs, outputs: graph.outputs })
      expect(reportTensors(model, graph)[0]).toMatchObject({
        name: 'w',
        why: expect.stringContaining('and 29998 more'),
      })
      expect(findTrainable(graph).size).toBe(0)
    })
    expect(seconds).toBeLessThan(4)
  })

  it('many operators without a gradient', async () => {
    const x = input('x', 'float32', [3])
    const y = op.Sum(Array.from({ length: 50_000 }, () => op.DynamicQuantizeLinear(x)[1]))
    const { seconds } = await cpuTimeOf(() =>
      expect(thrownMessage('not-differentiable', () => gradients([[y, scalar('float32', 1)]], [x]))).toMatch('50000'),
    )
    expect(seconds).toBeLessThan(6)
  })
})

describe('limits of an operator', () => {
  it('a tensor of more than 64 axes > error that names it', () => {
    const wide = (axes: number) => info('x', Array<number>(axes).fill(1))
    const transposed = (axes: number) => importNodes([node('Transpose', 'x', 'y')], [wide(axes)])
    expect(transposed(64).outputs.get('y')?.shape).toHaveLength(64)
    expect(thrownMessage('invalid-model', () => transposed(100_000))).toMatch(/'x'.* 100000 axes; at most 64/)
    const unsqueezed = () =>
      importNodes(
        [
          node('Constant', '', 'axes', { value_ints: ints(0) }),
          node('Unsqueeze', 'x axes', 'z'),
          node('Neg', 'z', 'y'),
        ],
        [wide(64)],
      )
    expect(thrownMessage('invalid-shape', unsqueezed)).toMatch(/Unsqueeze_z.*65 axes/)
  })

  it('an Einsum of more than 64 operands > error that names it', async () => {
    const sum = (count: number) =>
      importNodes(
        [
          node('Einsum', Array(count).fill('x').join(' '), 'y', {
            equation: text(`${Array(count).fill('i').join(',')}->i`),
          }),
        ],
        [info('x', [4])],
      )
    expect(sum(64).outputs.get('y')?.shape).toEqual([4])
    const { seconds } = await cpuTimeOf(() =>
      expect(thrownMessage('invalid-model', () => sum(100_000))).toMatch(/100000 operands; at most 64/),
    )
    expect(seconds).toBeLessThan(6)
  })
})
