import { type Upgrades, withoutAttributes } from './upgrade.js'

export const linalgUpgrades: Upgrades = {
  // From version 7 on C broadcasts without being asked to; version 11 only made it optional.
  Gemm: { 7: withoutAttributes('broadcast') },
}
