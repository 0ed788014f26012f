/**
 * Pattern of GPT-2's words, which no token crosses: English contractions; letters, digits or other characters, each
 * with the preceding space; and white space, except its last character, which belongs to the following word.
 */
export const wordPattern =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

/** Splits a text into words; their concatenation is the text. */
export const splitIntoWords = (text: string): readonly string[] => text.match(wordPattern) ?? []

/** Counter of the words of texts, for `trainBpe`. */
export class WordCounts {
  readonly #counts = new Map<string, number>()

  /** Counts the words of a text. */
  add(text: string): void {
    for (const word of splitIntoWords(text)) this.#counts.set(word, (this.#counts.get(word) ?? 0) + 1)
  }

  /** Number of distinct words. */
  get size(): number {
    return this.#counts.size
  }

  /** Iterates over the words with their counts. */
  [Symbol.iterator](): IterableIterator<[word: string, count: number]> {
    return this.#counts.entries()
  }
}
