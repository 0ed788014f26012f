import type { Definitions } from '../../op/index.js'
import type { Expansions } from '../rule.js'
import { indexingExpansions } from './indexing.js'
import { linalgExpansions } from './linalg.js'
import { normalizationExpansions } from './normalization.js'
import { softmaxExpansions } from './softmax.js'
import { activationExpansions } from './activation.js'
import { attentionExpansions } from './attention.js'
import { poolingExpansions } from './pooling.js'

/** Composite operators in terms of simpler ones, as the function bodies on their ONNX pages. */
export const expansions = { ...indexingExpansions, ...activationExpansions, ...linalgExpansions, ...normalizationExpansions, ...softmaxExpansions, ...attentionExpansions, ...poolingExpansions } satisfies Expansions<Definitions>
