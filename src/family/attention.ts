import { attentionExpansions } from '../grad/rules/attention.js'
import { attention } from '../op/attention.js'
import { family } from './family.js'

/** Attention and rotary positions as operators of their own. */
export default family({
  definitions: attention,
  expansions: attentionExpansions,
})
