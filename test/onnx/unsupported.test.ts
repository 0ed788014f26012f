import { expect, it } from 'vitest'
import { importGraph } from '../../src/graph/index.js'
import { decodeModel } from '../../src/index.js'
import { unsupportedOperators } from '../../src/onnx/import/model-nodes.js'
import { create } from '../../src/onnx/proto/message.js'
import { info, ints, modelBytes, node, text } from './build.js'
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
  ['', 'Expm1', 'no ONNX runtime has them'],
  ['', 'Optional', 'OPERATORS.md'],
  ['ai.onnx.ml', 'Scaler', "black_op={'Scaler'"],
  ['ai.onnx.ml', 'TreeEnsembleClassifier', 'no layers to fine-tune'],
  ['ai.onnx.ml', 'SVMRegressor', 'no layers to fine-tune'],
  ['ai.onnx.contrib', 'BertTokenizer', 'cut them off'],
  ['com.microsoft', 'Tokenizer', 'cut them off'],
  ['com.microsoft', 'MatMulBnb4', 'as it was before'],
  ['com.microsoft', 'QAttention', 'is quantized'],
])('operators that a converter leaves > import > advice: %s %s', (domain, operator, advice) => {
  const graph = { nodes: [node(operator, 'x', 'y', {}, domain)], inputs: [info('x', [2])], outputs: [info('y')] }
  const model = modelBytes(graph, { more: { producerName: 'tf2onnx' } })
  expect(() => importGraph(decodeModel(model))).toThrow(errorAt('unsupported-operator', advice))
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

it('pads that onnxruntime computes otherwise > import > throws an error that names the node', () => {
  const graph = {
    nodes: [node('MaxPool', 'x', 'y', { auto_pad: text('SAME_UPPER'), kernel_shape: ints(3), dilations: ints(2) })],
    inputs: [info('x', [1, 1, 8])],
    outputs: [info('y')],
  }
  expect(() => importGraph(decodeModel(modelBytes(graph)))).toThrow(
    errorAt('unsupported-operator', "MaxPool 'MaxPool_y': auto_pad 'SAME_UPPER' with dilations [2]"),
  )
})
