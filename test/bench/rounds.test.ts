import { expect, test } from 'vitest'
import type { Contender } from '../../tools/bench/contender.js'
import { disagrees } from '../../tools/bench/report.js'
import { measure, type Progress } from '../../tools/bench/rounds.js'

const mega = 1e6

interface Fake {
  readonly name: string
  /** Seconds per step of every turn after the first two. */
  readonly turns: readonly number[]
  readonly losses?: readonly number[]
  readonly loaded?: number
  readonly peak?: number
  /** Number of turns before the contender fails. */
  readonly failsAfter?: number
}

/** A contender with given times, which records the order of its turns. */
function fake(
  { name, turns, losses = [2, 1.9, 1.8, 1.7], loaded, peak, failsAfter }: Fake,
  order: string[],
): Contender {
  let count = 0
  return {
    name,
    start: async () => ({ about: name, parameters: 1, ...(loaded !== undefined && { loaded }) }),
    async run(steps) {
      if (count === failsAfter) return { unable: 'out of memory' }
      if (count >= 2) order.push(name)
      return { seconds: steps * (turns[count++ - 2] ?? 1), losses: losses.slice(0, steps) }
    },
    peak: () => peak,
    stop: async () => {},
  }
}

test('contenders take turns, and ratios are those of one round', async () => {
  const order: string[] = []
  const progress: Progress[] = []
  const results = await measure(
    [
      fake({ name: 'onnx-ire', turns: [1, 4, 3], loaded: 50 * mega, peak: 150 * mega }, order),
      fake({ name: 'PyTorch', turns: [1, 2, 2], loaded: 400 * mega, peak: 600 * mega }, order),
    ],
    { rounds: 3, seconds: 1, interval: 10, onProgress: (each) => progress.push(each) },
  )
  expect(order).toEqual(['onnx-ire', 'PyTorch', 'onnx-ire', 'PyTorch', 'onnx-ire', 'PyTorch'])
  const [ours, torch] = results
  expect(ours!.toReference).toEqual({ median: 1.5, least: 1, most: 2 })
  expect(ours!.seconds).toEqual({ median: 3, least: 1, most: 4 })
  // 100 MB beside 200 MB, each without its library
  expect(ours!.peakToReference).toBe(0.5)
  expect(torch!.toReference).toBeUndefined()
  expect(torch!.peakToReference).toBeUndefined()
  expect(progress.slice(0, 2)).toEqual([{ starting: 'onnx-ire' }, { starting: 'PyTorch' }])
  expect(progress.at(-1)).toEqual({ round: 3, rounds: 3, secondsLeft: 0 })
})

test('a contender that fails has a reason and no figures; the others go on', async () => {
  const [ours, torch] = await measure(
    [fake({ name: 'onnx-ire', turns: [1, 1] }, []), fake({ name: 'PyTorch', turns: [1, 1], failsAfter: 3 }, [])],
    { rounds: 2, seconds: 1, interval: 10 },
  )
  expect(torch).toMatchObject({ unable: 'out of memory' })
  expect(ours!.turns).toEqual([1, 1])
  expect(ours!.toReference).toBeUndefined()
})

test('another model, or another update, is found by its losses', async () => {
  const losses = {
    PyTorch: [2, 1.9, 1.8, 1.7],
    'onnx-ire': [2.0001, 1.9, 1.8, 1.705],
    'onnx-ire with IRE': [2, 1.5, 1.4, 1.3],
    'other weights': [2.001, 1.9, 1.8, 1.7],
    'other update': [2, 1.9, 1.8, 1.6],
  }
  const results = await measure(
    Object.entries(losses).map(([name, each]) => fake({ name, turns: [1], losses: each }, [])),
    { rounds: 1, seconds: 1, interval: 10 },
  )
  expect(results.filter(disagrees).map(({ name }) => name)).toEqual(['other weights', 'other update'])
})
