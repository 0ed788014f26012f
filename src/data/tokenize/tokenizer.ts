import { Tokenizer as Library } from '@huggingface/tokenizers'
import { OnnxIreError } from '../../util/errors.js'
import { byteLevelWords } from './tokenizer-json.js'
import { wordsOf } from './words.js'

/** Words whose tokens are remembered: of English text all but the rare ones. */
const remembered = 2 ** 18

/** Text to token numbers and back, as a tokenizer.json of HuggingFace says. */
export class Tokenizer {
  readonly #library: Library
  /** The special tokens as they stand in text. */
  readonly specialTokens: readonly string[]
  /** One more than the largest token number: the rows that a table of embeddings needs. */
  readonly vocabulary: number
  /** Tokens of words seen before, where a word's tokens depend on the word alone; else null. */
  readonly #words: Map<string, readonly number[]> | null

  /**
   * @param json the parsed content of a tokenizer.json
   * @throws 'invalid-data' when it is something else
   */
  constructor(json: unknown) {
    if (!isTokenizer(json))
      throw new OnnxIreError(
        'invalid-data',
        "not a tokenizer.json: it has no 'model' with a 'type'; name the file that HuggingFace tokenizers write",
      )
    try {
      this.#library = new Library(json, {})
      const numbers = this.#library.get_vocab(true).values()
      let largest = -1
      for (const number of numbers) largest = Math.max(largest, number)
      this.vocabulary = largest + 1
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new OnnxIreError('invalid-data', `not a usable tokenizer.json: ${reason}`, { cause })
    }
    this.specialTokens = [...this.#library.get_added_tokens_decoder().values()].map(({ content }) => content)
    this.#words = isByteLevel(json) ? new Map() : null
  }

  /** Token numbers of a text. What the file's post-processor puts around a text ([CLS], <s>) is left out unless asked for. */
  encode(text: string, options: { readonly around?: boolean } = {}): number[] {
    const words = this.#words
    if (!words || this.specialTokens.some((token) => text.includes(token)))
      return this.#library.encode(text, { add_special_tokens: options.around ?? false }).ids
    const tokens: number[] = []
    for (const word of wordsOf(text))
      for (const token of words.get(word) ?? this.#learn(word, words)) tokens.push(token)
    return tokens
  }

  /** The text of token numbers. */
  decode(tokens: ArrayLike<number>): string {
    if (tokens.length === 0) return '' // which the library refuses
    return this.#library.decode(Array.from(tokens), { clean_up_tokenization_spaces: false })
  }

  /** The number of a token as the vocabulary writes it, special or not. */
  numberOf(token: string): number | undefined {
    return this.#library.token_to_id(token)
  }

  #learn(word: string, words: Map<string, readonly number[]>): readonly number[] {
    if (words.size >= remembered) words.clear()
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

/** Whether it is as `tokenizerJson` makes them: then words are encoded one by one. */
const isByteLevel = ({ model, normalizer, pre_tokenizer, post_processor }: TokenizerJson): boolean =>
  model.type === 'BPE' &&
  !normalizer &&
  !post_processor &&
  JSON.stringify(pre_tokenizer) === JSON.stringify(byteLevelWords)
