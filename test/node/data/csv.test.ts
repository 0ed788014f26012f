import { open } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { batches } from '../../../src/data/batches.js'
import type { CsvOptions } from '../../../src/data/formats/csv.js'
import type { DatasetOrStream } from '../../../src/data/stream.js'
import type { Tensors } from '../../../src/ir/tensor.js'
import { tensor } from '../../../src/ir/tensor.js'
import { readCsv, streamCsv } from '../../../src/node/data/csv.js'
import { Random } from '../../../src/util/random.js'
import { cpuTimeOf } from '../../cpu-time.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { put, path } = temporaryFolder()

const flowers = 'length,width,species,note\n5.1,3.5,setosa,"a, b"\n6.2,2.9,virginica,"two\nlines"\n4.9,3,setosa,""\n'
const tensors = { input: ['length', 'width'], label: { columns: 'species', as: 'class' } } as const

async function all(data: DatasetOrStream, batchSize = 100): Promise<Tensors> {
  for await (const { tensors } of batches(data, { batchSize })) return tensors
  throw new Error('no batch')
}
const float32 = (dims: number[], values: number[]) => tensor('float32', dims, Float32Array.from(values))
const int64 = (dims: number[], values: number[]) => tensor('int64', dims, BigInt64Array.from(values, BigInt))

describe('readCsv and streamCsv', () => {
  it.each([
    ['plain', flowers],
    ['with CRLF and a byte order mark', `\uFEFF${flowers.replaceAll('\n', '\r\n')}`],
    ['with empty lines', flowers.replace('\n', '\n\n')],
    ['without a final newline', flowers.slice(0, -1)],
    ['compressed', gzipSync(flowers)],
  ])('a file %s > is read', async (_, content) => {
    const file = await put('flowers.csv', content)
    for (const data of [await readCsv(file, { tensors }), await streamCsv(file, { tensors })]) {
      expect(data.length).toBe(3)
      expect(data.classes).toEqual({ label: ['setosa', 'virginica'] })
      expect(await all(data)).toEqual({
        input: float32([3, 2], [5.1, 3.5, 6.2, 2.9, 4.9, 3]),
        label: int64([3], [0, 1, 0]),
      })
    }
  })

  it('columns of every kind > become tensors', async () => {
    const file = await put('kinds.csv', flowers)
    const options: CsvOptions = {
      tensors: {
        one: 'width',
        wide: { columns: ['width', 'width'], dims: [1, 2] },
        rest: 'len*',
        note: { columns: 'note', as: 'text' },
        label: { columns: 'species', as: 'class', classes: ['virginica', 'setosa'] },
      },
    }
    for (const data of [await readCsv(file, options), await streamCsv(file, options)]) {
      const { note, ...others } = await all(data)
      expect(note?.data[0]).toBe('a, b')
      expect(note?.data[1]).toMatch(/^two\r?\nlines$/)
      expect(others).toEqual({
        one: float32([3], [3.5, 2.9, 3]),
        wide: float32([3, 1, 2], [3.5, 3.5, 2.9, 2.9, 3, 3]),
        rest: float32([3, 1], [5.1, 6.2, 4.9]),
        label: int64([3], [1, 0, 1]),
      })
    }
  })

  it('pixels by *, integer labels, tabs and no header > are read', async () => {
    const pixels = await put('pixels.tsv', 'label\tp0\tp1\n7\t0\t255\n')
    const data = await readCsv(pixels, { tensors: { input: '*', label: { columns: 'label', as: 'integer' } } })
    expect(await all(data)).toEqual({ input: float32([1, 2], [0, 255]), label: int64([1], [7]) })
    for (const [name, content] of [
      ['PIXELS.TSV', 'p0\tp1\n0\t255\n'],
      ['pixels.tsv.gz', gzipSync('p0\tp1\n0\t255\n')],
    ] as const)
      expect(await all(await readCsv(await put(name, content), { tensors: { x: '*' } }))).toEqual({
        x: float32([1, 2], [0, 255]),
      })
    const bare = await put('bare.csv', '1;2;10\n3;4;9\n')
    const options = {
      header: false,
      delimiter: ';',
      tensors: { x: ['1', '2'], y: { columns: '3', as: 'class' } },
    } as const
    const unnamed = await readCsv(bare, options)
    expect(await all(unnamed)).toEqual({ x: float32([2, 2], [1, 2, 3, 4]), y: int64([2], [1, 0]) })
    expect(unnamed.classes).toEqual({ y: ['9', '10'] }) // as numbers, not as texts
  })

  it('a fraction as the missing integer > invalid-option', async () => {
    const file = await put('integers.csv', 'a\n1\n\n')
    const tensors = { x: { columns: 'a', as: 'integer' } } as const
    expect(await rejectedMessage('invalid-option', () => readCsv(file, { tensors, missing: 0.5 }))).toMatch("'missing'")
  })

  it('missing values > are filled in or skipped on request', async () => {
    const file = await put('holes.csv', 'a,b,c\n1,2,x\n,4,y\n5,NA,y\n6,7,\n')
    const of = (missing: number | 'skip', tensors: CsvOptions['tensors']) => readCsv(file, { tensors, missing })
    expect(await all(await of(-1, { x: ['a', 'b'] }))).toEqual({ x: float32([4, 2], [1, 2, -1, 4, 5, -1, 6, 7]) })
    const both = { x: ['a', 'b'], y: { columns: 'c', as: 'class' } } as const
    const kept = await of('skip', both)
    expect([kept.length, kept.classes]).toEqual([1, { y: ['x'] }])
    expect(await rejectedMessage('invalid-data', () => of(0, both))).toBe(
      `${file}:5: column 'c' is empty: fill it in, or set 'impute' of the column or 'missing' to 'skip'`,
    )
  })

  it('NA and None > are missing numbers, but names of classes, categories and texts', async () => {
    const file = await put('names.csv', 'a,b\n1,NA\nNA,None\n3,\n')
    const read = (as: 'class' | 'category' | 'text') =>
      readCsv(file, { tensors: { x: 'a', y: { columns: 'b', as } }, missing: 0 }).then(all)
    const classes = { columns: 'b', as: 'class', impute: 'none' } as const
    const data = await readCsv(file, { tensors: { x: 'a', y: classes }, missing: 0 })
    expect([data.classes, await all(data)]).toEqual([
      { y: ['NA', 'None', 'none'] },
      { x: float32([3], [1, 0, 3]), y: int64([3], [0, 1, 2]) },
    ])
    expect(await read('category')).toEqual({ x: float32([3], [1, 0, 3]), y: int64([3], [1, 2, 0]) })
    expect((await read('text'))['y']!.data).toEqual(['NA', 'None', ''])
    expect(await rejectedMessage('invalid-data', () => read('class'))).toMatch("names.csv:4: column 'b' is empty")
  })

  it('large numbers > are scaled in double precision', async () => {
    const file = await put('large.csv', 'a\n1e39\n3e39\n')
    const tensors = { x: { columns: 'a', scale: 'min-max' } } as const
    expect(await all(await readCsv(file, { tensors }))).toEqual({ x: float32([2], [0, 1]) })
  })

  it('invalid values > error with file, line and column', async () => {
    const failures = async (content: string, options: CsvOptions) => {
      const file = await put('wrong.csv', content)
      const read = await rejectedMessage('invalid-data', () => readCsv(file, options))
      const streamed = await rejectedMessage('invalid-data', async () => all(await streamCsv(file, options)))
      expect(streamed).toBe(read)
      return read.replace(file, 'FILE')
    }
    const x: CsvOptions = { tensors: { x: ['a', 'b'] } }
    expect(await failures('a,b\n1,2\n\n3,four\n', x)).toBe(
      "FILE:4: column 'b' is 'four', not a number; names are read with as: 'class', as features with as: 'one-hot'",
    )
    expect(await failures('a,b\r\n"1\r\n",2\r\n3,0x10\r\n', x)).toContain("FILE:4: column 'b' is '0x10', not a number")
    expect(await failures('a,b\n1,2\n3,\n', x)).toMatch("FILE:3: column 'b' is empty")
    expect(await failures('a,b\n1,NaN\n', x)).toMatch("FILE:2: column 'b' is 'NaN'")
    expect(await failures('a,b\n1,2\n3\n', x)).toMatch('FILE:3: the record has 1 fields')
    expect(await failures('a,b\n1,2\n3,4,5\n', x)).toMatch('FILE:3: the record has 3 fields')
    expect(await failures('a,b\n1,2\n3,"4\n5,6\n', x)).toBe('FILE:3: a quote is not closed')
    expect(await failures('a,b\n1,"2"3\n', x)).toMatch('FILE:2: text follows a closing quote')
    expect(await failures('a,b\n"1"3,2\n', x)).toMatch('FILE:2: text follows a closing quote')
    expect(await failures('a,b\r1,2\r3,four\r', x)).toMatch("FILE:3: column 'b' is 'four'")
    expect(await failures('a,b\n1,2"3\n', x)).toMatch('FILE:2: a quote is in the middle of a field')
    expect(await failures('a;b\n1;2\n', x)).toBe(
      'FILE:1: the only column is "a;b": set the option delimiter, probably to ";"',
    )
    expect(await failures('a;b\n1;"2"\n', x)).toMatch(
      'FILE:2: a quote is in the middle of a field; check the delimiter',
    )
    const single: CsvOptions = { tensors: { y: { columns: 'a;b', as: 'class' } }, delimiter: ',' }
    expect((await readCsv(await put('single.csv', 'a;b\nx\n'), single)).length).toBe(1)
    const comma = 'not a number (with a decimal point, and without separators and units)'
    for (const text of ['"1,5"', '"1,500.25"', '$3', '3 kg'])
      expect(await failures(`a,b\n1,${text}\n`, x)).toMatch(
        `FILE:2: column 'b' is '${text.replaceAll('"', '')}', ${comma}`,
      )
    expect(await failures('a,a\n1,2\n', x)).toMatch("FILE:1: two columns have the name 'a'")
    expect(await failures('', x)).toBe('FILE: the file is empty')
    expect(await failures('a,b\n1,2\n3,-1e39\n', x)).toMatch("FILE:3: column 'b' is '-1e39', beyond float32")
    const unscaled: CsvOptions = { tensors: { x: { columns: 'a', impute: 'mean' } } }
    expect(await failures('a\n1e39\n1\n', unscaled)).toMatch("FILE:2: column 'a' is '1e39', beyond float32")
    const integer: CsvOptions = { tensors: { y: { columns: 'a', as: 'integer' } } }
    expect(await failures('a\n1\n1.5\n', integer)).toBe("FILE:3: column 'a' is '1.5', not an integer")
    const named: CsvOptions = { tensors: { y: { columns: 'a', as: 'class', classes: ['x', 'y'] } } }
    expect(await failures('a\nx\nz\n', named)).toBe("FILE:3: column 'a' is 'z', not one of the classes 'x', 'y'")
    expect(await failures('a,b\n', { tensors: { y: { columns: 'a', as: 'class' } } })).toMatch('no usable record')
  })

  it('bytes that are not UTF-8 > error with file and line; they made different names the same', async () => {
    const tensors = { city: { columns: 'city', as: 'class' } } as const
    const failure = async (content: string | Uint8Array) => {
      const file = await put('cities.csv', content)
      const read = await rejectedMessage('invalid-data', () => readCsv(file, { tensors }))
      expect(await rejectedMessage('invalid-data', () => streamCsv(file, { tensors }))).toBe(read)
      return read.replace(file, 'FILE')
    }
    const expected = (line: number) => `FILE:${line}: the line is not UTF-8; convert the file`
    expect(await failure(Buffer.from('city\nBern\nZürich\nZörich\n', 'latin1'))).toBe(expected(3))
    expect(await failure(Buffer.from('\ufeffcity\nBern\n', 'utf16le'))).toBe(expected(1))
    expect(await failure(Buffer.from('city\nZü').subarray(0, -1))).toBe(expected(2))
    // Characters of two bytes from an odd offset on are divided by the end of a block.
    const long = `city\n${'é'.repeat(2 ** 19)}\n`
    const { classes } = await readCsv(await put('long.csv', long), { tensors })
    expect(classes['city']).toEqual([long.slice(5, -1)])
    expect(await failure(Buffer.concat([Buffer.from(long), Buffer.from([0xe9])]))).toBe(expected(3))
  })

  it('unknown columns and options > rejects', async () => {
    const file = await put('flowers.csv', flowers)
    const of = (options: object) => rejectedMessage('invalid-option', () => readCsv(file, options as CsvOptions))
    expect(await of({ tensors: { x: 'heigth' } })).toMatch(
      /no column for 'x' matches 'heigth'.*length, width, species, note/,
    )
    expect(await of({ tensors: {} })).toMatch("'tensors'")
    expect(await of({ tensors: { x: 'width' }, sep: ';' })).toMatch("no option 'sep'")
    expect(await of({ tensors: { x: { columns: 'width', as: 'float' } } })).toMatch(
      'one of number, integer, class, text',
    )
    expect(await of({ tensors: { x: { columns: 'width', dims: [2] } } })).toMatch('of 1 elements')
    for (const as of ['class', 'one-hot', 'category'])
      expect(await of({ tensors: { y: { columns: 'species', as, classes: ['a', 'b', 'a'] } } })).toMatch(
        /^csv: tensor 'y': option 'classes' .*'a' occurs twice/,
      )
    expect(await of({ tensors: { x: 'width' }, missing: 'drop' })).toMatch("'error', 'skip' or a number")
    expect(await of({ tensors: { x: 'width' }, delimiter: '' })).toMatch("option 'delimiter' is ''")
    expect(await rejectedMessage('io', () => readCsv(path('none.csv'), { tensors: { x: 'a' } }))).toMatch(
      'there is no such file',
    )
    expect(await rejectedMessage('io', () => readCsv(path('.'), { tensors: { x: 'a' } }))).toMatch('it is a folder')
    const cut = await put('cut.csv.gz', gzipSync(flowers.repeat(100)).subarray(0, 60))
    expect(await rejectedMessage('invalid-data', () => readCsv(cut, { tensors }))).toMatch(
      `${cut}: its gzip data are damaged`,
    )
  })
})

describe('a large CSV file', () => {
  it('streaming > needs little memory and resumes in the middle of an epoch', async () => {
    const file = path('large.csv')
    const rows = 150_000
    const handle = await open(file, 'w')
    await handle.write('a,b,c,d,e,f,g,h\n')
    for (let i = 0; i < rows; i += 1000)
      await handle.write(Array.from({ length: 1000 }, (_, k) => `${i + k}${',0.12345678901234'.repeat(7)}\n`).join(''))
    const { size } = await handle.stat()
    await handle.close()
    const data = await streamCsv(file, { tensors: { x: '*' }, shuffleBuffer: 500 })
    const options = { batchSize: 256, shuffle: new Random(1) }
    const memory = () => process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
    const before = memory()
    let [seen, most, sum] = [0, 0, 0]
    let later: Tensors | undefined
    for await (const { tensors, size, number } of batches(data, options)) {
      seen += size
      const x = tensors['x']?.data as Float32Array
      for (let i = 0; i < size; i++) sum += x[8 * i]!
      if (number === 400) later = tensors
      most = Math.max(most, memory() - before)
    }
    expect([seen, sum]).toEqual([rows, (rows * (rows - 1)) / 2])
    expect(size).toBeGreaterThan(18e6)
    expect(most).toBeLessThan(150e6) // garbage included; 8 such files would not fit
    for await (const { tensors } of batches(data, { ...options, start: 400 })) {
      expect(tensors).toEqual(later)
      break
    }
  })
})

it('many columns > read in linear time', async () => {
  const columns = 100_000
  const header = Array.from({ length: columns }, (_, i) => `c${i}`)
  const file = await put('wide.csv', `${header.join(',')}\n${Array(columns).fill(1).join(',')}\n`)
  const { result: data, seconds } = await cpuTimeOf(() => readCsv(file, { tensors: { x: '*' } }))
  expect(seconds).toBeLessThan(6)
  expect((await data.batch([0]))['x']!.dims).toEqual([1, columns])
  const twice = await put('twice.csv', 'a,b,a\n1,2,3\n')
  expect(await rejectedMessage('invalid-data', () => readCsv(twice, { tensors: { x: '*' } }))).toMatch("'a'")
})
