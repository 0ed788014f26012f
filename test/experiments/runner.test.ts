import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type Experiment, Interrupted } from '../../tools/experiments/experiment.js'
import { Pool } from '../../tools/experiments/pool.js'
import { runExperiment } from '../../tools/experiments/runner.js'
import { computeSpread, fitExponents, pairedSpread } from '../../tools/experiments/statistics.js'
import { refineRate, tune, tuneRate } from '../../tools/experiments/tuning.js'

const quiet = { expect() {}, skip() {}, within() {}, done() {}, stop() {} }
const ask = { scale: 'small', resume: true, progress: quiet, command: 'the command' } as const

/** Squares numbers 0 to n-1, and notes which it had to compute. */
const squares = (n: number, computed: number[], afterEach: (i: number) => void = () => {}): Experiment => ({
  name: 'squares',
  about: 'squares',
  duration: { small: '', full: '' },
  seeds: { small: 1, full: 1 },
  async run(lab) {
    const values: number[] = []
    for (let i = 0; i < n; i++) {
      const { square } = await lab.measure({ seed: 0, number: i }, 1, () => {
        computed.push(i)
        return { square: i * i }
      })
      values.push(square)
      afterEach(i)
    }
    return { markdown: `sum ${values.reduce((a, b) => a + b, 0)}`, charts: { chart: '<svg/>' }, summary: { values } }
  },
})

const all = mkdtempSync(join(tmpdir(), 'onnx-ire-experiment-'))
afterAll(() => rmSync(all, { recursive: true, force: true }))
const folder = () => mkdtempSync(join(all, 'out-'))
const read = (out: string, file: string) => readFileSync(join(out, file), 'utf8')

describe('runExperiment', () => {
  test('interrupted > resumes, and computes nothing twice', async () => {
    const out = folder()
    const computed: number[] = []
    const signal = { aborted: false }
    const stopping = squares(4, computed, (i) => {
      signal.aborted = i === 1
    })
    await expect(runExperiment(stopping, { ...ask, out, seeds: [0], signal })).rejects.toThrow(Interrupted)
    expect(computed).toEqual([0, 1])
    expect(JSON.parse(read(out, 'results.json')).runs).toHaveLength(2)

    await runExperiment(squares(4, computed), { ...ask, out, seeds: [0], signal: { aborted: false } })
    expect(computed).toEqual([0, 1, 2, 3])
    expect(read(out, 'RESULTS.md')).toBe('# squares: squares\n\nWritten by `the command`.\n\nsum 14\n')
    expect(read(out, 'chart.svg')).toBe('<svg/>')
    const { summary, runs } = JSON.parse(read(out, 'results.json'))
    expect(summary).toEqual({ experiment: 'squares', scale: 'small', seeds: [0], values: [0, 1, 4, 9] })
    expect(runs[3]).toMatchObject({ settings: { seed: 0, number: 3 }, result: { square: 9 } })
  })

  test('finished file > contains exactly the runs of its summary; without resume everything is recomputed', async () => {
    const out = folder()
    const signal = { aborted: false }
    await runExperiment(squares(3, []), { ...ask, out, seeds: [0], signal })
    const computed: number[] = []
    await runExperiment(squares(2, computed), { ...ask, out, seeds: [0], signal })
    expect(computed).toEqual([])
    expect(JSON.parse(read(out, 'results.json')).runs).toHaveLength(2)
    await runExperiment(squares(2, computed), { ...ask, out, seeds: [0], signal, resume: false })
    expect(computed).toEqual([0, 1])
  })

  test('concurrent runs > the same run is not repeated, and the file has them in the order of the calls', async () => {
    const out = folder()
    const started: number[] = []
    let release = () => {}
    const second = new Promise<void>((resolve) => {
      release = resolve
    })
    const experiment: Experiment = {
      ...squares(0, []),
      async run(lab) {
        const values = await Promise.all(
          [3, 2, 3].map((number) =>
            lab.measure({ number }, 1, async () => {
              started.push(number)
              if (number === 2) release()
              else await second
              return { square: number * number }
            }),
          ),
        )
        return { markdown: values.map(({ square }) => square).join(' '), charts: {}, summary: {} }
      },
    }
    await runExperiment(experiment, { ...ask, out, seeds: [0], signal: { aborted: false } })
    expect(started).toEqual([3, 2])
    expect(read(out, 'RESULTS.md')).toContain('9 4 9')
    const { runs } = JSON.parse(read(out, 'results.json'))
    expect(runs.map(({ settings }: { settings: { number: number } }) => settings.number)).toEqual([3, 2])
  })

  test('aborted > the measurement in progress is discarded', async () => {
    const out = folder()
    const signal = { aborted: false }
    const cut: Experiment = {
      ...squares(1, []),
      async run(lab) {
        await lab.measure({ first: true }, 1, () => ({}))
        await lab.measure({ cut: true }, 1, () => {
          signal.aborted = true
          return { half: 'a result' }
        })
        throw new Error('not reached')
      },
    }
    await expect(runExperiment(cut, { ...ask, out, seeds: [0], signal })).rejects.toThrow(Interrupted)
    expect(JSON.parse(read(out, 'results.json')).runs.map(({ settings }: { settings: object }) => settings)).toEqual([
      { first: true },
    ])
  })
})

test('pool > runs as many at once as it has runtimes, in the order of the calls, also after a failure', async () => {
  const pool = new Pool(2)
  const [order, used]: [number[], Set<object>] = [[], new Set()]
  let [running, most] = [0, 0]
  const work = (i: number) =>
    pool.use(async (runtime) => {
      order.push(i)
      used.add(runtime)
      most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, 5))
      running--
      if (i === 1) throw new Error('fails')
      return i
    })
  const settled = await Promise.allSettled([0, 1, 2, 3, 4].map(work))
  expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled'])
  expect([order, used.size, most]).toEqual([[0, 1, 2, 3, 4], 2, 2])
  await pool.dispose()
})

describe('statistics', () => {
  test('mean, deviation and 95 % interval', () => {
    // t(0.975, 2) = 4.302652729911; the quantile is summed to 8 digits
    const { mean, deviation, half } = computeSpread([1, 2, 3])
    expect([mean, deviation]).toEqual([2, 1])
    expect(half).toBeCloseTo(4.302652729911275 / Math.sqrt(3), 7)
    // t(0.975, 40) = 2.021, t(0.975, 100) = 1.984
    for (const [n, t] of [
      [41, 2.021],
      [101, 1.984],
    ] as const) {
      const { deviation, half } = computeSpread(Array.from({ length: n }, (_, i) => i))
      expect((half * Math.sqrt(n)) / deviation).toBeCloseTo(t, 2)
    }
  })

  test('paired differences > exclude the variance shared by the seeds', () => {
    const { mean, half } = pairedSpread([1.1, 5.1, 9.1], [1, 5, 9])
    expect(mean).toBeCloseTo(0.1, 12)
    expect(half).toBeCloseTo(0, 12)
  })

  test('exponents of a product of powers', () => {
    const points = [1, 2, 5].flatMap((a) => [3, 7].map((b) => ({ x: [a, b], y: 4 * a ** 1.5 * b ** -2 })))
    const [first, second] = fitExponents(points)
    expect(first).toBeCloseTo(1.5, 10)
    expect(second).toBeCloseTo(-2, 10)
  })
})

describe('tuning', () => {
  test('grid > grows until the best rate has worse neighbors', async () => {
    for (const target of [0.5, 4, 64]) {
      const { best, tried } = await tuneRate([2, 4], async (lr) => Math.abs(Math.log2(lr / target)))
      expect(best).toBe(target)
      const rates = tried.map(({ candidate }) => candidate)
      expect(rates).toEqual([...rates].sort((a, b) => a - b))
      expect([rates[0]! < target, rates.at(-1)! > target]).toEqual([true, true])
    }
  })

  test('refinement > adds one rate between the best one and its better neighbor', async () => {
    const score = async (lr: number) => Math.abs(Math.log2(lr / 3))
    const { best, tried } = await refineRate(await tuneRate([1, 2, 4], score), score)
    expect(tried.map(({ candidate }) => candidate)).toEqual([1, 2, 2.83, 4, 8])
    expect(best).toBe(2.83)
    // It may be worse.
    const sharp = async (lr: number) => (lr === 4 ? 0 : 1)
    expect((await refineRate(await tuneRate([2, 4, 8], sharp), sharp)).best).toBe(4)
    const alone = { best: 1, tried: [{ candidate: 1, score: 0 }] }
    expect(await refineRate(alone, sharp)).toEqual(alone)
  })

  test('diverged runs > are never best, and end the growth of the grid', async () => {
    const { best } = await tuneRate([1, 2, 4], async (lr) => (lr > 2 ? null : -lr))
    expect(best).toBe(2)
    expect((await tuneRate([1, 2], async (lr) => -lr, 5)).tried).toHaveLength(5)
    expect((await tune(['a', 'b'], async (name) => (name === 'a' ? null : 1))).best).toBe('b')
  })
})
