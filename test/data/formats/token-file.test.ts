import { describe, expect, it } from 'vitest'
import { encodeTokenHeader, parseTokenHeader } from '../../../src/data/formats/token-file.js'
import { thrownMessage } from '../../thrown.js'

const header = { vocabulary: 8192, tokens: 300 }

describe('token headers', () => {
  it('have the documented layout', () => {
    const bytes = Buffer.from(encodeTokenHeader({ vocabulary: 65537, tokens: 2 ** 33 + 5 }))
    expect(bytes.toString('latin1', 0, 8)).toBe('OITOKEN1')
    expect([bytes.readUInt32LE(8), bytes.readUInt32LE(12), bytes.readBigUInt64LE(16)]).toEqual([
      4,
      65537,
      2n ** 33n + 5n,
    ])
    expect(bytes.subarray(24)).toEqual(Buffer.alloc(8))
    expect(encodeTokenHeader({ vocabulary: 65536, tokens: 1 })[8]).toBe(2)
  })

  it('written and read > are equal', () => {
    expect(parseTokenHeader(encodeTokenHeader(header), 632)).toEqual(header)
    const large = { vocabulary: 100_000, tokens: 2 ** 33 }
    expect(parseTokenHeader(encodeTokenHeader(large), 32 + 4 * 2 ** 33)).toEqual(large)
  })

  it('rejects a damaged file, with the offset', () => {
    const bytes = encodeTokenHeader(header)
    const message = (change: (bytes: Uint8Array) => Uint8Array, size = 632) =>
      thrownMessage('invalid-data', () => parseTokenHeader(change(bytes.slice()), size))
    expect(message((it) => it.fill(0, 0, 1))).toMatch("does not start with 'OITOKEN1'")
    expect(message((it) => it.subarray(0, 20), 20)).toMatch('ends at offset 20, within its header')
    expect(message((it) => it.fill(4, 8, 9))).toMatch('offset 8 gives 4 bytes per token')
    expect(message((it) => it, 630)).toMatch('end at offset 632, but the file has 630 bytes: it is truncated')
    expect(message((it) => it, 640)).toMatch('640 bytes: it is damaged')
  })
})
