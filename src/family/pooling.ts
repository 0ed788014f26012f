import { foldingRules } from '../grad/rules/folding.js'
import { poolingExpansions, poolingRules } from '../grad/rules/pooling.js'
import { folding } from '../op/folding.js'
import { pooling } from '../op/pooling.js'
import { family } from './family.js'

/** Pooling, and what undoes it. */
export default family({
  definitions: { ...pooling, ...folding },
  rules: { ...poolingRules, ...foldingRules },
  expansions: poolingExpansions,
})
