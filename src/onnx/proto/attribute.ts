import { toInt64 } from '../../ir/leaf.js'
import { encodeUtf8 } from '../../util/utf8.js'
import { create } from './message.js'
import { type AttributeProto, attributeTypes } from './schema.js'

/** An attribute with an integer. */
export const intAttribute = (name: string, value: number): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.int, i: toInt64(value) })

/** An attribute with a list of integers. */
export const intsAttribute = (name: string, values: readonly number[]): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.ints, ints: values.map(toInt64) })

/** An attribute with a number of 32 bits. */
export const floatAttribute = (name: string, value: number): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.float, f: value })

/** An attribute with a text. */
export const stringAttribute = (name: string, value: string): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.string, s: encodeUtf8(value) })

/** An attribute with a list of texts. */
export const stringsAttribute = (name: string, values: readonly string[]): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.strings, strings: values.map(encodeUtf8) })
