import type { Definitions } from '../../op/index.js'
import type { Expansions } from '../rule.js'
import { activationExpansions } from './activation.js'
import { attentionExpansions } from './attention.js'
import { indexingExpansions } from './indexing.js'
import { normalizationExpansions } from './normalization.js'
import { poolingExpansions } from './pooling.js'
import { quantizationExpansions } from './quantization.js'
import { recurrentExpansions } from './recurrent.js'
import { regionExpansions } from './region.js'
import { samplingExpansions } from './sampling.js'
import { signalExpansions } from './signal.js'
import { softmaxExpansions } from './softmax.js'

/** Composite operators in terms of simpler ones, as the function bodies on their ONNX pages. */
export const expansions = {
  ...indexingExpansions,
  ...activationExpansions,
  ...normalizationExpansions,
  ...softmaxExpansions,
  ...attentionExpansions,
  ...poolingExpansions,
  ...recurrentExpansions,
  ...samplingExpansions,
  ...regionExpansions,
  ...signalExpansions,
  ...quantizationExpansions,
} satisfies Expansions<Definitions>
