import { existsSync } from 'node:fs'
import { cp, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TrainingResult } from '../../src/cli/training/training-request.js'
import { Random } from '../../src/data/index.js'
import { json, run, start } from './command.js'
import { recipe as plain, type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

/**
 * A recipe that uses all parts of a checkpoint: moments, mask, averages, best weights, random state, partial interval.
 */
const everything = {
  data: { train: { ...plain.data.train, end: 150 }, validation: plain.data.validation },
  mixup: { alpha: 0.4 },
  groups: [{ tensors: 'hidden.*', lr: 0.005, frozen: { untilStep: 40 } }],
  decayVectors: false,
  clipValue: 0.5,
  ema: 0.9,
  best: true,
  earlyStopping: { patience: 1000 },
  schedule: { kind: 'plateau', patience: 2, factor: 0.7 },
  epochs: undefined,
  steps: 400,
  evaluateEvery: 35,
  checkpoints: { everySteps: 6 },
  threads: 1,
}

/** The log without its times and the memory of the process. */
async function logOf(folder: string) {
  const lines = (await readFile(`${folder}/metrics.jsonl`, 'utf8')).trimEnd().split('\n')
  const measured = { seconds: 0, secondsPerStep: 0, time: '', memory: 0 }
  return lines.map((line) => ({ ...(JSON.parse(line) as object), ...measured }))
}

const stepsIn = async (folder: string): Promise<number> =>
  (await readFile(`${folder}/metrics.jsonl`, 'utf8').catch(() => '')).split('{"kind":"step"').length - 1

/** The run is what an uninterrupted one is, bit for bit. */
async function expectSame(result: TrainingResult, whole: TrainingResult) {
  const { best, step, validation } = whole
  expect(result).toMatchObject({ best, step, validation, interrupted: false })
  expect(Buffer.compare(await readFile(result.model!), await readFile(whole.model!))).toBe(0)
  expect(await logOf(result.run)).toEqual(await logOf(whole.run))
  const [mine, theirs] = [result, whole].map(({ run }) => `${run}/checkpoints`)
  expect((await readdir(mine!)).at(-1)).toBe((await readdir(theirs!)).at(-1))
  const last = (await readdir(mine!)).at(-1)!
  expect(Buffer.compare(await readFile(`${mine}/${last}`), await readFile(`${theirs}/${last}`))).toBe(0)
}

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s before the first step > prints a document and unlocks the folder',
  async (signal) => {
    const recipe = await space.writeRecipe('early.json', { epochs: 1 })
    const folder = space.path(`early-${signal}`)
    const { process, finished, until } = start(['train', recipe, '--out', folder, '--json'])
    await until(async () => (await readFile(`${folder}/lock.json`, 'utf8').catch(() => '')) !== '')
    process.kill(signal)
    const { code, stdout } = await finished
    expect(code).toBe(130)
    expect(JSON.parse(stdout)).toMatchObject({ run: folder, interrupted: true })
    expect(await readdir(folder)).not.toContain('lock.json')
    expect(await run('train', recipe, '--out', folder, '--quiet')).toMatchObject({ code: 0 })
  },
)

test('killed at four random moments > resumed run > equals an uninterrupted run', async () => {
  const recipe = await space.writeRecipe('killed.json', everything)
  const whole = await json<TrainingResult>('train', recipe, '--out', space.path('whole'), '--quiet')
  const random = new Random(20)
  const folder = space.path('killed')
  // Half of the kills come shortly after a random step, half at a random moment after the start; all before the end.
  // tools/torture kills at many more moments.
  const targets = Array.from({ length: 2 }, () => 1 + random.integer(everything.steps - 200)).sort((a, b) => a - b)
  for (let kill = 0; kill < 4; kill++) {
    const { process, finished, until } = start([
      'train',
      recipe,
      '--out',
      folder,
      '--quiet',
      ...(kill > 0 ? ['--resume'] : []),
    ])
    const [target, late] = kill % 2 === 0 ? [targets[kill / 2]!, 30] : [everything.steps - 160, 900]
    const moment = late * random.uniform()
    const end = kill % 2 === 0 ? Number.POSITIVE_INFINITY : performance.now() + moment
    await until(async () => performance.now() >= end || (await stepsIn(folder)) >= target)
    if (kill % 2 === 0) await delay(moment)
    process.kill('SIGKILL')
    expect((await finished).code).toBe(null)
  }
  // The lock of the killed process is taken over.
  expect(existsSync(`${folder}/lock.json`)).toBe(true)
  const rest = await json<TrainingResult>('train', recipe, '--out', folder, '--resume', '--quiet')
  await expectSame(rest, whole)
  expect(existsSync(`${folder}/lock.json`)).toBe(false)
})

describe('damaged newest checkpoint > resume > uses the previous checkpoint', () => {
  let [recipe, whole] = ['', {} as TrainingResult]
  beforeAll(async () => {
    recipe = await space.writeRecipe('damaged.json', { ...everything, steps: 60, evaluateEvery: 10 })
    const train = (out: string, steps: number) =>
      json<TrainingResult>('train', recipe, '--set', `steps=${steps}`, '--out', space.path(out))
    ;[whole] = await Promise.all([train('undamaged', 60), train('half', 30)])
  })

  test.each<[string, (path: string, bytes: Buffer) => Promise<void>]>([
    ['cut short', (path, bytes) => truncate(path, bytes.length - 1000)],
    ['one bit flipped', (path, bytes) => writeFile(path, bytes.with(bytes.length - 500, bytes.at(-500)! ^ 4))],
    ['empty', (path) => truncate(path, 0)],
  ])('%s', async (what, damage) => {
    const out = space.path(what.replaceAll(' ', '-'))
    await cp(space.path('half'), out, { recursive: true })
    const newest = `${out}/checkpoints/checkpoint-00000030.safetensors`
    await damage(newest, await readFile(newest))
    const { code, stdout, stderr } = await run('train', recipe, '--out', out, '--resume', '--json')
    expect(code).toBe(0)
    expect(stderr).toMatch(/checkpoint of step 30: /)
    expect(stderr).toMatch(/from step 24$/m)
    await expectSame(JSON.parse(stdout) as TrainingResult, whole)
  })
})

test('export > damaged checkpoint > uses the previous one; without a valid checkpoint, export and resume reject', async () => {
  const recipe = await space.writeRecipe('spoilt.json', { ...everything, steps: 12 })
  const folder = space.path('spoilt')
  await json('train', recipe, '--out', folder)
  await truncate(`${folder}/checkpoints/checkpoint-00000012.safetensors`, 100)
  const best = await run('export', folder, '-o', space.path('e.onnx'))
  expect(best).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/error \(invalid-option\): .*--weights last/),
  })
  const exported = await run('export', folder, '--weights', 'last', '-o', space.path('e.onnx'), '--json')
  expect(exported.stderr).toMatch(/checkpoint of step 12: /)
  expect(JSON.parse(exported.stdout)).toMatchObject({ step: 6, weights: 'last' })
  for (const name of await readdir(`${folder}/checkpoints`)) await truncate(`${folder}/checkpoints/${name}`, 100)
  for (const args of [
    ['export', folder, '-o', space.path('f.onnx')],
    ['train', recipe, '--out', folder, '--resume'],
  ]) {
    const { code, stderr } = await run(...args)
    expect([args[0], code]).toEqual([args[0], 1])
    expect(stderr).toMatch(/error \(damaged\): .*2 checkpoints/)
  }
})
