import { describe, expect, it } from 'vitest'
import { OnnxIreError } from '../../src/util/errors.js'
import { escapeControls, limitName } from '../../src/util/printable.js'

const messageOf = (text: string): string => new OnnxIreError('invalid-model', text).message

describe('escapeControls', () => {
  it.each([
    ['ESC', '\x1b[8m', '\\u001b[8m'],
    ['BEL', 'a\x07', 'a\\u0007'],
    ['a carriage return', 'a\rb', 'a\\u000db'],
    ['a tab', 'a\tb', 'a\\u0009b'],
    ['DEL', '\x7f', '\\u007f'],
    ['CSI of C1', '\x9b8m', '\\u009b8m'],
    ['a right-to-left override', 'a\u202eb', 'a\\u202eb'],
    ['an isolate', '\u2066a\u2069', '\\u2066a\\u2069'],
    ['a line separator', '\u2028', '\\u2028'],
  ])('%s > escape', (_, text, escaped) => {
    expect(escapeControls(text)).toBe(escaped)
  })

  it('line ends, letters of every script, emoji > unchanged', () => {
    const text = 'größe\n重み 🙂 עברית'
    expect(escapeControls(text)).toBe(text)
  })

  it('a JSON document > the same value', () => {
    const value = { 'a\x9bb\u202e': 'c\x7f' }
    expect(JSON.parse(escapeControls(JSON.stringify(value)))).toEqual(value)
  })
})

describe('limitName', () => {
  it('control characters and line ends > escaped; a long name > 100 characters', () => {
    expect(limitName('a\nb\x1b')).toBe('a\\nb\\u001b')
    expect(limitName('n'.repeat(5000))).toBe(`${'n'.repeat(100)}...`)
  })
})

describe('message of an OnnxIreError', () => {
  it('control characters > escaped', () => {
    expect(messageOf("the node 'a\x1b[8m\u202e'")).toBe("the node 'a\\u001b[8m\\u202e'")
  })
  it('a quoted name of 5,000 characters > 100 of them', () => {
    expect(messageOf(`the node '${'n'.repeat(5000)}' of the model`)).toBe(
      `the node '${'n'.repeat(100)}...' of the model`,
    )
  })
  it('apostrophes in prose > unchanged', () => {
    const text = `onnxruntime's provider ${'and so on '.repeat(20)}of the user's model`
    expect(messageOf(text)).toBe(text)
  })
  it('a list of 8 million elements > 16 of them and their number', () => {
    const text = messageOf(`perm [${Array(8_000_000).fill(1).join(', ')}] is not a permutation`)
    expect(text).toContain(`perm [${Array(16).fill(1).join(', ')}`)
    expect(text).toContain('is not a permutation')
    expect(text.length).toBeLessThan(2100)
  })
  it('a list of 100 elements > 16 of them and their number', () => {
    expect(messageOf(`axes [${Array(100).fill(0).join(',')}] repeat`)).toBe(
      `axes [${Array(16).fill(0).join(',')}, ... (100 in all)] repeat`,
    )
  })
  it('names between commas > the first 16 and the last', () => {
    const names = Array.from({ length: 300 }, (_, i) => `n${i}`)
    const text = messageOf(`no column 'x'; its columns are ${names.join(', ')}; name one`)
    expect(text).toContain('n15, ... (283 more), n299; name one')
  })
  it('lines > the first 16 and the last', () => {
    const lines = Array.from({ length: 1000 }, (_, i) => `  node ${i}`)
    const text = messageOf(`unsupported:\n${lines.join('\n')}\nadvice`)
    expect(text.split('\n')).toHaveLength(18)
    expect(text.endsWith('\nadvice')).toBe(true)
  })
  it('a long path > complete', () => {
    const path = `/home/${'folder/'.repeat(40)}model.onnx`
    expect(messageOf(`${path}: there is no such file`)).toBe(`${path}: there is no such file`)
  })
  it('any text > at most about 2,000 characters, beginning and end', () => {
    const text = messageOf(`first ${'words '.repeat(100_000)}last`)
    expect(text.length).toBeLessThan(2100)
    expect(text.startsWith('first')).toBe(true)
    expect(text.endsWith('last')).toBe(true)
  })
})
