import { regionExpansions } from '../grad/rules/region.js'
import { samplingExpansions } from '../grad/rules/sampling.js'
import { samplingUpgrades } from '../onnx/upgrade/sampling.js'
import { region } from '../op/region.js'
import { sampling } from '../op/sampling.js'
import { family } from './family.js'

/** Images read at places and regions that are computed. */
export default family({
  definitions: { ...sampling, ...region },
  expansions: { ...samplingExpansions, ...regionExpansions },
  upgrades: samplingUpgrades,
})
