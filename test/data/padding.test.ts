import { describe, expect, it } from 'vitest'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { batches } from '../../src/data/batches.js'
import { fromExamples } from '../../src/data/examples.js'
import type { PadOptions } from '../../src/data/padding.js'
import { paddedColumn } from '../../src/data/padding.js'
import { stream } from '../../src/data/stream.js'
import { tensor } from '../../src/ir/tensor.js'
import { rejectedMessage, thrownMessage } from '../thrown.js'

const ids = [[1, 2, 3], [4], [], [5, 6]]
const int64 = (dims: number[], values: number[]) => tensor('int64', dims, BigInt64Array.from(values, BigInt))

describe('paddedColumn', () => {
  it('pads to the longest row of the batch, with a mask', async () => {
    const data = fromArrays({ ids: paddedColumn(ids, { value: 9, mask: 'mask' }), label: labelColumn([0, 1, 2, 3]) })
    expect(await data.batch([1, 3])).toEqual({
      ids: int64([2, 2], [4, 9, 5, 6]),
      mask: int64([2, 2], [1, 0, 1, 1]),
      label: int64([2], [1, 3]),
    })
    expect((await data.batch([0, 2]))['mask']).toEqual(int64([2, 3], [1, 1, 1, 0, 0, 0]))
    expect((await data.batch([2]))['ids']).toEqual(int64([1, 1], [9])) // never without any place
  })

  it.each([
    [{ multipleOf: 4 }, [4, 0, 0, 0, 5, 6, 0, 0]],
    [{ length: 5 }, [4, 0, 0, 0, 0, 5, 6, 0, 0, 0]],
    [{ maxLength: 1 }, [4, 5]],
    [{ multipleOf: 4, maxLength: 3 }, [4, 0, 0, 5, 6, 0]],
    [{ maxLength: 1, length: 2 }, [4, 0, 5, 0]],
  ])('accepts %o', async (options, expected) => {
    const { ids: x } = await fromArrays({ ids: paddedColumn(ids, options) }).batch([1, 3])
    expect(x).toEqual(int64([2, expected.length / 2], expected))
  })

  it('keeps dtypes, rounds the padding value to them, and pads rows of rank 2', async () => {
    const frames = [1, 2].map((t) =>
      tensor(
        'float32',
        [t, 2],
        Float32Array.from({ length: 2 * t }, (_, i) => i + 1),
      ),
    )
    const halves = [Uint16Array.of(0x3c00), Uint16Array.of(0x3c00, 0x3c00)]
    const data = fromArrays({
      frames: paddedColumn(frames, { value: -1 }),
      small: paddedColumn([Int8Array.of(1), Int8Array.of(1, 2)], { value: -100 }),
      half: paddedColumn(
        halves.map((data) => tensor('float16', [data.length], data)),
        { value: 2 },
      ),
    })
    expect(await data.batch([0, 1])).toEqual({
      frames: tensor('float32', [2, 2, 2], Float32Array.of(1, 2, -1, -1, 1, 2, 3, 4)),
      small: tensor('int8', [2, 2], Int8Array.of(1, -100, 1, 2)),
      half: tensor('float16', [2, 2], Uint16Array.of(0x3c00, 0x4000, 0x3c00, 0x3c00)),
    })
  })

  it('rejects an invalid row or option, by index or name', async () => {
    const of = (row: unknown) => thrownMessage('invalid-data', () => paddedColumn([[1], row as number[]]))
    expect(of([1, 0.5])).toMatch('entry 1 of row 1 is 0.5')
    expect(of('text')).toMatch('row 1')
    expect(thrownMessage('invalid-option', () => paddedColumn(ids, { multipleOf: 0 }))).toMatch(
      "paddedColumn: option 'multipleOf' is 0",
    )
    expect(thrownMessage('invalid-option', () => paddedColumn(ids, { values: 1 } as object))).toMatch(
      "no option 'values'",
    )
    const long = fromArrays({ ids: paddedColumn(ids, { length: 2 }) })
    expect(await rejectedMessage('invalid-data', async () => long.batch([1, 0]))).toMatch(
      'paddedColumn: row 0 has length 3',
    )
    const mixed = fromArrays({ x: paddedColumn([Float32Array.of(1), Int32Array.of(1)]) })
    expect(await rejectedMessage('invalid-data', async () => mixed.batch([0, 1]))).toMatch('row 1 is int32 [1]')
    const scalar = fromArrays({ x: paddedColumn([tensor('float32', [], Float32Array.of(1))]) })
    expect(await rejectedMessage('invalid-data', async () => scalar.batch([0]))).toMatch('is a scalar')
    expect(thrownMessage('invalid-data', () => fromArrays({ mask: paddedColumn(ids, { mask: 'mask' }) }))).toMatch(
      "two tensors have the name 'mask'",
    )
  })
})

describe('padding of examples', () => {
  const examples = [
    { ids: BigInt64Array.of(1n, 2n), label: 0n },
    { ids: BigInt64Array.of(3n), label: 1n },
    { ids: BigInt64Array.of(4n, 5n, 6n), label: 0n },
  ]
  const padding = { ids: { value: 7, mask: 'mask' } }

  it('is the same for lists and streams', async () => {
    for (const data of [fromExamples(examples, { padding }), stream(examples, { padding })]) {
      const seen = []
      for await (const { tensors } of batches(data, { batchSize: 2 })) seen.push(tensors)
      expect(seen).toEqual([
        { ids: int64([2, 2], [1, 2, 3, 7]), mask: int64([2, 2], [1, 1, 1, 0]), label: int64([2], [0, 1]) },
        { ids: int64([1, 3], [4, 5, 6]), mask: int64([1, 3], [1, 1, 1]), label: int64([1], [0]) },
      ])
    }
  })

  it('rejects an invalid example or name', async () => {
    const failure = (padding: Readonly<Record<string, PadOptions>>) =>
      rejectedMessage('invalid-data', async () => fromExamples(examples, { padding }).batch([2, 1]))
    expect(await failure({})).toMatch("'ids' of example 2 is int64 [3] and 'ids' of example 1 is int64 [1]")
    expect(await failure({ ids: { length: 2 } })).toMatch("'ids' of example 2 has length 3")
    expect(await failure({ ids: {}, tokens: {} })).toMatch("'tokens'")
    expect(await failure({ ids: { mask: 'label' } })).toMatch("'label'")
    const pairs = fromExamples([{ a: Float32Array.of(1), b: Float32Array.of(1, 2) }], {
      padding: { a: { mask: 'mask' }, b: { mask: 'mask' } },
    })
    expect(await rejectedMessage('invalid-data', async () => pairs.batch([0]))).toBe(
      "padding of 'b': another tensor has a mask named 'mask', the name of the mask",
    )
    expect(thrownMessage('invalid-option', () => stream(examples, { padding: { ids: { length: 0 } } }))).toMatch(
      "padding of 'ids': option 'length' is 0",
    )
  })
})
