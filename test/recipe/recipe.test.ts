import { describe, expect, test } from 'vitest'
import { OnnxIreError } from '../../src/errors.js'
import { optimizerOf, trainerOptions } from '../../src/recipe/build.js'
import { differences } from '../../src/recipe/difference.js'
import { assign } from '../../src/recipe/overrides.js'
import { checkRecipe, parseRecipe } from '../../src/recipe/parse.js'
import { mapPaths } from '../../src/recipe/paths.js'
import type { Recipe } from '../../src/recipe/recipe.js'
import { describeOptimizer } from '../../src/step/optimizer.js'

const recipe: Recipe = {
  model: 'model.onnx',
  data: { train: { kind: 'idx', images: 'images', labels: 'labels' } },
  loss: { kind: 'cross-entropy', labelSmoothing: 0.1 },
  optimizer: { kind: 'sgd', lr: 0.1, momentum: 0.9, sam: { rho: 0.1 }, ire: { kappa: 2, gamma: 0.8 } },
  epochs: 3,
}

const refusal = (...assignments: string[]): string => {
  try {
    parseRecipe(JSON.stringify(recipe), assignments)
  } catch (error) {
    if (error instanceof OnnxIreError) return `${error.code}: ${error.message}`
    throw error
  }
  throw new Error('nothing was refused')
}

describe('checking', () => {
  test('a recipe is what it was written as', () => {
    expect(parseRecipe(JSON.stringify(recipe))).toEqual(recipe)
  })

  test('every field takes what the library takes', () => {
    const full: Recipe = {
      $schema: 'recipe.schema.json',
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
        },
        validation: { kind: 'idx', images: 'i', labels: 'l' },
      },
      loss: { kind: 'cross-entropy', logits: 'y', labels: 'l', axis: -1, labelSmoothing: 0, ignoreIndex: -100 },
      head: { output: 'y', classes: 3, seed: 1 },
      trainable: { include: ['a*', 'b'], exclude: 'c' },
      batchNorm: 'trained',
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
      batchSize: 2,
      steps: 10,
      seed: 1,
      threads: 2,
    }
    expect(checkRecipe(full)).toEqual(full)
    expect(trainerOptions(full)).toMatchObject({
      batchNorm: 'trained',
      head: full.head,
      clipNorm: 1,
      batchSize: 2,
      seed: 1,
    })
  })

  test.each([
    [
      ['optimzer.lr=1'],
      /optimzer: there is no such field, did you mean 'optimizer'\?; a recipe takes \$schema, model,/,
    ],
    [['optimizer.beta=1'], /optimizer\.beta: there is no such field.*; optimizer takes kind, lr, momentum/],
    [['optimizer.kind=lion'], /optimizer\.kind is the text 'lion'; it must be 'sgd', 'adam' or 'adamw'/],
    [['optimizer.ire.gamma=null'], /optimizer\.ire\.gamma is missing: it must be a number from 0 to 1/],
    [['batchSize=0'], /batchSize is 0; it must be a whole number from 1 on \(examples per step\)/],
    [['batchSize=1.5'], /batchSize is 1\.5/],
    [['seed="1"'], /seed is the text '1'; it must be a whole number/],
    [['clipNorm=0'], /clipNorm is 0; it must be a number above 0/],
    [['loss.labelSmoothing=1'], /loss\.labelSmoothing is 1; it must be a number from 0 to below 1/],
    [['trainable=3'], /trainable is 3; it must be 'weights', a name pattern/],
    [['data.train.image.size=[1]'], /data\.train\.image\.size is \[1\]; it must be the side/],
    [
      ['schedule={"kind":"constant","floor":0}'],
      /schedule\.floor: there is no such field; schedule takes kind, warmup/,
    ],
    [['epochs=null'], /neither epochs nor steps/],
    [['steps=3'], /both epochs and steps: .*--set steps=null/],
  ])('%j is refused', (assignments, message) => {
    expect(refusal(...assignments)).toMatch(message)
    expect(refusal(...assignments)).toMatch(/^invalid-recipe: /)
  })

  test('all faults are named at once', () => {
    expect(refusal('batchSize=0', 'seed=-1', 'model=')).toMatch(
      /\n {2}model is .*\n {2}batchSize is 0.*\n {2}seed is -1/,
    )
  })

  test.each([
    ['{\n "a": 1,,\n}', 2, 9],
    ['{\n  "a": "b",\n  "c": }', 3, 8],
    ['{"a": [1, 2', 1, 12],
    ['{"a": tru}', 1, 7],
    ['{"a": 1} x', 1, 10],
    ["{'a': 1}", 1, 2],
    ['', 1, 1],
  ])('broken JSON is located: %j', (text, line, column) => {
    expect(() => parseRecipe(text)).toThrow(`not valid JSON: line ${line}, column ${column}: `)
  })
})

describe('overrides', () => {
  test('values are JSON, or text where they are none; null removes; lists take numbers', () => {
    const before = { a: { b: 1, c: [1, 2] }, d: 'x' }
    const after = assign(before, ['a.b=2.5', 'a.c.1=7', 'd=some text', 'e.f={"g":[true]}', 'a.h=null'])
    expect(after).toEqual({ a: { b: 2.5, c: [1, 7] }, d: 'some text', e: { f: { g: [true] } } })
    expect(before).toEqual({ a: { b: 1, c: [1, 2] }, d: 'x' })
    expect(assign(before, ['a=null', 'd=a=b'])).toEqual({ d: 'a=b' })
  })

  test.each(['a', '=3', 'a..b=1', 'd.x=1', 'a.c.9=1'])('%s is refused', (assignment) => {
    expect(() => assign({ a: { c: [1, 2] }, d: 'x' }, [assignment])).toThrow(`--set ${assignment}`)
  })

  test('prototypes are out of reach', () => {
    assign({}, ['__proto__.polluted=1', 'constructor.prototype.polluted=1'])
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
  })
})

test('an optimizer has the layers the recipe names', () => {
  expect(describeOptimizer(optimizerOf(recipe.optimizer))).toMatchObject({
    base: { name: 'sgd', lr: 0.1, momentum: 0.9 },
    sam: { rho: 0.1 },
    ire: { kappa: 2, gamma: 0.8, interval: 10 },
  })
  const { ire: _, sam: __, ...plain } = recipe.optimizer
  expect(describeOptimizer(optimizerOf(plain))).toMatchObject({ base: { name: 'sgd' }, sam: null, ire: null })
})

test('every path is mapped, and nothing else', () => {
  const mapped = mapPaths({ ...recipe, output: 'out' }, (path) => `/root/${path}`)
  expect(mapped).toEqual({
    ...recipe,
    model: '/root/model.onnx',
    output: '/root/out',
    data: { train: { kind: 'idx', images: '/root/images', labels: '/root/labels' } },
  })
})

test('what a resumed run may change is no difference', () => {
  const { epochs: _, ...rest } = recipe
  expect(differences(recipe, { ...rest, steps: 9, threads: 1, output: 'x' })).toEqual([])
  const other: Recipe = {
    ...recipe,
    seed: 1,
    optimizer: { kind: 'sgd', lr: 0.2, momentum: 0.9, ire: { kappa: 3, gamma: 0.8 } },
  }
  expect(differences(recipe, other).sort()).toEqual(['optimizer.ire.kappa', 'optimizer.lr', 'optimizer.sam', 'seed'])
})
