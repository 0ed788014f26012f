import type { Value } from '../../ir/value.js'
import { upgrades } from './index.js'
import type { OldNode } from './upgrade.js'

/** Takes a node of operator set `version` through every later change of its operator. */
export function modernised(node: OldNode, version: number): OldNode | readonly Value[] {
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
