import { describe, expect, test, vi } from 'vitest'
import type { FloatArray } from '../../../src/ir/float-array.js'
import { allocateIn, createWasmMemory } from '../../../src/ir/wasm-memory.js'
import { adamw } from '../../../src/optim/adam.js'
import type { ParameterArrays } from '../../../src/optim/arrays.js'
import { countAlone, countTogether } from '../../../src/optim/ire/counting.js'
import { type IreOptimizer, ire } from '../../../src/optim/ire/ire.js'
import { type FlatMask, maskRefresh, refreshMask } from '../../../src/optim/ire/mask.js'
import { type Order, select } from '../../../src/optim/ire/radix-select.js'
import { OnnxIreError } from '../../../src/util/errors.js'
import { Random } from '../../../src/util/random.js'
import { errorWith } from '../../thrown.js'
import { localGroup } from '../../train/local-group.js'

const random = new Random(7)
const draw = (n: number, f: (i: number) => number) => Array.from({ length: n }, (_, i) => f(i))

/** Arrays on which a selection by bits or by pivots could go wrong. */
const cases: Record<string, number[]> = {
  'wide range': draw(1001, () => random.normal() * Math.exp(20 * random.normal())),
  'many ties': draw(1000, () => random.integer(3) - 1),
  'all equal': draw(64, () => -2.5),
  'all zero, of both signs': draw(65, (i) => (i % 2 ? 0 : -0)),
  denormals: draw(300, () => random.integer(1 << 20) * 2 ** -149),
  'same upper half': draw(500, () => 1 + random.integer(1 << 16) * 2 ** -23),
  'same but for the last bits of a double': draw(500, () => 1 + random.integer(1 << 20) * 2 ** -52),
  'a power of two and its neighbors': [
    1,
    1 - 2 ** -24,
    1 + 2 ** -23,
    0.5,
    2,
    3.4028234663852886e38,
    2 ** -126,
    2 ** -149,
  ],
  one: [-3],
  sorted: draw(400, (i) => i),
  reversed: draw(400, (i) => -(400 - i)),
}

const byMagnitude = (values: Iterable<number>) => [...values].map(Math.abs).sort((a, b) => b - a)

/** Selects with all arrays in this process. */
function selectAlone(arrays: readonly FloatArray[], k: number, order: Order) {
  const total = arrays.reduce((sum, { length }) => sum + length, 0)
  const isSingle = arrays.every((array) => array instanceof Float32Array)
  return countAlone(select(arrays, k, order, { total, isSingle }))
}

describe('select > every k > equals sorting', () => {
  for (const [name, values] of Object.entries(cases))
    for (const type of [Float32Array, Float64Array])
      test(`${name}, ${type.name}`, () => {
        const all = type.from(values)
        const sorted = byMagnitude(all)
        const cut = random.integer(values.length + 1)
        const parts = [all.subarray(0, cut), new type(0), all.subarray(cut)]
        const stride = Math.max(1, Math.floor(values.length / 60))
        for (let k = 1; k <= values.length; k += stride)
          expect(selectAlone(parts, k, 'magnitude')?.cut, `k = ${k}`).toBe(sorted[k - 1])
        expect(selectAlone(parts, values.length, 'magnitude')?.cut).toBe(sorted.at(-1))
      })

  for (const [name, values] of Object.entries(cases))
    for (const type of [Float32Array, Float64Array])
      test(`by value: ${name}, ${type.name}`, () => {
        const all = type.from([...values, ...values.slice(0, 20).map((x) => -x)])
        const sorted = [...all].sort((a, b) => b - a)
        const cut = random.integer(all.length + 1)
        const parts = [all.subarray(0, cut), new type(0), all.subarray(cut)]
        const stride = Math.max(1, Math.floor(all.length / 60))
        for (let k = 1; k <= all.length; k += stride)
          expect(selectAlone(parts, k, 'value')?.cut, `k = ${k}`).toBe(sorted[k - 1]! + 0) // -0 and 0 are a tie
        expect(selectAlone(parts, all.length, 'value')?.cut).toBe(sorted.at(-1)! + 0)
      })

  for (const order of ['magnitude', 'value'] as const)
    test(`arrays in the memory of a trainer, beside others > as arrays on their own, by ${order}`, () => {
      const memory = createWasmMemory()!
      const own = [3, 4, 70_001, 5, 9].map((n) =>
        Float32Array.from(draw(n, () => (random.integer(4) ? random.normal() : -0))),
      )
      const mixed = own.map((array, i) => {
        if (i === 3) return array
        const { buffer, offset } = allocateIn(memory, array.byteLength)!
        const inside = new Float32Array(buffer, offset, array.length)
        inside.set(array)
        return inside
      })
      const total = own.reduce((sum, { length }) => sum + length, 0)
      const set = vi.spyOn(Int32Array.prototype, 'set')
      for (const k of [1, 2, 1000, 20_000, 60_000, total]) {
        const expected = selectAlone(own, k, order)
        set.mockClear()
        expect(selectAlone(mixed, k, order), `k = ${k}`).toEqual(expected)
        // The large array is not copied.
        expect(set.mock.calls.filter(([words]) => words.length > 9)).toEqual([])
        // The other way round: the first array decides whose memory is used.
        expect(selectAlone([own[4]!, ...mixed.slice(0, 4)], k, order), `k = ${k}`).toEqual(expected)
      }
      set.mockRestore()
    })

  test('arrays in a memory that has no room left > as arrays on their own', () => {
    const full = createWasmMemory()!
    vi.spyOn(full, 'grow').mockImplementation(() => {
      throw new RangeError('no memory')
    })
    const { buffer, offset } = allocateIn(full, 400)!
    const inside = new Float32Array(buffer, offset, 100)
    const own = Float32Array.from(draw(100, () => random.normal()))
    inside.set(own)
    expect(allocateIn(full, 2 ** 16)).toBeNull()
    for (const k of [1, 20, 77, 100])
      expect(selectAlone([inside, own], k, 'magnitude')).toEqual(selectAlone([own.slice(), own], k, 'magnitude'))
  })

  test('float32 and float64 tensors together, by value', () => {
    const single = Float32Array.from(draw(200, () => random.normal()))
    const double = Float64Array.from(draw(200, () => random.normal()))
    const sorted = [...single, ...double].sort((a, b) => b - a)
    for (let k = 1; k <= 400; k += 7) expect(selectAlone([single, double], k, 'value')?.cut).toBe(sorted[k - 1])
  })

  test('float32 and float64 tensors together', () => {
    const single = Float32Array.from(draw(200, () => random.normal()))
    const double = Float64Array.from(draw(200, () => random.normal()))
    const sorted = byMagnitude([...single, ...double])
    for (let k = 1; k <= 400; k += 7) expect(selectAlone([single, double], k, 'magnitude')?.cut).toBe(sorted[k - 1])
  })

  for (const [name, values] of Object.entries({ ...cases, 'few zeros of both signs': [0, -0, 1, -2, -0, 3, -0, 4, 5] }))
    for (const type of [Float32Array, Float64Array])
      for (const order of ['magnitude', 'value'] as const)
        test(`numbers at most the threshold, and zeros: ${name}, ${type.name}, by ${order}`, () => {
          const all = type.from([...values, ...values.slice(0, 20).map((x) => -x)])
          const parts = [all.subarray(0, 3), new type(0), all.subarray(3)]
          const stride = Math.max(1, Math.floor(all.length / 60))
          for (let k = 1; k <= all.length; k += stride) {
            const { cut, flat, zero } = selectAlone(parts, k, order)!
            const atMost = all.filter((x) => (order === 'magnitude' ? Math.abs(x) : x) <= cut)
            expect({ k, flat, zero }).toEqual({ k, flat: atMost.length, zero: all.filter((x) => x === 0).length })
          }
        })

  for (const [name, values] of Object.entries(cases))
    for (const type of [Float32Array, Float64Array])
      for (const order of ['magnitude', 'value'] as const)
        test(`divided among processes: ${name}, ${type.name}, by ${order}`, async () => {
          const all = type.from([...values, ...values.slice(0, 20).map((x) => -x)])
          const cut = random.integer(all.length + 1)
          const parts = [[all.subarray(0, cut)], [], [new type(0), all.subarray(cut)]]
          const ranked = { total: all.length, isSingle: type === Float32Array }
          const group = localGroup(3)
          for (const k of [1, Math.ceil(all.length / 3)]) {
            const together = parts.map((own, i) => countTogether(select(own, k, order, ranked), group[i]!.allReduce))
            const expected = selectAlone([all], k, order)
            expect(await Promise.all(together), `k = ${k}`).toEqual([expected, expected, expected])
          }
        })

  test('only NaN and infinities > rejects', () => {
    for (const type of [Float32Array, Float64Array])
      for (const order of ['magnitude', 'value'] as const)
        for (const bad of [Number.NaN, -Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
          expect(selectAlone([type.of(1), type.of(0, bad)], 1, order)).toBeNull()
  })

  test('k out of range > rejects', () => {
    for (const k of [0, 3, 1.5, Number.NaN])
      expect(() => selectAlone([Float32Array.of(1, 2)], k, 'magnitude')).toThrow(OnnxIreError)
  })
})

describe('mask of one refresh', () => {
  const refresh = (
    ire: IreOptimizer,
    parameters: ParameterArrays,
    estimates: ParameterArrays,
    batchSize: number,
    previous: FlatMask | null,
    step: number,
    ranked: readonly string[] = Object.keys(parameters),
  ) => refreshMask({ ire, step, batchSize, ranked, what: 'estimate' }, parameters, estimates, previous)
  const maskOf = (values: number[], gamma: number, options: { beta?: number; type?: typeof Float64Array } = {}) => {
    const g = (options.type ?? Float32Array).from(values)
    return refresh(ire(adamw(), { kappa: 1, gamma, beta: options.beta ?? 0 }), { w: g }, { w: g }, 1, null, 0)
  }
  const flatOf = (values: number[], gamma: number) => [...maskOf(values, gamma).flat['w']!]

  test('k = floor((1 - gamma) N) > the k-th largest is flat', () => {
    const values = draw(8, (i) => i + 1)
    expect(flatOf(values, 0.5)).toEqual([1, 1, 1, 1, 1, 0, 0, 0]) // k = 4: three are above the threshold
    expect(flatOf(values, 0.75)).toEqual([1, 1, 1, 1, 1, 1, 1, 0])
    expect(flatOf(values, 0.87)).toEqual(draw(8, () => 1)) // k = 1
    expect(flatOf(values, 0.9)).toEqual(draw(8, () => 1)) // k = 0
    expect(flatOf(values, 1)).toEqual(draw(8, () => 1))
    expect(flatOf(values, 0)).toEqual([1, 0, 0, 0, 0, 0, 0, 0])
  })

  test('ties with the threshold > are all flat', () => {
    expect(flatOf([5, 3, -3, 3, 3, 1], 0.5)).toEqual([0, 1, 1, 1, 1, 1])
  })

  test('share of zeros above gamma > the threshold is 0, every zero is flat, and both shares are reported', () => {
    const mask = maskOf([0, 0, 0, 0, 0, 0, 0, 1, 2, 3], 0.5)
    expect(mask).toMatchObject({ threshold: 0, flatShare: 0.7, zeroShare: 0.7 })
  })

  test('gradients whose squares underflow or overflow in float32 > are ranked by their exact squares', () => {
    expect(flatOf([1e-30, 2e-30, 3e-30, 1e30], 0.25)).toEqual([1, 1, 0, 0])
    expect(flatOf([1e25, 2e25, 3e25, 1], 0.25)).toEqual([1, 0, 0, 1])
  })

  test('smoothing > F is stored, and an overflow of F rejects with the parameter name', () => {
    const mask = maskOf([1, 2, 3, 4], 0.25, { beta: 0.5 })
    expect([...mask.curvature!['w']!]).toEqual([0.5, 2, 4.5, 8])
    expect(mask.threshold).toBe(4.5 - 2.5)
    expect(() => maskOf([1, 1e25], 0.5, { beta: 0.5 })).toThrow(/curvature estimate F of 'w' is Infinity at element 1/)
  })

  test('an overflow of F in one process > rejects in all, with the parameter name in its owner', async () => {
    const optimizer = ire(adamw(), { kappa: 1, gamma: 0.5, beta: 0.5 })
    const tensors = { a: Float32Array.of(1, 2), b: Float32Array.of(1, 1e25) }
    const request = { ire: optimizer, step: 3, batchSize: 1, ranked: ['a', 'b'], what: 'estimate' }
    const results = localGroup(2).map((group) => {
      const owns = (name: string) => name === 'ab'[group.rank]
      return countTogether(maskRefresh(request, tensors, tensors, null, { owns }), group.allReduce)
    })
    await expect(results[0]).rejects.toThrow(errorWith('not-finite', 'another process'))
    await expect(results[1]).rejects.toThrow(errorWith('not-finite', "'b'"))
  })

  test('diagonal of the Hessian > is ranked with its sign and stored unchanged; negative curvature is flat', () => {
    const optimizer = ire(adamw(), { kappa: 1, gamma: 0.5, curvature: 'hutchinson' })
    const smooth = ire(adamw(), { kappa: 1, gamma: 0.5, curvature: 'hutchinson', beta: 0.5 })
    const h = Float32Array.of(-9, 4, 0, 2, -1, 8)
    const mask = refresh(optimizer, { h }, { h }, 64, null, 0)
    expect(mask).toMatchObject({ threshold: 2, flatShare: 4 / 6, zeroShare: 1 / 6, curvature: null })
    expect([...mask.flat['h']!]).toEqual([1, 0, 1, 1, 1, 0])
    const negative = refresh(optimizer, { h }, { h: h.map((x) => -Math.abs(x) - 1) }, 64, null, 0)
    expect(negative).toMatchObject({ threshold: -3 })
    const second = refresh(smooth, { h }, { h }, 64, refresh(smooth, { h }, { h }, 64, null, 0), 1)
    expect([...second.curvature!['h']!]).toEqual([-6.75, 3, 0, 1.5, -0.75, 6])
    expect(() => refresh(optimizer, { h }, { h: Float32Array.of(0, 1, -1 / 0, 2, 3, 4) }, 1, null, 0)).toThrow(
      /step 0: the estimate of 'h' is -Infinity at element 2/,
    )
  })

  test('excluded tensors > have mask 0 and do not count in N', () => {
    const optimizer = ire(adamw(), { kappa: 1, gamma: 0.5, beta: 0.5 })
    const tensors = { a: Float32Array.of(1, 2, 3, 4), b: Float32Array.of(100, 0, 0, 0) }
    const first = refresh(optimizer, tensors, { a: tensors.a }, 1, null, 0, ['a'])
    expect(first).toMatchObject({ threshold: 4.5, flatShare: 0.75, zeroShare: 0 })
    expect([...first.flat['b']!, ...first.curvature!['b']!]).toEqual(draw(8, () => 0))
    const both = refresh(optimizer, tensors, tensors, 1, first, 1)
    expect([...both.curvature!['b']!]).toEqual([5000, 0, 0, 0])
    expect([...both.flat['a']!, ...both.flat['b']!]).toEqual([1, 1, 0, 0, 0, 1, 1, 1])
  })

  test('arrays of an earlier mask > are overwritten, and set to 0 for excluded tensors', () => {
    const optimizer = ire(adamw(), { kappa: 1, gamma: 0.5 })
    const tensors = { a: Float32Array.of(1, 2, 3, 4), b: Float32Array.of(5, 6) }
    const spare = { a: Uint8Array.of(1, 1, 1, 1), b: Uint8Array.of(1, 1) }
    const request = { ire: optimizer, step: 3, batchSize: 1, ranked: ['a'], what: 'estimate' }
    const { flat } = countAlone(maskRefresh(request, tensors, tensors, null, { spare }))
    expect(flat).toEqual({ a: Uint8Array.of(1, 1, 1, 0), b: Uint8Array.of(0, 0) })
    expect(flat['a']).toBe(spare.a)
  })

  test('no parameters > the mask is empty', () => {
    expect(maskOf([], 0.5)).toMatchObject({ threshold: 0, flatShare: 0, zeroShare: 0 })
  })
})
