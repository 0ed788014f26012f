import { expect, test } from 'vitest'
import { encodeTexts } from '../../src/cli/inputs/text-encoder.js'
import type { DataColumn } from '../../src/data/arrays.js'
import { Tokenizer } from '../../src/data/index.js'
import type { LanguageModel } from '../../src/language/language-model.js'

const words = ['[UNK]', '<s>', '</s>', 'a', 'b', 'c', 'd', 'e']
const vocab = Object.fromEntries(words.map((word, i) => [word, i]))

/** A tokenizer of words that adds tokens before and after each text. */
function tokenizerWith(before: readonly string[], after: readonly string[]): Tokenizer {
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } })
  const template = {
    type: 'TemplateProcessing',
    single: [...before.map(special), { Sequence: { id: 'A', type_id: 0 } }, ...after.map(special)],
    pair: [],
    special_tokens: Object.fromEntries(words.map((id) => [id, { id, ids: [vocab[id]], tokens: [id] }])),
  }
  return new Tokenizer({
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'Whitespace' },
    post_processor: before.length + after.length > 0 ? template : null,
    decoder: null,
    model: { type: 'WordLevel', vocab, unk_token: '[UNK]' },
  })
}

test.each([
  [[], [], 'a b c'],
  [['<s>'], [], '<s> a b'],
  [['<s>'], ['</s>'], '<s> a </s>'],
  [[], ['</s>', '[UNK]'], 'a </s> [UNK]'],
])(
  'a long text between %j and %j > is cut to 3 tokens, of which the text loses its last',
  (before, after, expected) => {
    const encoder = { tokenizer: tokenizerWith(before, after), padToken: 0, model: { proto: {} }, config: {} }
    const { columns, cut } = encodeTexts(encoder as unknown as LanguageModel, ['a b c d e'], 3)
    const { data } = (columns['input_ids'] as DataColumn).rows([0])
    expect([Array.from(data as BigInt64Array, (token) => words[Number(token)]).join(' '), cut]).toEqual([expected, 1])
  },
)
