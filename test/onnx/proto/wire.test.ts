import { isDeepStrictEqual } from 'node:util'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/data/index.js'
import type { PackedKind, ScalarKind } from '../../../src/onnx/proto/fields.js'
import {
  createReader,
  createWriter,
  type Reader,
  readOccurrences,
  readPacked,
  readScalar,
  skipValue,
  toPackedBytes,
  writeNumber,
  writeText,
} from '../../../src/onnx/proto/wire.js'
import { decodeUtf8, encodeUtf8 } from '../../../src/util/utf8.js'

/** The specification, written down plainly: reads from `bytes`, throws if they end too early or are invalid. */
class Reference {
  pos = 0
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  take(count: number): Uint8Array {
    const end = this.pos + count
    if (end > this.bytes.length) throw new Error('cut off')
    const taken = this.bytes.subarray(this.pos, end)
    this.pos = end
    return taken
  }

  /** At most `most` bytes, of which the last one is at most `largest`. */
  varint(most = 10, largest = 127): bigint {
    let value = 0n
    for (let i = 0; ; i++) {
      const byte = this.take(1)[0]!
      if (i === most - 1 && byte > largest) throw new Error('too long')
      value |= BigInt(byte & 127) << BigInt(7 * i)
      if (byte < 128) return value
    }
  }

  tag = (): number => Number(this.varint(5, 15))
  size = (): number => Number(this.varint(5, 7))
  view = (count: number): DataView => new DataView(this.take(count).slice().buffer)

  skip(tag: number, depth = 0): void {
    if (depth > 100 || tag >>> 3 === 0) throw new Error('invalid')
    const wireType = tag & 7
    if (wireType === 0) while (this.take(1)[0]! > 127);
    else if (wireType === 1) this.take(8)
    else if (wireType === 2) this.take(this.size())
    else if (wireType === 5) this.take(4)
    else if (wireType === 3) {
      for (let inner = this.tag(); (inner & 7) !== 4 || inner >>> 3 !== tag >>> 3; inner = this.tag()) {
        if ((inner & 7) === 4) throw new Error('another group ends')
        this.skip(inner, depth + 1)
      }
    } else throw new Error('invalid wire type')
  }
}

const expected: Readonly<Record<ScalarKind | 'skip', (reference: Reference) => unknown>> = {
  int32: (reference) => Number(BigInt.asIntN(32, reference.varint())),
  int64: (reference) => BigInt.asIntN(64, reference.varint()),
  uint64: (reference) => BigInt.asUintN(64, reference.varint()),
  float: (reference) => reference.view(4).getFloat32(0, true),
  double: (reference) => reference.view(8).getFloat64(0, true),
  bytes: (reference) => [...reference.take(reference.size())],
  string: (reference) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(reference.take(reference.size())),
  skip: (reference) => reference.skip(reference.tag()),
}

function read(reader: Reader, kind: ScalarKind | 'skip'): unknown {
  if (kind === 'skip') return skipValue(reader, reader.tag())
  const value = readScalar(reader, kind)
  return value instanceof Uint8Array ? [...value] : value
}

/** The value and the position after it, or null if reading throws. */
function outcome<R extends { readonly pos: number }>(reader: R, read: (reader: R) => unknown) {
  try {
    return { value: read(reader), pos: reader.pos }
  } catch {
    return null
  }
}

describe('reading', () => {
  const random = new Random(3)
  const below = (n: number) => Math.floor(random.uniform() * n)
  /** Many bytes of long varints, of group tags and of short lengths. */
  const byte = () => [below(256), 128 + below(128), below(32), 255, 0x0b, 0x0c][below(6)]!
  const inputs = Array.from({ length: 20_000 }, () => Uint8Array.from({ length: below(24) }, byte))

  it.each(Object.keys(expected) as (ScalarKind | 'skip')[])('%s > random bytes > follows the specification', (kind) => {
    const counts = { read: 0, rejected: 0 }
    const wrong: unknown[] = []
    for (const bytes of inputs) {
      const right = outcome(new Reference(bytes), expected[kind])
      const found = outcome(createReader(bytes), (reader) => read(reader, kind))
      if (!isDeepStrictEqual(found, right)) wrong.push([bytes, found, right])
      counts[right ? 'read' : 'rejected']++
    }
    expect(wrong).toEqual([])
    expect(Math.min(counts.read, counts.rejected)).toBeGreaterThan(500)
  })

  it('a range of the bytes > reading ends at the end of the range', () => {
    const bytes = Uint8Array.of(1, 2, 0x80, 0x80, 0x01)
    expect(createReader(bytes, 1, 2).tag()).toBe(2)
    expect(() => createReader(bytes, 2, 4).tag()).toThrow(RangeError)
  })

  it('bytes > returns a view', () => {
    const bytes = Uint8Array.of(2, 5, 6)
    expect((readScalar(createReader(bytes), 'bytes') as Uint8Array).buffer).toBe(bytes.buffer)
  })

  it('packed floats > aligned > returns a view, otherwise a copy', () => {
    for (const shift of [0, 1, 2, 3]) {
      const bytes = new Uint8Array(16)
      bytes.set([8, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], shift)
      const values = readPacked(createReader(bytes, shift, shift + 9), 'float')
      expect([...values]).toEqual([1, -2])
      expect(values.buffer === bytes.buffer).toBe(shift === 3)
    }
  })

  it('fields of a message > yields tags and positions, groups included', () => {
    const bytes = Uint8Array.of(0x08, 1, 0x12, 1, 65, 0x1b, 0x08, 1, 0x1c)
    expect([...readOccurrences(bytes, 0, bytes.length)]).toEqual([
      { number: 1, wireType: 0, start: 0, body: 1, end: 2 },
      { number: 2, wireType: 2, start: 2, body: 4, end: 5 },
      { number: 3, wireType: 3, start: 5, body: 6, end: 9 },
    ])
  })
})

describe('writing', () => {
  const written = (kind: PackedKind, value: number | bigint): number[] => {
    const writer = createWriter()
    writeNumber(writer, kind, value)
    return [...writer.finish()]
  }
  const tenBytes = (last: number) => [...Array<number>(9).fill(0xff), last]

  it.each<[PackedKind, number | bigint, number[]]>([
    ['int32', 0, [0]],
    ['int32', 300, [0xac, 0x02]],
    ['int32', 2 ** 31 - 1, [0xff, 0xff, 0xff, 0xff, 0x07]],
    ['int32', -1, tenBytes(1)],
    ['int64', 2n ** 63n - 1n, [...Array<number>(8).fill(0xff), 0x7f]],
    ['int64', -(2n ** 63n), [...Array<number>(9).fill(0x80), 1]],
    ['uint64', 2n ** 64n - 1n, tenBytes(1)],
    ['float', -2, [0, 0, 0, 0xc0]],
    ['float', -0, [0, 0, 0, 0x80]],
    ['double', 1.5, [0, 0, 0, 0, 0, 0, 0xf8, 0x3f]],
  ])('%s %s > has the bytes of the specification', (kind, value, bytes) => {
    expect(written(kind, value)).toEqual(bytes)
  })

  it('numbers of every kind > read back > are equal, also packed', () => {
    const integers = [0, 1, 127, 128, 16383, 16384, 2 ** 21, 2 ** 28, 2 ** 31 - 1, -1, -128, -(2 ** 31)]
    const large = [2n ** 63n - 1n, -(2n ** 63n), 2n ** 32n, 2n ** 35n - 1n, -(2n ** 32n), 0n, 127n, 128n]
    const values: Readonly<Record<PackedKind, readonly (number | bigint)[]>> = {
      int32: integers,
      int64: large,
      uint64: [2n ** 64n - 1n, 2n ** 63n, 0n],
      float: [0, -0, 1.5, Math.fround(-1e-42), Infinity],
      double: [0, -0, 5e-324, Math.PI],
    }
    for (const kind of Object.keys(values) as PackedKind[]) {
      for (const value of values[kind])
        expect(readScalar(createReader(Uint8Array.from(written(kind, value))), kind)).toBe(value)
      const content = toPackedBytes(kind, values[kind])
      const packed = Uint8Array.of(content.length, ...content)
      expect([...readPacked(createReader(packed), kind)]).toEqual(values[kind])
    }
  })

  it('text of any length after any number of bytes > reads back > is equal', () => {
    for (const text of ['', 'conv1', 'größe', '🤖 in '.repeat(40)])
      for (let before = 0; before <= 300; before++) {
        const writer = createWriter()
        for (let i = 0; i < before; i++) writer.uint32(7)
        const bytes = writeText(writer, text).finish()
        expect(createReader(bytes, before).string()).toBe(text)
      }
  })
})

describe('UTF-8', () => {
  it('a byte order mark > is preserved; invalid bytes and lone surrogates become U+FFFD', () => {
    expect(decodeUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 65))).toBe('\ufeffA')
    expect(decodeUtf8(Uint8Array.of(65, 0xff, 66))).toBe('A\ufffdB')
    expect([...encodeUtf8('a\ud800')]).toEqual([97, 0xef, 0xbf, 0xbd])
    expect([...writeText(createWriter(), 'a\udc00').finish()]).toEqual([4, 97, 0xef, 0xbf, 0xbd])
    for (const text of ['', 'x', 'x'.repeat(31), 'x'.repeat(32), 'ü'.repeat(20), '🤖'])
      expect(decodeUtf8(encodeUtf8(text))).toBe(text)
  })
})
