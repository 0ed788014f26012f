import type { Definitions } from '../../op/index.js'
import type { Calculus } from '../rule.js'
import { activationRules } from './activation.js'
import { blockQuantizationRules } from './block-quantization.js'
import { controlRules } from './control.js'
import { convolutionRules } from './convolution.js'
import { elementwiseRules } from './elementwise.js'
import { expansions } from './expansions.js'
import { foldingRules } from './folding.js'
import { generationRules } from './generation.js'
import { indexingRules } from './indexing.js'
import { linalgRules } from './linalg.js'
import { movementRules } from './movement.js'
import { normalizationRules } from './normalization.js'
import { poolingRules } from './pooling.js'
import { reductionRules } from './reduction.js'
import { resizeRules } from './resize.js'
import { signalRules } from './signal.js'
import { slicingRules } from './slicing.js'
import { softmaxRules } from './softmax.js'

export const rules = {
  ...indexingRules,
  ...movementRules,
  ...slicingRules,
  ...generationRules,
  ...reductionRules,
  ...activationRules,
  ...elementwiseRules,
  ...linalgRules,
  ...normalizationRules,
  ...softmaxRules,
  ...convolutionRules,
  ...poolingRules,
  ...resizeRules,
  ...foldingRules,
  ...signalRules,
  ...blockQuantizationRules,
}

/** Rules and expansions of every operator: what `gradients` uses unless it is given others. */
export const calculus = { rules, expansions, control: controlRules } as unknown as Calculus

/** Operators whose definition neither carries a reason for having no gradient nor has a rule or an expansion. */
type Uncovered = {
  [K in keyof Definitions]: Definitions[K]['gradient'] extends undefined
    ? K extends keyof typeof rules | keyof typeof expansions | keyof typeof controlRules
      ? never
      : K
    : never
}[keyof Definitions]

/** Does not compile while an operator is uncovered; the error names it. */
const covered: [Uncovered] extends [never] ? true : Uncovered = true
void covered
