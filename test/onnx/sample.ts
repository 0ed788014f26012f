import { type Field, isMessage, messageTypes, type PackedKind, packedArrays } from '../../src/onnx/proto/fields.js'
import { create } from '../../src/onnx/proto/message.js'
import type { MessageName, Messages, ModelProto } from '../../src/onnx/proto/schema.js'

/**
 * A message with a value in every field, to `depth` messages down; of a oneof, the `choice`-th field. Extremes of int64
 * and a string beyond ASCII are among the values.
 */
export function filled<M extends MessageName>(type: M, depth: number, choice = 0): Messages[M] {
  const { fields } = messageTypes[type]
  const grouped = fields.filter(({ group }) => group)
  const chosen = grouped[choice % Math.max(grouped.length, 1)]
  const wanted = fields.filter((field) => (!field.group || field === chosen) && (!isMessage(field.kind) || depth > 0))
  const entries = wanted.map((field) => [field.name, fieldValue(field, depth, choice)] as const)
  return create(type, Object.fromEntries(entries) as Partial<Messages[M]>)
}

function fieldValue(field: Field, depth: number, choice: number): unknown {
  const items = [0, 1, 2].map((i) => itemOf(field, depth, choice + i))
  if (field.form === 'one') return items[0]
  if (field.form === 'many') return items
  return new packedArrays[field.kind as PackedKind](items as never)
}

function itemOf({ kind, number }: Field, depth: number, i: number): unknown {
  if (isMessage(kind)) return filled(kind, depth - 1, i)
  switch (kind) {
    case 'int32':
      return [0, -1, 2 ** 31 - 1][i % 3]
    case 'int64':
      return [-(2n ** 63n), 0n, 2n ** 63n - 1n][i % 3]
    case 'uint64':
      return [2n ** 64n - 1n, 0n, 1n][i % 3]
    case 'float':
      return [0, -0.5, Infinity][i % 3]
    case 'double':
      return [Math.PI, -0, 5e-324][i % 3]
    case 'string':
      return ['', 'größe €', `name${number}`][i % 3]
    case 'bytes':
      return [new Uint8Array(0), Uint8Array.of(0, 255), Uint8Array.of(number)][i % 3]
  }
}

/** A deep copy that remembers no bytes. */
export function copied<M extends MessageName>(type: M, message: Messages[M]): Messages[M] {
  const entries = messageTypes[type].fields.map(({ name, kind }) => {
    const value = (message as Readonly<Record<string, unknown>>)[name]
    const copy = (item: unknown): unknown => (isMessage(kind) && item ? copied(kind, item as never) : item)
    return [name, Array.isArray(value) ? value.map(copy) : copy(value)]
  })
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as Messages[M]
}

/** y = Relu(x + w + c): an initializer `w`, a Constant node `c`. */
export function smallModel(): ModelProto {
  const info = (name: string) =>
    create('ValueInfoProto', {
      name,
      type: create('TypeProto', {
        tensorType: create('TensorType', {
          elemType: 1,
          shape: create('TensorShapeProto', {
            dim: [create('Dimension', { dimParam: 'N' }), create('Dimension', { dimValue: 3n })],
          }),
        }),
      }),
    })
  const vector = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer)
  const constant = create('TensorProto', { dims: [3n], dataType: 1, rawData: vector(10, 20, 30) })
  return create('ModelProto', {
    irVersion: 8n,
    producerName: 'test',
    opsetImport: [create('OperatorSetIdProto', { domain: '', version: 17n })],
    graph: create('GraphProto', {
      name: 'g',
      initializer: [create('TensorProto', { name: 'w', dims: [3n], dataType: 1, rawData: vector(1, 2, 3) })],
      input: [info('x')],
      output: [info('y')],
      node: [
        create('NodeProto', {
          opType: 'Constant',
          output: ['c'],
          attribute: [create('AttributeProto', { name: 'value', type: 4, t: constant })],
        }),
        create('NodeProto', { opType: 'Add', input: ['x', 'w'], output: ['a'] }),
        create('NodeProto', { opType: 'Add', input: ['a', 'c'], output: ['b'] }),
        create('NodeProto', { opType: 'Relu', input: ['b'], output: ['y'] }),
      ],
    }),
  })
}
