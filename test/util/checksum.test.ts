import { describe, expect, it } from 'vitest'
import { checksum, computeCrc32, crc32 } from '../../src/util/checksum.js'

const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'))

describe.each([
  ['of Node', crc32],
  ['for browsers', computeCrc32],
])('CRC-32 %s', (_, crc) => {
  it('agrees with the published check value and with zip', () => {
    expect(crc(bytesOf('123456789'))).toBe(0xcbf43926)
    expect(crc(new Uint8Array(0))).toBe(0)
    expect(crc(bytesOf('The quick brown fox jumps over the lazy dog'))).toBe(0x414fa339)
  })

  it('computes the CRC of chunks of any length', () => {
    const bytes = Uint8Array.from({ length: 41 }, (_, i) => (i * 89) & 255)
    for (let cut = 0; cut <= bytes.length; cut++)
      expect(crc(bytes.subarray(cut), crc(bytes.subarray(0, cut)))).toBe(crc(bytes))
  })

  it('reads shared memory', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(9))
    shared.set(bytesOf('123456789'))
    expect(crc(shared)).toBe(0xcbf43926)
  })
})

describe('checksum', () => {
  it('depends on the division into parts, and on every byte', () => {
    const all = [
      checksum(['ab', 'c']),
      checksum(['a', 'bc']),
      checksum(['abc']),
      checksum(['abd']),
      checksum(['']),
      checksum([]),
    ]
    expect(new Set(all).size).toBe(all.length)
    expect(checksum([Float32Array.of(1, 2)])).toBe(checksum([new Uint8Array(Float32Array.of(1, 2).buffer)]))
    expect(checksum(['abc'])).toMatch(/^[0-9a-f]{8}$/)
  })
})
