import { accuracy, adamw, crossEntropy, evaluateModel, ire, type Model, Trainer, type TrainerOptions } from 'onnx-ire'
import { mergeAdapter } from 'onnx-ire/adapter'
import { baseModel, pretrain, pretraining } from '../adapters/experiment.js'
import type { Experiment, Lab } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { Pool } from '../pool.js'
import { computeSpread, pairedSpread } from '../statistics.js'
import { trainModel } from '../train.js'
import { encodeDocuments, reviews } from '../transformer/text.js'
import { tune, tuneRate } from '../tuning.js'
import { type PreferenceRun, prefer } from './preferences.js'
import { type Chat, chatRows, conversation, createChat, exactAnswers, exchanges, ignored, type Split } from './task.js'

const vocabulary = 1024
const batchSize = 8
const rank = 8
const { context } = baseModel

/** Settings of a training: all weights if r is missing; IRE if kappa is set. */
interface Contender {
  readonly lr: number
  readonly r?: number
  /** Trained as a whole beside LoRA. */
  readonly modulesToSave?: 'head'
  readonly kappa?: number
}

/** Passes over the pairs, as many as `onnx-ire tune chat` makes. */
const preferencePasses = 3

/** IRE is tuned over these. */
const enhancements = [
  { share: 1 / 2, kappa: 1 },
  { share: 1, kappa: 1 },
] as const

interface Outcome {
  /** Loss of the validation questions; null if the run diverged. */
  readonly loss: number | null
  readonly test: { readonly loss: number; readonly accuracy: number } | null
  readonly exact: number | null
}

interface PreferenceOutcome {
  /** Share of held-out pairs in which the preferred answer wins, and mean score. */
  readonly wins: number
  readonly score: number
  /** Shares of held-out questions that are answered exactly, in the preferred style and in the other. */
  readonly short: number
  readonly long: number
}

interface Study {
  readonly lab: Lab
  readonly pool: Pool
  readonly chat: Chat
  readonly steps: number
  readonly baseSteps: number
  readonly pretrained: () => Promise<Model>
}

export const chat: Experiment = {
  name: 'chat',
  about: 'a Llama pretrained on reviews that learns to answer questions: full, LoRA, IRE; rates of DPO and ORPO',
  duration: { small: '15 minutes', full: '1 hour' },
  seeds: { small: 3, full: 10 },
  async run(lab) {
    const [baseSteps, steps] = lab.scale === 'full' ? [3200, 400] : [800, 150]
    const documents = reviews(lab.data, pretraining.bytes, pretraining.held)
    const encoder = createChat(documents.train, vocabulary)
    const pool = new Pool()
    try {
      let base: Promise<Model> | undefined
      const pretrained = () => {
        base ??= pool.use((runtime) => pretrain(runtime, encodeDocuments(documents, encoder.tokenizer), baseSteps))
        return base
      }
      return await compare({ lab, pool, chat: encoder, steps, baseSteps, pretrained })
    } finally {
      await pool.dispose()
    }
  },
}

const rowsOf = (split: Split) => exchanges(split).map(({ question, short }) => conversation(question, short))

const loss = () => crossEntropy({ ignoreIndex: ignored })

async function teach({ lab, pool, chat, steps, baseSteps, pretrained }: Study, contender: Contender, seed: number) {
  const base = await pretrained()
  const settings = { model: baseModel, pretraining, baseSteps, steps, batchSize, ...contender, seed }
  const [train, validation, test] = (['train', 'validation', 'test'] as const).map((split) =>
    chatRows(rowsOf(split), chat, context),
  )
  return pool.use((runtime) =>
    lab.measure(settings, steps, async (done): Promise<Outcome> => {
      const { lr, r, modulesToSave, kappa } = contender
      const warmup = steps / 10
      const optimizer = adamw({ lr, weightDecay: 0 })
      const {
        loss: chosen,
        test: tested,
        measured,
      } = await trainModel(
        {
          model: base,
          ...{ train: train!, validation: validation!, test: test! },
          loss: loss(),
          metrics: [accuracy(), exactAnswers()],
          optimizer: kappa === undefined ? optimizer : ire(optimizer, { kappa, gamma: 0.6, interval: 10, warmup }),
          ...(r === undefined ? {} : { adapter: { r, alpha: 2 * r, seed, ...(modulesToSave && { modulesToSave }) } }),
          schedule: { kind: 'cosine', warmup, floor: 0.05 },
          clipNorm: 1,
          ...{ steps, evaluateEvery: steps, batchSize, seed },
        },
        runtime,
        lab.signal,
        done,
        async (trainer) => (await trainer.evaluate(test!))['exact'] as number,
      )
      return { loss: chosen, test: tested, exact: tested && (measured.at(-1)?.value ?? null) }
    }),
  )
}

/** Teaches both styles of answers, with the best rate of LoRA, as a start for preferences. */
async function teachBoth({ chat, steps, pretrained }: Study, lr: number, runtime: TrainerOptions['runtime']) {
  const rows = exchanges('train').flatMap(({ question, short, long }) => [
    conversation(question, short),
    conversation(question, long),
  ])
  const trainer = await Trainer.create(await pretrained(), {
    loss: loss(),
    optimizer: adamw({ lr, weightDecay: 0 }),
    adapter: { r: rank, alpha: 2 * rank },
    schedule: { kind: 'cosine', warmup: steps / 10, floor: 0.05 },
    clipNorm: 1,
    batchSize,
    runtime,
  })
  await trainer.train(chatRows(rows, chat, context), { totalSteps: 2 * steps })
  const tuned = mergeAdapter(trainer.export())
  await trainer.dispose()
  return tuned
}

/** Share of the test questions that a model answers exactly in a style. */
async function answerExactly(model: Model, chat: Chat, style: 'short' | 'long', runtime: TrainerOptions['runtime']) {
  const rows = exchanges('test').map((each) => conversation(each.question, each[style]))
  const data = chatRows(rows, chat, context)
  const measures = await evaluateModel(model, data, { runtime, loss: loss(), metrics: [exactAnswers()], batchSize: 48 })
  return Number((measures['exact'] as number).toFixed(4))
}

async function comparePreferences(study: Study, sft: number) {
  const { lab, pool, chat, baseSteps } = study
  const steps = preferencePasses * Math.ceil(exchanges('train').length / batchSize)
  const taught = await pool.use((runtime) => teachBoth(study, sft, runtime))
  const before = await pool.use(async (runtime) => ({
    short: await answerExactly(taught, chat, 'short', runtime),
    long: await answerExactly(taught, chat, 'long', runtime),
  }))
  const contenders = [
    ...[1 / 80, 1 / 20, 1 / 5].map((share) => ({ method: 'dpo' as const, share })),
    ...[1 / 10, 2 / 5, 8 / 5].map((share) => ({ method: 'orpo' as const, share })),
  ]
  const rows = await Promise.all(
    contenders.map(({ method, share }) =>
      pool.use((runtime) => {
        const seed = lab.seeds[0]!
        const run: PreferenceRun = { method, lr: sft * share, r: rank, steps, batchSize, context, seed }
        const settings = { ...run, model: baseModel, pretraining, baseSteps, sft }
        return lab.measure(settings, 3 * steps, async (done): Promise<PreferenceOutcome> => {
          const { wins, score, tuned } = await prefer(taught, chat, run, runtime, (step) => done(step / steps))
          const short = await answerExactly(tuned, chat, 'short', runtime)
          const long = await answerExactly(tuned, chat, 'long', runtime)
          return { wins, score: Number(score.toPrecision(4)), short, long }
        })
      }),
    ),
  )
  return { before, rows: contenders.map((contender, i) => ({ ...contender, ...rows[i]! })) }
}

async function compare(study: Study) {
  const { lab, steps } = study
  lab.expect(steps * (4 * lab.seeds.length + 12 + 6))
  const score = async (contender: Contender) => (await teach(study, contender, lab.seeds[0]!)).loss
  const [full, low, withHead] = await Promise.all([
    tuneRate([1e-3, 2e-3, 4e-3], (lr) => score({ lr })),
    tuneRate([1e-2, 2e-2, 4e-2], (lr) => score({ lr, r: rank })),
    tuneRate([2.5e-3, 5e-3, 1e-2], (lr) => score({ lr, r: rank, modulesToSave: 'head' })),
  ])
  const enhanced = await tune(
    enhancements.map(({ share, kappa }): Contender => ({ lr: low.best * share, kappa, r: rank })),
    score,
  )
  const contenders: readonly (readonly [string, Contender])[] = [
    [`all weights, AdamW ${full.best}`, { lr: full.best }],
    [`LoRA r ${rank}, AdamW ${low.best}`, { lr: low.best, r: rank }],
    [
      `LoRA r ${rank} and the whole head, AdamW ${withHead.best}`,
      { lr: withHead.best, r: rank, modulesToSave: 'head' },
    ],
    [`LoRA r ${rank}, with IRE (${enhanced.best.lr}, kappa ${enhanced.best.kappa}, gamma 0.6)`, enhanced.best],
  ]
  const rows = await Promise.all(
    contenders.map(async ([name, contender]) => ({
      name,
      outcomes: await Promise.all(lab.seeds.map((seed) => teach(study, contender, seed))),
    })),
  )
  const { before, rows: preferred } = await comparePreferences(study, low.best)
  const losses = (i: number) => rows[i]!.outcomes.map(({ test }) => test?.loss ?? Number.NaN)
  const exact = (i: number) => rows[i]!.outcomes.map(({ exact }) => 100 * (exact ?? Number.NaN))
  const percent = (value: number) => `${fixed(1)(100 * value)} %`
  const markdown = `The Llama of \`adapters\` (two layers, width ${baseModel.width}, ${vocabulary.toLocaleString('en-US')} tokens), trained for ${study.baseSteps} steps on IMDB reviews, learns to answer where 24 things are, each in one of 8 places: facts that only the data have. ${rowsOf('train').length} conversations to train (five forms of the question), ${rowsOf('validation').length} to choose settings (a sixth form), ${rowsOf('test').length} to test (two more). The loss counts the answers alone. N = ${steps} steps of batch ${batchSize}, AdamW without weight decay, clipped at norm 1, cosine to lr / 20 after ${steps / 10} steps of warm-up, then IRE with K 10. LoRA on all linear layers except the head, alpha 2 r. Rates are tuned on the first seed by factors of two until both neighbors are worse; IRE over two settings. Mean and standard deviation over ${lab.seeds.length} seeds; differences are paired by seed, with 95 % intervals.

${table(
  ['', 'test loss (nats per token of the answer)', 'answered exactly'],
  rows.map(({ name }, i) => [
    name,
    withDeviation(computeSpread(losses(i)), 4),
    `${withDeviation(computeSpread(exact(i)), 1)} %`,
  ]),
)}

LoRA against all weights: ${withInterval(pairedSpread(losses(1), losses(0)), 4, true)} nats, ${withInterval(pairedSpread(exact(1), exact(0)), 1, true)} points of exact answers; IRE against AdamW, both with LoRA: ${withInterval(pairedSpread(losses(3), losses(1)), 4, true)} nats, ${withInterval(pairedSpread(exact(3), exact(1)), 1, true)} points.

Tuning, held-out loss of seed ${lab.seeds[0]}: all weights ${trials(full.tried)}; LoRA ${trials(low.tried)}; LoRA and the head ${trials(withHead.tried)}; LoRA with IRE ${enhanced.tried.map(({ candidate, score }) => `(${candidate.lr}, ${candidate.kappa}): ${score === null ? 'diverged' : fixed(4)(score)}`).join('; ')}.

## Preferences

The same base learns every answer in two styles (LoRA, ${2 * steps} steps), then to prefer the short one, from ${exchanges('train').length} pairs: ${preferencePasses} passes in steps of ${batchSize} pairs, a new adapter of rank ${rank}, cosine to 0. Rates are shares of the best rate of LoRA above, ${low.best}: \`tune chat\` has the shares 1/20 for DPO and 2/5 for ORPO. One seed. *wins*: share of held-out pairs in which the short answer has the larger score; *short*, *long*: held-out questions answered exactly in that style (before: ${percent(before.short)} and ${percent(before.long)}).

${table(
  ['', 'share', 'rate', 'wins', 'mean score', 'short', 'long'],
  preferred.map(({ method, share, wins, score, short, long }) => [
    method,
    share === 2 / 5 || share === 8 / 5 ? `${5 * share}/5` : `1/${1 / share}`,
    String(Number((low.best * share).toPrecision(3))),
    percent(wins),
    score.toFixed(3),
    percent(short),
    percent(long),
  ]),
)}`
  return {
    markdown,
    charts: {},
    summary: {
      rows: rows.map(({ name }, i) => ({ name, losses: losses(i), exact: exact(i) })),
      preferences: { before, rows: preferred },
    },
  }
}

const trials = (tried: readonly { readonly candidate: number; readonly score: number | null }[]): string =>
  tried.map(({ candidate, score }) => `${candidate}: ${score === null ? 'diverged' : fixed(4)(score)}`).join('; ')
