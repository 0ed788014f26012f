import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { type Batch, batchCount, batches, type EpochOptions } from '../../src/data/batches.js'
import type { DataExample } from '../../src/data/examples.js'
import { type DatasetOrStream, type ExampleStream, stream } from '../../src/data/stream.js'
import { augment, transform } from '../../src/data/transform.js'
import { tensor } from '../../src/ir/tensor.js'
import { Random } from '../../src/util/random.js'
import { rejectedMessage, thrownMessage } from '../thrown.js'

const counting = (n: number, options = {}): ExampleStream =>
  stream(async function* () {
    for (let i = 0; i < n; i++) yield { x: i }
  }, options)

async function collect(data: DatasetOrStream, options: EpochOptions): Promise<Batch[]> {
  const result: Batch[] = []
  for await (const batch of batches(data, options)) result.push(batch)
  return result
}
const numbers = (run: readonly Batch[]) => run.map(({ indices }) => [...indices])
const values = (run: readonly Batch[]) => run.map(({ tensors }) => [...(tensors['x']?.data ?? [])])

describe('batches of a stream', () => {
  it('batches examples in order, with a partial last batch', async () => {
    const run = await collect(counting(7), { batchSize: 3 })
    expect(numbers(run)).toEqual([[0, 1, 2], [3, 4, 5], [6]])
    expect(values(run)).toEqual([[0, 1, 2], [3, 4, 5], [6]])
    expect(run.map(({ number, size, last }) => [number, size, last])).toEqual([
      [0, 3, false],
      [1, 3, false],
      [2, 1, true],
    ])
  })

  it.each([
    [6, false, 2],
    [6, true, 2],
    [7, true, 2],
    [8, true, 2],
    [3, true, 1],
    [1, false, 1],
  ])('detects the last batch of %i examples, dropLast %s', async (n, dropLast, count) => {
    const run = await collect(counting(n), { batchSize: 3, dropLast })
    expect(run.map(({ last }) => last)).toEqual(Array.from({ length: count }, (_, i) => i === count - 1))
  })

  it('accepts arrays, sync and async iterables, and functions of the epoch', async () => {
    const rows = [{ x: 1 }, { x: 2 }]
    const sources = [
      rows,
      new Set(rows),
      () => rows,
      async function* () {
        yield* rows
      },
    ]
    for (const source of sources) {
      const data = stream(source)
      for (const epoch of [0, 1]) expect(values(await collect(data, { batchSize: 2, epoch }))).toEqual([[1, 2]])
    }
    const byEpoch = stream((epoch) => [{ x: epoch }])
    expect(values(await collect(byEpoch, { batchSize: 2, epoch: 5 }))).toEqual([[5]])
  })

  it('rejects a second read of a generator object', async () => {
    const data = stream(
      (function* () {
        yield { x: 1 }
      })(),
    )
    expect(await collect(data, { batchSize: 1 })).toHaveLength(1)
    expect(await rejectedMessage('invalid-data', () => collect(data, { batchSize: 1 }))).toMatch('generator')
  })

  it('stacks scalars, typed arrays and tensors by their dtype', async () => {
    const data = stream([
      { a: 0.5, b: 7n, c: 'x', d: Int32Array.of(1, 2), e: tensor('bool', [1, 2], Uint8Array.of(1, 0)) },
      { a: 1.5, b: 8n, c: 'y', d: Int32Array.of(3, 4), e: tensor('bool', [1, 2], Uint8Array.of(0, 1)) },
    ])
    const [batch] = await collect(data, { batchSize: 2 })
    expect(batch?.tensors).toEqual({
      a: tensor('float32', [2], Float32Array.of(0.5, 1.5)),
      b: tensor('int64', [2], BigInt64Array.of(7n, 8n)),
      c: tensor('string', [2], ['x', 'y']),
      d: tensor('int32', [2, 2], Int32Array.of(1, 2, 3, 4)),
      e: tensor('bool', [2, 1, 2], Uint8Array.of(1, 0, 0, 1)),
    })
  })

  it('rejects an example that differs from the others, by index', async () => {
    const failure = (examples: unknown[]) =>
      rejectedMessage('invalid-data', () => collect(stream(examples as DataExample[]), { batchSize: 4 }))
    const two = new Float32Array(2)
    expect(await failure([{ x: two }, { x: two }, { x: new Float32Array(3) }])).toMatch(
      "'x' of example 0 is float32 [2] and 'x' of example 2 is float32 [3]",
    )
    expect(await failure([{ x: 1 }, { x: 1, y: 2 }])).toMatch("example 0 has 'x' and example 1 has 'x', 'y'")
    expect(await failure([{ x: 1 }, { x: 1n }])).toMatch('is float32 [] and')
    expect(await failure([{ x: 1 }, { x: null }])).toMatch("'x' of example 1 is null")
    expect(await failure([{ x: { dtype: 'float32', dims: [3], data: two } }])).toMatch('3 elements')
  })
})

describe('the length of a stream', () => {
  it('cuts an endless source at its length and closes it', async () => {
    let closed = 0
    const endless = stream(
      function* () {
        try {
          for (let x = 0; ; x++) yield { x }
        } finally {
          closed++
        }
      },
      { length: 5 },
    )
    const run = await collect(endless, { batchSize: 2 })
    expect(values(run)).toEqual([[0, 1], [2, 3], [4]])
    expect(run.map(({ last }) => last)).toEqual([false, false, true])
    expect(closed).toBe(1)
    for await (const _ of batches(endless, { batchSize: 2 })) break
    expect(closed).toBe(2)
  })

  it('rejects a source that is shorter than its length', async () => {
    expect(await rejectedMessage('invalid-data', () => collect(counting(3, { length: 5 }), { batchSize: 2 }))).toMatch(
      'ended after 3 examples',
    )
  })

  it('determines the number of batches; undefined without a length', async () => {
    expect(batchCount(counting(3), { batchSize: 2 })).toBeUndefined()
    expect(batchCount(counting(3, { length: 3 }), { batchSize: 2 })).toBe(2)
    expect(await rejectedMessage('invalid-data', () => collect(counting(0), { batchSize: 2 }))).toBe(
      'the data set has no examples',
    )
    expect(await rejectedMessage('invalid-data', () => collect(counting(2), { batchSize: 3, dropLast: true }))).toMatch(
      'one batch of 3',
    )
    expect(thrownMessage('invalid-option', () => counting(3, { length: 0 }))).toMatch("option 'length' is 0")
    expect(thrownMessage('invalid-option', () => counting(3, { shuffleBuffer: 0 }))).toMatch(
      "option 'shuffleBuffer' is 0",
    )
  })
})

describe('shuffling a stream', () => {
  it('yields every example once, at most a buffer early, in another order per epoch', async () => {
    const data = counting(200, { shuffleBuffer: 16 })
    const orders = []
    for (const epoch of [0, 1]) {
      const order = numbers(await collect(data, { batchSize: 7, shuffle: new Random(1), epoch })).flat()
      expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i))
      for (const [place, example] of order.entries()) expect(example - place).toBeLessThan(16)
      expect(order.filter((example, place) => example !== place).length).toBeGreaterThan(150)
      orders.push(order)
    }
    expect(orders[0]).not.toEqual(orders[1])
  })

  it('keeps examples with their indices; a buffer of one keeps the order', async () => {
    const run = await collect(counting(40, { shuffleBuffer: 8 }), { batchSize: 5, shuffle: new Random(2) })
    expect(values(run)).toEqual(numbers(run))
    const kept = await collect(counting(6, { shuffleBuffer: 1 }), { batchSize: 6, shuffle: new Random(2) })
    expect(numbers(kept)).toEqual([[0, 1, 2, 3, 4, 5]])
  })

  it.each([0, 1, 4, 9, 10])('starting at batch %i returns the batches of an uninterrupted epoch', async (start) => {
    const data = augment(counting(48, { shuffleBuffer: 10 }), ({ x }, random) => ({
      x: { ...x!, data: Float32Array.from(x!.data as Float32Array, (v) => v + random.uniform()) },
    }))
    const whole = await collect(data, { batchSize: 5, shuffle: new Random(3), epoch: 4 })
    expect(whole).toHaveLength(10)
    expect(await collect(data, { batchSize: 5, shuffle: new Random(3), epoch: 4, start })).toEqual(whole.slice(start))
  })

  it('rejects a start past the end', async () => {
    const from = (start: number, dropLast = false) =>
      rejectedMessage('invalid-data', () => collect(counting(7), { batchSize: 3, start, dropLast }))
    expect(await from(4)).toMatch('batch 4')
    expect(await from(3, true)).toMatch('batch 3')
    expect(await collect(counting(7), { batchSize: 3, start: 2, dropLast: true })).toEqual([])
    expect(
      thrownMessage('invalid-option', () => batches(counting(7, { length: 7 }), { batchSize: 3, start: 4 })),
    ).toMatch('integer in [0, 3]')
  })
})

describe('read-ahead of a stream', () => {
  function logged(n: number, failAt = Number.NaN) {
    const log: string[] = []
    const data = stream(async function* () {
      try {
        for (let i = 0; i < n; i++) {
          await sleep(2)
          if (i === failAt) throw new Error(`example ${i} is unreadable`)
          log.push(`read ${i}`)
          yield { x: i }
        }
      } finally {
        log.push('closed')
      }
    })
    return { log, data }
  }

  it('loads exactly one batch ahead', async () => {
    const { log, data } = logged(7)
    for await (const { number } of batches(data, { batchSize: 2 })) {
      log.push(`work ${number}`)
      const ahead = `read ${Math.min(2 * number + 4, 6)}` // the next batch, and one more example, to detect the last batch
      await vi.waitFor(() => expect(log).toContain(ahead), { timeout: 60_000 })
      await sleep(20)
      log.push(`done ${number}`)
    }
    expect(log.filter((event) => event !== 'closed')).toEqual([
      ...['read 0', 'read 1', 'read 2', 'work 0', 'read 3', 'read 4', 'done 0'],
      ...['work 1', 'read 5', 'read 6', 'done 1', 'work 2', 'done 2', 'work 3', 'done 3'],
    ])
  })

  it('closes the source if the loop is left, and throws a failure when its batch is due', async () => {
    const left = logged(9)
    for await (const _ of batches(left.data, { batchSize: 1 })) break
    expect(left.log.at(-1)).toBe('closed')
    const broken = logged(9, 4)
    const seen: number[] = []
    await expect(async () => {
      for await (const { number } of batches(broken.data, { batchSize: 1 })) seen.push(number)
    }).rejects.toThrow('example 4 is unreadable')
    expect(seen).toEqual([0, 1, 2]) // batch 3 needs to know whether it is the last
    expect(broken.log.at(-1)).toBe('closed')
  })
})

describe('augment and transform', () => {
  const noisy = (data: DatasetOrStream) =>
    augment(data, ({ x }, random) => ({
      x: { ...x!, data: Float32Array.from(x!.data as Float32Array, () => random.uniform()) },
    }))
  const source: DatasetOrStream = {
    length: 6,
    batch: (indices) => ({ x: tensor('float32', [indices.length], Float32Array.from(indices)) }),
  }

  it.each([
    ['a data set', source],
    ['a stream', counting(6)],
  ])('is random per epoch and batch in training, and never in evaluation, over %s', async (_, data) => {
    expect(values(await collect(noisy(data), { batchSize: 3 }))).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ])
    const train = async (epoch: number, seed = 1) =>
      values(await collect(noisy(data), { batchSize: 3, shuffle: new Random(seed), epoch }))
    expect(await train(0)).toEqual(await train(0))
    const drawn = [...(await train(0)), ...(await train(1)), ...(await train(0, 2))].flat()
    expect(new Set(drawn).size).toBe(18)
  })

  it('statistics of a table > are kept', () => {
    const statistics = { x: { x: { offset: 1 } } }
    for (const data of [source, counting(6)])
      expect(noisy({ ...data, statistics } as DatasetOrStream).statistics).toBe(statistics)
  })

  it('nested augmentations use independent random streams', async () => {
    const draws: number[] = []
    const record = (data: DatasetOrStream) =>
      augment(data, (batch, random) => {
        draws.push(random.uniform())
        return batch
      })
    await collect(record(transform(record(source), (batch) => batch)), { batchSize: 6, shuffle: new Random(1) })
    expect(new Set(draws).size).toBe(2)
  })
})
