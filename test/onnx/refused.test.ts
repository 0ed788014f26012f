import { expect, it } from 'vitest'
import { decodeModel, importGraph } from '../../src/index.js'
import { create } from '../../src/onnx/message.js'
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
