import type { GraphProto } from '../proto/schema.js'
import { qualifiedName, walkNodes } from './unsupported.js'

/** Floating-point inputs that are not meant to be trained (those that steer an operator, tables of angles, scales of stored integers), by operator and position. */
const configInputs: Readonly<Record<string, readonly number[]>> = {
  Resize: [1, 2],
  Upsample: [1],
  Dropout: [1],
  Range: [0, 1, 2],
  OneHot: [1],
  MelWeightMatrix: [3, 4],
  RotaryEmbedding: [1, 2],
  QuantizeLinear: [1],
  DequantizeLinear: [1],
  'com.microsoft.QuantizeLinear': [1],
  'com.microsoft.DequantizeLinear': [1],
  'com.microsoft.RotaryEmbedding': [2, 3],
  'com.microsoft.GroupQueryAttention': [7, 8],
  'com.microsoft.MatMulNBits': [2, 3],
  'com.microsoft.GatherBlockQuantized': [2],
}

/** Names of tensors used as settings and as nothing else: they stay constants, so that shapes can be told from them. */
export function findConfigInputs(graph: Pick<GraphProto, 'node'>, outputs: readonly string[]): Set<string> {
  const settings = new Set<string>()
  const operands = new Set<string>()
  for (const node of walkNodes(graph)) {
    const slots = configInputs[qualifiedName(node)] ?? []
    for (const [index, name] of node.input.entries()) (slots.includes(index) ? settings : operands).add(name)
  }
  for (const name of outputs) operands.add(name)
  return new Set([...settings].filter((name) => !operands.has(name)))
}
