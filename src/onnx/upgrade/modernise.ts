import type { Value } from '../../ir/value.js'
import { noSequence, Sequence } from './sequence-value.js'
import { forms, sequenceForms, upgrades } from './tables.js'
import type { OldNode, Upgrade } from './upgrade.js'

/** Takes a node of version `version` of its domain's operator set through every later change of its operator. */
export function modernised(node: OldNode, version: number, domain = ''): OldNode | readonly Value[] {
  const sequences = domain === '' && Object.hasOwn(sequenceForms, node.operator)
  if (!sequences && node.inputs.some((value) => value instanceof Sequence)) throw noSequence('reads')
  const standard = standardForm(node.operator, domain)
  if (standard) return standard(node)
  if (domain !== '') return node
  let current = node
  let reached = version
  for (;;) {
    const changesOf = upgrades[current.operator] ?? {}
    const next = Math.min(
      ...Object.keys(changesOf)
        .map(Number)
        .filter((change) => change > reached),
    )
    if (next === Number.POSITIVE_INFINITY) return current
    const result = changesOf[next]!(current)
    if (!('operator' in result)) return result
    current = result
    reached = next
  }
}

/** How importing writes an operator in others; undefined where it takes the operator as it is, or not at all. */
export function standardForm(operator: string, domain: string): Upgrade | undefined {
  const ofDomain = Object.hasOwn(forms, domain) ? [forms[domain]!] : []
  const tables = [...ofDomain, ...(domain === '' ? [sequenceForms] : [])]
  return tables.find((table) => Object.hasOwn(table, operator))?.[operator]
}
