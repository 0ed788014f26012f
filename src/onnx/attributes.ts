import { toInt64 } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import type { Attribute, Attributes, Body, Node } from '../ir/value.js'
import type { AttributeSpec, AttributeSpecs } from '../op/define.js'
import { definitionOf } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import { decodeUtf8, encodeUtf8 } from '../util/utf8.js'
import type { ExternalData } from './proto/external-data.js'
import { create } from './proto/message.js'
import { type AttributeProto, attributeTypes, type GraphProto, type NodeProto } from './proto/schema.js'
import { readTensor, toTensorProto } from './proto/tensor.js'

/** Converts the attributes of a node to messages. Attributes equal to the operator's default are omitted. */
export function writeAttributes(node: Node, writeBody: (body: Body) => GraphProto): AttributeProto[] {
  const specs: AttributeSpecs = definitionOf(node.operator).attributes
  return Object.entries(node.attributes).flatMap(([name, value]) => {
    const spec = getOwn(specs, name)
    return value === undefined || !spec || value === spec.default
      ? []
      : [create('AttributeProto', { name, ...writeValue(spec.type, value, writeBody) })]
  })
}

function writeValue(
  type: AttributeSpec['type'],
  value: Attribute,
  writeBody: (body: Body) => GraphProto,
): Partial<AttributeProto> {
  switch (type) {
    case 'int':
      return { type: attributeTypes.int, i: toInt64(value as number) }
    case 'float':
      return { type: attributeTypes.float, f: value as number }
    case 'string':
      return { type: attributeTypes.string, s: encodeUtf8(value as string) }
    case 'tensor':
      return { type: attributeTypes.tensor, t: toTensorProto('', value as Tensor) }
    case 'body':
      return { type: attributeTypes.graph, g: writeBody(value as Body) }
    case 'ints':
      return { type: attributeTypes.ints, ints: (value as readonly number[]).map(toInt64) }
    case 'floats':
      return { type: attributeTypes.floats, floats: value as readonly number[] }
    case 'strings':
      return { type: attributeTypes.strings, strings: (value as readonly string[]).map(encodeUtf8) }
  }
}

const hasType: Readonly<Record<AttributeSpec['type'], (value: Attribute) => boolean>> = {
  int: (value) => Number.isInteger(value),
  float: (value) => typeof value === 'number',
  string: (value) => typeof value === 'string',
  tensor: (value) => typeof value === 'object' && 'dtype' in value,
  body: (value) => typeof value === 'object' && 'kind' in value,
  ints: (value) => isList(value) && value.every(Number.isInteger),
  floats: (value) => isList(value) && value.every((item) => typeof item === 'number'),
  strings: (value) => isList(value) && value.every((item) => typeof item === 'string'),
}
const isList = (value: Attribute): value is Extract<Attribute, readonly unknown[]> => Array.isArray(value)

/**
 * Throws `invalid-model` with the name of the first attribute whose type differs from that in the operator's
 * definition.
 */
export function checkAttributes(place: string, specs: AttributeSpecs, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    const spec = getOwn(specs, name)
    if (spec && value !== undefined && !hasType[spec.type](value))
      throw new OnnxIreError('invalid-model', `${place}: its attribute '${name}' must have the type ${spec.type}`)
  }
}

type AttributeOwner = Pick<NodeProto, 'attribute' | 'opType' | 'name' | 'output'>

/**
 * Reads the attributes of a node.
 *
 * @param readBody reads the graphs of control flow
 * @param given the attribute values of the enclosing function. An attribute that refers to a missing one is absent.
 */
export function readAttributes(
  node: AttributeOwner,
  external: ExternalData | null,
  readBody: (graph: GraphProto) => Body,
  given: Readonly<Record<string, Attribute>> = {},
): Record<string, Attribute> {
  return Object.fromEntries(
    node.attribute.flatMap((attribute) => {
      const { name = '', refAttrName } = attribute
      if (!refAttrName) return [[name, readValue(attribute, node, external, readBody)]]
      const value = getOwn(given, refAttrName)
      return value === undefined ? [] : [[name, value]]
    }),
  )
}

function readValue(
  attribute: AttributeProto,
  node: AttributeOwner,
  external: ExternalData | null,
  readBody: (graph: GraphProto) => Body,
): Attribute {
  switch (attribute.type ?? inferType(attribute)) {
    case attributeTypes.int:
      return Number(attribute.i ?? 0n)
    case attributeTypes.float:
      return attribute.f ?? 0
    case attributeTypes.string:
      return decodeUtf8(attribute.s ?? new Uint8Array())
    case attributeTypes.tensor:
      if (attribute.t) return readTensor(attribute.t, external)
      break
    case attributeTypes.graph:
      if (attribute.g) return readBody(attribute.g)
      break
    case attributeTypes.ints:
      return Array.from(attribute.ints, Number)
    case attributeTypes.floats:
      return attribute.floats
    case attributeTypes.strings:
      return attribute.strings.map(decodeUtf8)
  }
  throw new OnnxIreError(
    'invalid-model',
    `${node.opType} '${node.name ?? node.output[0]}': attribute '${attribute.name}' has no value of a supported type (type ${attribute.type})`,
  )
}

/** The type of an attribute from its content: files before IR version 2 have no explicit type. */
function inferType({ i, f, s, t, g, ints, floats, strings }: AttributeProto): number | undefined {
  if (i !== undefined) return attributeTypes.int
  if (f !== undefined) return attributeTypes.float
  if (s !== undefined) return attributeTypes.string
  if (t !== undefined) return attributeTypes.tensor
  if (g !== undefined) return attributeTypes.graph
  if (floats.length > 0) return attributeTypes.floats
  if (strings.length > 0) return attributeTypes.strings
  return ints.length > 0 ? attributeTypes.ints : undefined
}
