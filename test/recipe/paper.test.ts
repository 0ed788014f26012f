import { readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { build } from '../../models/index.js'
import type { StepReport } from '../../src/backend/step.js'
import { readPreset } from '../../src/cli/inputs/read-preset.js'
import { readShippedRecipe, recipeNames } from '../../src/cli/inputs/read-recipe.js'
import { processIo } from '../../src/cli/io.js'
import { createTrainingProgress } from '../../src/cli/progress.js'
import { RunFolder } from '../../src/cli/training/run-folder.js'
import { runTraining } from '../../src/cli/training/run-training.js'
import { readModel } from '../../src/node/files/model.js'
import { importGraph } from '../../src/onnx/import/import-graph.js'
import { parseRecipe } from '../../src/recipe/parse.js'
import { mapPaths } from '../../src/recipe/resolve.js'
import { vocabulary, writeFixtures } from './fixture-files.js'

const names = await recipeNames()
const root = await writeFixtures()
afterAll(() => rm(root, { recursive: true, force: true }))

/** Options that make a preset small without making another architecture of it. */
const small: Readonly<Record<string, object>> = {
  'wrn-28-10': { depth: 10, widen: 1 },
  'resnet-56': { depths: [1, 1, 1] },
  'resnet-50': { depths: [1, 1, 1, 1], stages: [4, 8, 12, 16] },
  'vit-t-4': { layers: 1, width: 24 },
  'vit-s-4': { layers: 1, width: 48 },
  'vit-s-16': { layers: 1, width: 48 },
  transformer: { layers: 1, width: 16, vocabulary },
  'llama-60m': { layers: 1, width: 50, hidden: 16, vocabulary },
  'llama-119m': { layers: 1, width: 24, hidden: 16, vocabulary },
  'llama-229m': { layers: 1, width: 24, hidden: 16, vocabulary },
}

const ran = new Set<string>()

describe.each(names)('%s', (name) => {
  test('uses a shipped model, and data of its input shape', async () => {
    const { model, data, loss, optimizer } = await readShippedRecipe(name)
    if (typeof model === 'string') throw new Error('the model is no preset')
    const changes = Object.entries(model.options ?? {}).map(([option, value]) => `${option}=${JSON.stringify(value)}`)
    const preset = await readPreset(model.preset, changes)
    if (data.train.kind === 'tokens') expect(preset).toMatchObject({ context: data.train.context })
    if (data.train.kind === 'cifar-10') expect(preset).toMatchObject({ size: 32, classes: 10 })
    if (data.train.kind === 'cifar-100') expect(preset).toMatchObject({ size: 32, classes: 100 })
    if (data.train.kind === 'image-folder') expect(preset).toMatchObject({ size: 224, classes: 1000 })
    expect(loss.kind).toBe('cross-entropy')
    expect(optimizer.ire).toMatchObject({ interval: 10, curvature: 'sampled' })
  })

  test('trains a smaller model on files of the same format, with IRE', async () => {
    const written = await readShippedRecipe(name)
    const { model, epochs } = written
    if (typeof model === 'string') throw new Error('the model is no preset')
    ran.add(model.preset)
    const options = { ...model.options, ...small[model.preset] }
    const batchSize = epochs === undefined ? 2 : 5
    const shrunk = [
      `model.options=${JSON.stringify(options)}`,
      `batchSize=${batchSize}`,
      'microBatch=null',
      'evaluateEvery=null',
      'threads=1',
      ...(epochs === undefined
        ? ['steps=3', 'optimizer.ire.warmup=1', 'data.validation.end=1']
        : ['epochs=2', 'optimizer.ire.warmup.epochs=1']),
    ]
    const recipe = mapPaths(parseRecipe(JSON.stringify(written), shrunk), (path) => resolve(root, path))
    const folder = new RunFolder(join(root, 'runs', name))
    const progress = createTrainingProgress(process.stderr, true, 'loss')
    const call = {
      recipe,
      folder,
      progress,
      io: processIo,
      resume: false,
      force: false,
      provider: 'cpu' as const,
      checkpointSeconds: undefined,
      memory: undefined,
    }
    const result = await runTraining(call)
    const steps = epochs === undefined ? 3 : 4
    expect(result.step).toBe(steps)
    expect(result.validation!.loss).toBeGreaterThan(0)
    const log = (await readFile(join(folder.path, 'metrics.jsonl'), 'utf8')).trim().split('\n')
    const reports = log.map((line) => JSON.parse(line) as StepReport & { kind: string })
    const taken = reports.filter(({ kind }) => kind === 'step')
    expect(taken).toHaveLength(steps)
    // The warm-up is over after one step, or after the first epoch's two.
    const warmup = steps === 3 ? 1 : 2
    expect(taken.map(({ refreshed }) => refreshed)).toEqual(taken.map((_, step) => step === warmup))
    for (const { loss, kappa, flatShare } of taken.slice(warmup)) {
      expect(loss).toBeGreaterThan(0)
      expect(kappa).toBeGreaterThan(0)
      expect(flatShare).toBeGreaterThanOrEqual(recipe.optimizer.ire!.gamma! - 1e-6)
    }
    const [start, tuned] = await Promise.all([folder.start, folder.tuned].map(readModel))
    const shapes = (read: Awaited<ReturnType<typeof readModel>>) =>
      [...importGraph(read).parameters].map(([parameter, { shape }]) => [parameter, shape])
    expect(shapes(tuned!)).toEqual(shapes(start!))
  })
})

test('every reduced preset is used by a recipe', () => {
  expect([...ran].sort()).toEqual(Object.keys(small).sort())
})

test('the models have the sizes in their names', async () => {
  const sizes = [
    ['llama-60m', 60],
    ['llama-119m', 119],
    ['llama-229m', 229],
    ['wrn-28-10', 36.5],
    ['resnet-56', 0.85],
  ] as const
  for (const [preset, millions] of sizes) {
    const { parameters } = build(await readPreset(preset))
    const elements = [...parameters.values()].reduce(
      (sum, { shape = [] }) => sum + shape.reduce<number>((n, dim) => n * Number(dim), 1),
      0,
    )
    expect(Math.abs(elements / 1e6 / millions - 1), preset).toBeLessThan(0.05)
  }
})

test('the table of models matches the models', async () => {
  const readme = await readFile(fileURLToPath(new URL('../../models/recipes/README.md', import.meta.url)), 'utf8')
  const listed = [...readme.matchAll(/^\| `([\w-]+)`/gm)].map(([, name]) => name!)
  expect([...listed].sort()).toEqual([...names].sort())
})
