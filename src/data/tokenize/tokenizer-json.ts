import type { BpeVocabulary } from './train-bpe.js'

/** `wordPattern` in HuggingFace's syntax for GPT-2, where `\s` is Unicode's White_Space. */
const pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }

/** Pre-tokenizer that splits text into GPT-2's words, then maps bytes to characters. */
export const byteLevelWords = {
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
