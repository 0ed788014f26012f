import type { MonitorOptions } from '../train/metric-monitor.js'
import type { HeadOptions } from '../train/model/replace-head.js'
import type { ParameterGroup } from '../train/parameter-groups.js'
import { choice, either, flag, type JsonSchema, list, object, real, text, whole } from '../util/json-schema.js'
import type { NamePatterns } from '../util/pattern.js'
import { lossSchema } from './loss.js'
import { metricsSchema } from './metric.js'
import { modelSchema } from './model.js'
import { optimizerSchema } from './optimizer.js'
import type { CheckpointsRecipe, DataRecipe, EvaluationRecipe, MixupRecipe, Recipe } from './recipe.js'
import { scheduleSchema } from './schedule-schema.js'
import { sourceSchema } from './sources/source.js'

const share = { minimum: 0, maximum: 1 }
const nonNegative = { minimum: 0 }
const above0 = { exclusiveMinimum: 0 }
const patterns = either(
  [text(), list(text(), { minItems: 1 })],
  'a name pattern or a list of them; * stands for any characters',
)

const data = object<DataRecipe>(
  {
    train: sourceSchema,
    validation: sourceSchema,
    split: object<Exclude<DataRecipe['split'], undefined>>(
      {
        validation: real({ exclusiveMinimum: 0, exclusiveMaximum: 1 }, 'the share of the training data to hold out'),
        seed: whole(0),
      },
      ['validation'],
    ),
    balance: flag('whether examples of rarer classes are repeated'),
  },
  ['train'],
)

const trainable = either(
  [
    text(),
    list(text(), { minItems: 1 }),
    object<{ include?: NamePatterns; exclude?: NamePatterns }>({ include: patterns, exclude: patterns }),
  ],
  "'weights', a name pattern or a list of them, or { include, exclude } with patterns",
)

const group = object<ParameterGroup>(
  {
    tensors: patterns,
    lr: real(nonNegative, 'the learning rate'),
    weightDecay: real(nonNegative),
    ire: flag('whether IRE enhances them'),
    frozen: either(
      [
        flag(),
        object<{ untilStep: number }>({ untilStep: whole(0) }, ['untilStep']),
        object<{ untilEpoch: number }>({ untilEpoch: whole(0) }, ['untilEpoch']),
      ],
      'true, false, { untilStep } or { untilEpoch }',
    ),
  },
  ['tensors'],
)

const layerDecay = either(
  [
    real(share),
    object<{ rate: number; layers: readonly NamePatterns[] }>(
      { rate: real(share, 'the factor per layer'), layers: list(patterns, { minItems: 1 }, 'from input to output') },
      ['rate', 'layers'],
    ),
  ],
  'a number from 0 to 1, or { rate, layers }',
)

const watch = {
  metric: text('the measure of the validation data to follow'),
  mode: choice(['min', 'max'], 'which values are better'),
  minDelta: real(nonNegative, 'what better has to be better by'),
}

const batchSize = whole(1, 'examples per step')
const threads = whole(1, 'threads one operator may use')

/** The JSON Schema of a recipe. */
export const recipeSchema: JsonSchema = object<Recipe>(
  {
    $schema: text('the address of this schema, for editors'),
    about: text('what the run is'),
    model: modelSchema,
    output: text('the path of the run folder'),
    data,
    mixup: object<MixupRecipe>(
      {
        alpha: real(above0, 'of the Beta distribution of the shares'),
        classes: whole(1, 'the number of classes'),
        inputs: patterns,
      },
      ['alpha'],
    ),
    loss: lossSchema,
    metrics: metricsSchema,
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
    dropout: choice(['off', 'on'], 'whether training drops what Dropout nodes say'),
    groups: list(group, {}, 'tensors that are trained in another way'),
    decayVectors: flag('whether biases and scales of norms decay'),
    layerDecay,
    optimizer: optimizerSchema,
    schedule: scheduleSchema,
    clipNorm: real(above0, 'the largest global norm of the gradient'),
    clipValue: real(above0, 'the largest magnitude of an element of the gradient'),
    batchSize,
    microBatch: whole(1, 'the most examples computed at once'),
    curvatureBatch: choice(['step', 'fixed'], "what IRE's curvature is estimated on"),
    ema: real({ minimum: 0, exclusiveMaximum: 1 }, 'the decay of the average of the weights'),
    best: either([flag(), object<MonitorOptions>(watch)], 'true, false or { metric, mode, minDelta }'),
    earlyStopping: object<Exclude<Recipe['earlyStopping'], undefined>>(
      { ...watch, patience: whole(1, 'evaluations that may be no better') },
      ['patience'],
    ),
    weights: choice(['last', 'ema', 'best'], 'which weights the run gives'),
    epochs: whole(1, 'passes over the training data'),
    steps: whole(1, 'optimizer steps in all'),
    evaluateEvery: whole(1, 'steps between two evaluations'),
    checkpoints: object<CheckpointsRecipe>({
      everySteps: whole(1, 'steps between two checkpoints'),
      everySeconds: real(nonNegative, 'seconds between two checkpoints'),
      keep: whole(1, 'how many checkpoints are kept'),
    }),
    seed: whole(0, 'the seed of the order of the data and of what is sampled'),
    threads,
  },
  ['model', 'data', 'loss', 'optimizer'],
  'a training run of onnx-ire',
)

/** The JSON Schema of what evaluating takes. */
export const evaluationSchema: JsonSchema = object<EvaluationRecipe>(
  { data: sourceSchema, loss: lossSchema, metrics: metricsSchema, batchSize, threads },
  ['data', 'loss'],
)
