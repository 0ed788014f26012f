import { Tokenizer as Library } from '@huggingface/tokenizers'
import { OnnxIreError } from '../../util/errors.js'
import { byteLevelWords } from './tokenizer-json.js'
import { splitIntoWords } from './words.js'

/** Limit of the cache of words: all but the rare words of English text. */
const cacheLimit = 2 ** 18

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
   * @throws 'invalid-data' if the content is not a tokenizer.json
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
      const reason = cause instanceof Error ? cause.message : String(cause)
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
    if (words.size >= cacheLimit) words.clear()
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
