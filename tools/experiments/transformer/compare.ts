import { plotCurves } from 'onnx-ire/node'
import type { Lab, Report } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { Pool } from '../pool.js'
import { computeSpread, pairedSpread, type Spread } from '../statistics.js'
import type { Outcome } from '../train.js'
import { refineRate, type Trial, type TuningResult, tune, tuneRate } from '../tuning.js'
import { type Contender, speedUp, type TextModel, type TextRun, trainText } from './run.js'
import type { Text } from './text.js'

/** Subject of the comparison: a model on a text for N steps, and the initial settings for tuning. */
export interface Subject {
  readonly name: string
  readonly model: TextModel
  readonly text: Text
  /** Identifies the text. */
  readonly data: Readonly<Record<string, unknown>>
  readonly steps: number
  readonly batchSize: number
  /** Learning rates, ascending by factors of two, for N and for 2 N steps. */
  readonly rates: readonly number[]
  readonly ratesTwice: readonly number[]
  /** Whether further control runs are made. */
  readonly thorough: boolean
}

/**
 * Settings over which AdmIRE is tuned; lr as a fraction of the best rate of AdamW, with lr (1 + kappa) near that rate.
 */
const enhancements = [
  { share: 1 / 4, kappa: 4, gamma: 0.6 },
  { share: 1 / 2, kappa: 3, gamma: 0.6 },
  { share: 1 / 2, kappa: 2, gamma: 0.6 },
  { share: 1 / 2, kappa: 1, gamma: 0.6 },
] as const

/** Describes the training of a subject for N steps. */
export const recipe = (steps: number) =>
  `AdamW with betas 0.9 and 0.95, weight decay 0.1, clipped at norm 1, cosine to lr / 20 after ${steps / 10} steps of warm-up; IRE after the warm-up, K 10. Settings are tuned on the first seed: learning rates by factors of two until both neighbors are worse, that of N steps once more between the best one and its better neighbor; AdmIRE over the settings below. Losses in nats per token`

/** Describes the spreads of a report. */
export const spreads = (lab: Lab) =>
  `mean and standard deviation over ${lab.seeds.length} seeds; differences are paired by seed, with 95 % intervals.`

/** Compares tuned AdamW, AdmIRE and control runs on every subject. */
export async function compareAll(lab: Lab, subjects: readonly Subject[], introduction: string): Promise<Report> {
  const pool = new Pool()
  try {
    const reports: Report[] = []
    for (const subject of subjects) reports.push(await compare(new Study(lab, subject, pool)))
    return {
      markdown: `${introduction}\n\n${reports.map(({ markdown }) => markdown).join('\n\n')}`,
      charts: Object.assign({}, ...reports.map(({ charts }) => charts)),
      summary: Object.assign({}, ...reports.map(({ summary }) => summary)),
    }
  } finally {
    await pool.dispose()
  }
}

/** Results of the runs of one subject. */
class Study {
  readonly lab: Lab
  readonly subject: Subject
  readonly #pool: Pool

  constructor(lab: Lab, subject: Subject, pool: Pool) {
    this.lab = lab
    this.subject = subject
    this.#pool = pool
  }

  run(contender: Contender, steps: number, seed: number): Promise<Outcome> {
    const { model, text, data, batchSize } = this.subject
    const run: TextRun = {
      model,
      steps,
      warmup: Math.round(this.subject.steps / 10),
      evaluateEvery: Math.round(this.subject.steps / 4),
      batchSize,
      seed,
    }
    return this.#pool.use((runtime) =>
      this.lab.measure({ ...contender, ...run, data }, steps, (done) =>
        trainText(contender, run, text, runtime, this.lab.signal, done),
      ),
    )
  }

  all(contender: Contender, steps: number): Promise<Outcome[]> {
    return Promise.all(this.lab.seeds.map((seed) => this.run(contender, steps, seed)))
  }
}

interface Row {
  readonly name: string
  readonly outcomes: readonly Outcome[]
}

async function compare(study: Study): Promise<Report> {
  const { lab, subject } = study
  const { steps, name } = subject
  const seeds = lab.seeds.length
  // Tuning of rates at N and 2 N steps, each likely to grow by one, and of IRE; then the other seeds and the controls.
  lab.expect(steps * (5 + 2 * 3 + enhancements.length + (seeds - 1) * 4 + seeds * (subject.thorough ? 6 : 4)))
  const score = (contender: Contender, length: number) =>
    study.run(contender, length, lab.seeds[0]!).then(({ loss }) => loss)
  const coarse = await tuneRate(subject.rates, (lr) => score({ lr }, steps))
  const candidates = enhancements.map(({ share, ...rest }): Contender => ({ lr: coarse.best * share, ...rest }))
  const [base, ire, twice] = await Promise.all([
    refineRate(coarse, (lr) => score({ lr }, steps)),
    tune(candidates, (contender) => score(contender, steps)),
    tuneRate(subject.ratesTwice, (lr) => score({ lr }, 2 * steps)),
  ])
  const { lr, kappa = 0, gamma = 0 } = ire.best

  const row = async (name: string, contender: Contender, length = steps): Promise<Row> => ({
    name,
    outcomes: await study.all(contender, length),
  })
  const larger = (factor: number): number => Number((lr * factor).toPrecision(4))
  const [wide, narrow] = [larger(1 + kappa), larger(1 + kappa * gamma)]
  const rows: readonly Row[] = await Promise.all([
    row(`AdamW, lr ${base.best}`, { lr: base.best }),
    row(`AdamW, lr ${twice.best}, 2 N steps`, { lr: twice.best }, 2 * steps),
    row(`AdmIRE, lr ${lr}, kappa ${kappa}, gamma ${gamma}`, ire.best),
    row(`AdamW, lr x (1 + kappa) = ${wide}`, { lr: wide }),
    row(`AdamW, lr x (1 + kappa gamma) = ${narrow}`, { lr: narrow }),
    row('AdmIRE, random mask', { ...ire.best, mask: 'random' }),
    row('AdmIRE, mask shuffled within each tensor', { ...ire.best, mask: 'shuffled' }),
    ...(subject.thorough
      ? [
          row('AdmIRE, empirical Fisher', { ...ire.best, curvature: 'empirical' }),
          row(`AdamW at AdmIRE's lr ${lr}`, { lr }),
        ]
      : []),
  ])
  const [once, double, admire] = rows as readonly [Row, Row, Row, ...Row[]]

  const factor = speedUp(losses(admire), losses(once), losses(double))
  const gain = pairedSpread(losses(admire), losses(once))
  const { flatShare, zeroShare } = admire.outcomes[0]!
  return {
    markdown: `## ${name}: N = ${steps} steps

${table(
  ['', 'test loss', 'training loss', `against AdamW, lr ${base.best}`],
  rows.map((each) => [
    each.name,
    withDeviation(computeSpread(losses(each)), 4),
    withDeviation(computeSpread(each.outcomes.map(({ trainingLoss }) => trainingLoss ?? Number.NaN)), 4),
    each === once ? '' : withInterval(pairedSpread(losses(each), losses(once)), 4, true),
  ]),
)}

Speed-up: AdmIRE's loss after N steps is what tuned AdamW reaches in **${withInterval(factor, 2)}** N steps, between N and 2 N by 2^((L_N - L) / (L_N - L_2N)); 2 would be the paper's claim. ${verdict(gain)} ${(100 * (flatShare ?? 0)).toFixed(1)} % of the coordinates are flat at the last refresh of seed 0; the Fisher estimate of ${(100 * (zeroShare ?? 0)).toFixed(1)} % is exactly 0.

Tuning, held-out loss of seed ${lab.seeds[0]}: AdamW in N steps ${trials(base)}; in 2 N steps ${trials(twice)}; AdmIRE (lr, kappa, gamma) ${trials(ire)}.

![held-out loss over steps](${name}.svg)`,
    charts: {
      [name]: await plotCurves(
        rows.map(({ name: label, outcomes }) => ({
          name: label,
          points: outcomes[0]!.curve.map(({ step }, i) => [step, averageAt(outcomes, i)] as const),
        })),
        { title: `${name}: held-out loss, mean of ${seeds} seeds`, x: 'step', y: 'nats per token', width: 940 },
      ),
    },
    summary: {
      [name]: {
        rows: rows.map((each) => ({ name: each.name, losses: losses(each) })),
        speedUp: factor,
        gain,
      },
    },
  }
}

const losses = ({ outcomes }: Row): number[] => outcomes.map(({ test }) => test?.loss ?? Number.NaN)

const averageAt = (outcomes: readonly Outcome[], i: number): number =>
  outcomes.reduce((sum, { curve }) => sum + (curve[i]?.loss ?? Number.NaN), 0) / outcomes.length

function verdict({ mean, half }: Spread): string {
  if (!(Math.abs(mean) > half)) return 'The difference from tuned AdamW is within its interval.'
  return mean < 0 ? 'AdmIRE is better than tuned AdamW beyond the interval.' : 'AdmIRE is worse than tuned AdamW.'
}

const trials = ({ tried, best }: TuningResult<number> | TuningResult<Contender>): string =>
  (tried as readonly Trial<number | Contender>[])
    .map(({ candidate, score }) => {
      const label =
        typeof candidate === 'number' ? candidate : `${candidate.lr}, ${candidate.kappa}, ${candidate.gamma}`
      const text = `${label}: ${score === null ? 'diverged' : fixed(4)(score)}`
      return candidate === best ? `**${text}**` : text
    })
    .join('; ')
