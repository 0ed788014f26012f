import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../../../src/data/index.js'
import { input, modelOf, op, parameter, tensor } from '../../../src/graph/index.js'
import { encodeModel, type Model, predict, takeColumns } from '../../../src/index.js'
import { int64s, numbersOf, tensorFrom } from '../../../src/ir/leaf.js'
import { type CsvOptions, node, readCsv, type TableStatistics } from '../../../src/node/index.js'
import { fromOrtTensor } from '../../../src/runtime/ort.js'
import { errorWith } from '../../thrown.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'columns-'))
})
afterAll(() => rm(folder, { recursive: true }))

const tensors = {
  x: [
    { columns: ['area', 'rooms'], impute: 'median', scale: 'standard' },
    { columns: 'age', scale: 'min-max' },
    { columns: 'city', as: 'one-hot' },
    { columns: 'heating', as: 'one-hot', impute: 'gas' },
    { columns: 'sold', as: 'date', parts: ['year', 'timestamp'], scale: 'standard' },
  ],
  place: { columns: 'city', as: 'category' },
  raw: { columns: ['age', 'area'], impute: 0 },
  targets: { columns: 'price', scale: 'standard' },
} as const satisfies CsvOptions['tensors']

const rows = [
  '71.3,3,1,Bern,gas,2020-05-17,910000',
  ',2,60,Basel,oil,2001-01-02,450000',
  '120.25,,12,,,2015-12-31T12:00,1350000',
  '44,1,3,Genf,wood,2011-07-04,700000.5',
]
/** The fields of two rows as columns, one with an unknown city and missing fields. */
const asked = { rows: ['71.3,3,1,Bern,gas,2020-05-17,0', ',,60,Rom,,2001-01-02,0'], unknown: 'Rom' }

async function csv(name: string, lines: readonly string[], statistics?: TableStatistics) {
  const path = join(folder, name)
  await writeFile(path, `area,rooms,age,city,heating,sold,price\n${lines.join('\n')}\n`)
  return readCsv(path, { tensors, statistics })
}

/** A model whose outputs depend on every element of its inputs, and that has a value named like a column. */
function network(width: number): Model {
  const x = input('x', 'float32', ['N', width])
  const place = input('place', 'int64', ['N'])
  const raw = input('raw', 'float32', ['N', 2])
  const weights = Float32Array.from({ length: width * 2 }, (_, i) => Math.sin(i + 1))
  const rooms = op.Gather(
    parameter(
      'rooms',
      tensor(
        'float32',
        [4, 2],
        Float32Array.from({ length: 8 }, (_, i) => Math.cos(i)),
      ),
    ),
    place,
  )
  const hidden = op.Add(op.MatMul(x, parameter('w', tensor('float32', [width, 2], weights))), op.Add(rooms, raw))
  const price = op.ReduceSum(hidden, int64s([1]), { keepdims: 0 })
  const inputs = new Map([x, place, raw].map((each) => [each.name!, each]))
  return modelOf({
    name: 'm',
    inputs,
    outputs: new Map([
      ['price', price],
      ['hidden', op.Tanh(price)],
    ]),
  })
}
/** Runs the model on raw columns by onnxruntime alone. */
async function runPlainly(bytes: Uint8Array, runtime: typeof ort, options: object = {}) {
  const session = await runtime.InferenceSession.create(bytes, options)
  const numbers = (...list: number[]) => new runtime.Tensor('float64', Float64Array.from(list), [list.length])
  const texts = (...list: string[]) => new runtime.Tensor('string', list, [list.length])
  const feeds = {
    area: numbers(71.3, Number.NaN),
    rooms_1: numbers(3, Number.NaN),
    age: numbers(1, 60),
    city: texts('Bern', asked.unknown),
    heating: texts('gas', ''),
    sold: texts('2020-05-17', '2001-01-02'),
  }
  expect(new Set(session.inputNames)).toEqual(new Set(Object.keys(feeds)))
  return session.run(feeds)
}

describe('takeColumns', () => {
  it('converts raw columns in the model to the same bits as the reader, in Node and in WebAssembly', async () => {
    const train = await csv('train.csv', rows)
    const statistics = train.statistics!
    expect(statistics['x']!['heating']).toEqual({ fill: 'gas', categories: ['gas', 'oil', 'wood'] })
    const width = (await train.batch([0]))['x']!.dims[1]!
    expect(width).toBe(3 + 3 + 3 + 2)
    const model = network(width)
    const bytes = encodeModel(takeColumns(model, statistics))
    const runtime = node({ worker: false })
    const batches = predict(model, await csv('asked.csv', asked.rows, statistics), { runtime })
    const { outputs } = (await batches[Symbol.asyncIterator]().next()).value!
    const web = createRequire(import.meta.url)('onnxruntime-web') as typeof ort
    const results = [await runPlainly(bytes, ort), await runPlainly(bytes, web, { executionProviders: ['wasm'] })]
    expect(results[0]!['price']!.data).toEqual(outputs['price']!.data)
    for (const [i, value] of (results[1]!['price']!.data as Float32Array).entries())
      expect(value).toBeCloseTo((outputs['price']!.data as Float32Array)[i]!, 4)
    await runtime.dispose()
  })

  it('returns outputs in the units of their targets, also where other nodes read them', async () => {
    const { statistics, batch } = await csv('train.csv', rows)
    const model = network((await batch([0]))['x']!.dims[1]!)
    const [scaled, unscaled] = [
      takeColumns(model, statistics!),
      takeColumns(model, statistics!, { outputs: { price: 'targets' } }),
    ]
    const results = await Promise.all([scaled, unscaled].map((each) => runPlainly(encodeModel(each), ort)))
    const [before, after] = results.map((each) => each['price']!.data as Float32Array)
    const { offset, divisor } = statistics!['targets']!['price']!
    expect(after).toEqual(before!.map((value) => value * divisor! + offset!))
    expect(results[1]!['hidden']!.data).toEqual(results[0]!['hidden']!.data)
  })

  it.each(['float16', 'float64'] as const)('converts to the type of a model in %s, and back', async (dtype) => {
    const x = input('x', dtype, ['N', 2])
    const price = op.MatMul(x, parameter('w', tensorFrom(dtype, [2, 1], [1, 2])))
    const model = modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['price', price]]) })
    const statistics = { x: { a: { offset: 1, divisor: 2 }, b: {} }, targets: { p: { offset: 10, divisor: 3 } } }
    const bytes = encodeModel(takeColumns(model, statistics, { outputs: { price: 'targets' } }))
    const session = await ort.InferenceSession.create(bytes)
    const column = (...list: number[]) => new ort.Tensor('float64', Float64Array.from(list), [list.length])
    const { price: found } = await session.run({ a: column(1, 2, 3), b: column(0, 1, 2) })
    expect(found!.type).toBe(dtype)
    expect(numbersOf(fromOrtTensor(found!))).toEqual([10, 17.5, 25])
  })

  it('refuses models and statistics that do not fit', async () => {
    const { statistics, batch } = await csv('train.csv', rows)
    const model = network((await batch([0]))['x']!.dims[1]!)
    const take =
      (...given: Parameters<typeof takeColumns>) =>
      () =>
        takeColumns(...given)
    expect(take(model, { other: statistics!['x']! })).toThrow(errorWith('invalid-option', 'other'))
    expect(take(model, statistics!, { outputs: { cost: 'targets' } })).toThrow(
      errorWith('invalid-option', 'price, hidden'),
    )
    expect(take(model, statistics!, { outputs: { price: 'prices' } })).toThrow(
      errorWith('invalid-option', 'outputs.price'),
    )
    expect(take(model, { raw: { '2': { fill: 0 }, '1': { fill: 0 } } })).toThrow(errorWith('invalid-option', 'header'))
    const mixed = { ...statistics!, raw: { city: { fill: 0 }, area: { fill: 0 } } }
    expect(take(model, mixed)).toThrow(errorWith('invalid-option', 'city'))
    const opsetImport = [{ ...model.proto.opsetImport[0]!, version: 8n }]
    const old: Model = { ...model, proto: { ...model.proto, opsetImport } }
    expect(take(old, { raw: statistics!['raw']! })).toThrow(errorWith('invalid-model', '8'))
    const unknown = [{ ...model.proto.graph!.node[0]!, opType: 'Unknown' }]
    const foreign: Model = { ...model, proto: { ...model.proto, graph: { ...model.proto.graph!, node: unknown } } }
    expect(take(foreign, statistics!)).toThrow(errorWith('unsupported-operator', 'operator set 20'))
  })

  it('reads the dates that readCsv reads, with the same parts, and fails on others', async () => {
    const parts = ['year', 'month', 'day', 'weekday', 'hour', 'minute', 'timestamp'] as const
    const random = new Random(0)
    const [first, last] = [Date.parse('0000-01-01'), Date.parse('9999-12-31')]
    const dates = [
      ...['2024-05-31', ' 2024-05-31T23:30+02:00 ', '2024-02-29 23:59:59.75 -0330', '0000-02-29', '9999-12-31T23:59Z'],
      ...['1969-12-31T23:59:59', '2000-01-01 Z', '0000-01-01T00:00+14:00', '1900-03-01 00:00-00:30', '2000-02-29'],
      ...['2024-05-01-02:00', '0099-12-31', 'NaN', 'null', ''],
      ...Array.from({ length: 300 }, (_, i) =>
        new Date(first + random.uniform() * (last - first)).toISOString().slice(0, [10, 16, 24][i % 3]),
      ),
    ]
    const path = join(folder, 'dates.csv')
    const tensors = { x: { columns: 'd', as: 'date', impute: 7, parts } } as const
    const read = async (texts: readonly string[]) => {
      await writeFile(path, `d\n${texts.map((text) => `"${text}"`).join('\n')}\n`)
      return readCsv(path, { tensors })
    }
    const data = await read(dates)
    const x = input('x', 'float32', ['N', parts.length])
    const y = op.Add(x, parameter('zero', tensor('float32', [1], new Float32Array(1))))
    const model = modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    const open = async (statistics: TableStatistics, provider = ort, options = {}) => {
      const bytes = encodeModel(takeColumns(model, statistics))
      const session = await provider.InferenceSession.create(bytes, { logSeverityLevel: 4, ...options })
      return async (...texts: string[]) => {
        const { y } = await session.run({ d: new provider.Tensor('string', texts, [texts.length]) })
        return y!.data
      }
    }
    const expected = (await data.batch(dates.map((_, i) => i)))['x']!.data
    const run = await open(data.statistics!)
    expect(await run(...dates)).toEqual(expected)
    const web = createRequire(import.meta.url)('onnxruntime-web') as typeof ort
    expect(await (await open(data.statistics!, web, { executionProviders: ['wasm'] }))(...dates)).toEqual(expected)
    const strict = await open({ x: Object.fromEntries(parts.map((part) => [`d.${part}`, { part }])) })
    expect(await strict(dates[0]!)).toEqual((expected as Float32Array).slice(0, parts.length))
    await expect(strict('')).rejects.toThrow(/d is not a date/)
    for (const text of [
      ...['2023-02-29', '1900-02-29', '2024-13-01', '2024-00-01', '2024-04-31', '2024-01-00', '2024-05-01T24:00'],
      ...['2024-05-01T12:60', '2024-05-01T12:30:60', '2024-5-1', '2024-05-01T12', '01.05.2024', '2024-05-01+2', 'May'],
    ]) {
      await expect(run('2024-05-31', text), text).rejects.toThrow(/d is not a date/)
      await expect(read([text]), text).rejects.toThrow(errorWith('invalid-data', text))
    }
  })
})
