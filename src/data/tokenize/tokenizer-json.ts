import type { BpeVocabulary } from './train-bpe.js'

/** `wordPattern` as HuggingFace writes it for GPT-2; `\s` is Unicode's White_Space there. */
const pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }

/** GPT-2's division into words, then bytes as characters. */
export const byteLevelWords = {
  type: 'Sequence',
  pretokenizers: [{ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }, byteLevel],
} as const

/**
 * A vocabulary as the content of HuggingFace's tokenizer.json: words and bytes before, BPE within each word, and special
 * tokens taken whole wherever they stand. Nothing is put before or after a text.
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
