import { findDefinition, isInput } from '../../op/facts.js'
import type { GraphProto, NodeProto } from '../proto/schema.js'
import { isStandardDomain, qualifiedName, walkNodes } from './model-nodes.js'

/**
 * Inputs that configure an operator and are not trained, by operator and position, of forms that are rewritten at
 * import. The library's own operators have `configInputs` in their definitions.
 */
const configInputs: Readonly<Record<string, readonly number[]>> = {
  Upsample: [1],
  'com.microsoft.QuantizeLinear': [1],
  'com.microsoft.DequantizeLinear': [1],
  'com.microsoft.RotaryEmbedding': [2, 3],
  'com.microsoft.GroupQueryAttention': [7, 8],
}

function isConfigInput(node: NodeProto, index: number): boolean {
  const name = qualifiedName(node)
  if (Object.hasOwn(configInputs, name)) return configInputs[name]!.includes(index)
  const definition = findDefinition(isStandardDomain(node) ? '' : node.domain!, node.opType ?? '')
  return definition !== undefined && isInput(definition, 'configInputs', index)
}

/**
 * The names of tensors that are only read as configuration inputs. They are imported as constants, so that shapes can
 * be inferred from them.
 */
export function findConfigInputs(graph: Pick<GraphProto, 'node'>, outputs: readonly string[]): Set<string> {
  const configuration = new Set<string>()
  const operands = new Set<string>()
  for (const node of walkNodes(graph)) {
    for (const [index, name] of node.input.entries()) (isConfigInput(node, index) ? configuration : operands).add(name)
  }
  for (const name of outputs) operands.add(name)
  return new Set([...configuration].filter((name) => !operands.has(name)))
}
