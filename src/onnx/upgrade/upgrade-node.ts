import type { Value } from '../../ir/value.js'
import { getOwn } from '../../util/record.js'
import { attentionRewrites, groupedQueryRewrites, rotaryRewrites } from './microsoft-attention.js'
import {
  activationRewrites,
  linalgRewrites,
  normalizationRewrites,
  simplifiedLayerNormalization,
} from './microsoft-fused.js'
import { trainingRewrites } from './preview-training.js'
import { keepNode, type OldNode, type Rewrite } from './rewrite.js'
import { Sequence, sequenceError, sequenceRewrites } from './sequence.js'
import { upgrades } from './table.js'

/** Operators that are rewritten in operators of ai.onnx, whatever their version, by domain and operator. */
export const rewrites: Readonly<Record<string, Readonly<Record<string, Rewrite>>>> = {
  '': {
    ...sequenceRewrites,
    // onnxruntime added this operator to ai.onnx.
    SimplifiedLayerNormalization: simplifiedLayerNormalization,
  },
  'com.microsoft': {
    Trilu: keepNode,
    GatherND: keepNode,
    QuantizeLinear: keepNode,
    DequantizeLinear: keepNode,
    ...activationRewrites,
    ...attentionRewrites,
    ...groupedQueryRewrites,
    ...linalgRewrites,
    ...normalizationRewrites,
    ...rotaryRewrites,
  },
  'ai.onnx.preview.training': trainingRewrites,
}

/** The rewrite of an operator; undefined if the operator is imported as it is, or is unsupported. */
export function findRewrite(operator: string, domain: string): Rewrite | undefined {
  const table = Object.hasOwn(rewrites, domain) ? rewrites[domain]! : {}
  return getOwn(table, operator)
}

/**
 * Brings a node to the newest form of its operator: applies every change since version `version` of the operator set of
 * its domain. Returns the node in that form, or the values that replace its outputs.
 *
 * @throws OnnxIreError `unsupported-operator` for a form that has no equivalent, `invalid-model`
 */
export function upgradeNode(node: OldNode, version: number, domain = ''): OldNode | readonly Value[] {
  const takesSequences = domain === '' && Object.hasOwn(sequenceRewrites, node.operator)
  if (!takesSequences && node.inputs.some((value) => value instanceof Sequence)) throw sequenceError('reads')
  const rewrite = findRewrite(node.operator, domain)
  if (rewrite) return rewrite(node)
  if (domain !== '') return node
  let current = node
  let reached = version
  for (;;) {
    const changes = getOwn(upgrades, current.operator) ?? {}
    const next = Math.min(
      ...Object.keys(changes)
        .map(Number)
        .filter((change) => change > reached),
    )
    if (next === Number.POSITIVE_INFINITY) return current
    const result = changes[next]!(current)
    if (!('operator' in result)) return result
    current = result
    reached = next
  }
}
