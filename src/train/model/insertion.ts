import { int64s } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { intAttribute } from '../../onnx/proto/attribute.js'
import { create } from '../../onnx/proto/message.js'
import { attributeTypes, type NodeProto } from '../../onnx/proto/schema.js'
import { toTensorProto } from '../../onnx/proto/tensor.js'
import { apply } from '../../op/apply.js'
import { definitionOf } from '../../op/op.js'
import { claimName } from '../../util/claim-name.js'

/** A value of the new graph, and its name in the file. */
export interface NamedValue {
  readonly value: Value
  readonly name: string
}

/** Nodes to insert into a file, with the values that they compute. */
export class Insertion {
  readonly nodes: NodeProto[] = []
  readonly #prefix: string
  readonly #taken: Set<string>

  constructor(prefix: string, taken: Set<string>) {
    this.#prefix = `${prefix}/batch`
    this.#taken = taken
  }

  constant(list: readonly number[]): NamedValue {
    const value = int64s(list)
    const t = toTensorProto('', (value.source as { tensor: Parameters<typeof toTensorProto>[1] }).tensor)
    const attribute = [create('AttributeProto', { name: 'value', type: attributeTypes.tensor, t })]
    return { value, name: this.#add('Constant', [], attribute) }
  }

  apply(
    operator: string,
    operands: readonly NamedValue[],
    attributes: Readonly<Record<string, number>> = {},
  ): NamedValue {
    const inputs = operands.map(({ value }) => value)
    const [value] = apply({ operator, definition: definitionOf(operator), inputs, attributes })
    const attribute = Object.entries(attributes).map(([name, value]) => intAttribute(name, value))
    return { value: value!, name: this.#add(operator, operands, attribute) }
  }

  /** The list with the length of axis `from` of an operand at position `at`. */
  shapeLike(like: NamedValue, from: number, list: readonly number[], at = from): NamedValue {
    const length = this.apply('Gather', [this.apply('Shape', [like]), this.constant([from])], { axis: 0 })
    const parts = [list.slice(0, at), list.slice(at + 1)].map((part) => (part.length > 0 ? [this.constant(part)] : []))
    return this.apply('Concat', [...parts[0]!, length, ...parts[1]!], { axis: 0 })
  }

  #add(opType: string, operands: readonly NamedValue[], attribute: NodeProto['attribute']): string {
    const name = claimName(this.#prefix, this.#taken)
    this.nodes.push(create('NodeProto', { opType, input: operands.map(({ name }) => name), output: [name], attribute }))
    return name
  }
}
