import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { processIo } from '../../src/cli/io.js'
import { createTrainingProgress } from '../../src/cli/progress.js'
import { RunFolder } from '../../src/cli/training/run-folder.js'
import { runTraining } from '../../src/cli/training/run-training.js'
import { writeTokens } from '../../src/node/data/tokens.js'
import type { Recipe } from '../../src/recipe/recipe.js'
import { json, run } from '../cli/command.js'

const root = await mkdtemp(join(tmpdir(), 'onnx-ire-preset-'))
const path = (name: string) => join(root, name)
afterAll(() => rm(root, { recursive: true, force: true }))

/** A transformer that drops out, its preset a file of its own, on tokens that count in threes. */
const recipe: Recipe = {
  model: { preset: path('own.json'), options: { dropout: 0.1 } },
  data: {
    train: { kind: 'tokens', file: path('tokens'), context: 6, stride: 4, end: 12 },
    validation: { kind: 'tokens', file: path('tokens'), context: 6, start: 8 },
  },
  loss: { kind: 'cross-entropy' },
  metrics: ['perplexity'],
  dropout: 'on',
  optimizer: { kind: 'adamw', lr: 0.01, ire: { kappa: 1, gamma: 0.8, interval: 2, warmup: { epochs: 1 } } },
  batchSize: 4,
  epochs: 2,
  threads: 1,
  seed: 5,
}

const train = (changes: Partial<Recipe>, out: string, resume = false) =>
  runTraining({
    io: processIo,
    recipe: { ...recipe, ...changes },
    folder: new RunFolder(path(out)),
    progress: createTrainingProgress(process.stderr, true, 'loss'),
    resume,
    force: false,
    provider: 'cpu',
    checkpointSeconds: undefined,
    memory: undefined,
  })

const content = (...names: string[]): Promise<Buffer> => readFile(join(root, ...names))

beforeAll(async () => {
  const own = { kind: 'transformer', vocabulary: 9, context: 6, width: 8, heads: 2, layers: 1 }
  await writeFile(path('own.json'), JSON.stringify(own))
  const tokens = Array.from({ length: 60 }, (_, i) => (3 * i) % 9)
  await writeTokens(path('tokens'), [tokens], { vocabulary: 9, tokens: tokens.length })
  await train({}, 'whole')
})

test('preset model > the run stores its model and resumes without the preset', async () => {
  await train({ epochs: 1 }, 'halved')
  await rm(path('own.json'))
  try {
    expect((await content('halved', 'start.onnx')).equals(await content('whole', 'start.onnx'))).toBe(true)
    expect((await content('halved', 'tuned.onnx')).equals(await content('whole', 'tuned.onnx'))).toBe(false)
    const { step, validation } = await train({}, 'halved', true)
    expect(step).toBe(6)
    expect(validation!.perplexity).toBeGreaterThan(1)
    expect((await content('halved', 'tuned.onnx')).equals(await content('whole', 'tuned.onnx'))).toBe(true)
    await json('export', path('halved'), '-o', path('exported.onnx'))
    expect((await content('exported.onnx')).equals(await content('whole', 'tuned.onnx'))).toBe(true)
    const over = await run('export', path('halved'), '-o', path('halved/start.onnx'))
    expect(over.stderr).toContain('error (invalid-option): ')
  } finally {
    await writeFile(
      path('own.json'),
      JSON.stringify({ kind: 'transformer', vocabulary: 9, context: 6, width: 8, heads: 2, layers: 1 }),
    )
  }
})

test("preset model > initial weights use the recipe's seed unless the model has its own; dropout is active", async () => {
  await train({ seed: 6, epochs: 1 }, 'other')
  await train({ seed: 6, epochs: 1, model: { ...Object(recipe.model), seed: 5 } }, 'own')
  await train({ epochs: 2, dropout: 'off' }, 'kept')
  const [whole, other, own, kept] = await Promise.all(
    ['whole', 'other', 'own', 'kept'].map((name) => content(name, 'start.onnx')),
  )
  expect(own!.equals(whole!)).toBe(true)
  expect(kept!.equals(whole!)).toBe(true)
  expect(other!.equals(whole!)).toBe(false)
  expect((await content('kept', 'tuned.onnx')).equals(await content('whole', 'tuned.onnx'))).toBe(false)
})

test('IRE warm-up in epochs > IRE starts with that epoch', async () => {
  const log = String(await content('whole', 'metrics.jsonl'))
    .trim()
    .split('\n')
  const steps = log
    .map((line) => JSON.parse(line) as { kind: string; kappa: number })
    .filter(({ kind }) => kind === 'step')
  expect(steps.map(({ kappa }) => kappa)).toEqual([0, 0, 0, 1, 1, 1])
})

test('unknown preset option > rejected by name, and nothing is written', async () => {
  const model = { preset: 'mlp', options: { hiden: [3] } }
  await expect(train({ model }, 'none')).rejects.toThrow(
    /model: .*mlp\.hiden: there is no such field, did you mean 'hidden'/,
  )
  await expect(content('none', 'recipe.json')).rejects.toThrow()
})

test('build, evaluate and predict > accept recipes with presets; shipped recipes are found by name', async () => {
  await writeFile(path('recipe.json'), JSON.stringify(recipe))
  const { model } = await json<{ model: string }>('build', path('recipe.json'), '-o', path('graphs'))
  expect((await readFile(model)).equals(await content('whole', 'start.onnx'))).toBe(true)
  const measures = await json<{ loss: number }>('evaluate', path('whole/tuned.onnx'), path('recipe.json'))
  expect(measures.loss).toBeGreaterThan(0)
  await json('predict', path('whole/tuned.onnx'), path('recipe.json'), '--classes', '-o', path('tokens.jsonl'))
  expect(String(await content('tokens.jsonl')).split('\n')[0]).toContain('"classes":[')
  const { recipes } = await json<{ recipes: { name: string; about: string }[] }>('train', '--list')
  expect(recipes.map(({ name }) => name)).toContain('wikitext-103-llama-60m-adamw-ire')
  const { code, stderr } = await run('train', 'cifar10-resnet-56-sgd')
  expect(code).toBe(1)
  expect(stderr).toContain(
    "no recipe of the package 'cifar10-resnet-56-sgd', did you mean 'cifar10-resnet-56-sgd-ire'?",
  )
})
