import type { Case } from './case.js'
import { indexingCases } from './indexing.js'
import { movementCases } from './movement.js'
import { slicingCases } from './slicing.js'
import { linalgCases } from './linalg.js'
import { normalizationCases } from './normalization.js'
import { softmaxCases } from './softmax.js'
import { elementwiseCases } from './elementwise.js'
import { activationCases } from './activation.js'
import { reductionCases } from './reduction.js'
import { generationCases } from './generation.js'
import { attentionCases } from './attention.js'
import { convolutionCases } from './convolution.js'
import { poolingCases } from './pooling.js'
import { resizeCases } from './resize.js'

/** The cases of every operator that has a rule or an expansion. */
export const cases: Readonly<Record<string, readonly Case[]>> = { ...indexingCases, ...movementCases, ...slicingCases, ...generationCases, ...reductionCases, ...activationCases, ...elementwiseCases, ...linalgCases, ...normalizationCases, ...softmaxCases, ...attentionCases, ...convolutionCases, ...poolingCases, ...resizeCases }
