import { recurrentExpansions } from '../grad/rules/recurrent.js'
import { recurrentUpgrades } from '../onnx/upgrade/recurrent.js'
import { recurrent } from '../op/recurrent.js'
import { family } from './family.js'

/** Recurrent layers, which expand into a Scan. */
export default family({
  definitions: recurrent,
  expansions: recurrentExpansions,
  upgrades: recurrentUpgrades,
})
