import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { IreComparison } from '../../src/cli/sweep/compare-ire.js'
import type { FinishedSweep } from '../../src/cli/sweep/run-sweep.js'
import type { TrainingResult } from '../../src/cli/training/training-request.js'
import type { LearningRateTest, Measures } from '../../src/index.js'
import { writeModel } from '../../src/node/index.js'
import { json, run, runInterrupted, runOnTerminal } from './command.js'
import { smallModel, type Workspace, workspace } from './workspace.js'

let space: Workspace
let recipe: string
beforeAll(async () => {
  space = await workspace()
  const optimizer = { kind: 'sgd', lr: 0.1, ire: { kappa: 2, gamma: 0.8, interval: 5 } }
  recipe = await space.writeRecipe('sweep.json', { optimizer, schedule: undefined, epochs: 2 })
})
afterAll(() => space.remove())

test('sweep > trains a grid, ranks it, and writes the recipe of the best trial', async () => {
  const over = ['--over', 'optimizer.lr=0.1,1e30', '--over', 'optimizer.ire.kappa=1,3']
  const { code, stdout, stderr } = await run('sweep', recipe, ...over)
  expect(stderr).toMatch(/^trial 1: optimizer.lr 0.1, optimizer.ire.kappa 1: loss [\d.]+$/m)
  expect(code).toBe(0)
  expect(stdout).toMatch(/^ +trial +optimizer.lr +optimizer.ire.kappa +loss$/m)
  expect(stdout).toMatch(/^loss by optimizer.lr \(down\) and optimizer.ire.kappa \(across\), the darker the better:$/m)
  expect(stdout).toMatch(/ 1e\+30 +3 +diverged$/m)
  // Nothing is left to do.
  const again = await json<FinishedSweep & { map: { scores: (number | null)[][] } }>(
    'sweep',
    recipe,
    ...over,
    '--resume',
  )
  expect(again.trials.map(({ score }) => score === null)).toEqual([false, false, true, true])
  expect(again.best!.values['optimizer.lr']).toBe(0.1)
  expect(again.map.scores).toEqual([again.trials.slice(0, 2).map(({ score }) => score), [null, null]])
  const measured = await json<Measures>('evaluate', again.best!.run)
  expect(measured.loss).toBeCloseTo(again.best!.score!, 5)
  const best = JSON.parse(await readFile(again.best!.recipe, 'utf8'))
  expect(best.optimizer).toMatchObject({ lr: 0.1, ire: { kappa: again.best!.values['optimizer.ire.kappa'] } })
  expect(best.model).toBe('../../model.onnx')
})

/** The score of a run by `train`. */
const trainedLoss = async (...sets: readonly string[]) => {
  const args = sets.flatMap((set) => ['--set', set])
  const { validation } = await json<TrainingResult>('train', recipe, ...args, '--force', '--out', space.path('single'))
  return validation!.loss
}

test('an interrupted sweep > continues without repeating finished trials, with the scores of train', async () => {
  const out = space.path('stopped')
  const args = ['sweep', recipe, '--over', 'optimizer.lr=0.05,0.2', '--jobs', '1', '--out', out]
  const stopped = await runInterrupted(args, /^trial 1: /m)
  expect(stopped.code).toBe(130)
  expect(stopped.stdout).toMatch(/^interrupted after 1 of 2 combinations/m)
  expect(existsSync(`${out}/best.json`)).toBe(false)
  const finished = await readFile(`${out}/trial-1/metrics.jsonl`, 'utf8')
  const resumed = await run(...args, '--resume', '--json')
  expect(resumed.stderr).toMatch(/^trial 2: /m)
  expect(resumed.stderr).not.toMatch(/^trial 1: /m)
  const { trials } = JSON.parse(resumed.stdout) as FinishedSweep
  expect(trials[1]!.score).toBe(await trainedLoss('optimizer.lr=0.2'))
  expect(await readFile(`${out}/trial-1/metrics.jsonl`, 'utf8')).toBe(finished)

  const other = await run('sweep', recipe, '--over', 'optimizer.lr=0.01', '--out', out, '--resume')
  expect(other).toMatchObject({ code: 1, stderr: expect.stringMatching(/invalid-option.*--over/) })
  expect((await run(...args)).stderr).toMatch(/invalid-option.*--resume.*--force/)
})

test('--force > replaces a sweep that cannot be read, and trials after one that has no folder', async () => {
  const out = space.path('replaced')
  const models = ['--over', 'model=model.onnx,missing.onnx,./model.onnx', '--set', 'epochs=1']
  const first = await json<FinishedSweep>('sweep', recipe, ...models, '--jobs', '1', '--out', out)
  expect(first.trials.map(({ score }) => score === null)).toEqual([false, true, false])
  expect([2, 3].map((n) => existsSync(`${out}/trial-${n}`))).toEqual([false, true])
  await writeFile(`${out}/sweep.json`, '{"recipe"')
  const args = ['sweep', recipe, '--over', 'batchSize=16,32,8', '--set', 'epochs=1', '--jobs', '1', '--out', out]
  expect((await run(...args, '--resume')).stderr).toMatch(/^error \(io\): .*replace the sweep with --force/m)
  const { trials } = await json<FinishedSweep>(...args, '--force')
  expect(trials.map(({ score }) => score === null)).toEqual([false, false, false])
})

test('--resume > refuses other exported weights, which have other scores', async () => {
  const out = space.path('weights')
  const args = ['sweep', recipe, '--over', 'batchSize=32', '--set', 'best=true', '--set', 'epochs=1', '--out', out]
  expect((await run(...args)).code).toBe(0)
  const other = await run(...args, '--set', 'weights=last', '--resume')
  expect(other).toMatchObject({ code: 1, stderr: expect.stringMatching(/invalid-option.*differs in weights/) })
})

test('--resume > refuses a sweep whose data or model have other contents now', async () => {
  const changed = await workspace()
  const out = changed.path('runs/changed')
  const args = ['sweep', changed.path('recipe.json'), '--over', 'batchSize=32', '--set', 'epochs=1', '--out', out]
  expect((await run(...args)).code).toBe(0)
  const [labels, model] = [await readFile(changed.path('labels')), await readFile(changed.path('model.onnx'))]
  await writeFile(changed.path('labels'), labels.with(8, (labels[8]! + 1) % 10))
  expect(await run(...args, '--resume')).toMatchObject({
    ...{ code: 1, stdout: '' },
    stderr: expect.stringMatching(/^error \(invalid-option\): .*other contents of the training data/m),
  })
  await writeFile(changed.path('labels'), labels)
  // A trained weight, which no checkpoint contains at its first value.
  const other = smallModel()
  const [first] = other.proto.graph!.initializer
  await writeModel(changed.path('model.onnx'), {
    ...other,
    proto: {
      ...other.proto,
      graph: {
        ...other.proto.graph!,
        initializer: other.proto.graph!.initializer.map((tensor) =>
          tensor === first ? { ...tensor, rawData: new Uint8Array(tensor.rawData!.length) } : tensor,
        ),
      },
    },
  })
  expect((await run(...args, '--resume')).stderr).toMatch(/other contents of the model, so/)
  await writeFile(changed.path('model.onnx'), model)
  // The trial that was finished before counts as progress.
  const done = await runOnTerminal(...args, '--resume')
  expect(done).toMatchObject({ code: 0, stderr: expect.stringContaining('100 %') })
  await changed.remove()
})

test('an unknown --metric > ends trials at their first evaluation', async () => {
  const out = space.path('unknown')
  await run('sweep', recipe, '--over', 'batchSize=32', '--metric', 'acuracy', '--set', 'epochs=50', '--out', out)
  const log = await readFile(`${out}/trial-1/metrics.jsonl`, 'utf8')
  expect(log.split('\n').filter((line) => line.includes('"kind":"step"'))).toHaveLength(5)
})

test('an unknown axis of --map > is refused before the first trial', async () => {
  const out = space.path('unmapped')
  const map = ['--map', 'batchSize,optimizer.lr']
  const refused = await run('sweep', recipe, '--over', 'batchSize=32', ...map, '--set', 'epochs=1', '--out', out)
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/--map: .* 'optimizer.lr'.*batchSize/) })
  expect(existsSync(out)).toBe(false)
})

test('--halving > resumes the better trial, with the score of an uninterrupted run', async () => {
  const args = ['--over', 'optimizer.lr=0.01,0.1', '--halving', '2', '--jobs', '1', '--out', space.path('half')]
  const { trials, best } = await json<FinishedSweep>('sweep', recipe, ...args)
  expect(trials.map(({ share }) => share)).toEqual([0.5, 1])
  expect(best!.score).toBe(await trainedLoss('optimizer.lr=0.1'))
  // Half of two epochs ends at the first evaluation.
  const log = (await readFile(`${trials[0]!.run}/metrics.jsonl`, 'utf8')).trimEnd().split('\n')
  expect(JSON.parse(log.at(-1)!)).toMatchObject({ kind: 'epoch', step: 10 })
})

test('--halving with best > the score of a paused trial is that of its best weights', async () => {
  // The largest loss is the best here, which is that of the first evaluation.
  const sets = ['--set', 'best={"metric":"loss","mode":"max"}', '--set', 'epochs=4']
  const args = ['--over', 'optimizer.lr=0.01,0.1', '--halving', '2', '--jobs', '1', '--out', space.path('half-best')]
  const { trials } = await json<FinishedSweep>('sweep', recipe, ...args, ...sets)
  const paused = trials.find(({ share }) => share < 1)!
  const lines = (await readFile(`${paused.run}/metrics.jsonl`, 'utf8')).trimEnd().split('\n')
  const evaluations = lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === 'epoch')
  expect(evaluations).toHaveLength(2)
  expect(evaluations[1].validation.loss).toBeLessThan(evaluations[0].validation.loss)
  expect(paused.score).toBe(evaluations[0].validation.loss)
})

test.each([
  [['--over', 'optimizer.lrr=0.1'], 'invalid-recipe', /lrr.*did you mean 'lr'/],
  [['--over', 'optimizer.lr'], 'invalid-option', /--over optimizer.lr/],
  [['--over', 'optimizer.lr=1e-2,0.1,0.01'], 'invalid-option', /--over optimizer.lr has the value 0.01 twice/],
  [['--over', 'optimizer.lr=0.1..1'], 'invalid-option', /--over optimizer.lr is a range: set --trials/],
  [['--over', 'optimizer.lr=0.1', '--metric', 'acuracy'], 'invalid-option', /acuracy.*accuracy/],
  [['--over', 'optimizer.lr=0.1', '--set', 'data.validation=null'], 'invalid-recipe', /data.validation/],
] as const)('sweep %s > is an error with its place', async (args, code, message) => {
  const { code: exit, stderr } = await run('sweep', recipe, ...args, '--out', space.path('wrong'), '--force')
  expect([exit, stderr]).toEqual([1, expect.stringMatching(message)])
  expect(stderr).toContain(`error (${code})`)
})

test('lr > suggests a rate, with its rule, and writes no files', async () => {
  const before = await readdir(space.folder, { recursive: true })
  for (const [wrong, message] of [
    [['--from', '1', '--to', '0.1'], '--to is 0.1, and --from is 1'],
    [['--from', '1', '--to', '1'], '--to is 1, and --from is 1'],
    [['--steps', '3'], '--steps is 3'],
  ] as const)
    expect(await run('lr', recipe, ...wrong)).toMatchObject({ code: 2, stderr: expect.stringContaining(message) })
  const { code, stdout } = await run('lr', recipe, '--set', 'optimizer={"kind":"adamw"}')
  expect(code).toBe(0)
  expect(stdout).toMatch(/^suggestion: [\d.e-]+, the rate at which the smoothed loss falls fastest/m)
  const test = await json<LearningRateTest & { rule: string }>(
    'lr',
    recipe,
    '--from',
    '1e-3',
    '--steps',
    '60',
    '--to',
    '1e6',
  )
  expect([test.diverged, test.points.length < 60]).toEqual([true, true])
  expect(test.suggestion).toBeGreaterThan(0.03)
  expect(test.suggestion).toBeLessThan(3)
  const stopped = await runInterrupted(['lr', recipe], /^testing learning rates/m)
  expect(stopped).toMatchObject({ code: 130, stdout: expect.stringMatching(/^no suggestion: .*interrupted/m) })
  expect(await readdir(space.folder, { recursive: true })).toEqual(before)
})

test('--compare ire > tunes both with equally many trials, and compares them with other seeds', async () => {
  const over = ['--over', 'optimizer.lr=0.1,0.2', '--over', 'optimizer.ire.kappa=1,4']
  const args = ['sweep', recipe, '--compare', 'ire', ...over, '--set', 'epochs=1', '--seeds', '2', '--jobs', '1']
  const stopped = await runInterrupted(args, /^trial 1: .*optimizer.ire.kappa/m)
  expect(stopped).toMatchObject({ code: 130, stdout: expect.stringMatching(/--resume/) })
  const resumed = await run(...args, '--resume')
  expect(resumed.code).toBe(0)
  expect(resumed.stdout).toMatch(
    /^(IRE helped|IRE made it worse|No effect of IRE is shown): loss .* ± .* over 2 seeds/m,
  )
  const compared = await json<IreComparison>(...args, '--resume')
  const { base, ire, seeds, difference, verdict } = compared
  expect(seeds).toEqual([8, 9]) // the recipe has seed 7
  expect([base!.trials, ire!.trials]).toEqual([6, 6])
  expect(JSON.parse(await readFile(base!.recipe, 'utf8')).optimizer).toEqual({
    kind: 'sgd',
    lr: base!.values['optimizer.lr'],
  })
  expect(JSON.parse(await readFile(ire!.recipe, 'utf8')).optimizer).toMatchObject({
    lr: ire!.values['optimizer.lr'],
    ire: { kappa: ire!.values['optimizer.ire.kappa'], gamma: 0.8 },
  })
  const differences = ire!.scores.map((score, i) => score! - base!.scores[i]!)
  expect(difference!.value).toBeCloseTo((differences[0]! + differences[1]!) / 2, 10)
  // Two values: t of 95 % with one degree of freedom is 12.7.
  expect(difference!.half).toBeCloseTo((12.7062 * Math.abs(differences[0]! - differences[1]!)) / 2, 3)
  const excludes = Math.abs(difference!.value) > difference!.half
  expect(verdict).toBe(excludes ? (difference!.value < 0 ? 'helps' : 'harms') : 'undecided')
})
