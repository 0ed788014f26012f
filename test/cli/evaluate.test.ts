import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exportGraph, input, op } from '../../src/graph/index.js'
import type { Measures } from '../../src/index.js'
import { writeModel } from '../../src/node/index.js'
import { needs } from '../requirements.js'
import { json, run } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
  // Scores are what they are given, so that what is measured is known.
  const x = input('x', 'float32', ['N', 3])
  const proto = exportGraph({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Identity(x)]]) })
  await writeModel(space.path('same.onnx'), { proto, external: null })
  await writeFile(space.path('rows.csv'), 'a,b,c,kind\n9,0,0,pear\n0,9,0,pear\n0,9,0,plum\n0,0,9,apple\n')
})
afterAll(() => space.remove())

const source = (more: object = {}) =>
  JSON.stringify({
    kind: 'csv',
    file: space.path('rows.csv'),
    tensors: { x: '*', labels: { columns: 'kind', as: 'class', classes: ['pear', 'plum', 'apple'] } },
    ...more,
  })

const evaluate = (...args: string[]) => ['evaluate', space.path('same.onnx'), ...args]

test('metrics by name, named classes > are printed', async () => {
  const metrics = ['--metrics', 'accuracy,f1-micro,top2, perClass,confusion']
  const args = evaluate('--loss', 'cross-entropy', '--data', source(), ...metrics)
  const found = await json<Measures & { examples: number; classes: object }>(...args)
  expect(found).toMatchObject({
    accuracy: 0.75,
    'f1-micro': 0.75,
    // For equal scores the first class wins.
    top2: 1,
    precisionPerClass: [1, 0.5, 1],
    recallPerClass: [0.5, 1, 1],
    f1PerClass: [2 / 3, 2 / 3, 1],
    supportPerClass: [2, 1, 1],
    confusion: [
      [1, 1, 0],
      [0, 1, 0],
      [0, 0, 1],
    ],
    examples: 4,
    classes: { labels: ['pear', 'plum', 'apple'] },
  })
  const { stdout } = await run(...args)
  expect(stdout).toMatch(
    /^per class:\n {2}class +precision +recall +F1 +examples\n {2}pear +100\.00 % +50\.00 % +66\.67 % +2$/m,
  )
  expect(stdout).toMatch(
    /^confusion:\n {2}true \\ predicted +pear +plum +apple\n {2}pear +1 +1 +0\n {2}plum +0 +1 +0$/m,
  )
  expect(stdout).toMatch(
    /same\.onnx: loss [\d.]+, accuracy 75\.00 %, f1-micro 75\.00 %, top2 100\.00 % over 4 examples in/,
  )
})

test('loss, streamed data, regression metrics > are printed as JSON', async () => {
  const tensors = { x: ['a', 'b', 'c'], t: ['b', 'a', 'c'] }
  const loss = '{"kind":"huber","delta":1,"targets":"t"}'
  const args = evaluate('--loss', loss, '--data', source({ tensors, stream: true }), '--metrics', 'mae,rmse')
  // Errors of 9 in two of three columns for three of four examples.
  const found = await json<Measures>(...args)
  expect(found).toMatchObject({ mae: 4.5, count: 12 })
  expect(found['rmse']).toBeCloseTo(Math.sqrt(81 / 2), 5)
  expect(found.loss).toBeCloseTo(8.5 / 2, 5)
})

test('several tasks > each has its metrics, with the class indices of the training data', async () => {
  await writeFile(space.path('train.csv'), 'a,b,c,kind\n9,0,0,apple\n0,9,0,pear\n0,9,0,plum\n')
  const scores = ['a', 'b', 'c']
  const tensors = { x: scores, labels: { columns: 'kind', as: 'class' }, same: scores }
  const recipe = await space.writeRecipe('tasks.json', {
    model: 'same.onnx',
    data: {
      train: { kind: 'csv', file: 'train.csv', tensors },
      validation: { kind: 'csv', file: 'rows.csv', tensors, end: 3 },
    },
    loss: {
      kind: 'combine',
      tasks: {
        kind: { loss: { kind: 'cross-entropy', classWeights: 'balanced' } },
        size: { loss: { kind: 'l1', targets: 'same' }, weight: 3 },
      },
    },
    metrics: ['confusion', 'mae'],
  })
  const found = await json<Measures>(...evaluate(recipe))
  // pear, pear, plum are 1, 1, 2 of apple, pear, plum; the scores say 0, 1, 1.
  expect(found).toMatchObject({
    'size/mae': 0,
    'kind/confusion': [
      [0, 0, 0],
      [1, 1, 0],
      [0, 1, 0],
    ],
  })
  expect((await run(...evaluate(recipe))).stdout).toMatch(
    /^confusion of kind:\n {2}true \\ predicted +apple +pear +plum$/m,
  )
})

test('--split > evaluates either part', async () => {
  const source = { kind: 'idx', images: 'images', labels: 'labels', image: { size: 8 } }
  const recipe = await space.writeRecipe('split.json', { data: { train: source, split: { validation: 0.3, seed: 2 } } })
  const on = (part: string) => json<{ examples: number }>('evaluate', space.path('model.onnx'), recipe, '--on', part)
  expect(await Promise.all(['train', 'validation'].map(on))).toMatchObject([{ examples: 140 }, { examples: 60 }])
})

test.each([
  [['--loss', 'crossentropy'], 1, /loss\.kind is 'crossentropy', did you mean 'cross-entropy'\?/],
  [['--loss', '{"kind":"mse"}', '--logits', 'y'], 2, /--logits .*--loss/],
  [['--loss', 'cross-entropy', '--metrics', 'acuracy'], 1, /did you mean 'accuracy'\?/],
  [['--loss', 'cross-entropy', '--metrics', 'mae'], 1, /metrics.*'mae'/],
  [['--loss', 'cross-entropy', '--metrics', 'f1,,mae'], 2, /--metrics/],
  [['--loss', '{"kind":"cross-entropy","classWeights":"balanced"}'], 1, /loss\.classWeights.*'balanced'/],
])('evaluate > %j > is rejected', async (args, exit, message) => {
  const { code, stderr } = await run(...evaluate('--data', source(), ...args))
  expect(stderr).toMatch(message)
  expect(code).toBe(exit)
})

test('evaluate > a path in place of a recipe > JSON that names it', async () => {
  const { code, stderr } = await run(...evaluate('--data', 'photos', '--loss', 'cross-entropy'))
  expect([code, stderr]).toEqual([2, expect.stringMatching(/--data: .*"folder": "photos"/)])
  const broken = await run(...evaluate('--data', '{ photos', '--loss', 'cross-entropy'))
  expect([broken.code, broken.stderr]).toEqual([1, expect.stringContaining('--data: not valid JSON')])
})

const noCuda = await needs('no CUDA')

test('a provider that cannot start > is rejected with the reason, without fallback', noCuda, async () => {
  const { code, stdout, stderr } = await run(
    ...evaluate('--loss', 'cross-entropy', '--data', source(), '--provider', 'cuda'),
  )
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toContain((await needs('cuda')).why)
})
