import type { GraphProto } from './schema.js'
import { allNodes } from './unsupported.js'

/** Floating-point inputs that steer an operator and carry no gradient, by operator and position. */
const settingInputs: Readonly<Record<string, readonly number[]>> = {
  Resize: [1, 2],
  Upsample: [1],
  Dropout: [1],
  Range: [0, 1, 2],
  OneHot: [1],
}

/** Names of tensors used as settings and as nothing else: they stay constants, so that shapes can be told from them. */
export function settingNames(graph: GraphProto): Set<string> {
  const settings = new Set<string>()
  const operands = new Set<string>()
  for (const node of allNodes(graph)) {
    const slots = settingInputs[node.opType ?? ''] ?? []
    for (const [index, name] of node.input.entries()) (slots.includes(index) ? settings : operands).add(name)
  }
  for (const { name = '' } of graph.output) operands.add(name)
  return new Set([...settings].filter((name) => !operands.has(name)))
}
