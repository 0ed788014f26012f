import { textual } from '../op/text.js'
import { family } from './family.js'

/** Text, through which no gradient flows. */
export default family({
  definitions: textual,
})
