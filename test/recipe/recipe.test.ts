import { describe, expect, test } from 'vitest'
import { describeOptimizer } from '../../src/optim/optimizer.js'
import { finalWeights, fitOptions, trainerOptions } from '../../src/recipe/build.js'
import { diffRecipes } from '../../src/recipe/diff.js'
import { convertEpochsToSteps, optimizerOf } from '../../src/recipe/optimizer.js'
import { applyOverrides } from '../../src/recipe/overrides.js'
import { checkRecipe, checkSource, parseRecipe } from '../../src/recipe/parse.js'
import type { DataSource, LossRecipe, Recipe } from '../../src/recipe/recipe.js'
import { mapPaths } from '../../src/recipe/resolve.js'
import { OnnxIreError } from '../../src/util/errors.js'
import { errorWith } from '../thrown.js'

const recipe: Recipe = {
  model: 'model.onnx',
  data: { train: { kind: 'idx', images: 'images', labels: 'labels' } },
  loss: { kind: 'cross-entropy', labelSmoothing: 0.1 },
  optimizer: { kind: 'sgd', lr: 0.1, momentum: 0.9, sam: { rho: 0.1 }, ire: { kappa: 2, gamma: 0.8 } },
  epochs: 3,
}

const rejection = (...assignments: string[]): string => rejectionOfText(JSON.stringify(recipe), ...assignments)

const rejectionOfText = (text: string, ...assignments: string[]): string => {
  try {
    parseRecipe(text, assignments)
  } catch (error) {
    if (error instanceof OnnxIreError) return `${error.code}: ${error.message}`
    throw error
  }
  throw new Error('nothing was refused')
}

describe('checkRecipe', () => {
  test('a valid recipe > is returned unchanged', () => {
    expect(parseRecipe(JSON.stringify(recipe))).toEqual(recipe)
    expect(parseRecipe(`\uFEFF${JSON.stringify(recipe)}`)).toEqual(recipe)
  })

  test('adapter > a kind with its options', () => {
    const adapter = { kind: 'ia3', targets: ['k_proj', 'fc2'], feedforward: 'fc2', modulesToSave: 'head' } as const
    expect(parseRecipe(JSON.stringify({ ...recipe, adapter })).adapter).toEqual(adapter)
    expect(rejection('adapter.kind=loha')).toMatch(/adapter\.kind.*lora.*ia3/s)
  })

  test('every field > accepts the values of the library', () => {
    const full: Recipe = {
      $schema: 'recipe.schema.json',
      about: 'a run',
      model: 'm.onnx',
      output: 'out',
      data: {
        train: {
          kind: 'idx',
          images: 'i',
          labels: 'l',
          input: 'x',
          start: 0,
          end: 5,
          image: {
            size: [8, 9],
            fit: 'cover',
            channels: 3,
            scale: 1,
            mean: [1, 2, 3],
            std: 2,
            background: 3,
            layout: 'NHWC',
          },
          augment: [{ kind: 'flip' }],
          dims: [6, 5],
        },
        validation: { kind: 'idx', images: 'i', labels: 'l', target: 'l' },
        balance: true,
      },
      loss: {
        kind: 'cross-entropy',
        logits: 'y',
        labels: 'l',
        axis: -1,
        labelSmoothing: 0,
        ignoreIndex: -100,
        classWeights: [1, 2],
        sampleWeights: 'w',
        mask: 'm',
      },
      metrics: ['accuracy', 'top3', { kind: 'f1', average: 'micro', threshold: 0.4 }, { kind: 'topK', k: 2 }],
      head: { output: 'y', classes: 3, seed: 1 },
      trainable: { include: ['a*', 'b'], exclude: 'c' },
      batchNorm: 'trained',
      dropout: 'on',
      groups: [
        { tensors: 'a*', lr: 0.1, weightDecay: 0, ire: false, frozen: { untilStep: 3 } },
        { tensors: ['b'], frozen: true },
      ],
      decayVectors: false,
      layerDecay: { rate: 0.9, layers: ['a*', ['b', 'c']] },
      optimizer: {
        kind: 'adamw',
        lr: 0,
        betas: [0.9, 0.95],
        eps: 1e-16,
        weightDecay: 0.1,
        sam: { rho: 0.05, adaptive: true },
        ire: { kappa: 2, gamma: 0.6, interval: 10, warmup: 5, beta: 0.9, kappaDecay: true, curvature: 'empirical' },
      },
      schedule: { kind: 'cosine', warmup: 5, floor: 0.05 },
      clipNorm: 1,
      clipValue: 0.5,
      batchSize: 2,
      microBatch: 1,
      curvatureBatch: 'fixed',
      curvatureShare: 0.25,
      localSteps: { steps: 20, outerLr: 0.5, outerMomentum: 0 },
      gradientCompression: 'bfloat16',
      ema: 0.99,
      best: { metric: 'f1-micro', mode: 'max', minDelta: 0.01 },
      earlyStopping: { metric: 'loss', patience: 3 },
      weights: 'ema',
      steps: 10,
      evaluateEvery: 5,
      checkpoints: { everySteps: 2, everySeconds: 30, keep: 5 },
      seed: 1,
      threads: 2,
    }
    expect(checkRecipe(full)).toEqual(full)
    expect(trainerOptions(full)).toMatchObject({
      batchNorm: 'trained',
      head: full.head,
      groups: full.groups,
      decayVectors: false,
      layerDecay: full.layerDecay,
      clipNorm: 1,
      clipValue: 0.5,
      batchSize: 2,
      microBatch: 1,
      curvatureBatch: 'fixed',
      curvatureShare: 0.25,
      ema: 0.99,
      best: full.best,
      earlyStopping: full.earlyStopping,
      seed: 1,
    })
    expect(trainerOptions(full).metrics?.map(({ name }) => name)).toEqual(['accuracy', 'top3', 'f1-micro', 'top2'])
    expect(fitOptions(full)).toEqual({ totalSteps: 10, evaluateEvery: 5 })
  })

  const sources: readonly DataSource[] = [
    {
      kind: 'csv',
      file: 'a.csv',
      tensors: { x: '*', y: { columns: ['p', 'q'], as: 'integer', dims: [2] }, l: { columns: 'c', as: 'class' } },
      delimiter: ';',
      header: false,
      missing: 0.5,
      stream: true,
      shuffleBuffer: 9,
      start: 1,
      end: 2,
    },
    {
      kind: 'jsonl',
      file: 'a.jsonl',
      tensors: { x: 'a.b', l: { field: 'c', as: 'class', classes: ['n', 'm'] } },
      padding: { x: { value: -1, length: 8, maxLength: 8, multipleOf: 4, mask: 'm' } },
      stream: false,
    },
    {
      kind: 'image-folder',
      folder: 'f',
      classes: ['a', 'b'],
      image: { size: 4 },
      dims: [48],
      input: 'x',
      target: 'labels',
    },
    { kind: 'text', folder: 'f', classes: ['a'], extensions: ['.md'], tokens: 'bytes', offset: 3, padding: {} },
    { kind: 'text', files: ['a', 'b'], tokens: 'bytes', context: 8, stride: 4, stream: true, shuffleBuffer: 2 },
    { kind: 'tokens', file: 'f', context: 8, stride: 4, input: 'tokens', target: 'labels', start: 1, end: 2 },
    {
      kind: 'cifar-10',
      folder: 'f',
      part: 'test',
      image: { mean: 0.5 },
      augment: [
        { kind: 'crop', padding: 4, fill: 'mean', size: [30, 28] },
        { kind: 'flip', probability: 0.3 },
        { kind: 'cutout', size: 8, count: 2 },
        { kind: 'resized-crop', size: 32, scale: [0.5, 1], ratio: [1, 2] },
        { kind: 'rand-augment', operations: 2, magnitude: 9, bins: 31 },
      ],
      dims: [3072],
    },
    { kind: 'cifar-100', folder: 'f', input: 'x', target: 'labels', start: 1, end: 2 },
  ]

  test.each(sources)('data source $kind > accepted', (source) => {
    expect(checkRecipe({ ...recipe, data: { train: source, split: { validation: 0.1, seed: 3 } } }).data.train).toBe(
      source,
    )
    expect(checkSource(source)).toBe(source)
  })

  const losses: readonly LossRecipe[] = [
    { kind: 'cross-entropy', classWeights: 'balanced' },
    { kind: 'binary-cross-entropy', logits: 'y', targets: 't', posWeight: [1, 2], labelSmoothing: 0.1, mask: 'm' },
    { kind: 'l1', output: 'y', targets: 't', sampleWeights: 'w' },
    { kind: 'huber', delta: 2 },
    { kind: 'kl', logits: 'y', targets: 't', axis: 1 },
    { kind: 'mse', output: 'y' },
    { kind: 'combine', tasks: { a: { loss: { kind: 'mse', output: 'y' }, weight: 0.5 }, b: { loss: { kind: 'kl' } } } },
  ]

  test.each(losses)('loss $kind > accepted', (loss) => {
    expect(checkRecipe({ ...recipe, loss }).loss).toBe(loss)
    if (loss.kind !== 'cross-entropy') expect(trainerOptions({ ...recipe, loss }).loss.build).toBeTypeOf('function')
  })

  test('balanced class weights that are not resolved > rejected by trainerOptions', () => {
    expect(() => trainerOptions({ ...recipe, loss: losses[0]! })).toThrow(
      errorWith('invalid-option', 'loss.classWeights'),
    )
  })

  test('finalWeights > the best if stored, else the average, else the last', () => {
    expect(finalWeights({})).toBe('last')
    expect(finalWeights({ ema: 0.9 })).toBe('ema')
    expect(finalWeights({ ema: 0.9, best: {} })).toBe('best')
    expect(finalWeights({ best: false })).toBe('last')
    expect(finalWeights({ ema: 0.9, best: true, weights: 'last' })).toBe('last')
  })

  test.each([
    [['optimzer.lr=1'], "optimzer: there is no such field, did you mean 'optimizer'?"],
    [['optimizer.beta=1'], 'optimizer.beta: there is no such field'],
    [['optimizer.kind=adadelta'], "optimizer.kind is 'adadelta'"],
    [['batchSize=0'], 'batchSize is 0'],
    [['batchSize=1.5'], 'batchSize is 1.5'],
    [['seed="1"'], "seed is '1'"],
    [['clipNorm=0'], 'clipNorm is 0'],
    [['loss.labelSmoothing=1'], 'loss.labelSmoothing is 1'],
    [['trainable=3'], 'trainable is 3'],
    [['data.train.image.size=[1]'], 'data.train.image.size is [1]'],
    [['schedule={"kind":"constant","floor":0}'], 'schedule.floor: there is no such field'],
    [['trainable={"inclde":"a"}'], "trainable.inclde: there is no such field, did you mean 'include'?"],
    [['groups=[{"tensors":"a","froze":true}]'], "groups.0.froze: there is no such field, did you mean 'frozen'?"],
    [['groups=[{"tensors":"a","frozen":{"until":3}}]'], 'groups.0.frozen is {"until":3}'],
    [['groups=[{"tensors":3}]'], 'groups.0.tensors is 3'],
    [['groups=[{"tensors":"a","frozen":{"untilStep":-1}}]'], 'groups.0.frozen is {"untilStep":-1}'],
    [['model={"preset":"mlp","optons":{}}'], "model.optons: there is no such field, did you mean 'options'?"],
    [['model=3'], 'model is 3'],
    [['dropout=0.1'], 'dropout is 0.1'],
    [
      ['optimizer.ire.warmup={"epoch":3}'],
      "optimizer.ire.warmup.epoch: there is no such field, did you mean 'epochs'?",
    ],
    [['optimizer.ire.warmup=half'], "optimizer.ire.warmup is 'half'"],
    [['data.train.augment=[{"kind":"cutout"}]'], 'data.train.augment.0.size is missing'],
    [['data.train.augment=[{"kind":"mirror"}]'], "data.train.augment.0.kind is 'mirror'"],
    [['data.train={"kind":"tokens","file":"f"}'], 'data.train.context is missing'],
    [['metrics=["acuracy"]'], "metrics[0]: did you mean 'accuracy'?"],
    [['metrics=[{"kind":"f2"}]'], "metrics.0.kind is 'f2'"],
    [['metrics=["f1",{"kind":"f1","averge":"micro"}]'], 'metrics.1.averge: there is no such field'],
    [['loss={"kind":"combine","tasks":{}}'], 'loss.tasks'],
    [
      ['loss={"kind":"combine","tasks":{"a":{"loss":{"kind":"hubber"}}}}'],
      "loss.tasks.a.loss.kind is 'hubber', did you mean 'huber'?",
    ],
    [['loss.classWeights=balance'], "loss.classWeights is 'balance'"],
    [['loss.probabilities=true', 'loss.classWeights=balanced'], 'loss.classWeights'],
    [['data.train.labels=null'], 'data.train.labels is missing'],
    [['data.train={"kind":"csv","file":"a"}'], 'data.train.tensors is missing'],
    [['data.train={"kind":"parquet"}'], "data.train.kind is 'parquet'"],
    [['data.train={"kind":"text"}'], 'data.train has neither folder nor files'],
    [['data.train={"kind":"text","folder":"f","context":8}'], 'data.train.context'],
    [
      ['data.validation={"kind":"idx","images":"i","labels":"l"}', 'data.split={"validation":0.1}'],
      'both validation and split',
    ],
    [['data.split.validation=1'], 'data.split.validation is 1'],
    [['best=true'], 'best needs validation data'],
    [
      ['earlyStopping.patience=2', 'schedule.kind=plateau'],
      'earlyStopping and a plateau schedule need validation data',
    ],
    [['weights=best'], "weights is 'best'"],
    [['weights=ema'], "weights is 'ema'"],
    [['loss={"kind":"mse"}', 'mixup.alpha=0.2'], "'mse'"],
    [['loss={"kind":"mse"}', 'teacher.model=t.onnx'], "'mse'"],
    [['teacher.model=t.onnx'], 'loss.labelSmoothing'],
    [['loss={"kind":"cross-entropy"}', 'teacher.model=t.onnx', 'mixup.alpha=0.2'], 'mixup'],
    [['loss={"kind":"cross-entropy"}', 'teacher.model=t.onnx', 'teacher.weight=2'], 'teacher.weight'],
    [['teacher.temperature=2'], 'teacher'],
    [['mixup.alpha=0.2', 'loss.ignoreIndex=0'], 'loss.ignoreIndex'],
    [['epochs=null'], 'neither epochs nor steps'],
    [['steps=3'], 'both epochs and steps'],
  ])('%j > rejected with the field and its value', (assignments, text) => {
    expect(rejection(...assignments)).toContain(text)
    expect(rejection(...assignments)).toMatch(/^invalid-recipe: /)
  })

  test('several invalid fields > all are reported', () => {
    expect(rejection('batchSize=0', 'seed=-1', 'model=')).toMatch(
      /\n {2}model is .*\n {2}batchSize is 0.*\n {2}seed is -1/,
    )
  })

  test('thousands of invalid fields > the first ones are reported, the others are counted', () => {
    const fields = Array.from({ length: 5000 }, (_, i) => `"field${i}": 1`)
    const lines = rejectionOfText(`{${fields.join(',')}}`).split('\n')
    expect(lines).toHaveLength(10)
    expect(lines.at(-1)).toMatch(/^ {2}and \d{4} more$/)
  })

  test.each([
    ['{\n "a": 1,,\n}', 2, 9],
    ['{\n  "a": "b",\n  "c": }', 3, 8],
    ['{"a": [1, 2', 1, 12],
    ['{"a": tru}', 1, 7],
    ['{"a": 1} x', 1, 10],
    ["{'a': 1}", 1, 2],
    ['', 1, 1],
  ])('invalid JSON %j > error with line and column', (text, line, column) => {
    expect(() => parseRecipe(text)).toThrow(`not valid JSON: line ${line}, column ${column}: `)
  })
})

describe('overrides', () => {
  test('values > JSON, else strings; null removes; lists are indexed', () => {
    const before = { a: { b: 1, c: [1, 2] }, d: 'x' }
    const after = applyOverrides(before, ['a.b=2.5', 'a.c.1=7', 'd=some text', 'e.f={"g":[true]}', 'a.h=null'])
    expect(after).toEqual({ a: { b: 2.5, c: [1, 7] }, d: 'some text', e: { f: { g: [true] } } })
    expect(before).toEqual({ a: { b: 1, c: [1, 2] }, d: 'x' })
    expect(applyOverrides(before, ['a=null', 'd=a=b'])).toEqual({ d: 'a=b' })
  })

  test.each(['a', '=3', 'a..b=1', 'd.x=1', 'a.c.9=1'])('%s > rejected', (assignment) => {
    expect(() => applyOverrides({ a: { c: [1, 2] }, d: 'x' }, [assignment])).toThrow(`--set ${assignment}`)
  })

  test('prototypes > cannot be changed', () => {
    applyOverrides({}, ['__proto__.polluted=1', 'constructor.prototype.polluted=1'])
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
  })
})

test('optimizer > has the wrappers of the recipe', () => {
  expect(describeOptimizer(optimizerOf(recipe.optimizer))).toMatchObject({
    base: { name: 'sgd', lr: 0.1, momentum: 0.9 },
    sam: { rho: 0.1 },
    ire: { kappa: 2, gamma: 0.8, interval: 10 },
  })
  const { ire: _, sam: __, ...plain } = recipe.optimizer
  expect(describeOptimizer(optimizerOf(plain))).toMatchObject({ base: { name: 'sgd' }, sam: null, ire: null })
})

test('IRE warm-up in epochs > converted to steps', async () => {
  const { ire, ...base } = recipe.optimizer
  const inEpochs: Recipe = { ...recipe, optimizer: { ...base, ire: { ...ire!, warmup: { epochs: 2 } } } }
  expect(checkRecipe(inEpochs)).toBe(inEpochs)
  const counted = await convertEpochsToSteps(inEpochs.optimizer, async () => 7)
  expect(describeOptimizer(optimizerOf(counted)).ire).toMatchObject({ kappa: 2, gamma: 0.8, warmup: 14 })
  await expect(convertEpochsToSteps(inEpochs.optimizer, async () => undefined)).rejects.toThrow(/give warmup in steps/)
  expect(() => trainerOptions(inEpochs)).toThrow(
    /optimizer\.ire\.warmup: epochs cannot be converted to steps without training/,
  )
  const untouched = async () => {
    throw new Error('the data were looked at')
  }
  expect(await convertEpochsToSteps(recipe.optimizer, untouched)).toBe(recipe.optimizer)
})

test('preset model > only a preset file is a path', () => {
  const named = { preset: 'resnet-20', options: { classes: 7 }, seed: 3 }
  expect(checkRecipe({ ...recipe, model: named }).model).toBe(named)
  const mapped = (model: Recipe['model']) => mapPaths({ ...recipe, model }, (path) => `/root/${path}`).model
  expect(mapped(named)).toEqual(named)
  expect(mapped({ preset: 'my/own.json' })).toEqual({ preset: '/root/my/own.json' })
  expect(diffRecipes({ ...recipe, model: named }, { ...recipe, model: { ...named, seed: 4 } })).toEqual(['model.seed'])
})

test('mapPaths > maps every path and nothing else', () => {
  const mapped = mapPaths({ ...recipe, output: 'out' }, (path) => `/root/${path}`)
  expect(mapped).toEqual({
    ...recipe,
    model: '/root/model.onnx',
    output: '/root/out',
    data: { train: { kind: 'idx', images: '/root/images', labels: '/root/labels' } },
  })
  const cifar: DataSource = { kind: 'cifar-100', folder: 'c', part: 'test' }
  const tokens: DataSource = { kind: 'tokens', file: 't', context: 3 }
  expect(mapPaths({ ...recipe, data: { train: cifar, validation: tokens } }, (path) => `/root/${path}`).data).toEqual({
    train: { ...cifar, folder: '/root/c' },
    validation: { ...tokens, file: '/root/t' },
  })
  const folder: DataSource = { kind: 'image-folder', folder: 'f', classes: ['a'] }
  const files: DataSource = { kind: 'text', files: ['a', 'b'], tokens: 'bytes', context: 3 }
  const { data } = mapPaths({ ...recipe, data: { train: folder, validation: files } }, (path) => `/root/${path}`)
  expect(data).toEqual({
    train: { ...folder, folder: '/root/f' },
    validation: { ...files, files: ['/root/a', '/root/b'] },
  })
})

test('diffRecipes > ignores fields that a resumed run may change', () => {
  const { epochs: _, ...rest } = recipe
  const free = { steps: 9, threads: 1, output: 'x', checkpoints: { keep: 1 }, weights: 'last' } as const
  expect(diffRecipes(recipe, { ...rest, ...free })).toEqual([])
  const other: Recipe = {
    ...recipe,
    seed: 1,
    optimizer: { kind: 'sgd', lr: 0.2, momentum: 0.9, ire: { kappa: 3, gamma: 0.8 } },
  }
  expect(diffRecipes(recipe, other).sort()).toEqual(['optimizer.ire.kappa', 'optimizer.lr', 'optimizer.sam', 'seed'])
})

describe('hostile JSON', () => {
  test.each([
    ['100,000 open lists', '['.repeat(100_000)],
    ['100,000 nested lists', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
    ['100,000 nested objects', `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
    ['a broken string of 20 MB', `{"a": "${'x'.repeat(20_000_000)}`],
    ['a string of 20 MB before an error', `{"a": "${'x'.repeat(20_000_000)}" 1}`],
  ])('%s > invalid-recipe', (_, text) => {
    expect(() => parseRecipe(text)).toThrow(expect.objectContaining({ code: 'invalid-recipe' }))
  })
})

describe('teacher', () => {
  const taught: Recipe = {
    ...recipe,
    loss: { kind: 'cross-entropy', logits: 'y' },
    teacher: { model: 't.onnx', temperature: 4, weight: 0.9 },
  }

  test('its path > relative to the recipe, and may change; its weight > another run', () => {
    expect(mapPaths(taught, (path) => `a/${path}`).teacher).toEqual({ model: 'a/t.onnx', temperature: 4, weight: 0.9 })
    const teacher = { ...taught.teacher!, model: 'u.onnx' }
    expect(diffRecipes(taught, { ...taught, teacher })).toEqual([])
    expect(diffRecipes(taught, { ...taught, teacher: { ...teacher, weight: 0.5 } })).toEqual(['teacher.weight'])
    expect(diffRecipes(taught, { ...taught, teacher: undefined } as unknown as Recipe)).toEqual(['teacher'])
  })

  test('trainerOptions without its model > invalid-option', () => {
    expect(() => trainerOptions(taught)).toThrow(errorWith('invalid-option', 't.onnx'))
  })
})
