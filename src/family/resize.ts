import { resizeRules } from '../grad/rules/resize.js'
import { resizeUpgrades } from '../onnx/upgrade/resize.js'
import { resize } from '../op/resize.js'
import { family } from './family.js'

/** Images in another size. */
export default family({
  definitions: resize,
  rules: resizeRules,
  upgrades: resizeUpgrades,
})
