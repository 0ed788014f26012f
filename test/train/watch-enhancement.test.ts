import { describe, expect, it } from 'vitest'
import { adamw, ire, watchEnhancement } from '../../src/index.js'
import { clusters, smallConvnet } from './problem.js'
import { startTrainers, train } from './small-trainer.js'

/** The steps at which a watch warns about these losses, with IRE from step `start` on. */
function warnings(losses: readonly number[], start: number, from = 0): number[] {
  const watch = watchEnhancement()
  return losses.flatMap((loss, i) => {
    const step = from + i
    return watch({ step, loss, kappa: step >= start ? 2 : 0 }) ? [step] : []
  })
}

const noise = (i: number) => 0.05 * Math.sin(12.9898 * i)
const run = (length: number, lossAt: (i: number) => number) => Array.from({ length }, (_, i) => lossAt(i) + noise(i))

describe('watchEnhancement', () => {
  it.each<[string, number[], number, number[]]>([
    ['a falling loss', run(200, (i) => 2 - i / 200), 50, []],
    ['a loss that rises at once', run(200, (i) => (i < 50 ? 1 : 1.3)), 50, [69]],
    ['a loss that rises slowly', run(200, (i) => (i < 50 ? 1 : 1 + (i - 50) / 300)), 50, [109]],
    ['a loss that rose before', run(200, (i) => (i < 30 ? 1 : 1.3)), 50, []],
    ['a loss that rises less than it scatters', run(200, (i) => (i < 50 ? 1 : 1.02)), 50, []],
    ['a few spikes', run(200, (i) => (i % 5 === 0 && i > 50 ? 9 : 1)), 50, []],
    ['spikes in most steps', run(200, (i) => (i % 3 !== 0 && i > 50 ? 900 : 1)), 50, [69]],
    ['a loss that rises much later', run(200, (i) => (i < 150 ? 1 : 1.3)), 50, []],
    ['IRE from step 0 on', run(200, (i) => (i < 25 ? 1 : 1.3)), 0, [39]],
  ])('%s', (_, losses, start, expected) => {
    expect(warnings(losses, start)).toEqual(expected)
  })

  it('a run that is resumed after the beginning > is not watched', () => {
    const rising = run(200, (i) => 1 + i / 50)
    expect(warnings(rising, 10, 0)).toEqual([39])
    expect(warnings(rising, 10, 60)).toEqual([])
  })
})

describe('watchEnhancement in training', () => {
  const { create } = startTrainers()
  it.each([
    [1, false],
    [300, true],
  ])('kappa %d', async (kappa, isWarned) => {
    const optimizer = ire(adamw({ lr: 5e-3 }), { kappa, gamma: 0.9, interval: 5, warmup: 30 })
    const trainer = await create({ optimizer, batchSize: 8 }, smallConvnet())
    const watch = watchEnhancement()
    const found: string[] = []
    await train(trainer, clusters(80, [2, 8, 8]), {
      totalEpochs: 10,
      onStep: (step) => {
        const warning = watch(step)
        if (warning) found.push(warning)
      },
    })
    expect(found).toEqual(isWarned ? [expect.stringContaining(`at kappa ${kappa};`)] : [])
  })
})
