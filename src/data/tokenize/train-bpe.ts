import { checkNames, checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { alphabet, byteCharacters, utf8 } from './byte-alphabet.js'
import { PairQueue } from './pair-queue.js'
import { PairTable } from './pair-table.js'

/** How large the vocabulary becomes, and of what. */
export interface BpeOptions {
  /** Tokens in all: the special ones, 256 bytes, and those that merges make. Fewer come out of a text too short for them. */
  readonly vocabulary: number
  /** Numbered from 0, before all others. Default ['<|endoftext|>']. */
  readonly specialTokens?: readonly string[] | undefined
  /** A pair that occurs less often is not merged. Default 2. */
  readonly minFrequency?: number | undefined
}

/** A byte-level vocabulary. Token k is made of bytes that stand as characters of GPT-2's byte alphabet. */
export interface BpeVocabulary {
  /** The special tokens, the bytes in the order of their characters, and then what merges made, in order. */
  readonly tokens: readonly string[]
  readonly specialTokens: readonly string[]
  /** Pairs of tokens that become one, the first before the later ones. */
  readonly merges: readonly (readonly [left: string, right: string])[]
}

/**
 * Byte pair encoding (Sennrich, Haddow and Birch 2016) of bytes: the pair of neighbouring tokens that occurs most often
 * within the words becomes a token, again and again. Of equally frequent pairs, the one of the smallest token numbers goes
 * first, as in HuggingFace's trainer.
 * @param words each with how often it occurs, such as a WordCounts
 * @throws 'invalid-option', or 'invalid-data' when there are no words
 */
export function trainBpe(words: Iterable<readonly [word: string, count: number]>, options: BpeOptions): BpeVocabulary {
  const trainer = new BpeTrainer(words, options)
  while (trainer.merge());
  return trainer.vocabulary()
}

/**
 * `trainBpe`, a merge at a time. Counts are kept up to date where a merge changes them, and only the words that held the
 * pair are looked at: O(words that change) for a merge.
 */
export class BpeTrainer {
  readonly #options: Required<{ [K in keyof BpeOptions]: NonNullable<BpeOptions[K]> }>
  readonly #tokens: string[]
  readonly #numbers: Map<string, number>
  readonly #merges: [string, string][] = []
  readonly #merged = new Set<number>()
  readonly #pairs = new PairTable()
  readonly #queue = new PairQueue(this.#pairs)
  /** The words a pair has been seen in; some may hold it no more. */
  readonly #where: number[][] = []
  readonly #words: Words

  constructor(words: Iterable<readonly [word: string, count: number]>, options: BpeOptions) {
    this.#options = checked(options)
    this.#tokens = [...this.#options.specialTokens, ...alphabet.map((byte) => byteCharacters[byte]!)]
    this.#numbers = new Map(this.#tokens.map((token, i) => [token, i]))
    this.#words = split(words, this.#options.specialTokens.length)
    this.#count()
  }

  /** Tokens so far. */
  get size(): number {
    return this.#tokens.length
  }

  /** Makes the next token. False when the vocabulary is full or no pair is frequent enough. */
  merge(): boolean {
    const { vocabulary, minFrequency } = this.#options
    if (this.#tokens.length >= vocabulary) return false
    const pair = this.#queue.pop()
    if (pair < 0 || this.#pairs.counts[pair]! < minFrequency) return false
    const [left, right] = [this.#pairs.left[pair]!, this.#pairs.right[pair]!]
    const [first, second] = [this.#tokens[left]!, this.#tokens[right]!]
    const made = first + second
    // Another pair may have made the same token, whose own pairs then come back: they are merged as before.
    const token = this.#numbers.get(made) ?? this.#tokens.length
    if (token === this.#tokens.length) {
      this.#tokens.push(made)
      this.#numbers.set(made, token)
    }
    if (!this.#merged.has(pair)) {
      this.#merged.add(pair)
      this.#merges.push([first, second])
    }
    this.#apply(pair, left, right, token)
    return true
  }

  vocabulary(): BpeVocabulary {
    return { tokens: this.#tokens, specialTokens: this.#options.specialTokens, merges: this.#merges }
  }

  #count(): void {
    const { symbols, starts, lengths, counts } = this.#words
    for (let word = 0; word < lengths.length; word++) {
      const end = starts[word]! + lengths[word]! - 1
      for (let i = starts[word]!; i < end; i++) this.#add(symbols[i]!, symbols[i + 1]!, counts[word]!, word)
    }
    for (let pair = 0; pair < this.#pairs.size; pair++) this.#queue.push(pair)
  }

  #add(left: number, right: number, count: number, word: number): number {
    const pair = this.#pairs.at(left, right)
    this.#pairs.counts[pair]! += count
    const words = this.#where[pair]
    if (!words) this.#where[pair] = [word]
    else if (words[words.length - 1] !== word) words.push(word)
    return pair
  }

  /** In every word, from left to right: x [left right] y becomes x [token] y, and so do the counts of the pairs around. */
  #apply(pair: number, left: number, right: number, token: number): void {
    const words = this.#where[pair]!
    this.#where[pair] = []
    const { symbols, starts, lengths, counts } = this.#words
    const grown = new Set<number>()
    for (const word of words) {
      const [start, count] = [starts[word]!, counts[word]!]
      const end = start + lengths[word]!
      let to = start
      for (let from = start; from < end; to++) {
        const symbol = symbols[from]!
        if (symbol !== left || from + 1 === end || symbols[from + 1] !== right) {
          symbols[to] = symbol
          from++
          continue
        }
        if (to > start) {
          const before = symbols[to - 1]!
          this.#pairs.counts[this.#pairs.at(before, left)]! -= count
          grown.add(this.#add(before, token, count, word))
        }
        if (from + 2 < end) {
          const after = symbols[from + 2]!
          this.#pairs.counts[this.#pairs.at(right, after)]! -= count
          grown.add(this.#add(token, after, count, word))
        }
        symbols[to] = token
        from += 2
      }
      lengths[word] = to - start
    }
    this.#pairs.counts[pair] = 0
    for (const each of grown) if (this.#pairs.counts[each]! > 0) this.#queue.push(each)
  }
}

/** Words as token numbers, one after the other. */
interface Words {
  readonly symbols: Int32Array
  readonly starts: Int32Array
  readonly lengths: Int32Array
  readonly counts: Float64Array
}

function split(words: Iterable<readonly [string, number]>, firstByte: number): Words {
  const numberOf = new Int32Array(256)
  for (const [i, byte] of alphabet.entries()) numberOf[byte] = firstByte + i
  const [symbols, starts, lengths, counts]: number[][] = [[], [], [], []]
  for (const [word, count] of words) {
    const bytes = utf8(word)
    starts!.push(symbols!.length)
    lengths!.push(bytes.length)
    counts!.push(count)
    for (const byte of bytes) symbols!.push(numberOf[byte]!)
  }
  if (symbols!.length === 0) throw new OnnxIreError('invalid-data', 'bpe: there is no text to learn a vocabulary from')
  return {
    symbols: Int32Array.from(symbols!),
    starts: Int32Array.from(starts!),
    lengths: Int32Array.from(lengths!),
    counts: Float64Array.from(counts!),
  }
}

function checked(options: BpeOptions) {
  checkNames('bpe', options, ['vocabulary', 'specialTokens', 'minFrequency'])
  const { specialTokens = ['<|endoftext|>'] } = options
  if (specialTokens.includes('') || new Set([...specialTokens, ...byteCharacters]).size < specialTokens.length + 256)
    throw invalidOption('bpe', 'specialTokens', specialTokens, 'different texts, not empty and no single bytes')
  const least = specialTokens.length + 256
  return {
    specialTokens,
    vocabulary: checkNumber('bpe', 'vocabulary', options.vocabulary, { min: least, max: 2 ** 24, integer: true }),
    minFrequency: checkNumber('bpe', 'minFrequency', options.minFrequency ?? 2, positiveCount),
  }
}
