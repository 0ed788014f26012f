import { expect, test } from 'vitest'
import { removeTags } from '../../tools/experiments/adapters/brown.js'

test('tags of parts of speech > are removed, and punctuation stands at its word', () => {
  const text = '\n\n\tThe/at jury/nn said/vbd ``/`` no/at evidence/nn (/( of/in 1/2/cd )/) ./.\n\n'
  expect(removeTags(text)).toBe('The jury said "no evidence (of 1/2).')
  expect(removeTags("He/pps said/vbd ''/'' ./.")).toBe('He said".')
})
