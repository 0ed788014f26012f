import { signalExpansions, signalRules } from '../grad/rules/signal.js'
import { signalUpgrades } from '../onnx/upgrade/signal.js'
import { signal } from '../op/signal.js'
import { family } from './family.js'

/** Fourier transforms and what goes with them. */
export default family({
  definitions: signal,
  rules: signalRules,
  expansions: signalExpansions,
  upgrades: signalUpgrades,
})
