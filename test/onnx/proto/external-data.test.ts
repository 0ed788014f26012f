import { describe, expect, it } from 'vitest'
import { checkLocation, externalFiles } from '../../../src/onnx/proto/external-data.js'
import { errorAt } from '../errors.js'

describe('location of external data', () => {
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
  ])('%j > throws external-data', (location) => {
    expect(() => checkLocation(location)).toThrow(errorAt('external-data', JSON.stringify(location)))
  })

  it.each(['w', 'model.onnx.data', 'sub/w.bin', './w', 'a..b', '..w', 'w..', 'größe'])(
    '%j > is accepted',
    (location) => {
      expect(() => checkLocation(location)).not.toThrow()
    },
  )
})

describe('externalFiles', () => {
  const files = externalFiles(new Map([['w', Uint8Array.of(1, 2, 3, 4)]]))

  it('a range > returns its bytes, to the end by default', () => {
    expect([...files.read('w', 1, 2)]).toEqual([2, 3])
    expect([...files.read('w', 1, undefined)]).toEqual([2, 3, 4])
  })

  it('a missing or short file > throws external-data', () => {
    expect(() => files.read('v', 0, 1)).toThrow(errorAt('external-data', '"v"'))
    expect(() => files.read('w', 2, 3)).toThrow(errorAt('external-data', /"w" .*4 bytes.* 2 to 5\b/))
    expect(() => files.read('w', 5, undefined)).toThrow(errorAt('external-data', '"w"'))
  })
})
