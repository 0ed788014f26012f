import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { fromArrays } from '../../src/data/arrays.js'
import { type Batch, batchCount, batches, type EpochOptions } from '../../src/data/batches.js'
import type { Dataset } from '../../src/data/dataset.js'
import { tensor } from '../../src/ir/tensor.js'
import { Random } from '../../src/util/random.js'
import { rejectedMessage, thrownMessage } from '../thrown.js'

const counting = (length: number): Dataset => fromArrays({ x: Float32Array.from({ length }, (_, i) => i) })

async function collect(dataset: Dataset, options: EpochOptions): Promise<Batch[]> {
  const result: Batch[] = []
  for await (const batch of batches(dataset, options)) result.push(batch)
  return result
}
const numbers = (run: readonly Batch[]) => run.map(({ indices }) => [...indices])

describe('batches', () => {
  it('covers the data set in order, with a partial last batch', async () => {
    const run = await collect(counting(7), { batchSize: 3 })
    expect(numbers(run)).toEqual([[0, 1, 2], [3, 4, 5], [6]])
    expect(run.map(({ number, size, last }) => [number, size, last])).toEqual([
      [0, 3, false],
      [1, 3, false],
      [2, 1, true],
    ])
    expect(run[1]?.tensors).toEqual({ x: tensor('float32', [3], Float32Array.of(3, 4, 5)) })
  })

  it('drops the partial batch with dropLast', async () => {
    const run = await collect(counting(7), { batchSize: 3, dropLast: true })
    expect(numbers(run)).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ])
    expect(run.map(({ last }) => last)).toEqual([false, true])
    expect(await collect(counting(6), { batchSize: 3, dropLast: true })).toHaveLength(2)
  })

  it('visits every example once per epoch, in another order per epoch', async () => {
    const shuffle = new Random(3)
    const orders = []
    for (const epoch of [0, 1]) {
      const order = numbers(await collect(counting(100), { batchSize: 8, shuffle, epoch })).flat()
      expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i))
      orders.push(order)
    }
    expect(orders[0]).not.toEqual(orders[1])
  })

  it('starting at any batch of any epoch returns the batches of an uninterrupted run', async () => {
    const options = { batchSize: 4, epoch: 2 }
    const random = new Random(5)
    for (const epoch of [0, 1]) await collect(counting(30), { ...options, epoch, shuffle: random })
    random.uniform() // other draws do not shift the order
    const whole = await collect(counting(30), { ...options, shuffle: random })
    for (const start of [0, 3, 7, 8]) {
      const rest = await collect(counting(30), { ...options, shuffle: new Random(5), start })
      expect(rest).toEqual(whole.slice(start))
    }
    expect(await collect(counting(30), { ...options, shuffle: new Random(new Random(5).state()) })).toEqual(whole)
  })

  it('rejects invalid options before reading data', () => {
    const options = (options: EpochOptions) => thrownMessage('invalid-option', () => batches(counting(5), options))
    expect(options({ batchSize: 0 })).toMatch("option 'batchSize' is 0")
    expect(options({ batchSize: 1.5 })).toMatch('integer >= 1')
    expect(options({ batchSize: 2, start: 4 })).toMatch('integer in [0, 3]')
    expect(options({ batchSize: 2, epoch: -1 })).toMatch("option 'epoch' is -1")
    expect(thrownMessage('invalid-data', () => batches(counting(0), { batchSize: 2 }))).toBe(
      'the data set has no examples',
    )
    expect(thrownMessage('invalid-data', () => batchCount(5, { batchSize: 6, dropLast: true }))).toMatch(
      'lower batchSize',
    )
    expect(batchCount(5, { batchSize: 6 })).toBe(1)
  })

  it('rejects a batch with a wrong number of examples, with the names of its tensors', async () => {
    const wrong: Dataset = { length: 4, batch: () => ({ y: tensor('float32', [3, 1], new Float32Array(3)) }) }
    expect(await rejectedMessage('invalid-data', () => collect(wrong, { batchSize: 2 }))).toMatch(
      "returned 'y' [3, 1] for 2 examples",
    )
  })

  it('accepts tensors that are constant over batches', async () => {
    const rate = tensor('int64', [], BigInt64Array.of(16000n))
    const sound: Dataset = {
      length: 4,
      batch: ({ length }) => ({ rate, x: tensor('float32', [length], new Float32Array(length)) }),
    }
    const seen = await collect(sound, { batchSize: 3 })
    expect(seen.map(({ size }) => size)).toEqual([3, 1])
    expect(seen.every(({ tensors }) => tensors['rate'] === rate)).toBe(true)
  })
})

describe('reading ahead', () => {
  /** A data set whose batches take `delay` ms, and what happened to it. */
  function slow(length: number, delay: number, failAt = Number.NaN) {
    const log: string[] = []
    const dataset: Dataset = {
      length,
      async batch(indices) {
        log.push(`ask ${indices[0]}`)
        await sleep(delay)
        log.push(`have ${indices[0]}`)
        if (indices[0] === failAt) throw new Error(`example ${failAt} is unreadable`)
        return { x: tensor('float32', [1], Float32Array.from(indices)) }
      },
    }
    return { log, dataset }
  }

  it('loads exactly one batch ahead', async () => {
    const { log, dataset } = slow(3, 5)
    for await (const { number } of batches(dataset, { batchSize: 1 })) {
      log.push(`work ${number}`)
      await sleep(40)
      log.push(`done ${number}`)
    }
    expect(log).toEqual([
      ...['ask 0', 'have 0', 'ask 1', 'work 0', 'have 1', 'done 0'],
      ...['ask 2', 'work 1', 'have 2', 'done 1', 'work 2', 'done 2'],
    ])
  })

  it('reads nothing before the first batch is requested', async () => {
    const { log, dataset } = slow(3, 1)
    const run = batches(dataset, { batchSize: 1 })
    await sleep(10)
    await run.return()
    expect(log).toEqual([])
    expect(await run.next()).toEqual({ done: true, value: undefined })
  })

  it('throws a failure when its batch is due', async () => {
    const { dataset } = slow(5, 1, 2)
    const seen: number[] = []
    const unhandled: unknown[] = []
    const listener = (reason: unknown) => unhandled.push(reason)
    process.on('unhandledRejection', listener)
    try {
      await expect(async () => {
        for await (const { number } of batches(dataset, { batchSize: 1 })) {
          seen.push(number)
          await sleep(20) // the failure lies there, unlooked at
        }
      }).rejects.toThrow('example 2 is unreadable')
    } finally {
      process.off('unhandledRejection', listener)
    }
    expect(seen).toEqual([0, 1])
    expect(unhandled).toEqual([])
  })

  it('leaves no pending load if the loop is left, even if the load ahead fails', async () => {
    for (const failAt of [Number.NaN, 1]) {
      const { log, dataset } = slow(4, 10, failAt)
      for await (const _ of batches(dataset, { batchSize: 1 })) break
      expect(log).toEqual(['ask 0', 'have 0', 'ask 1', 'have 1'])
      await sleep(30)
      expect(log).toHaveLength(4)
    }
  })
})
