import { checkNames, checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { encodeUtf8 } from '../../util/utf8.js'

/** Options of `trainBpe`. */
export interface BpeOptions {
  /** Size of the vocabulary: special tokens, 256 bytes, and merged tokens. A short text gives fewer tokens. */
  readonly vocabulary: number
  /** Special tokens, numbered from 0, before all others. Default ['<|endoftext|>']. */
  readonly specialTokens?: readonly string[] | undefined
  /** Minimum number of occurrences of a pair to be merged. Default 2. */
  readonly minFrequency?: number | undefined
}

/** Byte-level vocabulary. Tokens are sequences of bytes, written in the characters of GPT-2's byte alphabet. */
export interface BpeVocabulary {
  /** Special tokens, bytes in the order of their characters, then merged tokens in the order of the merges. */
  readonly tokens: readonly string[]
  readonly specialTokens: readonly string[]
  /** Pairs of tokens to merge, in order of priority. */
  readonly merges: readonly (readonly [left: string, right: string])[]
}

/**
 * Trains a byte pair encoding (Sennrich, Haddow and Birch 2016) on bytes: the most frequent pair of adjacent tokens
 * within the words is merged to a new token, repeatedly. Of equally frequent pairs the one with the smallest token
 * numbers is merged first, as in HuggingFace's trainer.
 * @param words words with their number of occurrences, such as a WordCounts
 * @throws OnnxIreError `invalid-option`, or `invalid-data` if there are no words
 * @example
 * ```ts
 * const counts = new WordCounts()
 * counts.add(text)
 * const json = tokenizerJson(trainBpe(counts, { vocabulary: 8192 }))
 * ```
 */
export function trainBpe(words: Iterable<readonly [word: string, count: number]>, options: BpeOptions): BpeVocabulary {
  const trainer = new BpeTrainer(words, options)
  while (trainer.merge());
  return trainer.vocabulary()
}

/**
 * Trainer of a byte pair encoding, one merge at a time. A merge updates only the counts that change and visits only the
 * words that contain the pair: O(changed words) per merge.
 */
export class BpeTrainer {
  readonly #options: Required<{ [K in keyof BpeOptions]: NonNullable<BpeOptions[K]> }>
  readonly #tokens: string[]
  readonly #numbers: Map<string, number>
  readonly #merges: [string, string][] = []
  readonly #merged = new Set<number>()
  readonly #pairs = new PairTable()
  readonly #queue = new PairQueue(this.#pairs)
  /** Words in which a pair has occurred, by pair; some may no longer contain it. */
  readonly #where: number[][] = []
  readonly #words: Words

  constructor(words: Iterable<readonly [word: string, count: number]>, options: BpeOptions) {
    this.#options = checkBpeOptions(options)
    this.#tokens = [...this.#options.specialTokens, ...bytesInOrder.map((byte) => byteCharacters[byte]!)]
    this.#numbers = new Map(this.#tokens.map((token, i) => [token, i]))
    this.#words = splitWords(words, this.#options.specialTokens.length)
    this.#count()
  }

  /** Number of tokens so far. */
  get size(): number {
    return this.#tokens.length
  }

  /** Creates the next token; false if the vocabulary is full or no pair is frequent enough. */
  merge(): boolean {
    const { vocabulary, minFrequency } = this.#options
    if (this.#tokens.length >= vocabulary) return false
    const pair = this.#queue.pop()
    if (pair < 0 || this.#pairs.counts[pair]! < minFrequency) return false
    const [left, right] = [this.#pairs.left[pair]!, this.#pairs.right[pair]!]
    const [first, second] = [this.#tokens[left]!, this.#tokens[right]!]
    const merged = first + second
    // Another pair may have formed the same token; its pairs can then occur again and are merged as before.
    const token = this.#numbers.get(merged) ?? this.#tokens.length
    if (token === this.#tokens.length) {
      this.#tokens.push(merged)
      this.#numbers.set(merged, token)
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

  /**
   * Merges the pair in every word, from left to right: x [left right] y becomes x [token] y; updates the adjacent
   * counts.
   */
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

/** Words as token numbers in one array. */
interface Words {
  readonly symbols: Int32Array
  readonly starts: Int32Array
  readonly lengths: Int32Array
  readonly counts: Float64Array
}

function splitWords(words: Iterable<readonly [string, number]>, firstByte: number): Words {
  const numberOf = new Int32Array(256)
  for (const [i, byte] of bytesInOrder.entries()) numberOf[byte] = firstByte + i
  const [symbols, starts, lengths, counts]: number[][] = [[], [], [], []]
  for (const [word, count] of words) {
    const bytes = encodeUtf8(word)
    starts!.push(symbols!.length)
    lengths!.push(bytes.length)
    counts!.push(count)
    for (const byte of bytes) symbols!.push(numberOf[byte]!)
  }
  if (symbols!.length === 0) throw new OnnxIreError('invalid-data', 'bpe: the text has no words to train on')
  return {
    symbols: Int32Array.from(symbols!),
    starts: Int32Array.from(starts!),
    lengths: Int32Array.from(lengths!),
    counts: Float64Array.from(counts!),
  }
}

function checkBpeOptions(options: BpeOptions) {
  checkNames('bpe', options, ['vocabulary', 'specialTokens', 'minFrequency'])
  const { specialTokens = ['<|endoftext|>'] } = options
  if (specialTokens.includes('') || new Set([...specialTokens, ...byteCharacters]).size < specialTokens.length + 256)
    throw invalidOption('bpe', 'specialTokens', specialTokens, 'distinct strings, neither empty nor single bytes')
  const least = specialTokens.length + 256
  return {
    specialTokens,
    vocabulary: checkNumber('bpe', 'vocabulary', options.vocabulary, { min: least, max: 2 ** 24, integer: true }),
    minFrequency: checkNumber('bpe', 'minFrequency', options.minFrequency ?? 2, positiveCount),
  }
}

/**
 * Priority queue of pairs: the most frequent first and, of equals, the one with the smallest token numbers. A binary
 * heap whose entries store the count at insertion; an outdated entry is corrected when it reaches the top.
 */
class PairQueue {
  readonly #table: PairTable
  readonly #pairs: number[] = []
  readonly #counts: number[] = []

  constructor(table: PairTable) {
    this.#table = table
  }

  /** Inserts a pair with its current count. A pair whose count has grown is inserted again. */
  push(pair: number): void {
    let at = this.#pairs.length
    this.#pairs.push(pair)
    this.#counts.push(this.#table.counts[pair]!)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#precedes(at, parent)) break
      this.#swap(at, parent)
      at = parent
    }
  }

  /** Removes and returns the most frequent pair; -1 if no pair occurs. */
  pop(): number {
    while (this.#pairs.length > 0) {
      const [pair, count] = [this.#pairs[0]!, this.#counts[0]!]
      this.#removeTop()
      const present = this.#table.counts[pair]!
      if (present === count && count > 0) return pair
      if (present < count && present > 0) this.push(pair)
    }
    return -1
  }

  #removeTop(): void {
    const [pair, count] = [this.#pairs.pop()!, this.#counts.pop()!]
    const length = this.#pairs.length
    if (length === 0) return
    this.#pairs[0] = pair
    this.#counts[0] = count
    for (let at = 0; ; ) {
      let child = 2 * at + 1
      if (child >= length) return
      if (child + 1 < length && this.#precedes(child + 1, child)) child++
      if (!this.#precedes(child, at)) return
      this.#swap(at, child)
      at = child
    }
  }

  #precedes(a: number, b: number): boolean {
    const difference = this.#counts[a]! - this.#counts[b]!
    if (difference !== 0) return difference > 0
    const { left, right } = this.#table
    const [first, second] = [this.#pairs[a]!, this.#pairs[b]!]
    return left[first] === left[second] ? right[first]! < right[second]! : left[first]! < left[second]!
  }

  #swap(a: number, b: number): void {
    const [pair, count] = [this.#pairs[a]!, this.#counts[a]!]
    this.#pairs[a] = this.#pairs[b]!
    this.#counts[a] = this.#counts[b]!
    this.#pairs[b] = pair
    this.#counts[b] = count
  }
}

/**
 * Table of token pairs, numbered in order of insertion: a hash table with open addressing, linear probing and load <
 * 1/2.
 */
class PairTable {
  left: Int32Array = new Int32Array(1024)
  right: Int32Array = new Int32Array(1024)
  /** Current number of occurrences of each pair. */
  counts: Float64Array = new Float64Array(1024)
  size = 0
  /** Number of the pair in each slot plus one; 0 for a free slot. */
  #slots = new Int32Array(4096)

  /** Number of a pair; a new pair is inserted. */
  at(left: number, right: number): number {
    const mask = this.#slots.length - 1
    let slot = hash(left, right) & mask
    for (;;) {
      const pair = this.#slots[slot]! - 1
      if (pair < 0) break
      if (this.left[pair] === left && this.right[pair] === right) return pair
      slot = (slot + 1) & mask
    }
    const pair = this.size++
    if (pair === this.left.length) this.#grow()
    this.left[pair] = left
    this.right[pair] = right
    this.#slots[slot] = pair + 1
    if (2 * this.size > this.#slots.length) this.#rehash()
    return pair
  }

  #grow(): void {
    const room = 2 * this.left.length
    const { left, right, counts } = this
    this.left = new Int32Array(room)
    this.right = new Int32Array(room)
    this.counts = new Float64Array(room)
    this.left.set(left)
    this.right.set(right)
    this.counts.set(counts)
  }

  #rehash(): void {
    this.#slots = new Int32Array(2 * this.#slots.length)
    const mask = this.#slots.length - 1
    for (let pair = 0; pair < this.size; pair++) {
      let slot = hash(this.left[pair]!, this.right[pair]!) & mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
      this.#slots[slot] = pair + 1
    }
  }
}

function hash(left: number, right: number): number {
  const mixed = Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b)
  return mixed ^ (mixed >>> 15)
}

/**
 * Characters that represent the bytes in a byte-level vocabulary (Radford et al. 2019, GPT-2's bytes_to_unicode):
 * printable Latin-1 represents itself, and the other 68 bytes, in order, are U+0100 and up. A space is 'Ġ'.
 */
const byteCharacters: readonly string[] = createByteCharacters()

function createByteCharacters(): string[] {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++))
}

/** Bytes in the order of their characters, the order of their token numbers. */
const bytesInOrder: readonly number[] = Array.from({ length: 256 }, (_, byte) => byte).sort(
  (a, b) => byteCharacters[a]!.charCodeAt(0) - byteCharacters[b]!.charCodeAt(0),
)
