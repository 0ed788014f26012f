import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { splitIntoWords, WordCounts } from '../../../src/data/tokenize/tokenizer.js'
import { type BpeOptions, trainBpe } from '../../../src/data/tokenize/train-bpe.js'
import { Random } from '../../../src/util/random.js'
import { thrownMessage } from '../../thrown.js'
import { naiveBpe } from './naive-bpe.js'

const counted = (...texts: string[]) => {
  const counts = new WordCounts()
  for (const text of texts) counts.add(text)
  return counts
}

describe('words', () => {
  it('are split as in GPT-2', () => {
    expect(splitIntoWords("I can't  see 23 été's…\n\n  fin ")).toEqual([
      'I', ' can', "'t", ' ', ' see', ' 23', ' été', "'s", '…', '\n\n ', ' fin', ' ',
    ]) // biome-ignore format: as text
    expect(splitIntoWords("HE'S")).toEqual(['HE', "'", 'S'])
    expect(splitIntoWords('a\u0085\ufeffb')).toEqual(['a', '\u0085', '\ufeff', 'b']) // white space is what Unicode says
    expect(splitIntoWords('')).toEqual([])
  })

  it('concatenate to the text', () => {
    const text = readFileSync('README.md', 'utf8')
    expect(splitIntoWords(text).join('')).toBe(text)
    const counts = counted(text)
    expect([...counts].reduce((sum, [word, count]) => sum + count * word.length, 0)).toBe(text.length)
  })
})

/** Words over few letters, where pairs overlap and the same token comes about in several ways. */
function chance(seed: number): [string, number][] {
  const random = new Random(seed)
  const letters = ['a', 'b', 'é', ' '].slice(0, 2 + random.integer(3))
  const word = () =>
    Array.from({ length: 1 + random.integer(14) }, () => letters[random.integer(letters.length)]).join('')
  const words = new Set(Array.from({ length: 1 + random.integer(40) }, word))
  return [...words].map((each) => [each, 1 + random.integer(4)])
}

describe('trainBpe', () => {
  it.each(Array.from({ length: 60 }, (_, seed) => seed))('equals the naive algorithm on corpus %i', (seed) => {
    const words = chance(seed)
    const { tokens, merges } = trainBpe(words, { vocabulary: 320, specialTokens: ['<s>'] })
    const naive = naiveBpe(words, ['<s>'], 320)
    expect(merges).toEqual(naive.merges)
    expect(tokens).toEqual(naive.tokens)
  })

  it('equals the naive algorithm on a text', () => {
    const words = [...counted(readFileSync('README.md', 'utf8').slice(0, 6000))]
    const { tokens, merges } = trainBpe(words, { vocabulary: 400 })
    expect(merges).toEqual(naiveBpe(words, ['<|endoftext|>'], 400).merges)
    expect(tokens).toHaveLength(400)
  })

  it('does not depend on the order of the words', () => {
    const words = [...counted(readFileSync('CONTRIBUTING.md', 'utf8'))]
    expect(trainBpe(words.toReversed(), { vocabulary: 500 })).toEqual(trainBpe(words, { vocabulary: 500 }))
  })

  it('stops if no pair is frequent enough', () => {
    const words: [string, number][] = [
      ['abc', 3],
      ['bcd', 2],
    ]
    const at = (minFrequency: number) => trainBpe(words, { vocabulary: 1000, minFrequency }).merges
    expect(at(1)).toEqual([
      ['b', 'c'],
      ['a', 'bc'],
      ['bc', 'd'],
    ])
    expect(at(3)).toHaveLength(2)
    expect(at(6)).toEqual([])
  })

  it('numbers special tokens, bytes, merges', () => {
    const { tokens } = trainBpe([['ab', 2]], { vocabulary: 300, specialTokens: ['<s>', '</s>'] })
    expect(tokens.slice(0, 3)).toEqual(['<s>', '</s>', '!'])
    expect(tokens.slice(257)).toEqual(['Ń', 'ab'])
    expect(new Set(tokens).size).toBe(259)
  })

  it('rejects invalid options', () => {
    const message = (options: BpeOptions) => thrownMessage('invalid-option', () => trainBpe([['a', 1]], options))
    expect(message({ vocabulary: 256 })).toMatch("option 'vocabulary' is 256; it must be an integer in [257,")
    expect(message({ vocabulary: 300, specialTokens: ['x', 'x'] })).toMatch("option 'specialTokens'")
    expect(message({ vocabulary: 300, specialTokens: ['a'] })).toMatch("option 'specialTokens'")
    expect(message({ vocabulary: 300, minFrequency: 0 })).toMatch("option 'minFrequency' is 0")
    expect(thrownMessage('invalid-data', () => trainBpe([], { vocabulary: 300 }))).toMatch('no words')
  })
})
