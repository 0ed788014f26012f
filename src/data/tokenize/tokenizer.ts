import { Tokenizer as Library } from '@huggingface/tokenizers'
import { messageOf, OnnxIreError } from '../../util/errors.js'
import type { BpeVocabulary } from './train-bpe.js'

/** Limit of the cache of words: all but the rare words of English text. */
const maxCachedWords = 2 ** 18

/**
 * Tokenizer defined by HuggingFace's tokenizer.json: text to token numbers and back.
 * @example
 * ```ts
 * const tokenizer = new Tokenizer(JSON.parse(await readFile('tokenizer.json', 'utf8')))
 * const tokens = tokenizer.encode('Hello, world')
 * ```
 */
export class Tokenizer {
  readonly #library: Library
  /** Special tokens, as written in text. */
  readonly specialTokens: readonly string[]
  /** Largest token number plus one: the rows of an embedding table. */
  readonly vocabulary: number
  /** Cache of the tokens of words, if a word's tokens depend on the word alone; else null. */
  readonly #words: Map<string, readonly number[]> | null

  /**
   * @param json the parsed content of a tokenizer.json
   * @throws OnnxIreError `invalid-data` if the content is not a tokenizer.json
   */
  constructor(json: unknown) {
    if (!isTokenizer(json))
      throw new OnnxIreError(
        'invalid-data',
        "not a valid tokenizer.json: it has no 'model' with a 'type'; use the file that HuggingFace tokenizers write",
      )
    try {
      this.#library = new Library(json, {})
      const numbers = this.#library.get_vocab(true).values()
      let largest = -1
      for (const number of numbers) largest = Math.max(largest, number)
      this.vocabulary = largest + 1
    } catch (cause) {
      const reason = messageOf(cause)
      throw new OnnxIreError('invalid-data', `not a valid tokenizer.json: ${reason}`, { cause })
    }
    this.specialTokens = [...this.#library.get_added_tokens_decoder().values()].map(({ content }) => content)
    this.#words = isByteLevel(json) ? new Map() : null
  }

  /**
   * Encodes a text to token numbers.
   * @param options `around`: whether to add the tokens of the file's post-processor ([CLS], <s>). Default false
   */
  encode(text: string, options: { readonly around?: boolean } = {}): number[] {
    const words = this.#words
    if (!words || this.specialTokens.some((token) => text.includes(token)))
      return this.#library.encode(text, { add_special_tokens: options.around ?? false }).ids
    const tokens: number[] = []
    for (const word of splitIntoWords(text))
      for (const token of words.get(word) ?? this.#encodeWord(word, words)) tokens.push(token)
    return tokens
  }

  /** Decodes token numbers to text. */
  decode(tokens: ArrayLike<number>): string {
    if (tokens.length === 0) return '' // the library throws for an empty list
    return this.#library.decode(Array.from(tokens), { clean_up_tokenization_spaces: false })
  }

  /** Number of a token, special or not, as written in the vocabulary; undefined if it is not in the vocabulary. */
  numberOf(token: string): number | undefined {
    return this.#library.token_to_id(token)
  }

  #encodeWord(word: string, words: Map<string, readonly number[]>): readonly number[] {
    if (words.size >= maxCachedWords) words.clear()
    const tokens = this.#library.encode(word, { add_special_tokens: false }).ids
    words.set(word, tokens)
    return tokens
  }
}

interface TokenizerJson {
  readonly model: { readonly type: string }
  readonly added_tokens?: readonly object[] | null
  readonly normalizer?: object | null
  readonly pre_tokenizer?: object | null
  readonly post_processor?: object | null
}

const isTokenizer = (json: unknown): json is TokenizerJson =>
  typeof json === 'object' &&
  json !== null &&
  'model' in json &&
  typeof json.model === 'object' &&
  json.model !== null &&
  'type' in json.model &&
  typeof json.model.type === 'string'

/** Whether the tokenizer has the form that `tokenizerJson` creates; words are then encoded one by one. */
const isByteLevel = ({ model, normalizer, pre_tokenizer, post_processor }: TokenizerJson): boolean =>
  model.type === 'BPE' &&
  !normalizer &&
  !post_processor &&
  JSON.stringify(pre_tokenizer) === JSON.stringify(byteLevelWords)

/**
 * Pattern of GPT-2's words, which no token crosses: English contractions; letters, digits or other characters, each
 * with the preceding space; and white space, except its last character, which belongs to the following word.
 */
const wordPattern =
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

/** `wordPattern` in HuggingFace's syntax for GPT-2, where `\s` is Unicode's White_Space. */
const pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }

/** Pre-tokenizer that splits text into GPT-2's words, then maps bytes to characters. */
const byteLevelWords = {
  type: 'Sequence',
  pretokenizers: [{ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }, byteLevel],
} as const

/**
 * Creates the content of HuggingFace's tokenizer.json from a vocabulary: text is split into words and bytes, with BPE
 * within each word. Special tokens are recognized anywhere in the text. No tokens are added before or after a text.
 */
export function tokenizerJson({ tokens, specialTokens, merges }: BpeVocabulary): object {
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({ id, content, ...special })),
    normalizer: null,
    pre_tokenizer: byteLevelWords,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  }
}
