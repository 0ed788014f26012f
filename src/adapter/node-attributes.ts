import { toInt64 } from '../ir/leaf.js'
import { create } from '../onnx/proto/message.js'
import { type AttributeProto, attributeTypes } from '../onnx/proto/schema.js'

export const intAttribute = (name: string, value: number): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.int, i: toInt64(value) })

export const intsAttribute = (name: string, values: readonly number[]): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.ints, ints: values.map(toInt64) })

export const floatAttribute = (name: string, value: number): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.float, f: value })
