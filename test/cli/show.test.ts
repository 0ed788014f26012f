import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { diffRuns } from '../../src/cli/runs/compare-runs.js'
import type { StoredRun } from '../../src/cli/runs/read-run.js'
import { json, run } from './command.js'
import { writeRun } from './stored-runs.js'
import { recipe } from './workspace.js'

let root = ''
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'onnx-ire-show-'))
  // The recipes of all runs have the same paths.
  const data = JSON.parse(JSON.stringify(recipe.data).replaceAll(/"(images|labels)",/g, '"/data/$1",'))
  const { ire: _, ...base } = recipe.optimizer
  const accuracies = { base: [0.8, 0.7, 0.75], ire: [0.83, 0.72, 0.78], other: [0.1, 0.9] }
  for (const [name, values] of Object.entries(accuracies))
    for (const [seed, accuracy] of values.entries()) {
      const optimizer = name === 'base' ? base : recipe.optimizer
      const changes = { data, model: '/data/model.onnx', seed, optimizer, ...(name === 'other' ? { epochs: 9 } : {}) }
      await writeRun(join(root, name, String(seed)), { recipe: { ...recipe, ...changes }, loss: 1, accuracy })
    }
})
afterAll(() => rm(root, { recursive: true }))

interface Shown {
  readonly runs: { run: string; status: string; step: number; seconds: number; last: object; best: object }[]
  readonly differences: { field: string; values: unknown[] }[]
  readonly groups: { runs: string[]; recipe: object }[]
  readonly comparisons: { metric: string; method: string; significant: boolean; difference: { value: number } }[]
}

test('show > two runs > differences of the recipes, last and best numbers', async () => {
  const shown = await json<Shown>('show', join(root, 'base/0'), join(root, 'ire/1'))
  expect(shown.differences).toEqual(
    expect.arrayContaining([
      { field: 'seed', values: [0, 1] },
      { field: 'optimizer.ire.kappa', values: [null, 2] },
      { field: 'optimizer.ire.gamma', values: [null, 0.8] },
    ]),
  )
  expect(shown.differences.some(({ field }) => field.startsWith('data'))).toBe(false)
  expect(shown.runs[0]).toMatchObject({
    ...{ run: '0', status: 'stopped', step: 4, seconds: 2 },
    last: { loss: 1, accuracy: 0.5, 'held-out loss': 1.1, 'held-out accuracy': 0.8 },
    best: {
      'held-out loss': { value: expect.closeTo(0.9, 10), step: 2 },
      'held-out accuracy': { value: 0.8, step: 2 },
    },
  })
  expect(shown.comparisons).toEqual([])
})

test('show > repeated seeds > paired if the seeds are the same, else Welch', async () => {
  const shown = await json<Shown>('show', join(root, 'base'), join(root, 'ire'), join(root, 'other'))
  expect(shown.groups.map(({ runs }) => runs.length)).toEqual([3, 3, 2])
  const accuracy = shown.comparisons.filter(({ metric }) => metric === 'held-out accuracy')
  // Differences 0.03, 0.02, 0.03: the interval excludes 0, though the groups overlap.
  expect(accuracy).toMatchObject([
    { method: 'paired', significant: true, difference: { value: expect.closeTo(0.08 / 3, 10) } },
    { method: 'welch', significant: false },
  ])
  const { stdout } = await run('show', join(root, 'base'), join(root, 'ire'), join(root, 'other'))
  expect(stdout).toMatch(/group 2 - group 1 +held-out accuracy +2\.67 % ± 1\.43 % +3 pairs +significant/)
})

test('show > one group > its mean and spread', async () => {
  const shown = await json<Shown>('show', join(root, 'base'))
  expect(shown.comparisons).toEqual([])
  const accuracy = { n: 3, value: expect.closeTo(0.75, 10), deviation: expect.closeTo(0.05, 10) }
  expect(shown.groups).toMatchObject([{ metrics: { 'held-out accuracy': accuracy } }])
  const { stdout } = await run('show', join(root, 'base'))
  expect(stdout).toMatch(/group 1 .* 75\.00 % ± 12\.42 %/)
  expect(stdout).toMatch(/deviation .* 5\.00 %/)
})

test('show > copies of a run, of which one ended early > counted once', async () => {
  const one = JSON.parse(await readFile(join(root, 'base/0/recipe.json'), 'utf8'))
  const { seed: _, ...withoutSeed } = one
  await writeRun(join(root, 'copies/again'), { recipe: one, loss: 1, accuracy: 0.8 })
  // The default seed is 0.
  await writeRun(join(root, 'copies/short'), { recipe: withoutSeed, loss: 1, accuracy: 0.1, epochs: 1 })
  const paths = [join(root, 'copies/short'), join(root, 'base'), join(root, 'copies/again')]
  const shown = await json<Shown>('show', ...paths)
  expect(shown.groups).toMatchObject([
    {
      copies: ['short', 'again'],
      metrics: { 'held-out accuracy': { n: 3, deviation: expect.closeTo(0.05, 10) } },
    },
  ])
  const { stdout } = await run('show', ...paths)
  expect(stdout).toMatch(/; not counted, with the seed of another run: short, again\n/)
})

test('show > a folder without a run > io', async () => {
  const { code, stdout } = await run('show', join(root, 'nothing'), '--json')
  expect([code, JSON.parse(stdout).error.code]).toEqual([1, 'io'])
})

test('show > statistics of the training examples, which differ between splits > are no difference', () => {
  const stored = (seed: number, fill: number) =>
    ({
      recipe: { seed, data: { train: { path: 'a.csv', statistics: { x: { a: { fill } } } } } },
    }) as unknown as StoredRun
  expect(diffRuns([stored(1, 0.25), stored(2, 0.5)])).toEqual([{ field: 'seed', values: [1, 2] }])
})
