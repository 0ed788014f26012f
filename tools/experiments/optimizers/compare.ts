import type { Lab } from '../experiment.js'
import type { Pool } from '../pool.js'
import { type RandomMask, withRandomMask } from '../random-mask.js'
import { pairedSpread } from '../statistics.js'
import { type Outcome, timeStep, trainModel } from '../train.js'
import { type TuningResult, tune, tuneRate } from '../tuning.js'
import { type BaseName, bases, type Contender, optimizerOf, type Plan, scheduleOf } from './bases.js'
import { type Subject, type SubjectName, shared, subjects } from './subjects.js'

/** Seed that settings are chosen with; it is none of those compared. */
export const tuningSeed = 100

/** Steps before the CPU time of a step is measured, and those measured: four refreshes of the mask. */
export const timed = { skipped: 20, counted: 40 } as const

/** Settings over which IRE is tuned; learning rates as shares of the best rate of the base. */
export const enhancements = [
  { share: 1 / 4, kappa: 4, gamma: 0.6 },
  { share: 1 / 2, kappa: 2, gamma: 0.6 },
  { share: 1 / 2, kappa: 1, gamma: 0.6 },
  { share: 1, kappa: 1, gamma: 0.6 },
  { share: 1, kappa: 2, gamma: 0.8 },
] as const

const controlMasks: Readonly<Record<RandomMask, string>> = {
  random: 'random mask',
  shuffled: 'mask shuffled within each tensor',
  tensors: 'whole tensors, those of least curvature',
}

/** A base and IRE over it on one subject, each at its best settings. */
interface Comparison {
  readonly base: BaseName
  readonly rate: TuningResult<number>
  readonly ire: TuningResult<Contender>
  readonly plain: readonly Outcome[]
  readonly enhanced: readonly Outcome[]
  readonly controls: readonly { readonly name: string; readonly outcomes: readonly Outcome[] }[]
}

/** A comparison with the CPU milliseconds of a step. */
export interface Row extends Comparison {
  readonly plainTime: number
  readonly enhancedTime: number
}

/** Seeds that bases are compared with on a subject. */
export const seedsOf = ({ moreSeeds = 0 }: Subject, lab: Lab): readonly number[] =>
  Array.from({ length: lab.seeds.length + moreSeeds }, (_, seed) => seed)

/** Creates the comparison of a base with IRE over it on one subject, whose data is loaded once. */
export function createComparison(name: SubjectName, lab: Lab, pool: Pool): (base: BaseName) => Promise<Row> {
  const subject: Subject = subjects[name]
  let opened: ReturnType<Subject['open']> | undefined
  const { steps, batchSize, weightDecay, weight, data } = subject
  const seeds = seedsOf(subject, lab)
  const settingsOf = (contender: Contender) => ({ subject: name, steps, batchSize, weightDecay, data, ...contender })
  const trainingOf = async (contender: Contender, seed: number, plan: Plan) => {
    opened ??= subject.open(lab, pool)
    const setup = await (await opened)(seed)
    const optimizer = optimizerOf(contender, plan)
    return { ...shared, ...setup, optimizer, ...scheduleOf(contender.base, plan.steps), batchSize, seed }
  }
  const run = (contender: Contender, seed: number): Promise<Outcome> =>
    lab.measure({ ...settingsOf(contender), seed }, weight * steps, async (done) => {
      const training = await trainingOf(contender, seed, { steps, weightDecay })
      return pool.use((runtime) =>
        trainModel(
          { ...training, steps, evaluateEvery: steps },
          contender.mask ? withRandomMask(runtime, contender.mask, seed) : runtime,
          lab.signal,
          done,
        ),
      )
    })
  const all = (contender: Contender) => Promise.all(seeds.map((seed) => run(contender, seed)))
  /** Measures a step; nothing else may run in the process. */
  const time = async (contender: Contender): Promise<number> => {
    const total = timed.skipped + timed.counted
    const { milliseconds } = await lab.measure({ ...settingsOf(contender), timed }, weight * total, async () => {
      const training = await trainingOf(contender, tuningSeed, { steps: total, weightDecay })
      return { milliseconds: await pool.use((runtime) => timeStep(training, runtime, timed)) }
    })
    return milliseconds
  }
  return async (base) => {
    const row = await compare(base, subject.lr * bases[base].rate, run, all)
    const plainTime = await time({ base, lr: row.rate.best })
    return { ...row, plainTime, enhancedTime: await time(row.ire.best) }
  }
}

/** Tunes a base and IRE over it, then trains both, and the controls, with every seed. */
async function compare(
  base: BaseName,
  expected: number,
  run: (contender: Contender, seed: number) => Promise<Outcome>,
  all: (contender: Contender) => Promise<Outcome[]>,
): Promise<Comparison> {
  const score = (contender: Contender) => run(contender, tuningSeed).then(({ loss }) => loss)
  const around = [1 / 2, 1, 2].map((factor) => round(factor * expected))
  const rate = await tuneRate(around, (lr) => score({ base, lr: round(lr) }), 9)
  const lr = round(rate.best)
  const ire = await tune(
    enhancements.map(({ share, ...rest }): Contender => ({ base, lr: round(share * lr), ...rest })),
    score,
  )
  const [plain, enhanced] = await Promise.all([all({ base, lr }), all(ire.best)])
  const { mean, half } = pairedSpread(losses(enhanced), losses(plain))
  const { kappa = 0, gamma = 0 } = ire.best
  const controls: readonly (readonly [string, Contender])[] =
    base === 'adamw' || Math.abs(mean) > half
      ? [
          ['lr x (1 + kappa)', { base, lr: round(ire.best.lr * (1 + kappa)) }],
          ['lr x (1 + kappa gamma)', { base, lr: round(ire.best.lr * (1 + kappa * gamma)) }],
          ...Object.entries(controlMasks).map(
            ([mask, label]) => [label, { ...ire.best, mask: mask as RandomMask }] as const,
          ),
        ]
      : []
  return {
    base,
    rate,
    ire,
    plain,
    enhanced,
    controls: await Promise.all(controls.map(async ([name, contender]) => ({ name, outcomes: await all(contender) }))),
  }
}

export const losses = (outcomes: readonly Outcome[]): readonly number[] =>
  outcomes.map(({ test }) => test?.loss ?? Number.NaN)

const round = (lr: number) => Number(lr.toPrecision(4))
