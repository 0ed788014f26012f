import { describe, expect, test } from 'vitest'
import { createMatcher, matchNames } from '../../src/util/pattern.js'
import { cpuTimeOf } from '../cpu-time.js'
import { errorWith } from '../thrown.js'

describe('createMatcher', () => {
  test.each([
    ['', '', true],
    ['', 'a', false],
    ['a.b', 'a.b', true],
    ['a.b', 'axb', false],
    ['*', '', true],
    ['*', 'any\nthing', true],
    ['a*', 'a', true],
    ['a*', 'ba', false],
    ['*a', 'ba', true],
    ['*a', 'ab', false],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['ab*ba', 'aba', false],
    ['*ab*ab*', 'xabab', true],
    ['*ab*ab*', 'xabxb', false],
    ['a*b*b', 'ab', false],
    ['a*b*b', 'abb', true],
    ['*bias*weight', 'bias.1.bias.weight', true],
    ['**a**', 'bab', true],
    ['a+(b)[c]$', 'a+(b)[c]$', true],
  ])('%j, %j > %s', (pattern, name, matches) => {
    expect(createMatcher(pattern)(name)).toBe(matches)
  })

  test('agrees with a regular expression on every pattern and name of few letters', () => {
    const texts = (letters: string, length: number): string[] =>
      length === 0 ? [''] : texts(letters, length - 1).flatMap((text) => [text, ...[...letters].map((l) => text + l)])
    const names = [...new Set(texts('ab', 5))]
    for (const pattern of new Set(texts('ab*', 4))) {
      const expression = new RegExp(`^${pattern.replaceAll('*', '.*')}$`)
      expect([pattern, names.filter(createMatcher(pattern))]).toEqual([
        pattern,
        names.filter((n) => expression.test(n)),
      ])
    }
  })

  test('does not backtrack', async () => {
    const { seconds } = await cpuTimeOf(() => {
      expect(createMatcher(`${'*a'.repeat(40)}*b`)('a'.repeat(100_000))).toBe(false)
      expect(createMatcher(`${'*a'.repeat(40_000)}*b`)('a'.repeat(100_000))).toBe(false)
      expect(createMatcher(`${'*a'.repeat(40_000)}*b*`)(`${'a'.repeat(100_000)}b`)).toBe(true)
    })
    expect(seconds).toBeLessThan(10)
  })
})

test('matchNames > a pattern without a match > error that names it', () => {
  expect(matchNames(['*.w', 'b'], ['a.w', 'b', 'c'], 'tensor')).toEqual(['a.w', 'b'])
  expect(() => matchNames('d*', ['a.w', 'b'], 'tensor')).toThrow(errorWith('invalid-option', "'d*'"))
})
