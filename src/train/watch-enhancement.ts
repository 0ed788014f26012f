import { upperMedian } from '../util/statistics.js'
import type { StepProgress } from './options.js'

/** Number of steps whose losses are compared with as many before IRE. */
const windowSteps = 20
/** Numbers of enhanced steps at which they are compared. */
const checkedSteps = [windowSteps, 3 * windowSteps]

/**
 * Creates a watch over the steps of a run, for `onStep`: it returns a warning once if the training loss rises after IRE
 * begins. It compares the last 20 losses before with the first 20 enhanced ones, and with the 41st to the 60th. In a
 * stable run losses fall or stay; if half of them exceed all 20 before, the steps along flat coordinates are too long.
 * Among losses that only scatter, whatever their distribution, this happens once in 4,600 comparisons. A run that IRE
 * enhances from its beginning is compared with its own first 20 steps. A run that is resumed after the beginning of IRE
 * is not watched.
 *
 * @example
 * ```ts
 * const watch = watchEnhancement()
 * const onStep = (step: StepProgress) => {
 *   const warning = watch(step)
 *   if (warning) console.warn(warning)
 * }
 * await trainer.train(data, { totalEpochs: 3, onStep })
 * ```
 */
export function watchEnhancement(): (step: Pick<StepProgress, 'step' | 'loss' | 'kappa'>) => string | null {
  const losses: number[] = []
  let begun: { readonly step: number; readonly before: readonly number[] } | undefined
  let isOver = false
  let isFirst = true
  return ({ step, loss, kappa }) => {
    // A resumed run has no losses from before.
    if (isFirst && step > 0 && kappa > 0) isOver = true
    isFirst = false
    if (isOver) return null
    if (!begun && kappa > 0 && losses.length === windowSteps) begun = { step, before: [...losses] }
    losses.push(loss)
    if (losses.length > windowSteps) losses.shift()
    if (!begun) return null
    const enhanced = step + 1 - begun.step
    if (!checkedSteps.includes(enhanced)) return null
    const { before } = begun
    const largest = Math.max(...before)
    const isHigher = losses.filter((x) => x > largest).length >= windowSteps / 2
    isOver = isHigher || enhanced === checkedSteps.at(-1)
    if (!isHigher) return null
    // The upper median is among the losses that exceed all before; the mean of the middle two may be lower.
    return (
      `the training loss rose after IRE began: its median was ${upperMedian(before).toPrecision(4)} in the ${windowSteps} steps before step ${begun.step}, and is ${upperMedian(losses).toPrecision(4)} in the last ${windowSteps}, at kappa ${Number(kappa.toPrecision(3))}; ` +
      'lower kappa, or the learning rate of the base: steps of lr (1 + kappa) along flat coordinates are too long here'
    )
  }
}
