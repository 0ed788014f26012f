import { type CrossEntropyOptions, crossEntropy } from '../loss/cross-entropy.js'
import type { Loss } from '../loss/loss.js'
import { ignoredLabel } from './chat-data.js'

/**
 * Cross-entropy of the next token, in nats, averaged over the counted tokens of the whole batch: the loss for
 * `chatData`. Logits are computed for a chunk of positions at a time, because those of a whole batch would be the
 * largest array of the run.
 * @param options `chunk`: positions per chunk, as in `crossEntropy`
 */
export const nextToken = ({ chunk = 'auto' }: Pick<CrossEntropyOptions, 'chunk'> = {}): Loss =>
  crossEntropy({ logits: 'logits', ignoreIndex: ignoredLabel, chunk })
