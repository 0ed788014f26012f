import { describe, expect, it } from 'vitest'
import { importGraph } from '../../src/graph/index.js'
import { decodeModel, type Tensor } from '../../src/index.js'
import { create } from '../../src/onnx/proto/message.js'
import { floats32, type GraphParts, info, int, modelBytes, node } from './build.js'

const imports = ['', 'com.microsoft'].map((domain) =>
  create('OperatorSetIdProto', { domain, version: domain === '' ? 23n : 1n }),
)
const table = (...dims: readonly number[]): Tensor =>
  floats32(
    dims,
    Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => 0.1 + i),
  )
const bytes = (...dims: readonly number[]): Tensor => ({
  dtype: 'uint8',
  dims,
  data: new Uint8Array(dims.reduce((a, b) => a * b, 1)),
})

/** Names of the tensors that training would vary. */
function trained(
  nodes: GraphParts['nodes'],
  initializers: GraphParts['initializers'],
  dims: readonly number[],
): string[] {
  const proto = modelBytes(
    {
      nodes,
      inputs: [info('x', dims)],
      outputs: [create('ValueInfoProto', { name: 'y' })],
      initializers: initializers ?? {},
    },
    { ir: 10, more: { opsetImport: imports } },
  )
  return [...importGraph(decodeModel(proto)).parameters.keys()]
}

describe('floating-point tensors that configure an operator > import > are constants', () => {
  it('scales of quantization, but not the weights that are rounded', () => {
    const nodes = [
      node('QuantizeLinear', 'w scale', 'q'),
      node('DequantizeLinear', 'q scale', 'd'),
      node('MatMul', 'x d', 'y'),
    ]
    expect(trained(nodes, { w: table(4, 4), scale: floats32([], [0.1]) }, [2, 4])).toEqual(['w'])
  })

  it('scales of weights of few bits, but not a bias', () => {
    const attributes = { K: int(32), N: int(4), block_size: int(16) }
    const nodes = [node('MatMulNBits', 'x b scales', 'h', attributes, 'com.microsoft'), node('Add', 'h bias', 'y')]
    expect(trained(nodes, { b: bytes(4, 2, 8), scales: table(8), bias: table(4) }, [2, 32])).toEqual(['bias'])
  })

  it('tables of angles in both domains', () => {
    const position: Tensor = { dtype: 'int64', dims: [1], data: BigInt64Array.of(0n) }
    const theirs = [node('RotaryEmbedding', 'x position cos sin', 'y', {}, 'com.microsoft')]
    expect(trained(theirs, { position, cos: table(8, 4), sin: table(8, 4) }, [2, 3, 16])).toEqual([])
    const ours = [node('RotaryEmbedding', 'x cos sin', 'y', { num_heads: int(2) })]
    expect(trained(ours, { cos: table(2, 3, 4), sin: table(2, 3, 4) }, [2, 3, 16])).toEqual([])
  })

  it('except if another node reads them', () => {
    const nodes = [
      node('QuantizeLinear', 'x scale', 'q'),
      node('DequantizeLinear', 'q scale', 'd'),
      node('Mul', 'd scale', 'y'),
    ]
    expect(trained(nodes, { scale: floats32([], [0.1]) }, [2, 4])).toEqual(['scale'])
  })
})
