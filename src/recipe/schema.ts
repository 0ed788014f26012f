import type { AdapterOptions } from '../adapter/create-adapter.js'
import type { PlateauSchedule } from '../optim/plateau.js'
import type {
  ConstantSchedule,
  DecaySchedule,
  ExponentialSchedule,
  InverseSqrtSchedule,
  OneCycleSchedule,
  StepSchedule,
} from '../optim/schedule.js'
import { threadRange } from '../runtime/runtime.js'
import type { LocalStepsOptions } from '../train/local-steps.js'
import type { MonitorOptions } from '../train/metric-monitor.js'
import type { FreezeOptions, ParameterGroup } from '../train/parameter-groups.js'
import {
  choice,
  either,
  flag,
  type JsonSchema,
  kind,
  kinds,
  list,
  map,
  object,
  real,
  seed,
  text,
  whole,
} from '../util/json-schema.js'
import type { NamePatterns } from '../util/pattern.js'
import { lossSchema } from './loss.js'
import { metricsSchema } from './metric.js'
import { modelSchema } from './model.js'
import { optimizerSchema } from './optimizer.js'
import type {
  CheckpointsRecipe,
  DataRecipe,
  EvaluationRecipe,
  HeadRecipe,
  MixupRecipe,
  Recipe,
  SplitRecipe,
  TeacherRecipe,
} from './recipe.js'
import { sourceSchema } from './sources/source.js'

/** Largest number of examples of a batch. */
const maxBatch = 2 ** 20
/** Largest number of classes. */
const maxClasses = 2 ** 20
/** Largest rank of an adapter. */
const maxRank = 2 ** 12

const share = { minimum: 0, maximum: 1 }
const nonNegative = { minimum: 0 }
const above0 = { exclusiveMinimum: 0 }
const patterns = either(
  [text(), list(text(), { minItems: 1 })],
  'a name pattern or a list of patterns; * matches any characters',
)

const warmup = whole(0, 'steps until the full learning rate')
const floor = real(share, 'the share of the learning rate left at the end')
const per = choice(['step', 'epoch'], 'the unit of the schedule')
const drop = real(share, 'the factor of the learning rate')
const divisor = { minimum: 1 }

const scheduleSchema: JsonSchema = kinds(
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
  object<ExponentialSchedule>(
    { kind: kind('exponential'), warmup, per, factor: real(nonNegative, 'the factor of the learning rate') },
    ['kind', 'factor'],
  ),
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
      metric: text('the metric to follow'),
      mode: choice(['min', 'max'], 'which values are better'),
      factor: drop,
      patience: whole(0, 'evaluations without improvement before a drop'),
      threshold: real({ minimum: 0 }, 'the least improvement that counts, as a share'),
      cooldown: whole(0, 'evaluations after a drop that do not count'),
      floor,
    },
    ['kind'],
  ),
)

const data = object<DataRecipe>(
  {
    train: sourceSchema,
    validation: sourceSchema,
    split: object<SplitRecipe>({
      validation: real({ exclusiveMinimum: 0, exclusiveMaximum: 1 }, 'the share of the training data to hold out'),
      folds: whole(2, 'the number of parts for cross-validation'),
      fold: whole(0, 'the part to hold out'),
      seed: seed(),
      stratify: flag('whether the same share of every class is held out'),
    }),
    exclude: list(
      either([text(), whole(0)], 'the path of a file relative to the folder, or the position of an example from 0'),
      {},
      'examples that are not trained on',
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
  "a name pattern or a list of patterns, or { include, exclude } with patterns; 'default' among them is the default",
)

const selection = either(
  [
    text(),
    list(text(), { minItems: 1 }),
    object<{ include?: NamePatterns; exclude?: NamePatterns }>({ include: patterns, exclude: patterns }),
  ],
  'a name pattern or a list of patterns, or { include, exclude } with patterns',
)

const freeze = object<FreezeOptions>(
  {
    except: either([text(), list(text(), { minItems: 1 })], "'head' (the last layer), or patterns of trained tensors"),
    untilStep: whole(0, 'the step at which the other tensors are trained too'),
    untilEpoch: whole(0, 'the epoch at which the other tensors are trained too'),
  },
  ['except'],
)

const adapter = object<AdapterOptions>({
  kind: choice(
    ['lora', 'ia3'],
    'low-rank matrices, or factors ((IA)^3), which take no r, alpha, dropout, init and seed',
  ),
  r: whole(1, 'the rank of the change of a layer', maxRank),
  alpha: real(above0, 'the numerator of the scale'),
  dropout: real({ minimum: 0, exclusiveMaximum: 1 }, 'the probability of dropping an input of A'),
  targets: patterns,
  exclude: patterns,
  feedforward: patterns,
  rsLora: flag('whether the scale is alpha / sqrt(r)'),
  dora: flag('whether the norms of weights are trained too'),
  modulesToSave: patterns,
  rankPattern: map(whole(1, 'the rank of these layers', maxRank)),
  alphaPattern: map(real(above0, 'the alpha of these layers')),
  init: choice(['kaiming', 'gaussian', 'pissa'], 'the distribution of A'),
  seed: seed(),
  baseModel: text('the name of the model in adapter_config.json'),
  taskType: text("PEFT's task type"),
  qkvSizes: list(whole(1), { minItems: 3, maxItems: 3 }, 'outputs of query, key and value in a packed layer'),
})

const group = object<ParameterGroup>(
  {
    tensors: selection,
    lr: real(nonNegative, 'the learning rate'),
    weightDecay: real(nonNegative),
    matrix: flag('whether muon treats the tensors as matrices'),
    ire: flag('whether IRE applies to the group'),
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
  metric: text('the validation metric to follow'),
  mode: choice(['min', 'max'], 'which values are better'),
  minDelta: real(nonNegative, 'the minimum improvement that counts'),
}

const passOptions = {
  passes: list(text(), { minItems: 2, maxItems: 16 }, 'names of passes of the model with the same weights'),
  pooling: choice(['mean', 'first'], 'how outputs of positions become one embedding'),
}
const batchSize = whole(1, 'examples per step', maxBatch)
const threads = whole(threadRange.min, 'the threads per operator', threadRange.max)

/** JSON Schema (draft 7) of a recipe, for editors and other validators. */
export const recipeSchema: JsonSchema = object<Recipe>(
  {
    $schema: text('the address of this schema, for editors'),
    about: text('a description of the run'),
    model: modelSchema,
    output: text('the path of the run folder'),
    data,
    mixup: object<MixupRecipe>(
      {
        alpha: real(above0, 'the parameter of the Beta distribution of the mixing shares'),
        classes: whole(1, 'the number of classes', maxClasses),
        inputs: patterns,
      },
      ['alpha'],
    ),
    loss: lossSchema,
    teacher: object<TeacherRecipe>(
      {
        model: text('the path of an ONNX model that is imitated'),
        logits: text("the teacher's output with the logits"),
        temperature: real(above0, 'the divisor of the logits of both models'),
        weight: real(share, 'the share of the teacher in the loss'),
      },
      ['model'],
    ),
    metrics: metricsSchema,
    freeBatch: flag('whether a model whose file fixes the number of examples is changed to take any number'),
    untie: either(
      [flag(), text(), list(text(), { minItems: 1 })],
      'true, false, or patterns of the names of tensors that several layers share',
    ),
    tie: flag('whether a last layer whose weight is a copy of the embedding reads the embedding instead'),
    ...passOptions,
    head: object<HeadRecipe>(
      {
        output: text("the model's output whose classes are replaced"),
        classes: either(
          [whole(1, undefined, maxClasses), choice(['data'])],
          "the number of classes of the new head, or 'data' for those of the training data",
        ),
        seed: seed(),
      },
      ['classes'],
    ),
    adapter,
    trainable,
    batchNorm: choice(['frozen', 'trained']),
    dropout: choice(['off', 'on'], 'whether Dropout nodes are active in training'),
    groups: list(group, {}, 'groups of tensors with other settings; the first group that sets a field is used'),
    freeze,
    features: choice(['cached'], 'whether frozen layers run once over the data'),
    decayVectors: flag('whether biases and scales of norms decay'),
    layerDecay,
    optimizer: optimizerSchema,
    schedule: scheduleSchema,
    clipNorm: real(above0, 'the largest global norm of the gradient'),
    clipValue: real(above0, 'the largest magnitude of an element of the gradient'),
    batchSize,
    microBatch: whole(1, 'the most examples computed at once', maxBatch),
    recompute: either(
      [
        whole(1, 'bytes that the activations of a batch may take'),
        text("'blocks', or a pattern of names"),
        list(text(), { minItems: 1 }, 'patterns of names of nodes or values after which a block ends'),
      ],
      'activations that the backward pass computes again',
    ),
    curvatureBatch: choice(['step', 'fixed'], "what IRE's curvature is estimated on"),
    curvatureShare: real({ exclusiveMinimum: 0, maximum: 1 }, 'the share of the batch for the curvature'),
    localSteps: object<LocalStepsOptions>(
      {
        steps: whole(1, 'steps between two averages of the weights of processes'),
        outerLr: real(nonNegative, 'the learning rate of the outer optimizer'),
        outerMomentum: real({ minimum: 0, exclusiveMaximum: 1 }, 'the momentum of the outer optimizer'),
      },
      ['steps'],
    ),
    gradientCompression: choice(['bfloat16'], 'the type in which processes send gradients'),
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
      everySeconds: real({ minimum: 0, maximum: 1e9 }, 'seconds between two checkpoints'),
      keep: whole(1, 'how many checkpoints are kept', 2 ** 16),
    }),
    seed: seed('the seed of the order of the data and of what is sampled'),
    threads,
  },
  ['model', 'data', 'loss', 'optimizer'],
  'a training run of onnx-ire',
)

/** JSON Schema of an evaluation recipe. */
export const evaluationSchema: JsonSchema = object<EvaluationRecipe>(
  { data: sourceSchema, loss: lossSchema, metrics: metricsSchema, ...passOptions, batchSize, threads },
  ['data', 'loss'],
)
