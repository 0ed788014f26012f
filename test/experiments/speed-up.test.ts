import { describe, expect, test } from 'vitest'
import type { Lab, Settings, StoredRun } from '../../tools/experiments/experiment.js'
import { chooseNext } from '../../tools/experiments/speed-up/choose-next.js'
import { speedUp } from '../../tools/experiments/speed-up/experiment.js'
import { coordinates, points, type reference } from '../../tools/experiments/speed-up/settings.js'
import { fitLinear } from '../../tools/experiments/statistics.js'
import { toKey } from '../../tools/experiments/store.js'

describe('fit', () => {
  test('line > slope and standard error of the textbook; a prediction adds the noise of a measurement', () => {
    const x = [0, 1, 2, 3]
    const y = [1, 2.1, 2.9, 4]
    const { coefficients, halves, predict } = fitLinear(x.map((each, i) => ({ x: [1, each, 0], y: y[i]! })))
    expect(coefficients[0]).toBeCloseTo(1.03, 12)
    expect(coefficients[1]).toBeCloseTo(0.98, 12)
    expect(coefficients[2]).toBeNaN()
    // Residuals -0.03, 0.09, -0.09, 0.03: s^2 = 0.018 / 2, of the slope s^2 / sum (x - 1.5)^2 = 0.009 / 5; t(2) =
    // 4.302652729911.
    expect(halves[1]).toBeCloseTo(4.302652729911 * Math.sqrt(0.009 / 5), 7)
    const { mean, half } = predict([1, 5, 0])
    expect(mean).toBeCloseTo(1.03 + 5 * 0.98, 12)
    expect(half).toBeCloseTo(4.302652729911 * Math.sqrt(0.009 * (1 + 1 / 4 + 3.5 ** 2 / 5)), 7)
    expect(predict([1, 0, 1]).mean).toBeNaN()
  })

  test('next measurement > an unknown variable before a known one, the farther before the nearer, the cheaper of two', () => {
    const measured = [
      [1, 0, 0],
      [1, 2, 0],
    ]
    const choose = (...candidates: { x: number[]; cost: number }[]) => chooseNext(measured, candidates)
    expect(choose({ x: [1, 1, 0], cost: 1 }, { x: [1, 0, 1], cost: 1 })).toBe(1)
    expect(choose({ x: [1, 0, 2], cost: 1 }, { x: [1, 0, 1], cost: 1 })).toBe(0)
    expect(choose({ x: [1, 0, 1], cost: 2 }, { x: [1, 0, 1], cost: 1 })).toBe(1)
  })
})

/** Loss by a law in which AdamW is best at 2^-9 and IRE as good as AdamW in `factor` times the steps. */
const lossOf = ({ lr, kappa = 0, steps, model }: Settings, factor: number): number => {
  const rate = kappa ? Number(lr) * (1 + Number(kappa) / 3) : Number(lr)
  const { width } = model as { width: number }
  const off = Math.log2(rate * 2 ** 9) ** 2
  return 8 - 0.3 * Math.log2(Number(steps) * (kappa ? factor : 1)) - 0.1 * Math.log2(width) + 0.05 * off
}

/** A lab whose runs take a second each and follow the law. */
function createLab(
  budget: number | undefined,
  stored: Map<string, StoredRun>,
  law = (settings: Settings) => lossOf(settings, Number(settings['interval']) === 1 ? 1.3 : 1.2),
): Lab & { readonly made: Settings[] } {
  const made: Settings[] = []
  const recall = (settings: Settings) => stored.get(toKey(settings))
  return {
    scale: 'small',
    seeds: [0, 1],
    data: undefined,
    signal: { aborted: false },
    budget,
    made,
    expect() {},
    recall,
    async measure<Result extends object>(settings: Settings) {
      if (!recall(settings)) {
        made.push(settings)
        const loss = law(settings)
        stored.set(toKey(settings), { settings, result: { loss, test: { loss, accuracy: 0 } }, seconds: 1 })
      }
      return recall(settings)!.result as Result
    },
  }
}

test('experiment > every variable once, and the speed-up of the law; nothing is run twice', async () => {
  const stored = new Map<string, StoredRun>()
  const { markdown, summary } = await speedUp.run(createLab(undefined, stored))
  const comparisons = summary['comparisons'] as { variable: string | null; tuned: { mean: number } }[]
  expect(comparisons).toHaveLength(points.length)
  expect(comparisons[0]!.variable).toBeNull()
  for (const { variable, tuned } of comparisons) {
    // Kappa 3 at half of AdamW's best rate is at the law's best rate, too: (1 + 3 / 3) / 2 = 1.
    const fast = variable === 'interval' ? [1.2, 1.3] : [1.2]
    expect(Math.min(...fast.map((factor) => Math.abs(tuned.mean - factor))), `${variable}`).toBeLessThan(1e-9)
  }
  expect(markdown).toContain('All points are measured.')
  // The law's speed-up is the same for all sizes; the interval K is no size.
  expect(markdown).toContain('At the reference: 1.20 (1.20 to 1.20)')
  for (const size of ['width', 'layers', 'steps']) expect(markdown).toContain(`| ${size} | 1.00 (1.00 to 1.00) |`)
  const again = createLab(undefined, stored)
  await speedUp.run(again)
  expect(again.made).toEqual([])
})

test('budget > the reference first, then comparisons that fit', async () => {
  const stored = new Map<string, StoredRun>()
  const first = await speedUp.run(createLab(1e-9, stored))
  expect((first.summary['comparisons'] as object[]).length).toBeLessThanOrEqual(1)
  const { summary, markdown } = await speedUp.run(createLab(60, stored))
  const comparisons = summary['comparisons'] as { variable: string | null; setting: typeof reference }[]
  expect(comparisons[0]!.variable).toBeNull()
  expect(comparisons.length).toBeGreaterThan(1)
  // About a second per run of the reference's size: 25 times as many steps do not fit into a minute.
  expect(comparisons.some(({ setting }) => setting.steps === 20_000)).toBe(false)
  expect(markdown).toContain('Not measured yet')
})

test('training so long that twice the steps raise the loss > no speed-up, and the difference', async () => {
  const law = (settings: Settings) =>
    lossOf(settings, 1) + 0.6 * Math.log2(Number(settings['steps'])) - (settings['kappa'] ? 0.25 : 0)
  const { markdown, summary } = await speedUp.run(createLab(undefined, new Map(), law))
  expect(markdown).toContain('0.250 ± 0.000 | none: 2 N steps are not better')
  expect((summary['comparisons'] as { tuned: unknown }[])[0]!.tuned).toBeNull()
  // Half of the steps lower the loss from 10.193 by 0.3, more than IRE does.
  expect(markdown).toContain('epochs 16: 9.893 (sd 0.000) at lr 0.002, from which IRE in N differs by +0.050 ± 0.000.')
})

test('coordinates > doublings of one variable', () => {
  const [first, ...others] = points.map((point) => coordinates(point))
  expect(first).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
  for (const x of others) expect(x.slice(1).filter((value) => value !== 0).length).toBeGreaterThanOrEqual(1)
  expect(others[0]![1]).toBe(-1)
})
