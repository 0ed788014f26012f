import { readdir, readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TrainingResult } from '../../src/cli/training/training-request.js'
import type { Measures } from '../../src/index.js'
import { json, run } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

test('early stopping > ends the run, and returns and reports the best weights', async () => {
  // So high a rate that training soon does harm.
  const recipe = await space.writeRecipe('stopping.json', {
    optimizer: { kind: 'sgd', lr: 0.9, momentum: 0.9 },
    schedule: undefined,
    metrics: ['accuracy', 'perClass', 'confusion'],
    best: { metric: 'accuracy' },
    earlyStopping: { metric: 'accuracy', patience: 2 },
    epochs: 60,
  })
  const out = space.path('stopped')
  const { code, stdout } = await run('train', recipe, '--out', out)
  expect(code).toBe(0)
  expect(stdout).toMatch(/^ +epoch +step +loss +accuracy +held-out loss +held-out accuracy +gradient norm +s\/step$/m)
  expect(stdout).toMatch(/^per class:\n {2}class +precision/m)
  expect(stdout).toMatch(/^confusion:\n {2}true \\ predicted +0 +1/m)
  const [, value, step] = /^best on held-out data: accuracy ([\d.]+) % at step (\d+)$/m.exec(stdout)!
  expect(stdout).toMatch(/^stopped early: no better in 2 evaluations$/m)
  const done = Number(/^(\d+) steps done; the trained model is .*tuned\.onnx, with its best weights$/m.exec(stdout)![1])
  expect(done).toBe(Number(step) + 2 * 10)
  expect(done).toBeLessThan(600)
  const tuned = await json<Measures>('evaluate', `${out}/tuned.onnx`, recipe)
  expect((100 * tuned.accuracy!).toFixed(2)).toBe(value)

  // A finished run that is resumed has nothing to do but says the same.
  const again = await json<TrainingResult>('train', recipe, '--out', out, '--resume')
  expect(again).toMatchObject({ step: done, epochs: [], stoppedAfter: 2, weights: 'best' })
  expect(again.best).toMatchObject({ metric: 'accuracy', step: Number(step) })
  expect(again.validation!.accuracy).toBeCloseTo(tuned.accuracy!, 12)

  // The last weights are there, too, and worse.
  await json('export', out, '--weights', 'last', '-o', space.path('last.onnx'))
  const last = await json<Measures>('evaluate', space.path('last.onnx'), recipe)
  expect(last.accuracy).toBeLessThan(tuned.accuracy!)
  await json('export', out, '-o', space.path('best.onnx'))
  const average = await run('export', out, '--weights', 'ema', '-o', space.path('none.onnx'))
  expect([average.code, average.stderr]).toEqual([1, expect.stringMatching(/--weights ema: .*field ema of the recipe/)])
  expect(Buffer.compare(await readFile(space.path('best.onnx')), await readFile(`${out}/tuned.onnx`))).toBe(0)
})

test('moving average > is evaluated, exported and written to tuned.onnx', async () => {
  const recipe = await space.writeRecipe('ema.json', { ema: 0.95, evaluateEvery: 4, clipValue: 0.1, microBatch: 5 })
  const result = await json<TrainingResult>('train', recipe, '--out', space.path('ema'))
  expect(result).toMatchObject({ weights: 'ema', best: null, stoppedAfter: null })
  expect(result.epochs.map(({ step }) => step)).toEqual([4, 8, 12, 16, 20])
  const measured = await json<Measures>('evaluate', result.model!, recipe)
  expect(measured.loss).toBeCloseTo(result.validation!.loss, 5)
  await json('export', result.run, '--weights', 'last', '-o', space.path('last-of-ema.onnx'))
  const last = await json<Measures>('evaluate', space.path('last-of-ema.onnx'), recipe)
  expect(Math.abs(last.loss - measured.loss)).toBeGreaterThan(0.01)
  const none = await run('export', result.run, '--weights', 'best', '-o', space.path('none.onnx'))
  expect(none).toMatchObject({ code: 1, stderr: expect.stringMatching(/'?best'? weights/) })
})

test('checkpoint options > set how often checkpoints are saved and how many remain', async () => {
  const recipe = await space.writeRecipe('kept.json', { checkpoints: { everySteps: 3, keep: 4 } })
  await json('train', recipe, '--out', space.path('kept'))
  const kept = (await readdir(space.path('kept/checkpoints'))).map((name) => Number(/\d+/.exec(name)![0]))
  expect(kept).toEqual([12, 15, 18, 20])
  // Neither of them makes another run of it.
  const more = ['--set', 'checkpoints.keep=1', '--set', 'epochs=3']
  await json('train', recipe, '--out', space.path('kept'), '--resume', ...more)
  expect(await readdir(space.path('kept/checkpoints'))).toEqual(['checkpoint-00000030.safetensors'])
})

test('hutchinson curvature, mixup, groups and balanced classes > train', async () => {
  const recipe = await space.writeRecipe('all.json', {
    loss: { kind: 'cross-entropy', classWeights: 'balanced', labelSmoothing: 0.05 },
    mixup: { alpha: 0.2 },
    groups: [{ tensors: '*.bias', lr: 0.02, ire: false }],
    layerDecay: 0.8,
    optimizer: { kind: 'adamw', lr: 0.01, ire: { kappa: 1, gamma: 0.8, interval: 5, curvature: 'hutchinson' } },
    schedule: { kind: 'one-cycle' },
    epochs: 12,
  })
  const { epochs } = await json<TrainingResult>('train', recipe, '--out', space.path('all'))
  expect(epochs.at(-1)!.validation!.loss).toBeLessThan(0.7 * epochs[0]!.validation!.loss)
})

test('language model > trains on a streamed text file', async () => {
  await writeFile(space.path('book.txt'), 'the quick brown fox jumps over the lazy dog. '.repeat(120))
  const preset = { kind: 'llama', context: 16, width: 16, heads: 2, layers: 1, hidden: 32 }
  await writeFile(space.path('llama.json'), JSON.stringify(preset))
  await json('init', space.path('llama.json'), '-o', space.path('llama.onnx'))
  const text = { kind: 'text', files: 'book.txt', tokens: 'bytes', context: 16 }
  const recipe = await space.writeRecipe('language.json', {
    model: 'llama.onnx',
    data: { train: { ...text, stream: true, shuffleBuffer: 64 }, validation: { ...text, stride: 5, end: 40 } },
    metrics: ['perplexity'],
    optimizer: { kind: 'adamw', lr: 0.01 },
    schedule: undefined,
    epochs: 3,
  })
  const { epochs, validation } = await json<TrainingResult>('train', recipe, '--out', space.path('language'))
  expect(epochs).toHaveLength(3)
  expect(validation!['perplexity']).toBeLessThan(20)
  expect(validation!.count).toBe(40 * 16)
})

test('class names > are stored with the run and used in predictions', async () => {
  const lines = Array.from({ length: 60 }, (_, i) => [...Array(64).fill(i % 2), i % 2 ? 'on' : 'off'].join(','))
  await writeFile(space.path('rows.csv'), `${lines.join('\n')}\n`)
  const tensors = { x: { columns: '*', dims: [1, 8, 8] }, labels: { columns: '65', as: 'class' } }
  const recipe = await space.writeRecipe('named.json', {
    data: { train: { kind: 'csv', file: 'rows.csv', header: false, tensors }, split: { validation: 0.2 } },
    head: { classes: 2 },
    optimizer: { kind: 'adamw', lr: 0.05 },
    schedule: undefined,
    metrics: ['accuracy', 'perClass'],
    epochs: 4,
  })
  const { stdout } = await run('train', recipe, '--out', space.path('named'))
  expect(stdout).toMatch(/^ {2}off +100\.00 %/m)
  const [names, output] = [space.path('named/classes.json'), space.path('named.csv')]
  expect(JSON.parse(await readFile(names, 'utf8'))).toEqual({ labels: ['off', 'on'] })
  await json(
    'predict',
    space.path('named/tuned.onnx'),
    recipe,
    '--on',
    'train',
    '--classes',
    '--class-names',
    names,
    '-o',
    output,
  )
  const [header, ...records] = (await readFile(output, 'utf8')).trimEnd().split('\n')
  expect(header).toBe('index,class,name,probability')
  expect(records).toHaveLength(48)
  for (const record of records) expect(record).toMatch(/^\d+,(0,off|1,on),/)
})
