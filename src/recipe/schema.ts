import type { ImageOptions } from '../data/image.js'
import type { CrossEntropyOptions } from '../loss/cross-entropy.js'
import type { MseOptions } from '../loss/mse.js'
import type { AdamOptions } from '../optim/adam.js'
import type { OneCycleSchedule } from '../optim/one-cycle.js'
import type { PlateauSchedule } from '../optim/plateau.js'
import type {
  ConstantSchedule,
  DecaySchedule,
  ExponentialSchedule,
  InverseSqrtSchedule,
  StepSchedule,
} from '../optim/schedule.js'
import type { SgdOptions } from '../optim/sgd.js'
import type { IreOptions } from '../step/ire.js'
import type { SamOptions } from '../step/sam.js'
import type { HeadOptions } from '../train/head.js'
import type { Patterns } from '../train/pattern.js'
import { choice, either, flag, type JsonSchema, kind, kinds, list, object, real, text, whole } from './json-schema.js'
import type { EvaluationRecipe, IdxSource, OptimizerRecipe, Recipe } from './recipe.js'

type Kinded<T> = { readonly kind: string } & T

const nonNegative = { minimum: 0 }
const share = { minimum: 0, maximum: 1 }
const belowOne = { minimum: 0, exclusiveMaximum: 1 }
const patterns = either(
  [text(), list(text(), { minItems: 1 })],
  'a name pattern or a list of them; * stands for any characters',
)
const perChannel = either([real(), list(real(), { minItems: 1 })], 'a number, or a list of one per channel')

const image = object<ImageOptions>({
  size: either(
    [whole(1), list(whole(1), { minItems: 2, maxItems: 2 })],
    "the side of the model's square input, or [rows, columns]",
  ),
  fit: choice(['fill', 'contain', 'cover', 'none'], 'how images of another size get there'),
  channels: whole(1, "channels of the model's input"),
  scale: real({}, 'the factor on pixel values, 1/255 by default'),
  mean: perChannel,
  std: perChannel,
  background: real({ minimum: 0, maximum: 255 }, 'the pixel value beside the image'),
  layout: choice(['NCHW', 'NHWC'], 'the order of the axes'),
})

const idx = object<Kinded<Omit<IdxSource, 'kind'>>>(
  {
    kind: kind('idx'),
    images: text('the path of the IDX file with the images'),
    labels: text('the path of the IDX file with the labels'),
    input: text("the model's input that takes the images"),
    start: whole(0, 'the number of the first example'),
    end: whole(1, 'the number after the last example'),
    image,
  },
  ['kind', 'images', 'labels'],
)

const dataSchema: JsonSchema = kinds(idx)

const adamFields = {
  lr: real(nonNegative, 'the learning rate'),
  betas: list(real(belowOne), { minItems: 2, maxItems: 2 }, 'two numbers from 0 to below 1'),
  eps: real(nonNegative),
  weightDecay: real(nonNegative),
}

const around: { readonly sam: JsonSchema; readonly ire: JsonSchema } = {
  sam: object<SamOptions>({ rho: real(nonNegative, 'the length of the ascent'), adaptive: flag() }),
  ire: object<IreOptions>(
    {
      kappa: real(nonNegative, 'the enhancement'),
      gamma: real(share, 'the share of coordinates treated as flat'),
      interval: whole(1, 'steps between two refreshes of the mask'),
      warmup: whole(0, 'steps before IRE starts'),
      beta: real(belowOne, 'the smoothing of the curvature'),
      kappaDecay: flag('whether kappa follows the schedule'),
      curvature: choice(['sampled', 'empirical', 'hutchinson']),
    },
    ['kappa', 'gamma'],
  ),
}

type Around = Pick<OptimizerRecipe, 'sam' | 'ire'>

const optimizer = kinds(
  object<Kinded<SgdOptions> & Around>(
    {
      kind: kind('sgd'),
      lr: real(nonNegative, 'the learning rate'),
      momentum: real(nonNegative),
      dampening: real(nonNegative),
      nesterov: flag(),
      weightDecay: real(nonNegative),
      ...around,
    },
    ['kind'],
  ),
  object<Kinded<AdamOptions> & Around>({ kind: kind('adam'), ...adamFields, ...around }, ['kind']),
  object<Kinded<AdamOptions> & Around>({ kind: kind('adamw'), ...adamFields, ...around }, ['kind']),
)

const weights = {
  sampleWeights: text('the name of the weights of examples'),
  mask: text('the name of what is 0 for targets to leave out'),
}

const lossSchema: JsonSchema = kinds(
  object<Kinded<CrossEntropyOptions>>(
    {
      kind: kind('cross-entropy'),
      logits: text("the model's output with the logits"),
      labels: text('the name of the labels'),
      axis: { type: 'integer', description: 'the axis of the classes' },
      probabilities: flag('whether labels are distributions over the classes'),
      labelSmoothing: real(belowOne),
      classWeights: list(real(nonNegative), { minItems: 1 }, 'a weight for every class'),
      ...weights,
      ignoreIndex: { type: 'integer', description: 'the label of examples to leave out' },
    },
    ['kind'],
  ),
  object<Kinded<MseOptions>>(
    {
      kind: kind('mse'),
      output: text("the model's output that is compared"),
      targets: text('the name of the targets'),
      ...weights,
    },
    ['kind'],
  ),
)

const warmup = whole(0, 'steps until the full learning rate')
const floor = real(share, 'the share of the learning rate left at the end')
const per = choice(['step', 'epoch'], 'what the schedule counts')
const drop = real(share, 'what the learning rate is multiplied by')
const divisor = { minimum: 1 }
const schedule = kinds(
  object<ConstantSchedule>({ kind: kind('constant'), warmup }, ['kind']),
  object<DecaySchedule<'cosine'>>({ kind: kind('cosine'), warmup, per, floor }, ['kind']),
  object<DecaySchedule<'linear'>>({ kind: kind('linear'), warmup, per, floor }, ['kind']),
  object<StepSchedule>(
    {
      kind: kind('step'),
      warmup,
      per,
      every: whole(1, 'steps between two drops'),
      at: list(whole(0), { minItems: 1 }, 'the steps of the drops'),
      factor: drop,
    },
    ['kind'],
  ),
  object<ExponentialSchedule>({ kind: kind('exponential'), warmup, per, factor: drop }, ['kind', 'factor']),
  object<InverseSqrtSchedule>({ kind: kind('inverse-sqrt'), warmup: whole(1, 'steps until the full learning rate') }, [
    'kind',
    'warmup',
  ]),
  object<OneCycleSchedule>(
    {
      kind: kind('one-cycle'),
      div: real(divisor, 'the peak over the start'),
      finalDiv: real(divisor, 'the start over the end'),
      pctStart: real(share, 'the share of the run in which the learning rate rises'),
      anneal: choice(['cosine', 'linear'], 'the shape of the two phases'),
    },
    ['kind'],
  ),
  object<PlateauSchedule>(
    {
      kind: kind('plateau'),
      warmup,
      metric: text('the measure to follow'),
      mode: choice(['min', 'max'], 'which values are better'),
      factor: drop,
      patience: whole(0, 'evaluations without improvement before a drop'),
      threshold: real(nonNegative, 'the least improvement that counts, as a share'),
      cooldown: whole(0, 'evaluations after a drop that do not count'),
      floor,
    },
    ['kind'],
  ),
)

const trainable = either(
  [
    text(),
    list(text(), { minItems: 1 }),
    object<{ include?: Patterns; exclude?: Patterns }>({ include: patterns, exclude: patterns }),
  ],
  "'weights', a name pattern or a list of them, or { include, exclude } with patterns",
)

const batchSize = whole(1, 'examples per step')
const threads = whole(1, 'threads one operator may use')

/** The JSON Schema of a recipe. */
export const recipeSchema: JsonSchema = object<Recipe>(
  {
    $schema: text('the address of this schema, for editors'),
    model: text('the path of the ONNX model to start from'),
    output: text('the path of the run folder'),
    data: object<Recipe['data']>({ train: dataSchema, validation: dataSchema }, ['train']),
    loss: lossSchema,
    head: object<HeadOptions>(
      {
        output: text("the model's output whose classes are replaced"),
        classes: whole(1, 'the number of classes of the new head'),
        seed: whole(0),
      },
      ['classes'],
    ),
    trainable,
    batchNorm: choice(['frozen', 'trained']),
    optimizer,
    schedule,
    clipNorm: real({ exclusiveMinimum: 0 }, 'the largest global norm of the gradient'),
    batchSize,
    epochs: whole(1, 'passes over the training data'),
    steps: whole(1, 'optimizer steps in all'),
    seed: whole(0, 'the seed of the order of the data and of what is sampled'),
    threads,
  },
  ['model', 'data', 'loss', 'optimizer'],
  'a training run of onnx-ire',
)

/** The JSON Schema of what evaluating takes. */
export const evaluationSchema: JsonSchema = object<EvaluationRecipe>(
  { data: dataSchema, loss: lossSchema, batchSize, threads },
  ['data', 'loss'],
)
