/**
 * How GPT-2 divides text before pairs are merged, so that no token spans two words: English contractions; letters, digits
 * or other signs, each with the space before them; and white space, of which the last character goes with what follows.
 */
export const wordPattern =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

/** The words of a text, in order; together they are the text. */
export const wordsOf = (text: string): readonly string[] => text.match(wordPattern) ?? []

/** How often each word occurs in the text seen so far. */
export class WordCounts {
  readonly #counts = new Map<string, number>()

  /** Counts the words of a text. */
  add(text: string): void {
    for (const word of wordsOf(text)) this.#counts.set(word, (this.#counts.get(word) ?? 0) + 1)
  }

  /** Different words. */
  get size(): number {
    return this.#counts.size
  }

  /** Every word with its count. */
  [Symbol.iterator](): IterableIterator<[word: string, count: number]> {
    return this.#counts.entries()
  }
}
