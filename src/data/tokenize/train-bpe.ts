import { checkNames, checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'

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
    this.#options = checkBpeOptions(options)
    this.#tokens = [...this.#options.specialTokens, ...bytesInOrder.map((byte) => byteCharacters[byte]!)]
    this.#numbers = new Map(this.#tokens.map((token, i) => [token, i]))
    this.#words = splitWords(words, this.#options.specialTokens.length)
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
  if (symbols!.length === 0) throw new OnnxIreError('invalid-data', 'bpe: there is no text to learn a vocabulary from')
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
    throw invalidOption('bpe', 'specialTokens', specialTokens, 'different texts, not empty and no single bytes')
  const least = specialTokens.length + 256
  return {
    specialTokens,
    vocabulary: checkNumber('bpe', 'vocabulary', options.vocabulary, { min: least, max: 2 ** 24, integer: true }),
    minFrequency: checkNumber('bpe', 'minFrequency', options.minFrequency ?? 2, positiveCount),
  }
}

/**
 * Pairs by how often they occur: the most frequent first and, of equals, the one of the smallest token numbers. A binary heap
 * whose entries keep the count they came with; one that is out of date is put right when it comes to the top.
 */
export class PairQueue {
  readonly #table: PairTable
  readonly #pairs: number[] = []
  readonly #counts: number[] = []

  constructor(table: PairTable) {
    this.#table = table
  }

  /** Enters a pair with its count at present. A pair whose count has grown is entered again. */
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

  /** Takes out the most frequent pair; -1 when none occurs any more. */
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

/** Pairs of tokens, numbered as they are met: a hash table with open addressing, linear probing and a load below 1/2. */
export class PairTable {
  left: Int32Array = new Int32Array(1024)
  right: Int32Array = new Int32Array(1024)
  /** Occurrences of each pair at present. */
  counts: Float64Array = new Float64Array(1024)
  size = 0
  /** The number of the pair in a slot plus one; 0 for a free slot. */
  #slots = new Int32Array(4096)

  /** The number of the pair, which is made if it is new. */
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
 * The character that stands for each byte in a byte-level vocabulary (Radford et al. 2019, GPT-2's bytes_to_unicode):
 * printable Latin-1 stands for itself, and the other 68 bytes, in order, are U+0100 and on. A space becomes 'Ġ'.
 */
export const byteCharacters: readonly string[] = createByteCharacters()

function createByteCharacters(): string[] {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++))
}

/** The bytes in the order of their characters, in which vocabularies number them. */
export const bytesInOrder: readonly number[] = Array.from({ length: 256 }, (_, byte) => byte).sort(
  (a, b) => byteCharacters[a]!.charCodeAt(0) - byteCharacters[b]!.charCodeAt(0),
)

/** UTF-8. A surrogate without its other half becomes U+FFFD, as TextEncoder has it. */
export function encodeUtf8(text: string): number[] {
  const bytes: number[] = []
  for (const character of text) {
    let code = character.codePointAt(0)!
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd
    if (code < 0x80) bytes.push(code)
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63))
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63))
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63))
  }
  return bytes
}
