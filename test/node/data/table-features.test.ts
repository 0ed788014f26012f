import { describe, expect, it } from 'vitest'
import { batches } from '../../../src/data/batches.js'
import { split } from '../../../src/data/dataset.js'
import type { CsvOptions, CsvTensor } from '../../../src/data/formats/csv.js'
import type { DatasetOrStream } from '../../../src/data/stream.js'
import { tensor } from '../../../src/ir/tensor.js'
import { readCsv, streamCsv } from '../../../src/node/data/csv.js'
import { cpuTimeOf } from '../../cpu-time.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put } = temporaryFolder()

const houses =
  'area,rooms,city,sold,price\n50,2,Bern,2024-02-29,100\n,4,Basel,2024-03-01T12:00,200\n70,NA,,2023-12-31,300\n90,6,Bern,2024-02-29,400\n'

const tensors = {
  x: [
    { columns: ['area', 'rooms'], impute: 'median', scale: 'standard' },
    { columns: 'city', as: 'one-hot' },
    { columns: 'sold', as: 'date', parts: ['month', 'day', 'weekday'] },
  ],
  price: { columns: 'price', scale: 'min-max' },
} as const

async function rowsOf(data: DatasetOrStream, name: string): Promise<number[][]> {
  const rows: number[][] = []
  for await (const batch of batches(data, { batchSize: 100 })) {
    const { dims, data: elements } = batch.tensors[name]!
    const width = dims.slice(1).reduce((a, b) => a * b, 1)
    const numbers = Array.from(elements as ArrayLike<number | bigint>, Number)
    for (let row = 0; row < dims[0]!; row++) rows.push(numbers.slice(row * width, (row + 1) * width))
  }
  return rows
}

/** (x - mean) / deviation over all values. */
function standardize(values: readonly number[]): number[] {
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)
  return values.map((value) => (value - mean) / deviation)
}

const close = (rows: readonly (readonly number[])[]) => rows.map((row) => row.map((value) => expect.closeTo(value, 5)))

describe('features of a table', () => {
  it('numbers, categories and dates > become one vector; a stream gives the same', async () => {
    const file = await put('houses.csv', houses)
    const [area, rooms] = [standardize([50, 70, 70, 90]), standardize([2, 4, 4, 6])]
    // Basel, Bern; month, day, weekday from Monday.
    const others = [
      [0, 1, 2, 29, 3],
      [1, 0, 3, 1, 4],
      [0, 0, 12, 31, 6],
      [0, 1, 2, 29, 3],
    ]
    const expected = others.map((row, i) => [area[i]!, rooms[i]!, ...row])
    for (const data of [await readCsv(file, { tensors }), await streamCsv(file, { tensors, shuffleBuffer: 1 })]) {
      expect(await rowsOf(data, 'x')).toEqual(close(expected))
      expect(await rowsOf(data, 'price')).toEqual(close([[0], [1 / 3], [2 / 3], [1]]))
      expect(data.statistics!['x']!['city']).toEqual({ categories: ['Basel', 'Bern'] })
      expect(data.statistics!['price']!['price']).toEqual({ offset: 100, divisor: 300 })
    }
    const [price] = [(await readCsv(file, { tensors })).batch([0, 1])]
    expect((await price)['price']!.dims).toEqual([2])
  })

  it('a one-hot column with one class > a yes or no of shape [N, 1]', async () => {
    const path = await put('answers.csv', 'a,sold\n1,true\n2,false\n3,\n4,true\n')
    const sold = { columns: ['sold'], as: 'one-hot', classes: ['true'] } as const
    const { targets } = await (await readCsv(path, { tensors: { targets: sold } })).batch([0, 1, 2, 3])
    expect(targets).toEqual(tensor('float32', [4, 1], Float32Array.of(1, 0, 0, 1)))
  })

  it('other data > are converted by given statistics; unknown categories are none', async () => {
    const { statistics } = await readCsv(await put('houses.csv', houses), { tensors })
    const other = await put('other.csv', 'area,rooms,city,sold,price\n,,Genf,2024-01-01,700\n')
    for (const data of [
      await readCsv(other, { tensors, statistics }),
      await streamCsv(other, { tensors, statistics }),
    ]) {
      expect(await rowsOf(data, 'x')).toEqual([[0, 0, 0, 0, 1, 1, 0]])
      expect(await rowsOf(data, 'price')).toEqual(close([[2]]))
    }
    const part = JSON.parse(JSON.stringify({ x: { area: {} } })) as CsvOptions['statistics']
    expect(await rejectedMessage('invalid-option', () => readCsv(other, { tensors, statistics: part }))).toContain(
      'statistics',
    )
  })

  it('split > computes statistics of the training part, whose choice they do not change', async () => {
    const lines = Array.from({ length: 40 }, (_, i) => `${i},${i % 2 ? 'even' : `rare${i}`}`)
    const options: CsvOptions = {
      tensors: { x: { columns: 'n', scale: 'standard' }, c: { columns: 'kind', as: 'category' } },
    }
    const file = await put('split.csv', `n,kind\n${lines.join('\n')}\n`)
    const { train, validation } = split(await readCsv(file, options), { validation: 0.25, seed: 1 })
    const values = await rowsOf(train, 'x')
    expect(values.reduce((sum, [x]) => sum + x!, 0) / values.length).toBeCloseTo(0, 5)
    expect(values.reduce((sum, [x]) => sum + x! ** 2, 0) / values.length).toBeCloseTo(1, 4)
    // Categories of held-out examples alone are unknown.
    expect((await rowsOf(validation, 'c')).some(([c]) => c === 0)).toBe(true)
    expect((await rowsOf(train, 'c')).some(([c]) => c === 0)).toBe(false)
    expect(validation.statistics).toEqual(train.statistics)
    const longer = await put('longer.csv', `n,kind\n${lines.join('\n')}\n1000,even\n`)
    const grown = split(await readCsv(longer, options), { validation: 0.25, seed: 1 })
    const { offset, divisor } = train.statistics!['x']!['n']!
    const after = grown.validation.statistics!['x']!['n']!
    const original = (rows: number[][], { offset = 0, divisor = 1 }) =>
      rows.map(([x]) => Math.round(x! * divisor + offset))
    const before = new Set(original(await rowsOf(validation, 'x'), { offset: offset!, divisor: divisor! }))
    const now = original(await rowsOf(grown.validation, 'x'), { offset: after.offset!, divisor: after.divisor! })
    expect(now.filter((n) => before.has(n)).length).toBeGreaterThanOrEqual(before.size - 1)
  })

  it.each([
    [
      'year',
      [
        { columns: 'year', scale: 'standard' },
        { columns: 'year', as: 'one-hot' },
      ],
    ],
    ['sold.month', [{ columns: 'sold.*' }, { columns: 'sold', as: 'date' }]],
    ['year', [{ columns: ['year*', '*ear'], scale: 'min-max' }]],
  ] as const)('%s twice in a tensor > is refused: its statistics would be those of the last', async (name, x) => {
    const file = await put('years.csv', 'year,sold,sold.month\n2000,2024-01-02,1\n2001,2024-02-03,2\n')
    expect(await rejectedMessage('invalid-option', () => readCsv(file, { tensors: { x } }))).toBe(
      `csv: tensor 'x': option 'columns' is '${name}'; it must be named once in a tensor, which stores its statistics by this name`,
    )
  })

  it('30,000 categories > are read in linear time', async () => {
    const rows = Array.from({ length: 30_000 }, (_, i) => `u${i}`)
    const file = await put('users.csv', `user\n${rows.join('\n')}\n`)
    const { seconds } = await cpuTimeOf(async () => {
      const data = await readCsv(file, { tensors: { user: { columns: 'user', as: 'category' } } })
      expect(split(data, { validation: 0.1 }).validation.length).toBe(3000)
      const sorted = rows.toSorted()
      expect((await data.batch([12_345]))['user']!.data[0]).toBe(BigInt(sorted.indexOf('u12345') + 1))
    })
    expect(seconds).toBeLessThan(6)
  })

  it('missing fields > are imputed by name, skipped, or an error that names the option', async () => {
    const file = await put('missing.csv', 'n,kind\n1,a\n,\n3,b\n')
    const read = (n: CsvTensor, c: CsvTensor, missing?: CsvOptions['missing']) =>
      readCsv(file, { tensors: { n, c }, ...(missing === undefined ? {} : { missing }) })
    const filled = await read({ columns: 'n', impute: 5 }, { columns: 'kind', as: 'class', impute: 'none' })
    expect(await rowsOf(filled, 'n')).toEqual([[1], [5], [3]])
    expect(filled.classes['c']).toEqual(['a', 'b', 'none'])
    const scaled = { columns: 'n', scale: 'min-max' } as const
    const named = await read(scaled, { columns: 'kind', as: 'one-hot', impute: 'none' }, 'skip')
    expect(await rowsOf(named, 'n')).toEqual([[0], [1]])
    expect(await rowsOf(named, 'c')).toEqual([
      [1, 0],
      [0, 1],
    ])
    const oneHot = { columns: 'kind', as: 'one-hot' } as const
    expect(await rejectedMessage('invalid-data', () => read(scaled, oneHot))).toMatch(
      /missing\.csv:3: column 'n'.*'impute'/,
    )
    const plain = { columns: 'kind', as: 'class' } as const
    expect(await rejectedMessage('invalid-data', () => read({ columns: 'n', impute: 0 }, plain, 0))).toMatch(
      /:3: column 'kind'.*'impute'/,
    )
  })

  it.each([
    ['impute', { columns: 'n', impute: 'most' }],
    ['impute', { columns: 'kind', as: 'one-hot', impute: 3 }],
    ['impute', { columns: 'n', as: 'integer', impute: 1 }],
    ['scale', { columns: 'kind', as: 'category', scale: 'standard' }],
    ['parts', { columns: 'n', parts: ['day'] }],
    ['parts', { columns: 'n', as: 'date', parts: ['week'] }],
    ['as', [{ columns: 'n' }, { columns: 'kind', as: 'class' }]],
    ['as', [{ columns: 'n' }, { columns: 'kind', as: 'category' }]],
    ['dims', { columns: 'kind', as: 'one-hot', dims: [3] }],
    ["'tensors.t' is [n,{...}]; it must be names", ['n', { columns: 'kind', as: 'one-hot' }]],
    ["'columns' is []", []],
    ["'columns' is []", { columns: [] }],
    ["'columns' is undefined", { as: 'class' }],
    ["'parts' is []", { columns: 'n', as: 'date', parts: [] }],
  ])('option %s > is refused: %j', async (field, t) => {
    const file = await put('bad.csv', 'n,kind\n1,a\n2,b\n')
    expect(await rejectedMessage('invalid-option', () => readCsv(file, { tensors: { t: t as CsvTensor } }))).toContain(
      field,
    )
  })

  it('missing: a number > is one of the statistics, as of impute', async () => {
    const file = await put('gaps.csv', 'n,m\n1,0\n,0\n3,0\n')
    const data = await readCsv(file, { tensors: { t: { columns: 'n', scale: 'min-max' } }, missing: -1 })
    expect(data.statistics!['t']!['n']).toEqual({ fill: -1, offset: -1, divisor: 4 })
    expect(await rowsOf(data, 't')).toEqual([[0.5], [0], [1]])
  })

  it('dates > are read with and without time zones; others name file and line', async () => {
    const file = await put('dates.csv', 'd\n2024-05-31T23:30+02:00\n2024-05-31 23:30\n1970-01-02\n0001-01-01\n')
    const data = await readCsv(file, {
      tensors: { t: { columns: 'd', as: 'date', parts: ['timestamp', 'hour', 'minute', 'year'] } },
    })
    const [first, second, third, fourth] = await rowsOf(data, 't')
    expect([first![1], first![2], second![1]]).toEqual([21, 30, 23])
    expect(third).toEqual([1, 0, 0, 1970])
    expect(fourth).toEqual([-719_162, 0, 0, 1])
    expect(data.statistics!['t']!['d.hour']).toEqual({ part: 'hour' })
    const wrong = await put('wrong.csv', 'd\n2024-02-30\n')
    expect(
      await rejectedMessage('invalid-data', () => readCsv(wrong, { tensors: { t: { columns: 'd', as: 'date' } } })),
    ).toMatch(/wrong\.csv:2: column 'd' is '2024-02-30'/)
  })
})
