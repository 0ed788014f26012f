import { plotCurves } from 'onnx-ire/node'
import { type Experiment, Interrupted, type Lab, type Report } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { Pool } from '../pool.js'
import { computeSpread, pairedSpread } from '../statistics.js'
import type { Outcome } from '../train.js'
import { type Trial, tune, tuneRate } from '../tuning.js'
import { type Fashion, fashion } from './fashion.js'
import { type Contender, type ImageRun, trainImages, warmupEpochs } from './run.js'

/** One model with one base optimizer. */
interface Pairing {
  readonly name: string
  readonly model: ImageRun['model']
  readonly base: Contender['base']
  /** Learning rates in ascending order; extended if the best rate is at the edge. */
  readonly rates: readonly number[]
  /** Settings over which IRE is tuned; learning rates as factors of the best base rate. */
  readonly enhanced: readonly {
    readonly share: number
    readonly kappa: number
    readonly gamma: number
    /** Default: after the warm-up of the learning rate. */
    readonly from?: number
  }[]
  /** Relative duration of a step, for the time left. */
  readonly weight: number
}

const late = (share: number, kappa: number, gamma: number) => ({ share, kappa, gamma, from: 0.5 })

const pairings: readonly Pairing[] = [
  {
    name: 'resnet-sgd',
    model: 'resnet',
    base: 'sgd',
    rates: [0.1, 0.2, 0.4],
    enhanced: [late(1, 2, 0.9), late(1 / 2, 2, 0.9), late(1, 1, 0.9)],
    weight: 1,
  },
  {
    name: 'vit-adamw',
    model: 'vit',
    base: 'adamw',
    rates: [1e-3, 2e-3, 4e-3],
    enhanced: [{ share: 1 / 4, kappa: 4, gamma: 0.6 }, { share: 1 / 2, kappa: 2, gamma: 0.6 }, late(1, 2, 0.8)],
    weight: 1,
  },
  {
    name: 'resnet-sam',
    model: 'resnet',
    base: 'sam',
    rates: [0.2, 0.4],
    enhanced: [late(1, 2, 0.9), late(1 / 2, 2, 0.9)],
    weight: 2,
  },
]

const sizes = {
  small: { epochs: 6, examples: 5_000, held: 2_000, tests: 5_000 },
  full: { epochs: 30, examples: 20_000, held: 5_000, tests: 10_000 },
} as const

export const vision: Experiment = {
  name: 'vision',
  about: 'ResNet with SGD and SAM, ViT with AdamW, each with and without IRE, on Fashion-MNIST',
  duration: { small: '30 minutes', full: '6 hours' },
  seeds: { small: 3, full: 3 },
  async run(lab) {
    const { examples, held, tests, epochs } = sizes[lab.scale]
    const data = await fashion(lab.data, sizes[lab.scale])
    const pool = new Pool()
    try {
      const controls = lab.scale === 'small' ? 2 : 4
      for (const { weight, enhanced } of pairings)
        lab.expect(weight * epochs * (4 + enhanced.length + (lab.seeds.length - 1) * 2 + lab.seeds.length * controls))
      const reports: Report[] = []
      let missing = ''
      for (const pairing of pairings)
        try {
          reports.push(await compare(lab, pairing, data, pool))
        } catch (error) {
          // Complete results are reported nevertheless.
          if (!(error instanceof Interrupted) || reports.length === 0) throw error
          missing += `\n\nInterrupted before the end of ${pairing.name}.`
        }
      return {
        markdown: `Fashion-MNIST, ${examples.toLocaleString('en-US')} training images, flipped and shifted by up to 2 pixels, ${held.toLocaleString('en-US')} others for choosing settings, and the first ${tests.toLocaleString('en-US')} test images; ${epochs} epochs, cosine to 0. ResNet-8 of 8, 16 and 32 channels, batch 64, SGD with momentum 0.9, weight decay 5e-4, SAM rho 0.05; ViT of 4 layers, width 64, 7 x 7 patches, batch 128, AdamW with weight decay 0.1, clipped at norm 1, ${warmupEpochs} epochs of warm-up. IRE refreshes every 10 steps; on the transformer it begins with the end of the warm-up or half-way. Settings are tuned on seed ${lab.seeds[0]} by the loss on images used neither for training nor for the results, about the same number of trials for IRE as for the base: learning rates by factors of two until both neighbors are worse. Mean and standard deviation over ${lab.seeds.length} seeds; differences are paired by seed, with 95 % intervals. The trace is that of the Hessian of the cross-entropy over 256 training images, by Hutchinson's estimate from 4 sign vectors: rough, and too rough on the transformer, where it is sometimes negative.

${reports.map(({ markdown }) => markdown).join('\n\n')}${missing}`,
        charts: Object.assign({}, ...reports.map(({ charts }) => charts)),
        summary: Object.assign({}, ...reports.map(({ summary }) => summary)),
      }
    } finally {
      await pool.dispose()
    }
  },
}

interface Row {
  readonly name: string
  readonly outcomes: readonly Outcome[]
}

async function compare(lab: Lab, pairing: Pairing, data: Fashion, pool: Pool): Promise<Report> {
  const { name, model, base, weight } = pairing
  const { epochs, examples, held, tests } = sizes[lab.scale]
  const run = (contender: Contender, seed: number): Promise<Outcome> => {
    const settings: ImageRun = {
      model,
      epochs,
      examples,
      batchSize: model === 'vit' ? 128 : 64,
      seed,
      traces: lab.scale === 'full' ? 6 : 3,
    }
    return pool.use((runtime) =>
      lab.measure({ ...contender, ...settings, held, tests }, weight * epochs, (done) =>
        trainImages(contender, settings, data, runtime, lab.signal, done),
      ),
    )
  }
  const score = (contender: Contender) => run(contender, lab.seeds[0]!).then(({ loss }) => loss)
  const rate = await tuneRate(pairing.rates, (lr) => score({ base, lr }))
  const candidates = pairing.enhanced.map(
    ({ share, from = warmupEpochs / epochs, ...rest }): Contender => ({ base, lr: rate.best * share, ...rest, from }),
  )
  const ire = await tune(candidates, score)
  const { lr, kappa = 0, gamma = 0, from = 0 } = ire.best

  const row = async (label: string, contender: Contender): Promise<Row> => ({
    name: label,
    outcomes: await Promise.all(lab.seeds.map((seed) => run(contender, seed))),
  })
  const larger = (label: string, factor: number) =>
    row(`${base}, lr x ${label} = ${short(lr * factor)}`, { base, lr: Number(short(lr * factor)) })
  const rows: readonly Row[] = await Promise.all([
    row(`${base}, lr ${short(rate.best)}`, { base, lr: rate.best }),
    row(
      `${base} + IRE, lr ${short(lr)}, kappa ${kappa}, gamma ${gamma}, from ${(100 * from).toFixed(0)} % on`,
      ire.best,
    ),
    larger('(1 + kappa)', 1 + kappa),
    larger('(1 + kappa gamma)', 1 + kappa * gamma),
    ...(lab.scale === 'small' ? [] : [row(`${base} + IRE, random mask`, { ...ire.best, mask: 'random' })]),
    ...(lab.scale === 'small' || lr === rate.best ? [] : [row(`${base} at IRE's lr ${short(lr)}`, { base, lr })]),
  ])
  const [plain, enhanced] = rows as readonly [Row, Row, ...Row[]]

  const accuracies = ({ outcomes }: Row) => outcomes.map(({ test }) => 100 * (test?.accuracy ?? Number.NaN))
  const tested = (each: Row) => computeSpread(each.outcomes.map(({ test }) => test?.loss ?? Number.NaN))
  const training = (each: Row) => computeSpread(each.outcomes.map(({ trainingLoss }) => trainingLoss ?? Number.NaN))
  const traces = ({ outcomes }: Row) => outcomes.map(({ measured }) => measured.at(-1)?.value ?? Number.NaN)
  return {
    markdown: `## ${name}

${table(
  ['', 'test accuracy, %', `against ${plain.name}`, 'test loss', 'training loss', 'Hessian trace at the end'],
  rows.map((each) => [
    each.name,
    withDeviation(computeSpread(accuracies(each)), 2),
    each === plain ? '' : withInterval(pairedSpread(accuracies(each), accuracies(plain)), 2, true),
    withDeviation(tested(each), 4),
    withDeviation(training(each), 4),
    withDeviation(computeSpread(traces(each)), 1),
  ]),
)}

Tuning, loss on the other images, seed ${lab.seeds[0]}: lr ${rate.tried.map((each) => trial(each, short(each.candidate), rate.best)).join('; ')}. IRE (lr, kappa, gamma): ${ire.tried
      .map((each) =>
        trial(each, `${short(each.candidate.lr)}, ${each.candidate.kappa}, ${each.candidate.gamma}`, ire.best),
      )
      .join(
        '; ',
      )}. Flat share at the last refresh of seed ${lab.seeds[0]}: ${(100 * (enhanced.outcomes[0]!.flatShare ?? 0)).toFixed(1)} %.

![Hessian trace](${name}.svg)`,
    charts: {
      [name]: await plotCurves(
        rows.map(({ name: label, outcomes }) => ({
          name: label,
          points: outcomes[0]!.measured.map(
            ({ step }, i) =>
              [
                step,
                outcomes.reduce((sum, { measured }) => sum + (measured[i]?.value ?? Number.NaN), 0) / outcomes.length,
              ] as const,
          ),
        })),
        {
          title: `${name}: trace of the Hessian, mean of ${lab.seeds.length} seeds`,
          x: 'step',
          y: 'trace',
          width: 940,
        },
      ),
    },
    summary: { [name]: rows.map((each) => ({ name: each.name, accuracies: accuracies(each), traces: traces(each) })) },
  }
}

const short = (lr: number): string => String(Number(lr.toPrecision(3)))

function trial<C>({ candidate, score }: Trial<C>, label: string, best: C): string {
  const text = `${label}: ${score === null ? 'diverged' : fixed(4)(score)}`
  return candidate === best ? `**${text}**` : text
}
