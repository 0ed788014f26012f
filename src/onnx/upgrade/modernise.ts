import type { Value } from '../../ir/value.js'
import { upgrades } from './index.js'
import { sequenceForms } from './sequence.js'
import { noSequence, Sequence } from './sequence-value.js'
import { standardForm } from './standard.js'
import type { OldNode } from './upgrade.js'

/** Takes a node of version `version` of its domain's operator set through every later change of its operator. */
export function modernised(node: OldNode, version: number, domain = ''): OldNode | readonly Value[] {
  const standard = standardForm(node.operator, domain)
  const takesSequences = domain === '' && Object.hasOwn(sequenceForms, node.operator)
  if (!takesSequences && node.inputs.some((value) => value instanceof Sequence)) throw noSequence('reads')
  if (standard) return standard(node)
  if (domain !== '') return node
  let current = node
  let reached = version
  for (;;) {
    const changes = Object.keys(upgrades[current.operator] ?? {}).map(Number)
    const next = Math.min(...changes.filter((change) => change > reached))
    if (next === Number.POSITIVE_INFINITY) return current
    const result = upgrades[current.operator]![next]!(current)
    if (!('operator' in result)) return result
    current = result
    reached = next
  }
}
