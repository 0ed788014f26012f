import { convolutionRules } from '../grad/rules/convolution.js'
import { convolution } from '../op/convolution.js'
import { family } from './family.js'

/** Convolutions. */
export default family({
  definitions: convolution,
  rules: convolutionRules,
})
