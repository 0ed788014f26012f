import type { Attribute, Value } from '../../../src/ir/value.js'
import { upgradeNode } from '../../../src/onnx/upgrade/upgrade-node.js'
import { apply } from '../../../src/op/apply.js'
import { definitions, type OperatorName } from '../../../src/op/op.js'

/** Imports one node of an old model. */
export function importNode(
  operator: string,
  version: number,
  inputs: readonly Value[],
  attributes: Readonly<Record<string, Attribute>> = {},
  outputCount = 1,
): readonly Value[] {
  const result = upgradeNode({ operator, inputs, attributes, outputCount }, version)
  if (!('operator' in result)) return result
  const definition = definitions[result.operator as OperatorName]
  return apply({ ...result, definition: definition as Parameters<typeof apply>[0]['definition'] })
}
