import type { Upgrades } from './upgrade.js'

export const indexingUpgrades: Upgrades = {
  Scatter: { 11: (node) => ({ ...node, operator: 'ScatterElements' }) },
}
