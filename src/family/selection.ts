import { selectionExpansions, selectionRules } from '../grad/rules/selection.js'
import { selection } from '../op/selection.js'
import { family } from './family.js'

/** Elements at positions of several axes at once, and those that values decide on. */
export default family({
  definitions: selection,
  rules: selectionRules,
  expansions: selectionExpansions,
})
