import { normalizationExpansions, normalizationRules } from '../grad/rules/normalization.js'
import { normalizationUpgrades } from '../onnx/upgrade/normalization.js'
import { normalization } from '../op/normalization.js'
import { family } from './family.js'

/** Layers that normalise. */
export default family({
  definitions: normalization,
  rules: normalizationRules,
  expansions: normalizationExpansions,
  upgrades: normalizationUpgrades,
})
