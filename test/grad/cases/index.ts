import { activationCases } from './activation.js'
import { attentionCases } from './attention.js'
import { blockQuantizationCases } from './block-quantization.js'
import type { Case } from './case.js'
import { controlCases } from './control.js'
import { convolutionCases } from './convolution.js'
import { elementwiseCases } from './elementwise.js'
import { foldingCases } from './folding.js'
import { generationCases } from './generation.js'
import { indexingCases } from './indexing.js'
import { linalgCases } from './linalg.js'
import { movementCases } from './movement.js'
import { normalizationCases } from './normalization.js'
import { poolingCases } from './pooling.js'
import { quantizationCases } from './quantization.js'
import { recurrentCases } from './recurrent.js'
import { reductionCases } from './reduction.js'
import { regionCases } from './region.js'
import { resizeCases } from './resize.js'
import { samplingCases } from './sampling.js'
import { signalCases } from './signal.js'
import { slicingCases } from './slicing.js'
import { softmaxCases } from './softmax.js'

/** The cases of every operator that has a rule or an expansion. */
export const cases: Readonly<Record<string, readonly Case[]>> = {
  ...indexingCases,
  ...movementCases,
  ...slicingCases,
  ...generationCases,
  ...reductionCases,
  ...activationCases,
  ...elementwiseCases,
  ...linalgCases,
  ...normalizationCases,
  ...softmaxCases,
  ...attentionCases,
  ...convolutionCases,
  ...poolingCases,
  ...resizeCases,
  ...controlCases,
  ...recurrentCases,
  ...samplingCases,
  ...regionCases,
  ...foldingCases,
  ...signalCases,
  ...quantizationCases,
  ...blockQuantizationCases,
}
