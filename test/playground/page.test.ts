import { expect, it } from 'vitest'
import { chooseSettings, type ModelKind } from '../../tools/playground/page/automatic-settings.js'
import { drawnValue, scaleOf, tickText, valueText } from '../../tools/playground/page/axis.js'
import { Progress } from '../../tools/playground/page/progress.js'
import { smooth } from '../../tools/playground/page/smooth.js'

it('settings > take hundreds of steps whatever the number of examples, and fit into the data', () => {
  for (const kind of ['general', 'table', 'file'] satisfies ModelKind[])
    for (const examples of [4, 12, 36, 300, 2000]) {
      const { epochs, batchSize, layers } = chooseSettings(kind, examples, 0.2)
      const trained = examples - Math.round(examples * 0.2)
      expect(batchSize).toBeLessThanOrEqual(trained)
      const steps = epochs * Math.ceil(trained / batchSize)
      expect(steps, `${kind}, ${examples} examples`).toBeGreaterThan(150)
      expect(steps, `${kind}, ${examples} examples`).toBeLessThan(700)
      expect(layers).toBe(kind === 'general' ? 'head' : 'all')
    }
})

it('smoothing > averages without a bias towards the first value, and skips missing values', () => {
  expect(smooth([1, 2, null, 4], 0)).toEqual([1, 2, null, 4])
  const [first, second, missing, third] = smooth([1, 1, null, 4], 0.5)
  expect([first, second, missing]).toEqual([1, 1, null])
  expect(third).toBeCloseTo((0.125 * 1 + 0.25 * 1 + 0.5 * 4) / 0.875)
})

it('axes > percentages have all of 0 to 100 %, a loss of 0 is drawn, and short labels fit', () => {
  expect(scaleOf('percent')).toEqual({ range: [0, 1] })
  expect([0, 0.5, 1].map((share) => tickText(share, 'percent'))).toEqual(['0 %', '50 %', '100 %'])
  expect(drawnValue(0, 'logarithmic')).toBeGreaterThan(0)
  expect([drawnValue(0, 'linear'), drawnValue(0.3, 'logarithmic')]).toEqual([0, 0.3])
  const ticks = [1e-8, 1e-4, 0.001, 0.01, 0.1, 1, 10, 0.125, 20_000]
  expect(ticks.map((tick) => tickText(tick, 'logarithmic'))).toEqual(
    ['1e-8', '1e-4', '1e-3', '0.01', '0.1', '1', '10', '0.125', '2e+4'], // biome-ignore format: a list
  )
  expect([valueText(0.875, 'percent'), valueText(0.0123456, 'linear'), valueText(null, 'linear')]).toEqual([
    '87.5 %',
    '0.0123',
    '',
  ])
})

it('time left > needs two steps of each run, also after a resume, and does not count a pause', () => {
  const step = (contender: 'base' | 'ire', step: number) =>
    ({ kind: 'step', contender, step, steps: 100, loss: 1 }) as const
  const progress = new Progress()
  // Both first steps come at once, after compiling for a long time.
  expect(progress.after(step('base', 0), 90_000).text).toBe('Step 1 of 100')
  expect(progress.after(step('ire', 0), 90_001).text).toBe('Step 1 of 100')
  expect(progress.after(step('base', 1), 90_501).text).toBe('Step 2 of 100')
  expect(progress.after(step('ire', 1), 91_001).text).toBe('Step 2 of 100, 500 ms each, 1 min 38 s left')
  progress.interrupt()
  progress.after(step('base', 2), 191_001)
  expect(progress.after(step('ire', 2), 191_501).text).toBe('Step 3 of 100, 500 ms each, 1 min 37 s left')

  const resumed = new Progress()
  expect(resumed.after(step('base', 59), 1000).text).toBe('Step 60 of 100')
  expect(resumed.after(step('ire', 59), 1001).text).toBe('Step 60 of 100')
  resumed.after(step('base', 60), 1251)
  expect(resumed.after(step('ire', 60), 1501)).toEqual({ share: 0.61, text: 'Step 61 of 100, 250 ms each, 20 s left' })
})
