import { expect, it } from 'vitest'
import { importGraph } from '../../src/graph/index.js'
import { decodeModel } from '../../src/index.js'
import { create } from '../../src/onnx/proto/message.js'
import { info, modelBytes, node } from './build.js'

it('says why an operator of ONNX is not read', () => {
  const model = modelBytes(
    {
      nodes: [node('Optional', 'x', 'maybe'), node('OptionalGetElement', 'maybe', 'y')],
      inputs: [info('x', [2])],
      outputs: [create('ValueInfoProto', { name: 'y' })],
    },
    { opset: 18 },
  )
  expect(() => importGraph(decodeModel(model))).toThrow(/Optional x 1: .*\(its values may be absent/)
})

it.each([
  ['constructor', 'name'],
  ['', 'constructor'],
  ['', '__proto__'],
])('an operator that only every object of JavaScript has: %s %s', (domain, operator) => {
  const graph = {
    nodes: [node(operator, 'x', 'y', {}, domain)],
    inputs: [info('x', [2])],
    outputs: [create('ValueInfoProto', { name: 'y' })],
  }
  const more = { opsetImport: ['', domain].map((each) => create('OperatorSetIdProto', { domain: each, version: 18n })) }
  const name = domain ? `${domain}.${operator}` : operator
  expect(() => importGraph(decodeModel(modelBytes(graph, { more })))).toThrow(`  ${name} x 1: ${operator}_y\n`)
})
