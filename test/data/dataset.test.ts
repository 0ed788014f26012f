import { describe, expect, it } from 'vitest'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { withSampleWeights } from '../../src/data/classes.js'
import { type Dataset, type SplitOptions, split, subset } from '../../src/data/dataset.js'
import { fromExamples } from '../../src/data/examples.js'
import { augment, transform } from '../../src/data/transform.js'
import { type Tensor, tensor } from '../../src/ir/tensor.js'
import { thrownMessage } from '../thrown.js'

const counting = (length: number): Dataset => fromArrays({ x: Float32Array.from({ length }, (_, i) => i) })
const values = async (dataset: Dataset, indices: ArrayLike<number>) => [
  ...((await dataset.batch(indices))['x'] as Tensor).data,
]
const all = (dataset: Dataset) =>
  values(
    dataset,
    Array.from({ length: dataset.length }, (_, i) => i),
  )

describe('fromArrays', () => {
  it('gathers rows in the given order, with repeats', async () => {
    const data = fromArrays({
      input: { dims: [3, 2], data: Float32Array.of(0, 1, 10, 11, 20, 21) },
      label: labelColumn([7, 8, 9]),
    })
    expect(data.length).toBe(3)
    expect(await data.batch([2, 0, 2])).toEqual({
      input: tensor('float32', [3, 2], Float32Array.of(20, 21, 0, 1, 20, 21)),
      label: tensor('int64', [3], BigInt64Array.of(9n, 7n, 9n)),
    })
  })

  it.each([
    tensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)),
    tensor('float64', [2, 1], Float64Array.of(1, 2)),
    tensor('float16', [2, 2], Uint16Array.of(1, 2, 3, 4)),
    tensor('bfloat16', [2], Uint16Array.of(1, 2)),
    tensor('int8', [2], Int8Array.of(-1, -2)),
    tensor('int16', [2], Int16Array.of(-1, -2)),
    tensor('int32', [2, 1, 2], Int32Array.of(1, 2, 3, 4)),
    tensor('int64', [2], BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n)),
    tensor('uint8', [2], Uint8Array.of(1, 2)),
    tensor('uint16', [2], Uint16Array.of(1, 2)),
    tensor('uint32', [2], Uint32Array.of(1, 2)),
    tensor('uint64', [2], BigUint64Array.of(1n, 2n ** 64n - 1n)),
    tensor('int4', [2, 4], Uint8Array.of(0x21, 0x43, 0x65, 0x87)),
    tensor('uint4', [2, 2], Uint8Array.of(0x21, 0x43)),
    tensor('bool', [2], Uint8Array.of(0, 1)),
    tensor('string', [2, 2], ['a', 'b', 'c', 'd']),
  ])('carries $dtype unchanged', async (x) => {
    const half = x.data.length / 2
    const swapped = [...x.data.slice(half), ...x.data.slice(0, half)]
    const { y } = await fromArrays({ y: x }).batch([1, 0])
    expect(y?.dtype).toBe(x.dtype)
    expect(y?.dims).toEqual(x.dims)
    expect([...(y?.data ?? [])]).toEqual(swapped)
    expect(y?.data.constructor).toBe(x.data.constructor)
  })

  it('accepts views into larger buffers, and infers dtypes from array classes', async () => {
    const data = fromArrays({
      view: new Int16Array(Int16Array.of(9, 9, 5, 6).buffer, 4),
      words: { dims: [2], data: ['x', 'y'] },
    })
    expect(await data.batch([1])).toEqual({
      view: tensor('int16', [1], Int16Array.of(6)),
      words: tensor('string', [1], ['y']),
    })
  })

  it('returns batches that do not share memory with the data', async () => {
    const source = Float32Array.of(1, 2)
    const { x } = await fromArrays({ x: source }).batch([0, 1])
    source[0] = 5
    expect([...(x?.data ?? [])]).toEqual([1, 2])
  })

  it('rejects columns that do not match their dims or each other', () => {
    const floats = (n: number) => new Float32Array(n)
    const message = (columns: Parameters<typeof fromArrays>[0]) =>
      thrownMessage('invalid-data', () => fromArrays(columns))
    expect(message({})).toMatch('needs at least one tensor')
    expect(message({ input: floats(3), label: labelColumn([1, 2]) })).toMatch(
      "'input' has 3 examples and 'label' has 2",
    )
    expect(message({ x: { dims: [2, 3], data: floats(5) } })).toMatch(
      "'x' has dims [2, 3], which require 6 elements, but its data have 5",
    )
    expect(message({ x: { dims: [], data: floats(1) } })).toMatch('needs a leading axis')
    expect(message({ x: { dims: [-1], data: floats(1) } })).toMatch('integer sizes')
    expect(message({ x: { dtype: 'int64', dims: [2], data: Int32Array.of(1, 2) } })).toMatch(
      'dtype int64, but data in a Int32Array',
    )
    expect(message({ x: tensor('int4', [2, 3], new Uint8Array(3)) })).toMatch('whole bytes')
    for (const x of [[1, 2], { dims: [2], data: [1, 2] }, { dims: 2, data: floats(2) }])
      expect(message({ x: x as never })).toMatch('labelColumn(...)')
    expect(message({ x: undefined as never })).toMatch("'x' is undefined, not a tensor")
    expect(message({ x: { dtype: 'float', dims: [2], data: floats(2) } as never })).toMatch("unknown dtype 'float'")
    expect(message({ x: new Uint8ClampedArray(2) as never })).toMatch('data in a Uint8ClampedArray')
  })

  it('rejects an index out of range', () => {
    const data = counting(4)
    for (const index of [4, -1, 0.5, Number.NaN])
      expect(thrownMessage('invalid-data', () => data.batch([0, index]))).toContain(`no example ${index}:`)
  })
})

describe('labelColumn', () => {
  it('converts numbers, arrays and tensors to int64', () => {
    const expected = tensor('int64', [2], BigInt64Array.of(5n, -100n))
    expect(labelColumn([5, -100])).toEqual(expected)
    expect(labelColumn(Int8Array.of(5, -100))).toEqual(expected)
    expect(labelColumn([5n, -100n])).toEqual(expected)
    expect(labelColumn(tensor('int32', [1, 2], Int32Array.of(5, -100)))).toEqual({ ...expected, dims: [1, 2] })
  })

  it('rejects fractions', () => {
    expect(thrownMessage('invalid-data', () => labelColumn([1, 0.5]))).toContain('label 1 is 0.5')
    expect(thrownMessage('invalid-data', () => labelColumn(Float32Array.of(Number.NaN)))).toMatch('label 0 is NaN')
  })
})

describe('subset', () => {
  it('keeps the given order, also of nested subsets', async () => {
    expect(await all(subset(counting(5), [4, 1, 1]))).toEqual([4, 1, 1])
    expect(await all(subset(counting(5), { start: 2, end: 4 }))).toEqual([2, 3])
    expect(await all(subset(counting(5), { start: 3 }))).toEqual([3, 4])
    expect(await all(subset(subset(counting(9), { start: 2 }), [6, 0]))).toEqual([8, 2])
  })

  it('rejects indices outside the data set', () => {
    expect(thrownMessage('invalid-data', () => subset(counting(3), [0, 3]))).toMatch('there is no example 3')
    expect(thrownMessage('invalid-data', () => subset(counting(3), [-1]))).toMatch('there is no example -1')
    expect(thrownMessage('invalid-option', () => subset(counting(3), { end: 4 }))).toMatch("option 'end' is 4")
    expect(thrownMessage('invalid-option', () => subset(counting(3), { start: 2, end: 1 }))).toMatch(
      "option 'end' is 1",
    )
    expect(thrownMessage('invalid-data', () => subset(counting(3), { end: 1 }).batch([1]))).toMatch(
      'there is no example 1',
    )
  })
})

describe('split', () => {
  it('assigns every example to one part, depending on the seed', async () => {
    const parts = async (seed: number) => {
      const { train, validation } = split(counting(50), { validation: 0.2, seed })
      return { train: await all(train), validation: await all(validation) }
    }
    const { train, validation } = await parts(1)
    expect(validation).toHaveLength(10)
    expect([...train, ...validation].map(Number).sort((a, b) => a - b)).toEqual(await all(counting(50)))
    expect(await parts(1)).toEqual({ train, validation })
    expect((await parts(2)).validation).not.toEqual(validation)
  })

  /** Examples with a key and a class of their own, the keys of the held-out ones, and the classes by key. */
  const named = (keys: readonly string[], classOf: (key: string) => number): Dataset => ({
    ...counting(keys.length),
    identify: () => ({ keys, classes: keys.map(classOf) }),
  })
  const heldOut = (data: Dataset, options: Partial<SplitOptions> = {}) =>
    split(data, { validation: 0.15, ...options }).validation.identify!().keys!
  const keys = Array.from({ length: 300 }, (_, i) => `image ${i}`)
  /** Classes of 200, 75 and 25 examples. */
  const classOf = (key: string) => Number(keys.indexOf(key) % 12 > 7) + Number(keys.indexOf(key) % 12 > 10)

  it('holds out the same share of every class, unless stratify is false', () => {
    const sizes = (held: readonly string[]) => [0, 1, 2].map((c) => held.filter((key) => classOf(key) === c).length)
    for (const seed of [0, 1, 2]) {
      const [large, middle, small] = sizes(heldOut(named(keys, classOf), { seed }))
      expect([large, large! + middle! + small!]).toEqual([30, 45])
      expect([11, 12]).toContain(middle)
    }
    const others = [0, 1, 2].map((seed) => sizes(heldOut(named(keys, classOf), { seed, stratify: false }))[0])
    expect(others.some((count) => count !== 30)).toBe(true)
  })

  it('chooses by key: other examples change nothing but at most one per class', () => {
    const before = new Set(heldOut(named(keys, classOf)))
    const reversed = heldOut(named([...keys].reverse(), classOf))
    expect(new Set(reversed)).toEqual(before)
    let moves = 0
    for (const removed of keys.slice(0, 100)) {
      const left = keys.filter((key) => key !== removed)
      const after = new Set(heldOut(named(left, classOf)))
      const moved = left.filter((key) => before.has(key) !== after.has(key))
      for (const c of [0, 1, 2]) expect(moved.filter((key) => classOf(key) === c).length).toBeLessThanOrEqual(1)
      moves += moved.length
    }
    // A permutation of the positions would move 15 % of the examples every time.
    expect(moves).toBeLessThan(100)
  })

  it('divides the examples into folds, with the same share of every class', () => {
    const data = named(keys, classOf)
    const folds = [0, 1, 2, 3, 4].map((fold) => split(data, { folds: 5, fold }).validation.identify!().keys!)
    expect(folds.flat().sort()).toEqual([...keys].sort())
    for (const fold of folds)
      expect([0, 1, 2].map((c) => fold.filter((key) => classOf(key) === c).length)).toEqual([40, 15, 5])
    for (const removed of keys.slice(0, 40)) {
      const left = named(
        keys.filter((key) => key !== removed),
        classOf,
      )
      const others = split(left, { folds: 5, fold: 2 }).validation.identify!().keys!
      expect(others.filter((key) => !folds[2]!.includes(key)).length).toBeLessThanOrEqual(1)
    }
    const refused = [
      { folds: 1, fold: 0 },
      { folds: 5 },
      { folds: 5, fold: 5 },
      { validation: 0.1, folds: 5, fold: 0 },
      { fold: 1 },
    ]
    for (const options of refused) thrownMessage('invalid-option', () => split(data, options))
    // Every fold is refused if one of them would be empty.
    for (const fold of [0, 1, 300])
      expect(thrownMessage('invalid-option', () => split(data, { folds: 301, fold }))).toMatch(
        /301 folds.* 300 examples/,
      )
  })

  it('never holds out all examples of a class', () => {
    const single = (key: string) => (key === 'image 7' ? 1 : key === 'image 8' ? 2 : 0)
    for (const seed of [0, 1, 2, 3])
      expect(heldOut(named(keys.slice(0, 10), single), { validation: 0.5, seed })).not.toContain('image 7')
  })

  it('identifies tensors in memory by their elements, and examples by their class', async () => {
    const rows = Array.from({ length: 60 }, (_, i) => [i, 2 * i])
    const dataOf = (of: readonly (readonly number[])[]) =>
      fromArrays({
        x: { dims: [of.length, 2], data: Float32Array.from(of.flat()) },
        labels: labelColumn(of.map(([i]) => i! % 3)),
      })
    const chosen = async (of: readonly (readonly number[])[]) => {
      const { validation } = split(
        augment(dataOf(of), (batch) => batch),
        { validation: 0.2 },
      )
      const { x } = await validation.batch(Uint32Array.from({ length: validation.length }, (_, i) => i))
      return Array.from(x!.data as Float32Array).filter((_, i) => i % 2 === 0)
    }
    const before = await chosen(rows)
    expect([0, 1, 2].map((c) => before.filter((i) => i % 3 === c).length)).toEqual([4, 4, 4])
    const after = await chosen(rows.filter(([i]) => i !== 5))
    expect(after.filter((i) => !before.includes(i)).length).toBeLessThanOrEqual(1)
    const examples = fromExamples(rows.map(([i]) => ({ x: Float32Array.of(i!), label: BigInt(i! % 3) })))
    expect(split(examples, { validation: 0.2 }).validation.identify!().classes).toHaveLength(12)
  })

  it('reads the keys of an object with methods, also of parts of it', () => {
    class Photos {
      readonly length = 40
      readonly #names = Array.from({ length: 40 }, (_, i) => `photo ${i}`)
      batch(indices: ArrayLike<number>) {
        return { x: tensor('float32', [indices.length], Float32Array.from(indices)) }
      }
      identify() {
        return { keys: this.#names }
      }
    }
    const keys = (data: Dataset) => split(data, { validation: 0.25 }).validation.identify!().keys
    const expected = keys(new Photos())
    const all = Uint32Array.from({ length: 40 }, (_, i) => i)
    for (const data of [
      subset(new Photos(), all),
      transform(new Photos(), (batch) => batch),
      withSampleWeights(new Photos(), all),
    ])
      expect(keys(data)).toEqual(expected)
  })

  it('rejects an empty part', () => {
    for (const validation of [0, 0.01, 1, 0.99])
      expect(thrownMessage('invalid-option', () => split(counting(10), { validation, seed: 0 }))).toMatch(
        'at least one',
      )
    expect(thrownMessage('invalid-option', () => split(counting(10), { validation: 2, seed: 0 }))).toMatch('[0, 1]')
    const numbered = fromArrays({ id: labelColumn([0, 1, 2, 3]), x: new Float32Array(4) })
    expect(thrownMessage('invalid-option', () => split(numbered, { validation: 0.5 }))).toMatch(
      'no class is held out as a whole: with stratify: false the 4 classes do not count',
    )
    expect(split(numbered, { validation: 0.5, stratify: false }).validation.length).toBe(2)
  })
})

describe('transform', () => {
  it('passes each batch with the indices of its examples', async () => {
    const shifted = transform(counting(4), ({ x }, indices) => ({
      x: tensor(
        'float32',
        [2],
        Float32Array.from(x?.data as Float32Array, (value, i) => 10 * value + (indices[i] ?? 0)),
      ),
    }))
    expect(shifted.length).toBe(4)
    expect(await values(shifted, [3, 1])).toEqual([33, 11])
  })
})
