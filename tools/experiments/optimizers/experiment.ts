import { type Experiment, Interrupted, type Lab } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { Pool } from '../pool.js'
import { type RandomMask, withRandomMask } from '../random-mask.js'
import { computeSpread, pairedSpread } from '../statistics.js'
import { type Outcome, timeStep, trainModel } from '../train.js'
import { type Trial, type TuningResult, tune, tuneRate } from '../tuning.js'
import { type BaseName, baseNames, bases, type Contender, optimizerOf, type Plan, scheduleOf } from './bases.js'
import { type Subject, type SubjectName, shared, subjectNames, subjects } from './subjects.js'

/** Seed that settings are chosen with; it is none of those compared. */
const tuningSeed = 100

/** Steps before the CPU time of a step is measured, and those measured: four refreshes of the mask. */
const timed = { skipped: 20, counted: 40 } as const

/** Settings over which IRE is tuned; learning rates as shares of the best rate of the base. */
const enhancements = [
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

export const optimizers: Experiment = {
  name: 'optimizers',
  about: 'fifteen base optimizers, each tuned, with and without IRE, on five subjects',
  duration: { small: '3 hours', full: '6 hours' },
  seeds: { small: 3, full: 5 },
  async run(lab) {
    const pool = new Pool()
    const sections: Section[] = []
    let missing = ''
    try {
      for (const name of subjectNames) announce(lab, subjects[name])
      for (const name of subjectNames) sections.push(await compareOn(name, lab, pool))
    } catch (error) {
      // Complete subjects are reported nevertheless.
      if (!(error instanceof Interrupted) || sections.length === 0) throw error
      missing = `\n\nStopped before the end of ${subjectNames[sections.length]}.`
    } finally {
      await pool.dispose()
    }
    return {
      markdown: `Each base optimizer, and IRE over it, at its best settings. Learning rates are tuned by factors of two until both neighbors are worse; IRE over ${enhancements.length} settings with ${enhancements.map(({ share, kappa, gamma }) => `(${share} lr, kappa ${kappa}, gamma ${gamma})`).join(', ')}; both by the loss on held-out data with seed ${tuningSeed}, which is none of those compared. Clipped at norm 1, cosine to lr / 20 after a tenth of the steps as warm-up (Schedule-Free: its own warm-up), IRE after the warm-up with K 10. Test losses: mean and standard deviation over the seeds of each subject; differences are paired by seed, with 95 % intervals, and negative if IRE is better. Time: CPU time of a step in one thread, over ${timed.counted} steps after the first ${timed.skipped}.

## Effect of IRE on the test loss

${table(
  ['base', ...sections.map(({ name }) => name)],
  baseNames.map((base) => [
    base,
    ...sections.map(({ rows }) => {
      const { plain, enhanced } = rows.find((row) => row.base === base)!
      return withInterval(pairedSpread(losses(enhanced), losses(plain)), 4, true)
    }),
  ]),
)}

${sections.map(({ markdown }) => markdown).join('\n\n')}${missing}`,
      charts: {},
      summary: Object.fromEntries(
        sections.map(({ name, rows }) => [
          name,
          rows.map(({ base, plain, enhanced }) => ({ base, plain: losses(plain), enhanced: losses(enhanced) })),
        ]),
      ),
    }
  },
}

interface Row {
  readonly base: BaseName
  readonly rate: TuningResult<number>
  readonly ire: TuningResult<Contender>
  readonly plain: readonly Outcome[]
  readonly enhanced: readonly Outcome[]
  readonly controls: readonly { readonly name: string; readonly outcomes: readonly Outcome[] }[]
}

/** A comparison with the CPU milliseconds of a step. */
interface TimedRow extends Row {
  readonly plainTime: number
  readonly enhancedTime: number
}

interface Section {
  readonly name: SubjectName
  readonly rows: readonly TimedRow[]
  readonly markdown: string
}

const announce = (lab: Lab, { weight, steps, moreSeeds = 0 }: Subject) =>
  lab.expect(weight * steps * baseNames.length * (4 + enhancements.length + 2 * (lab.seeds.length + moreSeeds)))

async function compareOn(name: SubjectName, lab: Lab, pool: Pool): Promise<Section> {
  const subject: Subject = subjects[name]
  let opened: ReturnType<Subject['open']> | undefined
  const { steps, batchSize, weightDecay, weight, data, moreSeeds = 0 } = subject
  const seeds = Array.from({ length: lab.seeds.length + moreSeeds }, (_, seed) => seed)
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
  const rows: TimedRow[] = []
  for (const base of baseNames) {
    const row = await compare(base, subject.lr * bases[base].rate, run, all)
    rows.push({
      ...row,
      plainTime: await time({ base, lr: row.rate.best }),
      enhancedTime: await time(row.ire.best),
    })
  }
  const [reference] = rows
  return {
    name,
    rows,
    markdown: `## ${name}: ${subject.about}

${subject.steps} steps of batch ${subject.batchSize}; AdamW's weight decay ${subject.weightDecay}; ${seeds.length} seeds.

${table(
  [
    'base',
    'lr',
    'test loss',
    'against AdamW',
    'IRE: lr, kappa, gamma',
    'with IRE',
    'difference by IRE',
    'ms per step',
    'with IRE',
  ],
  rows.map(({ base, rate, ire, plain, enhanced, plainTime, enhancedTime }) => [
    base,
    short(rate.best),
    withDeviation(computeSpread(losses(plain)), 4),
    plain === reference!.plain ? '' : withInterval(pairedSpread(losses(plain), losses(reference!.plain)), 4, true),
    describe(ire.best),
    withDeviation(computeSpread(losses(enhanced)), 4),
    withInterval(pairedSpread(losses(enhanced), losses(plain)), 4, true),
    plainTime.toFixed(1),
    `${enhancedTime.toFixed(1)} (${(enhancedTime / plainTime).toFixed(2)})`,
  ]),
)}

Controls, for AdamW and for bases that IRE changes beyond the interval; test loss against the base alone:

${table(
  ['base', ...reference!.controls.map((control) => control.name)],
  rows.flatMap(({ base, plain, controls }) =>
    controls.length === 0
      ? []
      : [
          [
            base,
            ...controls.map(({ outcomes }) => withInterval(pairedSpread(losses(outcomes), losses(plain)), 4, true)),
          ],
        ],
  ),
)}

Tuning: ${rows.map(({ base, rate, ire }) => `${base} ${trials(rate)}; with IRE ${trials(ire)}`).join('. ')}.`,
  }
}

/** Tunes a base and IRE over it, then trains both, and the controls, with every seed. */
async function compare(
  base: BaseName,
  expected: number,
  run: (contender: Contender, seed: number) => Promise<Outcome>,
  all: (contender: Contender) => Promise<Outcome[]>,
): Promise<Row> {
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

const losses = (outcomes: readonly Outcome[]) => outcomes.map(({ test }) => test?.loss ?? Number.NaN)

const round = (lr: number) => Number(lr.toPrecision(4))

const short = (lr: number) => String(Number(lr.toPrecision(3)))

const describe = ({ lr, kappa, gamma }: Contender) => `${short(lr)}, ${kappa}, ${gamma}`

const trials = ({ tried, best }: TuningResult<number> | TuningResult<Contender>): string =>
  (tried as readonly Trial<number | Contender>[])
    .map(({ candidate, score }) => {
      const label = typeof candidate === 'number' ? short(candidate) : `(${describe(candidate)})`
      const text = `${label}: ${score === null ? 'diverged' : fixed(4)(score)}`
      return candidate === best ? `**${text}**` : text
    })
    .join('; ')
