import { controlRules } from '../grad/rules/control.js'
import { controlUpgrades } from '../onnx/upgrade/control.js'
import { control } from '../op/control.js'
import { family } from './family.js'

/** Operators with bodies. */
export default family({
  definitions: control,
  control: controlRules,
  upgrades: controlUpgrades,
})
