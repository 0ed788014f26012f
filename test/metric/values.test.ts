import { afterAll, describe, expect, it } from 'vitest'
import { op } from '../../src/graph/index.js'
import { type Metric, mae, mse, r2, rmse } from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { node } from '../../src/node/index.js'
import { errorWith } from '../thrown.js'
import { chunks, draws, float, measured } from './evaluate.js'

const { integers, normals } = draws()

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
const determination = (y: readonly number[], t: readonly number[]) => {
  const middle = mean(t)
  return 1 - mean(t.map((v, i) => (v - y[i]!) ** 2)) / mean(t.map((v) => (v - middle) ** 2))
}

describe('metrics of values equal plain arithmetic', () => {
  it('several columns, with a mask over NaN targets', async () => {
    const [n, columns] = [40, 3]
    const y = normals(n * columns)
    const t = normals(n * columns).map((v, i) => Math.fround(v + y[i]! + (i % columns)))
    const mask = integers(n * columns, 4).map((v) => Math.min(1, v))
    const batches = chunks(
      y.map((value, i) => ({ y: value, t: mask[i] === 0 ? Number.NaN : t[i]!, mask: mask[i]! })),
      16 * columns,
    ).map((batch) => {
      const dims = [batch.length / columns, columns]
      const column = (of: (element: (typeof batch)[number]) => number) => float(dims, batch.map(of))
      return { y: column((e) => e.y), targets: column((e) => e.t), mask: column((e) => e.mask) }
    })
    const loss = mse({ mask: 'mask' })
    const result = await measured(runtime, loss, [mae(), rmse(), r2()], ['N', columns], batches)
    const kept = y.map((_, i) => i).filter((i) => mask[i] === 1)
    expect(result['mae']).toBeCloseTo(mean(kept.map((i) => Math.abs(y[i]! - t[i]!))), 5)
    expect(result['rmse']).toBeCloseTo(Math.sqrt(mean(kept.map((i) => (y[i]! - t[i]!) ** 2))), 5)
    const each = [0, 1, 2].map((c) => {
      const of = kept.filter((i) => i % columns === c)
      return determination(
        of.map((i) => y[i]!),
        of.map((i) => t[i]!),
      )
    })
    expect(result['r2']).toBeCloseTo(mean(each), 6)
  })

  it.each<[string, readonly string[], number[]]>([
    ['[N]', ['N'], [12]],
    ['[N, 1]', ['N', '1'], [12, 1]],
    ['images', ['N', '1', '2', '3'], [2, 1, 2, 3]],
  ])('R2 of one column, %s', async (_, names, dims) => {
    const [y, t] = [normals(12), normals(12)]
    const shape = names.map((name) => (name === 'N' ? name : Number(name)))
    const result = await measured(runtime, mse(), [r2()], shape, [{ y: float(dims, y), targets: float(dims, t) }])
    expect(result['r2']).toBeCloseTo(determination(y, t), 6)
  })
})

describe('r2 of targets whose mean is far from 0', () => {
  const n = 2000
  const t = normals(n).map((v) => Math.fround(1e4 + v))
  const y = normals(n).map((v, i) => Math.fround(t[i]! + v / 2))
  const batches = chunks(
    t.map((_, i) => i),
    128,
  ).map((rows) => ({
    y: float(
      [rows.length],
      rows.map((i) => y[i]!),
    ),
    targets: float(
      [rows.length],
      rows.map((i) => t[i]!),
    ),
  }))
  it('is exact in float64, and in float32 with a shift', async () => {
    for (const options of [{}, { precision: 'float32', shift: 1e4 }] as const) {
      const result = await measured(runtime, mse(), [r2(options)], ['N'], batches)
      expect(result['r2']).toBeCloseTo(determination(y, t), 4)
    }
  })

  it('is inexact in float32 without a shift', async () => {
    const result = await measured(runtime, mse(), [r2({ precision: 'float32' })], ['N'], batches)
    expect(Math.abs(Number(result['r2']) - determination(y, t))).toBeGreaterThan(0.01)
  })
})

it('r2 of equal targets is 1 for an exact model, else 0', async () => {
  const targets = float([3, 1], [0.1, 0.1, 0.1])
  const r2Of = async (y: readonly number[]) =>
    (await measured(runtime, mse(), [r2()], ['N', 1], [{ y: float([3, 1], y), targets }]))['r2']
  expect(await r2Of([0.1, 0.1, 0.1])).toBe(1)
  expect(await r2Of([0.1, 0.2, 0.1])).toBe(0)
})

it('float64 outputs are measured in float64', async () => {
  const [y, targets] = [tensorFrom('float64', [2, 1], [1, 2]), tensorFrom('float64', [2, 1], [1 + 1e-9, 2])]
  const result = await measured(runtime, mse(), [mae(), rmse()], ['N', 1], [{ y, targets }], 'float64')
  expect(Number(result['mae'])).toBeCloseTo(5e-10, 15)
})

it('r2 rejects invalid options, with field and value', () => {
  expect(() => r2({ shift: Number.NaN })).toThrow(errorWith('invalid-option', "'shift' is NaN"))
  expect(() => r2({ precision: 'float16' as 'float32' })).toThrow(
    errorWith('invalid-option', "'precision' is 'float16'"),
  )
})

it('a custom metric, the share of errors within a bound, is measured', async () => {
  const within = (bound: number): Metric => ({
    name: 'within',
    build(compared) {
      if (compared.kind !== 'values') return null
      const { output, targets } = compared
      const near = op.LessOrEqual(op.Abs(op.Sub(output, targets)), bound)
      return {
        sums: new Map([
          ['near', op.ReduceSum(op.CastLike(near, output), { keepdims: 0 })],
          ['count', op.CastLike(op.Size(output), output)],
        ]),
        measure: ({ near, count }) => ({ [`within ${bound}`]: near![0]! / count![0]! }),
      }
    },
  })
  const batch = { y: float([4], [0, 1, 2, 3]), targets: float([4], [0.05, 1.5, 2, 2]) }
  expect((await measured(runtime, mse(), [within(0.1)], ['N'], [batch]))['within 0.1']).toBe(0.5)
})
