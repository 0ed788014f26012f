import { readFileSync } from 'node:fs'
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { describe, expect, it } from 'vitest'
import { Tokenizer, tokenizerJson, WordCounts } from '../../../src/data/tokenize/tokenizer.js'
import { trainBpe } from '../../../src/data/tokenize/train-bpe.js'
import { thrownMessage } from '../../thrown.js'

const text = readFileSync('README.md', 'utf8')
const words = new WordCounts()
words.add(text)
const vocabulary = trainBpe(words, { vocabulary: 700, specialTokens: ['<|endoftext|>', '<|pad|>'] })
const json = tokenizerJson(vocabulary)
const tokenizer = new Tokenizer(json)

/** Encodes directly from the file, splitting and merging by rank, without the library. */
function merged(word: string): number[] {
  const ranks = new Map(vocabulary.merges.map(([left, right], rank) => [`${left} ${right}`, rank]))
  const bytes = [...new TextEncoder().encode(word)]
  const characters = [...vocabulary.tokens.slice(2, 258)]
  const character = (byte: number) => characters[order.indexOf(byte)]!
  let symbols = bytes.map(character)
  for (;;) {
    const best = symbols.slice(1).reduce((least, right, i) => {
      return Math.min(least, ranks.get(`${symbols[i]} ${right}`) ?? Number.POSITIVE_INFINITY)
    }, Number.POSITIVE_INFINITY)
    if (best === Number.POSITIVE_INFINITY) return symbols.map((symbol) => vocabulary.tokens.indexOf(symbol))
    const [left, right] = vocabulary.merges[best]!
    const next: string[] = []
    for (let i = 0; i < symbols.length; i++) {
      if (symbols[i] === left && symbols[i + 1] === right) next.push(left + symbols[++i]!)
      else next.push(symbols[i]!)
    }
    symbols = next
  }
}
const printable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173)
const all = Array.from({ length: 256 }, (_, byte) => byte)
/** Bytes in vocabulary order: those printed as themselves, then the others. */
const order = [...all.filter(printable), ...all.filter((byte) => !printable(byte))]

describe('Tokenizer', () => {
  it('applies merges in order', () => {
    for (const [word] of [...words].slice(0, 400)) expect(tokenizer.encode(word)).toEqual(merged(word))
  })

  it('decodes to the encoded text', () => {
    for (const each of [text, 'zażółć 🙂 \u0000\u0085\ufeff\r\n\t  x  ', "don't <|endoftext|><|pad|> stop", ''])
      expect(tokenizer.decode(tokenizer.encode(each))).toBe(each)
  })

  it('encodes word by word to the same tokens as the library', () => {
    const library = new Library(json, {})
    for (const each of [text, ' a\u0085 \ufeff b\n\n\n c   ', '日本語 1234 ...!?'])
      expect(tokenizer.encode(each)).toEqual(library.encode(each).ids)
  })

  it('recognizes special tokens', () => {
    expect(tokenizer.specialTokens).toEqual(['<|endoftext|>', '<|pad|>'])
    expect(tokenizer.numberOf('<|pad|>')).toBe(1)
    expect(tokenizer.numberOf('<|none|>')).toBeUndefined()
    expect(tokenizer.encode('a<|pad|>b')).toEqual([...tokenizer.encode('a'), 1, ...tokenizer.encode('b')])
    expect(tokenizer.vocabulary).toBe(700)
  })

  it('supports other kinds of tokenizers', () => {
    const lower = new Tokenizer({
      version: '1.0',
      added_tokens: [
        { id: 0, content: '[UNK]', special: true, single_word: false, lstrip: false, rstrip: false, normalized: false },
      ],
      normalizer: { type: 'Lowercase' },
      pre_tokenizer: { type: 'Whitespace' },
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '[UNK]', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
        special_tokens: { '[UNK]': { id: '[UNK]', ids: [0], tokens: ['[UNK]'] } },
      },
      decoder: null,
      model: {
        type: 'WordPiece',
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab: { '[UNK]': 0, play: 1, '##ing': 2, now: 9 },
      },
    })
    expect(lower.encode('Playing now')).toEqual([1, 2, 9])
    expect(lower.encode('play', { around: true })).toEqual([0, 1])
    expect(lower.vocabulary).toBe(10)
  })

  it('rejects content that is not a tokenizer', () => {
    const message = (value: unknown) => thrownMessage('invalid-data', () => new Tokenizer(value))
    for (const value of [null, 3, [], {}, { model: null }, { model: {} }]) expect(message(value)).toMatch("no 'model'")
    expect(message({ model: { type: 'Oracle', vocab: {} } })).toMatch('not a valid tokenizer.json')
  })
})
