import { isDeepStrictEqual } from 'node:util'
import protobuf from 'protobufjs/minimal.js'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { Reader } from '../../src/onnx/reader.js'
import { textOf, utf8Of } from '../../src/onnx/utf8.js'
import { Writer } from '../../src/onnx/writer.js'

/** What protobufjs reads by the same names; its int64 are two halves. */
const theirs = {
  tag: (reader: protobuf.Reader) => reader.tag(),
  size: (reader: protobuf.Reader) => reader.size(),
  int32: (reader: protobuf.Reader) => reader.int32(),
  int64: (reader: protobuf.Reader) => BigInt(reader.int64().toString()),
  uint64: (reader: protobuf.Reader) => BigInt(reader.uint64().toString()),
  float: (reader: protobuf.Reader) => reader.float(),
  double: (reader: protobuf.Reader) => reader.double(),
  bytes: (reader: protobuf.Reader) => [...reader.bytes()],
  string: (reader: protobuf.Reader) => reader.string(),
  skip: (reader: protobuf.Reader) => {
    const tag = reader.tag()
    reader.skipType(tag & 7, 0, tag >>> 3)
  },
}
const ours: Readonly<Record<keyof typeof theirs, (reader: Reader) => unknown>> = {
  tag: (reader) => reader.tag(),
  size: (reader) => reader.size(),
  int32: (reader) => reader.int32(),
  int64: (reader) => reader.int64(),
  uint64: (reader) => reader.uint64(),
  float: (reader) => reader.float(),
  double: (reader) => reader.double(),
  bytes: (reader) => [...reader.bytes()],
  string: (reader) => reader.string(),
  skip: (reader) => reader.skip(reader.tag()),
}

/** What it reads, or refuses, and where it stands then. */
function outcome<R extends { readonly pos: number }>(reader: R, read: (reader: R) => unknown) {
  try {
    const value = read(reader)
    return { value, at: reader.pos }
  } catch (error) {
    return { refused: (error as Error).message, at: reader.pos }
  }
}

describe('reading', () => {
  const random = new Random(3)
  const below = (n: number) => Math.floor(random.uniform() * n)
  /** Many bytes of varints that go on, of tags of groups, and of short lengths. */
  const byte = () => [below(256), 128 + below(128), below(32), 255, 0x0b, 0x0c][below(6)]!
  const inputs = Array.from({ length: 20_000 }, () => Uint8Array.from({ length: below(24) }, byte))

  it.each(Object.keys(theirs) as (keyof typeof theirs)[])('%s, as protobufjs reads and refuses it', (name) => {
    const counts = { read: 0, refused: 0 }
    const wrong: unknown[] = []
    for (const bytes of inputs) {
      const expected = outcome(new protobuf.Reader(bytes), theirs[name])
      // protobufjs asks for eight bytes and says four.
      if (name === 'double' && expected.refused) expected.refused = expected.refused.replace('+ 4', '+ 8')
      const found = outcome(new Reader(bytes), ours[name])
      if (!isDeepStrictEqual(found, expected)) wrong.push([bytes, found, expected])
      counts[expected.refused ? 'refused' : 'read']++
    }
    expect(wrong).toEqual([])
    expect(Math.min(counts.read, counts.refused)).toBeGreaterThan(500)
  })

  it('ends where it is told to', () => {
    const bytes = Uint8Array.of(1, 2, 0x80, 0x80, 0x01)
    expect(new Reader(bytes, 1, 2).tag()).toBe(2)
    expect(() => new Reader(bytes, 2, 4).tag()).toThrow('index out of range: 4 + 1 > 4')
  })
})

describe('writing', () => {
  const limits = [0, 1, 127, 128, 16383, 16384, 2 ** 21, 2 ** 28 - 1, 2 ** 28, 2 ** 31 - 1, -1, -128, -(2 ** 31)]
  const large = [2n ** 63n - 1n, -(2n ** 63n), 2n ** 64n - 1n, 2n ** 32n, 2n ** 35n - 1n, -(2n ** 32n), 0n, 127n, 128n]

  it('is that of protobufjs, byte by byte', () => {
    const [own, other] = [new Writer(), new protobuf.Writer()]
    for (const value of limits) {
      own.int32(value)
      other.int32(value)
      own.uint32(value)
      other.uint32(value)
    }
    for (const value of large) {
      own.int64(value)
      other.int64(value.toString()) // bigints are none of its types
    }
    for (const value of [0, -0, 1.5, -1e-42, 3.4e38, Infinity, 5e-324, Math.PI]) {
      own.float(value).double(value)
      other.float(value).double(value)
    }
    for (const value of ['', 'conv1', 'größe', '🤖 in '.repeat(40)]) {
      own.string(value)
      other.string(value)
    }
    const raw = Uint8Array.from({ length: 1000 }, (_, i) => i)
    const expected = other.raw(raw).finish()
    expect([...own.raw(raw).written]).toEqual([...expected])
    expect(own.len).toBe(expected.length)
  })

  it('grows under whatever is written', () => {
    const pieces: ((to: protobuf.Writer | Writer) => unknown)[] = [
      (to) => to.float(1.5),
      (to) => to.double(Math.PI),
      (to) => to.int32(-1),
      (to) => to.string('größe'),
    ]
    for (const write of pieces)
      for (let before = 0; before <= 300; before++) {
        const [own, other] = [new Writer(), new protobuf.Writer()]
        for (let i = 0; i < before; i++) {
          own.uint32(7)
          other.uint32(7)
        }
        write(own)
        write(other)
        expect(isDeepStrictEqual([...own.written], [...other.finish()])).toBe(true)
      }
  })

  it('begins again where it is told to', () => {
    const own = new Writer().string('something')
    own.reset()
    expect([...own.uint32(300).written]).toEqual([0xac, 0x02])
  })
})

describe('UTF-8', () => {
  it('keeps a byte order mark, and takes what is none for U+FFFD', () => {
    expect(textOf(Uint8Array.of(0xef, 0xbb, 0xbf, 65))).toBe('\ufeffA')
    expect(textOf(Uint8Array.of(65, 0xff, 66))).toBe('A\ufffdB')
    expect([...utf8Of('a\ud800')]).toEqual([97, 0xef, 0xbf, 0xbd])
    for (const text of ['', 'x', 'x'.repeat(31), 'x'.repeat(32), 'ü'.repeat(20), '🤖'])
      expect(textOf(utf8Of(text))).toBe(text)
  })
})
