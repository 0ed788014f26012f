import { describe, expect, test } from 'vitest'
import { type SweepRun, type SweepTrial, sweep } from '../../src/index.js'
import { axesNear, listCombinations } from '../../src/sweep/search.js'
import { OnnxIreError } from '../../src/util/errors.js'
import { errorWith } from '../thrown.js'

describe('combinations', () => {
  test('lists > all combinations, the last axis fastest', () => {
    expect(listCombinations({ a: [1, 2], b: ['x', null] })).toEqual([
      { a: 1, b: 'x' },
      { a: 1, b: null },
      { a: 2, b: 'x' },
      { a: 2, b: null },
    ])
  })

  test('trials > some of the grid without repetition, by the seed', () => {
    const over = { a: [1, 2, 3, 4, 5], b: [1, 2, 3, 4, 5] }
    const chosen = listCombinations(over, 20, 3)
    expect(new Set(chosen.map((each) => JSON.stringify(each))).size).toBe(20)
    expect(listCombinations(over, 20, 3)).toEqual(chosen)
    expect(listCombinations(over, 20, 4)).not.toEqual(chosen)
  })

  test('ranges > are sampled evenly in the logarithm', () => {
    const drawn = listCombinations({ lr: { from: 1e-4, to: 1 }, k: { from: 1, to: 8, integer: true } }, 4000, 0)
    const share = (bound: number) => drawn.filter(({ lr }) => (lr as number) < bound).length / drawn.length
    for (const [decade, bound] of [1e-3, 1e-2, 1e-1, 1].entries()) expect(share(bound)).toBeCloseTo((decade + 1) / 4, 1)
    expect(new Set(drawn.map(({ k }) => k))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8]))
  })

  test.each([
    { from: 0.99, to: 0.9999 },
    { from: 100_001, to: 100_009 },
    { from: 0.12345, to: 0.12349 },
    { from: -0.9999, to: -0.99 },
    { from: 0.9994, to: 1.0004 },
    { from: 1.4, to: 4.6, integer: true },
  ])('range %o > values are within it, and many', (range) => {
    const values = listCombinations({ x: range }, 200).map(({ x }) => x as number)
    expect(values.filter((x) => x < range.from || x > range.to)).toEqual([])
    expect(new Set(values).size).toBeGreaterThanOrEqual(range.integer ? 3 : 20)
    if (range.integer) expect(values.every(Number.isInteger)).toBe(true)
  })

  test('wide ranges > have three digits, the same for a seed in every version; a range of one number is that', () => {
    const over = {
      ...{ lr: { from: 1e-4, to: 1 }, m: { from: 0.9, to: 0.999 }, x: { from: -1, to: 1 } },
      ...{ k: { from: 1, to: 8, integer: true }, one: { from: 0.12345, to: 0.12345 } },
    }
    expect(listCombinations(over, 3)).toEqual([
      { lr: 0.00228, m: 0.91, x: 0.988, k: 4, one: 0.12345 },
      { lr: 0.000199, m: 0.949, x: 0.977, k: 5, one: 0.12345 },
      { lr: 0.00415, m: 0.912, x: 0.751, k: 2, one: 0.12345 },
    ])
  })

  test('axesNear > ranges between the neighbors of the best values', () => {
    const over = { lr: [1e-2, 1e-4, 1e-3], kind: ['a', 'b'], batch: [8, 16, 32], decay: { from: 1e-4, to: 1 } }
    const near = axesNear(over, { lr: 1e-3, kind: 'b', batch: 16, decay: 1e-2 })
    expect(near).toMatchObject({ lr: { from: 1e-4, to: 1e-2 }, kind: ['b'], batch: { from: 8, to: 32, integer: true } })
    expect((near.decay as { from: number }).from).toBeCloseTo(1e-2 / 10 ** 0.5, 6)
    const atEnds = axesNear(over, { lr: 1e-2, kind: 'b', batch: 8, decay: 1 })
    expect((atEnds.lr as { to: number }).to).toBeCloseTo(0.1, 6)
    expect(atEnds).toMatchObject({ lr: { from: 1e-3 }, batch: { from: 4, to: 16 }, decay: { to: 1 } })
    expect(axesNear({ lr: [0.1] }, { lr: 0.1 })).toEqual({ lr: { from: 0.05, to: 0.2 } })
  })

  test.each([[[0.5, 0.9]], [[0, 0.9]], [[0.9]]])('axesNear > shares %j remain below 1', (values) => {
    const near = axesNear({ momentum: values, 'optimizer.lr': values }, { momentum: 0.9, 'optimizer.lr': 0.9 })
    const [share, rate] = [near['momentum'], near['optimizer.lr']] as { from: number; to: number }[]
    expect([share!.from <= 0.9, share!.to > 0.9, share!.to < 1]).toEqual([true, true, true])
    expect(rate!.to).toBeGreaterThan(1)
  })

  test.each([
    [{}, undefined, 'over is empty'],
    [{ lr: [] }, undefined, 'over.lr'],
    [{ lr: { from: 2, to: 1 } }, 5, 'over.lr'],
    [{ lr: { from: 1, to: 2 } }, undefined, 'over.lr'],
    [{ k: { from: 1.2, to: 1.8, integer: true } }, 5, 'over.k'],
    [{ a: Array(400).fill(0), b: Array(400).fill(0) }, undefined, '160000'],
  ])('%j > is refused', (over, trials, text) => {
    expect(() => listCombinations(over, trials)).toThrow(errorWith('invalid-option', text))
  })
})

/** A run whose score falls with its length and is least at lr 3. */
const scoreOf = ({ values, share }: SweepRun): number => Math.abs((values.lr as number) - 3) + 1 / share

describe('sweep', () => {
  test('grid > finds the best, at most `concurrency` runs at a time', async () => {
    let [running, most] = [0, 0]
    const { best, trials, interrupted } = await sweep({
      over: { lr: [1, 2, 3, 4] },
      concurrency: 3,
      async train(run) {
        most = Math.max(most, ++running)
        await new Promise((resolve) => setTimeout(resolve, 2))
        running--
        return scoreOf(run)
      },
    })
    expect([best!.values, best!.score, trials.length, interrupted, most]).toEqual([{ lr: 3 }, 1, 4, false, 3])
    const most1 = await sweep({ over: { lr: [1, 2, 3, 4] }, mode: 'max', train: async (run) => scoreOf(run) })
    expect(most1.best!.values).toEqual({ lr: 1 })
  })

  test('halving > trains the best third three times longer, to the end', async () => {
    const runs: [number, number][] = []
    const { best, trials } = await sweep({
      over: { lr: [9, 8, 7, 6, 5, 4, 3, 2, 1] },
      halving: 3,
      async train(run) {
        runs.push([run.values.lr as number, run.share])
        return scoreOf(run)
      },
    })
    expect(runs.map(([, share]) => Math.round(9 * share))).toEqual([...Array(9).fill(1), 3, 3, 3, 9])
    expect(new Set(runs.slice(9, 12).map(([lr]) => lr))).toEqual(new Set([3, 4, 2]))
    expect([best!.values.lr, best!.share]).toEqual([3, 1])
    expect(trials.filter(({ share }) => share === 1)).toHaveLength(1)
  })

  test('a run that diverges or fails > is a trial without a score', async () => {
    const train = async ({ values: { lr } }: SweepRun) => {
      if (lr === 1) throw new OnnxIreError('not-finite', 'the loss is not finite')
      return lr === 2 ? Number.NaN : lr === 3 ? null : 1
    }
    const { trials, best } = await sweep({ over: { lr: [1, 2, 3, 4] }, train })
    expect(trials.map(({ score }) => score)).toEqual([null, null, null, 1])
    expect(trials[0]!.error).toBe('the loss is not finite')
    expect(best!.index).toBe(3)
    await expect(sweep({ over: { lr: [1] }, train })).rejects.toEqual(errorWith('not-finite', 'the loss'))
    expect((await sweep({ over: { lr: [2, 3] }, train })).best).toBeNull()
  })

  test('interrupted > continues with the trials that are missing, to the same result', async () => {
    const over = { lr: [9, 8, 7, 6, 5, 4, 3, 2, 1] }
    const options = { over, halving: 3, train: async (run: SweepRun) => scoreOf(run) }
    const whole = await sweep(options)
    for (const after of [1, 8, 9, 11, 12]) {
      const stored: SweepTrial[] = []
      const signal = { aborted: false }
      const onTrial = (trial: SweepTrial) => {
        stored.push(trial)
        signal.aborted = stored.length === after
      }
      const first = await sweep({ ...options, signal, onTrial })
      expect([first.interrupted, stored.length]).toEqual([true, after])
      let more = 0
      const rest = await sweep({ ...options, finished: JSON.parse(JSON.stringify(stored)), onTrial: () => more++ })
      expect([rest, more]).toEqual([whole, 13 - after])
    }
  })

  test('interrupted > is no error if the runs so far have failed', async () => {
    const signal = { aborted: false }
    const train = async () => {
      signal.aborted = true
      throw new OnnxIreError('runtime', 'out of memory')
    }
    const { trials, best, interrupted } = await sweep({ over: { a: [1, 2] }, signal, train })
    expect([trials.length, best, interrupted]).toEqual([1, null, true])
  })

  test('options > are checked', async () => {
    const train = async () => 1
    for (const [options, text] of [
      [{ halving: 1 }, 'halving'],
      [{ trials: 0 }, 'trials'],
      [{ mode: 'best' }, 'mode'],
      [{ concurrency: 0 }, 'concurrency'],
      [{ overr: 1 }, 'overr'],
    ] as const)
      await expect(sweep({ over: { a: [1] }, train, ...(options as object) })).rejects.toEqual(
        errorWith('invalid-option', text),
      )
  })
})
