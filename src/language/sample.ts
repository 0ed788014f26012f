import { checkNumber, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { Random } from '../util/random.js'

/** Options of the choice of the next token. */
export interface SamplingOptions {
  /** Divisor of the logits; 0 takes the most probable token. Default 0. */
  readonly temperature?: number | undefined
  /** Samples among the most probable tokens whose probabilities add up to this share. Default 1: all. */
  readonly topP?: number | undefined
  /** Samples among this many most probable tokens. Default: all. */
  readonly topK?: number | undefined
}

/** Throws `invalid-option` for options out of range, and for those of sampling without a temperature. */
export function checkSampling(options: SamplingOptions): void {
  const { temperature = 0, topP = 1, topK = 1 } = options
  checkNumber('generate', 'temperature', temperature, { min: 0, max: 100 })
  checkNumber('generate', 'topP', topP, { min: Number.MIN_VALUE, max: 1 })
  checkNumber('generate', 'topK', topK, positiveCount)
  const given = (['topP', 'topK'] as const).find((name) => options[name] !== undefined)
  if (given !== undefined && options.temperature === undefined)
    throw new OnnxIreError(
      'invalid-option',
      `generate: option '${given}' is for sampling: set temperature too, such as temperature: 1`,
    )
}

/** Samples a token from its logits. Of equal logits the smallest token comes first. */
export function sampleToken(logits: readonly number[], options: SamplingOptions, random: Random): number {
  const { temperature = 0, topP = 1, topK = logits.length } = options
  if (temperature === 0) return indexOfLargest(logits)
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, topK)
  const largest = logits[order[0]!]!
  const weights = order.map((token) => Math.exp((logits[token]! - largest) / temperature))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  // The tokens before the one at which the share is reached, and that one.
  let count = 0
  for (let share = 0; count < order.length && share < topP * total; count++) share += weights[count]!
  const kept = weights.slice(0, Math.max(1, count))
  let point = random.uniform() * kept.reduce((sum, weight) => sum + weight, 0)
  for (const [i, weight] of kept.entries()) {
    point -= weight
    if (point < 0) return order[i]!
  }
  return order[kept.length - 1]!
}

function indexOfLargest(values: readonly number[]): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}
