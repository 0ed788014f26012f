import { crossEntropy } from '../loss/cross-entropy.js'
import type { Loss } from '../loss/loss.js'
import { ignoredLabel } from './chat-data.js'

/**
 * Cross-entropy of the next token, in nats, averaged over the counted tokens of the whole batch: the loss for
 * `chatData`.
 */
export const nextToken = (): Loss => crossEntropy({ logits: 'logits', ignoreIndex: ignoredLabel })
