import { type Experiment, Interrupted, type Lab } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { Pool } from '../pool.js'
import { fitLinear, type Spread } from '../statistics.js'
import { chooseNext } from './choose-next.js'
import {
  Comparer,
  type Comparison,
  comparisonCost,
  differenceOf,
  enhancements,
  lossOf,
  paperKappas,
  paperRate,
  tuningSeed,
} from './compare.js'
import {
  batchSize,
  changesBase,
  changesSize,
  context,
  coordinates,
  type Point,
  points,
  reference,
  sizes,
  type Variable,
} from './settings.js'

/** The models of the paper, for the extrapolation. */
const paperModels = [
  { name: '60 million parameters, 50,000 steps', width: 410, layers: 16, steps: 50_000 },
  { name: '229 million parameters, 50,000 steps', width: 768, layers: 16, steps: 50_000 },
] as const

/** Largest factor beyond the measured range of a variable at which the fit is given. */
const reach = 4

export const speedUp: Experiment = {
  name: 'speed-up',
  about: 'what the speed-up of IRE over AdamW on Llamas depends on, one variable at a time',
  duration: { small: '60 hours, or as --budget says', full: '100 hours' },
  seeds: { small: 3, full: 5 },
  budgeted: true,
  async run(lab) {
    const pool = new Pool()
    const comparer = new Comparer(lab, pool)
    const measured: Comparison[] = []
    try {
      for (const point of points) {
        const known = await comparer.recall(point)
        if (known) measured.push(known)
      }
      await measureMore(lab, comparer, pool.size, measured)
    } catch (error) {
      if (!(error instanceof Interrupted) || measured.length === 0) throw error
    } finally {
      await pool.dispose()
    }
    return report(
      lab,
      points.flatMap((point) => measured.find((each) => each.point === point) ?? []),
      comparer.secondsPerCost / pool.size,
    )
  },
}

/** Measures further points, the most informative for its cost first, until all are measured or the time is used. */
async function measureMore(lab: Lab, comparer: Comparer, concurrency: number, measured: Comparison[]): Promise<void> {
  const end = performance.now() + 1000 * (lab.budget ?? Number.POSITIVE_INFINITY)
  const isMeasured = (point: Point) => measured.some((each) => each.point === point)
  const costOf = (point: Point) =>
    comparisonCost(
      point,
      lab.seeds.length,
      !changesBase(point) && measured.some(({ point: p }) => p.variable === undefined),
    )
  // Stored runs of AdamW are reported as skipped.
  const expect = (point: Point) => lab.expect(comparisonCost(point, lab.seeds.length, false))
  if (lab.budget === undefined) for (const point of points) if (!isMeasured(point)) expect(point)
  for (;;) {
    const seconds = comparer.secondsPerCost / concurrency
    const left = (end - performance.now()) / 1000
    const open = points.filter((point) => !isMeasured(point) && !(costOf(point) * seconds > left))
    if (open.length === 0 || left <= 0) return
    const next =
      measured.length === 0
        ? points[0]!
        : open[
            chooseNext(
              measured.map(({ point }) => coordinates(point)),
              open.map((point) => ({ x: coordinates(point), cost: costOf(point) })),
            )
          ]!
    if (lab.budget !== undefined) expect(next)
    measured.push(await comparer.measure(next))
  }
}

/** @param secondsPerCost seconds per unit of cost on this machine, to estimate what the missing points take */
function report(lab: Lab, measured: readonly Comparison[], secondsPerCost: number) {
  const missing = points.filter((point) => !measured.some((each) => each.point === point))
  const nameWithHours = (point: Point) => {
    const seconds = comparisonCost(point, lab.seeds.length, false) * secondsPerCost
    return `${nameOf(point)} (some ${Number((seconds / 3600).toPrecision(2))} hours at the speed of the runs so far)`
  }
  return {
    markdown: `AdamW in N and 2 N steps, and IRE over it in N, on IMDB reviews in a byte-level BPE: Llamas of context ${context}, batch ${batchSize}. The reference has ${describe(reference)}; each other row differs in one variable. AdamW with betas 0.9 and 0.95, weight decay 0.1, clipped at norm 1, cosine to lr / 20 after N / 10 steps of warm-up, after which IRE begins. Speed-up: IRE's test loss is what AdamW reaches in this many N steps, by 2^((L_N - L) / (L_N - L_2N)), with 95 % intervals over ${lab.seeds.length} seeds; 2 is the paper's claim.

- tuned: learning rates of AdamW in N and in 2 N steps by factors of two until both neighbors are worse, and once more between the best one and its better neighbor; IRE over ${enhancements.map(({ share, kappa, gamma }) => `(${share} lr, kappa ${kappa}, gamma ${gamma})`).join(', ')}; by the loss on held-out data with seed ${tuningSeed}, which is none of those compared.
- at ${paperRate}: all three at the learning rate of the paper for all sizes, with kappa of ${paperKappas.join(', ')} tuned, gamma 0.6. Beside it, how much faster than this AdamW the tuned AdamW is.

${table(
  [
    '',
    'parameters',
    'lr',
    'N',
    '2 N',
    'IRE: lr, kappa',
    'IRE',
    'IRE lower by',
    'speed-up, tuned',
    `speed-up at ${paperRate}`,
    'AdamW by its tuning',
  ],
  measured.map((each) => {
    const { point, parameters, tuned, untuned, byTuning } = each
    const { contender } = tuned.ire
    return [
      nameOf(point),
      `${(parameters / 1e6).toFixed(2)} M`,
      short(tuned.base.contender.lr),
      withDeviation(lossOf(tuned.base), 3),
      fixed(3)(lossOf(tuned.twice).mean),
      `${short(contender.lr)}, ${contender.kappa}`,
      withDeviation(lossOf(tuned.ire), 3),
      withInterval(differenceOf(tuned.base, tuned.ire), 3),
      formatSpeedUp(tuned.speedUp),
      untuned ? `${formatSpeedUp(untuned.speedUp)} (kappa ${untuned.ire.contender.kappa})` : '',
      byTuning === undefined ? '' : formatSpeedUp(byTuning),
    ]
  }),
)}

${halves(measured)}${fits(measured)}

${missing.length === 0 ? 'All points are measured.' : `Not measured yet: ${missing.map(nameWithHours).join(', ')}. The same command continues, if \`--budget\` allows that many hours.`}`,
    charts: {},
    summary: {
      comparisons: measured.map(({ point, tuned, untuned, byTuning }) => ({
        variable: point.variable ?? null,
        setting: point.setting,
        tuned: tuned.speedUp,
        untuned: untuned?.speedUp ?? null,
        byTuning: byTuning ?? null,
      })),
    },
  }
}

/** AdamW in N / 2 steps, if the text is repeated. */
function halves(measured: readonly Comparison[]): string {
  const found = measured.flatMap(({ point, tuned, half }) =>
    half
      ? [
          `${nameOf(point)}: ${withDeviation(lossOf(half), 3)} at lr ${short(half.contender.lr)}, from which IRE in N differs by ${withInterval(differenceOf(tuned.ire, half), 3, true)}.`,
        ]
      : [],
  )
  return found.length > 0
    ? `Where the text is repeated, tuned AdamW in N / 2 steps, which overfits less. ${found.join(' ')}\n\n`
    : ''
}

const formatSpeedUp = (speedUp: Spread | null): string =>
  speedUp ? withInterval(speedUp, 2) : 'none: 2 N steps are not better'

/** Fits of the speed-ups to the points of different size, as far as they allow. */
function fits(measured: readonly Comparison[]): string {
  const rows = (speedOf: (comparison: Comparison) => number | undefined) =>
    measured.flatMap((each) => {
      const y = Math.log2(speedOf(each) ?? Number.NaN)
      return changesSize(each.point) && Number.isFinite(y) ? [{ x: coordinates(each.point, sizes), y }] : []
    })
  return [
    fitTable(
      'tuned',
      rows(({ tuned }) => tuned.speedUp?.mean),
    ),
    fitTable(
      `at ${paperRate}`,
      rows(({ untuned }) => untuned?.speedUp?.mean),
    ),
  ].join('\n\n')
}

function fitTable(name: string, rows: readonly { readonly x: readonly number[]; readonly y: number }[]): string {
  const varied = sizes.filter((_, j) => rows.some(({ x }) => x[j + 1] !== 0))
  if (rows.length < varied.length + 3)
    return `Speed-up, ${name}: ${rows.length} points do not suffice for a fit to ${(varied.length > 0 ? varied : sizes).join(', ')}.`
  const fit = fitLinear(rows)
  const factor = (mean: number, half: number) =>
    `${(2 ** mean).toFixed(2)} (${(2 ** (mean - half)).toFixed(2)} to ${(2 ** (mean + half)).toFixed(2)})`
  const extrapolated = paperModels.map(({ name: model, width, layers, steps }) => {
    const x = coordinates({ setting: { ...reference, width, layers, steps } }, sizes)
    const beyond = sizes.filter((_, j) => {
      const seen = rows.map((row) => row.x[j + 1]!)
      return x[j + 1]! > Math.max(...seen) + Math.log2(reach) || x[j + 1]! < Math.min(...seen) - Math.log2(reach)
    })
    const { mean, half } = fit.predict(x)
    return beyond.length > 0
      ? `The paper's model of ${model} is more than ${reach} times beyond the measured range of ${beyond.join(' and ')}: no extrapolation.`
      : `The fit at the paper's model of ${model}: ${factor(mean, half)}.`
  })
  return `Speed-up, ${name}, as a product of powers of sizes, fitted to the ${rows.length} points that vary them, with 95 % intervals. At the reference: ${factor(fit.coefficients[0]!, fit.halves[0]!)}.

${table(
  ['size', 'factor on the speed-up if it doubles'],
  varied.map((variable) => {
    const j = sizes.indexOf(variable)
    return [variable, factor(fit.coefficients[j + 1]!, fit.halves[j + 1]!)]
  }),
)}

${extrapolated.join(' ')}`
}

const titles: Readonly<Record<Variable, string>> = {
  width: 'width',
  layers: 'layers',
  steps: 'steps',
  vocabulary: 'vocabulary',
  epochs: 'epochs',
  interval: 'interval K',
  curvatureShare: 'share of the batch for the curvature',
  kappaDecay: 'kappa follows the schedule',
  outerLayers: 'embedding and head not enhanced',
}

const nameOf = ({ variable, setting }: Point): string => {
  if (!variable) return 'reference'
  const value = setting[variable]
  return typeof value === 'number' ? `${titles[variable]} ${value.toLocaleString('en-US')}` : titles[variable]
}

const describe = ({ width, layers, steps, vocabulary, epochs, interval }: typeof reference): string =>
  `${layers} layers of width ${width}, N = ${steps}, a vocabulary of ${vocabulary.toLocaleString('en-US')}, ${epochs} passes over its text in N steps, and K ${interval}`

const short = (lr: number): string => String(Number(lr.toPrecision(3)))
