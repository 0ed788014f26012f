import { expect, it } from 'vitest'
import { importGraph } from '../../src/graph/index.js'
import { decodeModel } from '../../src/index.js'
import { unsupportedOperators } from '../../src/onnx/import/model-nodes.js'
import { create } from '../../src/onnx/proto/message.js'
import { info, modelBytes, node } from './build.js'
import { errorAt } from './errors.js'

it('an unsupported operator of ONNX > import > throws an error with the reason', () => {
  const model = modelBytes(
    {
      nodes: [node('Optional', 'x', 'maybe'), node('OptionalGetElement', 'maybe', 'y')],
      inputs: [info('x', [2])],
      outputs: [create('ValueInfoProto', { name: 'y' })],
    },
    { opset: 18 },
  )
  expect(() => importGraph(decodeModel(model))).toThrow(
    errorAt('unsupported-operator', `Optional x 1: Optional_maybe (${unsupportedOperators['Optional']})`),
  )
})

it.each([
  ['constructor', 'name'],
  ['', 'constructor'],
  ['', '__proto__'],
])('an operator with the name of an object property > import > throws: %s %s', (domain, operator) => {
  const graph = {
    nodes: [node(operator, 'x', 'y', {}, domain)],
    inputs: [info('x', [2])],
    outputs: [create('ValueInfoProto', { name: 'y' })],
  }
  const more = { opsetImport: ['', domain].map((each) => create('OperatorSetIdProto', { domain: each, version: 18n })) }
  const name = domain ? `${domain}.${operator}` : operator
  expect(() => importGraph(decodeModel(modelBytes(graph, { more })))).toThrow(
    errorAt('unsupported-operator', `  ${name} x 1: ${operator}_y\n`),
  )
})
