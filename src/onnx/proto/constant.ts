import { tensorFrom } from '../../ir/leaf.js'
import { type Tensor, tensor } from '../../ir/tensor.js'
import type { Attribute } from '../../ir/value.js'
import { getOwn } from '../../util/record.js'
import { decodeUtf8, encodeUtf8 } from '../../util/utf8.js'
import type { ExternalData } from './external-data.js'
import { edit } from './message.js'
import type { AttributeProto, NodeProto } from './schema.js'
import { createUnreadableTensor, readTensor, replaceData } from './tensor.js'

/**
 * Access to one of the attributes that can be the value of a Constant
 * (https://onnx.ai/onnx/operators/onnx__Constant.html).
 */
interface Form {
  read(attribute: AttributeProto, external: ExternalData | null, name: string): Tensor
  /** Replaces the value by one of the same dtype and dims. */
  write(attribute: AttributeProto, value: Tensor): AttributeProto
}

const missingTensor = (name: string) =>
  createUnreadableTensor(
    'invalid-model',
    `Constant ${JSON.stringify(name)} has a value attribute without a tensor: the model is damaged`,
  )

const forms: Readonly<Record<string, Form>> = {
  value: {
    read: ({ t }, external, name) => (t ? readTensor(t, external, name) : missingTensor(name)),
    write: (attribute, value) => (attribute.t ? edit(attribute, { t: replaceData(attribute.t, value) }) : attribute),
  },
  value_float: {
    read: ({ f }) => tensor('float32', [], Float32Array.of(f ?? 0)),
    write: (attribute, { data }) => edit(attribute, { f: Number(data[0]) }),
  },
  value_floats: {
    read: ({ floats }) => tensor('float32', [floats.length], Float32Array.from(floats)),
    write: (attribute, { data }) => edit(attribute, { floats: Array.from(data as Float32Array) }),
  },
  value_int: {
    read: ({ i }) => tensor('int64', [], BigInt64Array.of(i ?? 0n)),
    write: (attribute, { data }) => edit(attribute, { i: (data as BigInt64Array)[0] }),
  },
  value_ints: {
    read: ({ ints }) => tensor('int64', [ints.length], BigInt64Array.from(ints)),
    write: (attribute, { data }) => edit(attribute, { ints: data as BigInt64Array }),
  },
  value_string: {
    read: ({ s }) => tensor('string', [], [s ? decodeUtf8(s) : '']),
    write: (attribute, { data }) => edit(attribute, { s: encodeUtf8((data as readonly string[])[0] ?? '') }),
  },
  value_strings: {
    read: ({ strings }) => tensor('string', [strings.length], strings.map(decodeUtf8)),
    write: (attribute, { data }) => edit(attribute, { strings: (data as readonly string[]).map(encodeUtf8) }),
  },
  sparse_value: {
    read: (_attribute, _external, name) =>
      createUnreadableTensor(
        'invalid-model',
        `Constant ${JSON.stringify(name)} is a sparse tensor, which is not supported: save the model with dense tensors`,
      ),
    write: (attribute) => attribute,
  },
}

export const isConstant = ({ opType, domain = '' }: NodeProto): boolean =>
  opType === 'Constant' && (domain === '' || domain === 'ai.onnx')

const findForm = ({ name = '' }: AttributeProto): Form | undefined => getOwn(forms, name)

/**
 * Reads the value of a Constant node. If the value is missing or sparse, the returned tensor throws when it is used.
 */
export function readConstant(node: NodeProto, external: ExternalData | null): Tensor {
  const name = node.output[0] ?? ''
  for (const attribute of node.attribute) {
    const form = findForm(attribute)
    if (form) return form.read(attribute, external, name)
  }
  return createUnreadableTensor('invalid-model', `Constant ${JSON.stringify(name)} has no value: the model is damaged`)
}

/**
 * The value of a Constant node from its attributes as values, for a Constant that refers to an attribute of its
 * function.
 */
export function constantFromAttributes(name: string, attributes: Readonly<Record<string, Attribute>>): Tensor {
  for (const [form, value] of Object.entries(attributes)) {
    if (form === 'value' && typeof value === 'object' && 'dtype' in value) return value
    if (form === 'value_float' && typeof value === 'number') return tensorFrom('float32', [], [value])
    if (form === 'value_int' && typeof value === 'number') return tensorFrom('int64', [], [value])
    if (form === 'value_string' && typeof value === 'string') return tensor('string', [], [value])
    if (!Array.isArray(value)) continue
    const list = value as readonly (number | string)[]
    if (form === 'value_strings') return tensor('string', [list.length], list.map(String))
    if (form === 'value_floats') return tensorFrom('float32', [list.length], list.map(Number))
    if (form === 'value_ints') return tensorFrom('int64', [list.length], list.map(Number))
  }
  return createUnreadableTensor(
    'invalid-model',
    `Constant ${JSON.stringify(name)} has no value: the call of its function does not pass one`,
  )
}

/** Replaces the value of a Constant node by one of the same dtype and dims, in the same attribute. */
export function replaceConstant(node: NodeProto, value: Tensor): NodeProto {
  return edit(node, {
    attribute: node.attribute.map((attribute) => findForm(attribute)?.write(attribute, value) ?? attribute),
  })
}
