import { describe, expect, it } from 'vitest'
import { checkLocation, externalFiles } from '../../../src/onnx/proto/external-data.js'
import { OnnxIreError } from '../../../src/util/errors.js'

describe('external data locations', () => {
  it.each([
    '',
    '/etc/passwd',
    '..',
    '../w',
    'a/../../w',
    'a\\..\\w',
    '\\\\server\\share',
    '\\w',
    'C:\\w',
    'c:w',
    'w\0.bin',
  ])('%j is refused', (location) => {
    expect(() => checkLocation(location)).toThrow(OnnxIreError)
    expect(() => checkLocation(location)).toThrow(/is refused/)
  })

  it.each(['w', 'model.onnx.data', 'sub/w.bin', './w', 'a..b', '..w', 'w..', 'größe'])('%j is taken', (location) => {
    expect(() => checkLocation(location)).not.toThrow()
  })
})

describe('external files in memory', () => {
  const files = externalFiles(new Map([['w', Uint8Array.of(1, 2, 3, 4)]]))

  it('are read in part and to the end', () => {
    expect([...files.read('w', 1, 2)]).toEqual([2, 3])
    expect([...files.read('w', 1, undefined)]).toEqual([2, 3, 4])
  })

  it('that are missing or too short are refused', () => {
    expect(() => files.read('v', 0, 1)).toThrow(/"v" was not given/)
    expect(() => files.read('w', 2, 3)).toThrow(/has 4 bytes, but bytes 2 to 5/)
    expect(() => files.read('w', 5, undefined)).toThrow(OnnxIreError)
  })
})
