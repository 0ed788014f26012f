import { execFile } from 'node:child_process'
import { existsSync, type StatsFs } from 'node:fs'
import fs, { cp, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { TrainingResult } from '../../src/cli/training/training-request.js'
import { namedTensors, replaceTensors } from '../../src/index.js'
import { readModel, writeModel } from '../../src/node/index.js'
import { json, program, run, runInterrupted, start } from './command.js'
import { recipe as plain, type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

/** Every file below a folder with its content. */
async function contentOf(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = names.filter((entry) => entry.isFile()).map((entry) => `${entry.parentPath}/${entry.name}`)
  const contents = await Promise.all(paths.map((path) => readFile(path, 'base64')))
  return Object.fromEntries(paths.map((path, i) => [path.slice(folder.length), contents[i]!]))
}

/** The step of the newest checkpoint of a run; 0 without one. */
async function lastStep(run: string): Promise<number> {
  const names = await readdir(`${run}/checkpoints`).catch((): string[] => [])
  return Math.max(0, ...names.map((name) => Number(/^checkpoint-(\d+)/.exec(name)?.[1] ?? 0)))
}

/** Sets the length of a run to two epochs, of 10 steps, after its newest checkpoint. */
const twoMoreEpochs = async (run: string) => ['--set', `epochs=${Math.ceil((await lastStep(run)) / 10) + 2}`]

describe('one process per run folder', () => {
  test('a running run > a second train is refused and changes nothing; export and evaluate work', async () => {
    const recipe = await space.writeRecipe('long.json', { epochs: 100_000, threads: 1 })
    const out = space.path('shared')
    const first = start(['train', recipe, '--out', out, '--checkpoint-every', '0.01', '--json'])
    await first.until(async () => (await lastStep(out)) >= 10)
    for (const options of [[], ['--resume'], ['--force']]) {
      const { code, stderr } = await run('train', recipe, '--out', out, ...options)
      expect([options, code, stderr]).toEqual([options, 1, expect.stringMatching(/^error \(locked\): /)])
      expect(stderr).toContain(String(first.process.pid))
    }
    const exported = await json<{ step: number }>('export', out, '-o', space.path('running.onnx'))
    expect(exported.step).toBeGreaterThan(0)
    await json('evaluate', space.path('running.onnx'), recipe)
    first.process.kill('SIGINT')
    const { code, stdout } = await first.finished
    expect(code).toBe(130)
    // Every step is in the log once: no other process wrote to it.
    const lines = (await readFile(`${out}/metrics.jsonl`, 'utf8')).trimEnd().split('\n')
    const steps = lines.map((line) => JSON.parse(line) as { kind: string; step: number })
    expect(steps.filter(({ kind }) => kind === 'step').map(({ step }) => step)).toEqual(
      Array.from({ length: (JSON.parse(stdout) as TrainingResult).step }, (_, i) => i + 1),
    )
    expect(await readdir(out)).not.toContain('lock.json')
  })

  test('two at the same time in a new folder > one trains, the other is refused', async () => {
    const out = space.path('together')
    const both = [1, 2].map(() => start(['train', space.path('recipe.json'), '--out', out]).finished)
    const results = await Promise.all(both)
    expect(results.map(({ code }) => code).sort()).toEqual([0, 1])
    expect(results.find(({ code }) => code === 1)!.stderr).toMatch(/error \((locked|invalid-option)\): /)
    expect((await readFile(`${out}/metrics.jsonl`, 'utf8')).split('{"kind":"step"')).toHaveLength(21)
  })
})

test('a finished run is resumed and interrupted > commands name the steps of its model and of its checkpoint', async () => {
  const [recipe, out] = [space.path('recipe.json'), space.path('outdated')]
  const statusOf = async () => (await json<{ runs: readonly { status: string }[] }>('show', out)).runs[0]!.status
  await json('train', recipe, '--out', out)
  expect(await statusOf()).toBe('finished')
  expect((await run('evaluate', out)).stderr).not.toContain('warning')

  const longer = ['train', `${out}/recipe.json`, '--resume', '--set', 'epochs=1000']
  expect((await runInterrupted(longer, /epoch 4, step 40:/)).code).toBe(130)
  const newest = await lastStep(out)
  expect(await statusOf()).toBe('stopped')
  for (const command of ['evaluate', 'predict', 'snippet', 'sharpness']) {
    const { stderr } = await run(command, out)
    expect([command, stderr]).toEqual([command, expect.stringContaining('is the model after 20 steps')])
    expect(stderr).toContain(`step ${newest}. Write the model of that one with onnx-ire export ${out} -o model.onnx`)
  }

  await json('export', out, '-o', space.path('newest.onnx'))
  expect((await run('evaluate', out)).stderr).toContain('is the model after 20 steps')
  await json('export', out, '-o', `${out}/tuned.onnx`)
  expect((await run('evaluate', out)).stderr).not.toContain('warning')

  await json('train', `${out}/recipe.json`, '--resume', ...(await twoMoreEpochs(out)))
  expect(await statusOf()).toBe('finished')
  expect((await run('evaluate', out)).stderr).not.toContain('warning')
})

describe('--force', () => {
  const files = ['checkpoints', 'metrics.jsonl', 'recipe.json', 'run.json', 'tuned.onnx']
  let recipe = ''
  beforeAll(async () => {
    recipe = space.path('recipe.json')
    await json('train', recipe, '--out', space.path('before'), '--set', 'epochs=1')
  })

  async function copyOfRun(name: string): Promise<string> {
    await cp(space.path('before'), space.path(name), { recursive: true })
    return space.path(name)
  }

  test('the new run ends > the old one is removed', async () => {
    const out = await copyOfRun('replaced')
    await writeFile(`${out}/tuned.onnx.data`, 'of the old model')
    await writeFile(`${out}/notes.txt`, 'mine')
    await writeFile(`${out}/flatness.json`, 'of the old model')
    await json('train', recipe, '--out', out, '--force', '--set', 'seed=1')
    expect((await readdir(out)).sort()).toEqual([...files, 'notes.txt'].sort())
  })

  test('the new run fails before its first checkpoint > the old run is back, byte for byte', async () => {
    const out = await copyOfRun('restored')
    const before = await contentOf(out)
    // An infinite learning rate ends the run at its first step.
    const broken = ['--set', 'optimizer={"kind":"sgd","lr":1e38}', '--set', 'schedule=null', '--set', 'batchSize=16']
    const { code, stderr } = await run('train', recipe, '--out', out, '--force', ...broken)
    expect(stderr).toMatch(/error \(not-finite\): .*restored/s)
    expect(code).toBe(1)
    expect(await contentOf(out)).toEqual(before)
  })

  test('files cannot be as large as the new run needs > the old run is back, byte for byte', async () => {
    const out = await copyOfRun('limited')
    const before = await contentOf(out)
    // 1 KiB is enough for a lock and a recipe, not for a checkpoint.
    const { code, stderr } = await limited(8, 'train', recipe, '--out', out, '--force', '--set', 'seed=1')
    expect([code, stderr]).toEqual([1, expect.stringMatching(/error \(io\): /)])
    expect(await contentOf(out)).toEqual(before)
  })

  test('the new run fails after its first checkpoint > the old run is kept beside the new one, which resumes', async () => {
    const out = await copyOfRun('failed')
    const before = await contentOf(out)
    const long = ['train', recipe, '--out', out, '--set', 'epochs=100000', '--set', 'threads=1', '--set', 'seed=1']
    // 40 KiB are enough for a checkpoint, not for the log of all steps.
    const { code, stderr } = await limited(80, ...long, '--force', '--checkpoint-every', '0.01')
    expect([code, stderr]).toEqual([1, expect.stringMatching(/error \(io\): /)])
    expect(stderr).toContain(`${out}/replaced-1`)
    expect(await contentOf(`${out}/replaced-1`)).toEqual(before)
    await json('export', out, '-o', space.path('failed.onnx'))
    await json('train', recipe, '--out', out, '--resume', '--set', 'seed=1', ...(await twoMoreEpochs(out)))
    expect((await readdir(out)).sort()).toEqual(files)
  })

  test('interrupted > the old run is kept beside the new one, which says where, until that one ends', async () => {
    const out = await copyOfRun('kept')
    const before = await contentOf(out)
    const long = ['train', recipe, '--out', out, '--set', 'epochs=100000', '--set', 'threads=1', '--set', 'seed=1']
    const { code, stdout, stderr } = await runInterrupted(
      [...long, '--force', '--checkpoint-every', '0.01'],
      /^epoch 3,/m,
    )
    expect(code).toBe(130)
    expect(stderr).toContain(`${out}/replaced-1`)
    expect(await contentOf(`${out}/replaced-1`)).toEqual(before)
    // The printed command resumes it.
    const [, printed] = /resume it with onnx-ire (train .*)$/m.exec(stdout)!
    await json(...printed!.split(' '), ...(await twoMoreEpochs(out)))
    expect((await readdir(out)).sort()).toEqual(files)
  })

  test('killed before its first checkpoint > the next train restores the old run, and refuses to replace it', async () => {
    const out = await copyOfRun('killed')
    const before = await contentOf(out)
    // A kill after some files were moved, and one after the new run has begun.
    for (const left of [[], ['recipe.json', 'run.json', 'metrics.jsonl']]) {
      await mkdir(`${out}/replaced-1`)
      for (const name of left.length > 0 ? files : ['recipe.json', 'checkpoints', 'tuned.onnx'])
        await rename(`${out}/${name}`, `${out}/replaced-1/${name}`)
      for (const name of left) await writeFile(`${out}/${name}`, '{"kind":"step"}')
      const { code, stderr } = await run('train', recipe, '--out', out)
      expect([code, stderr]).toEqual([1, expect.stringContaining('already holds a run')])
      expect(stderr).toContain('restored the run')
      expect(await contentOf(out)).toEqual(before)
    }
  })

  test('the initial model of the run that would be replaced as the model > is refused, and stays', async () => {
    const out = await copyOfRun('start')
    await cp(space.path('model.onnx'), `${out}/start.onnx`)
    const own = await space.writeRecipe('start.json', { model: `${out}/start.onnx` })
    const before = await contentOf(out)
    const { code, stderr } = await run('train', own, '--out', out, '--force')
    expect([code, stderr]).toEqual([1, expect.stringMatching(/error \(invalid-option\): /)])
    expect(await contentOf(out)).toEqual(before)
  })

  /** Runs the program with files of at most `blocks` blocks of 512 bytes, as on a disk without room. */
  const limited = (blocks: number, ...args: readonly string[]): Promise<{ code: number; stderr: string }> =>
    new Promise((resolve) => {
      const script = `ulimit -f ${blocks}; exec "$0" "$@"`
      execFile('sh', ['-c', script, process.execPath, program, ...args], (error, _, stderr) =>
        resolve({ code: Number(error?.code ?? 0), stderr }),
      )
    })
})

test('resume of a finished run > keeps its model until the new one replaces it', async () => {
  const out = space.path('extended')
  const recipe = space.path('recipe.json')
  await json('train', recipe, '--out', out)
  const tuned = await readFile(`${out}/tuned.onnx`)
  const { process, finished, until } = start(['train', recipe, '--out', out, '--resume', '--set', 'epochs=100000'])
  await until(async () => (await lastStep(out)) >= 60)
  process.kill('SIGKILL')
  await finished
  expect(Buffer.compare(await readFile(`${out}/tuned.onnx`), tuned)).toBe(0)
  await json('train', recipe, '--out', out, '--resume', ...(await twoMoreEpochs(out)))
  expect(Buffer.compare(await readFile(`${out}/tuned.onnx`), tuned)).not.toBe(0)
})

test('a disk without room for the run > a warning before it begins', async () => {
  const statfs = vi.spyOn(fs, 'statfs')
  const train = async (kilobytes: number) => {
    statfs.mockResolvedValue({ bavail: kilobytes, bsize: 1024 } as StatsFs)
    syncBuiltinESMExports()
    return run('train', space.path('recipe.json'), '--out', space.path(`room-${kilobytes}`))
  }
  try {
    // Four checkpoints of 16 KB and a model of 5 KB.
    expect(await train(60)).toMatchObject({ code: 0, stderr: expect.stringMatching(/^warning: .*checkpoints/m) })
    expect((await train(80)).stderr).not.toContain('warning')
  } finally {
    statfs.mockRestore()
    syncBuiltinESMExports()
  }
})

describe('a run whose sources have changed', () => {
  const changed = { code: 1, stderr: expect.stringMatching(/error \(checkpoint\): /) }
  let recipe = ''
  beforeAll(async () => {
    recipe = await space.writeRecipe('sources.json', { trainable: ['head.weight'], data: { train: plain.data.train } })
    await json('train', recipe, '--out', space.path('sources'))
  })
  const resume = (path: string, out: string) => run('train', path, '--out', out, '--resume', '--set', 'epochs=3')

  test('a model with another frozen tensor, under the same name > resume and export refuse', async () => {
    const model = await readModel(space.path('model.onnx'))
    const { dtype, dims } = namedTensors(model).get('hidden.weight')!
    const zeros = { dtype, dims, data: new Float32Array(64 * 16) }
    await writeModel(space.path('model.onnx'), replaceTensors(model, new Map([['hidden.weight', zeros]])))
    try {
      const exported = await run('export', space.path('sources'), '-o', space.path('mixed.onnx'))
      expect(exported).toMatchObject(changed)
      expect(exported.stderr).toContain("'hidden.weight'")
      expect(existsSync(space.path('mixed.onnx'))).toBe(false)
      expect(await resume(recipe, space.path('sources'))).toMatchObject(changed)
    } finally {
      await writeModel(space.path('model.onnx'), model)
    }
  })

  test('one other pixel in the training data > resume refuses, and export does not read the data', async () => {
    const pixels = await readFile(space.path('images'))
    await writeFile(space.path('images'), pixels.with(1000, pixels[1000]! ^ 1))
    try {
      expect(await resume(recipe, space.path('sources'))).toMatchObject(changed)
      await json('export', space.path('sources'), '-o', space.path('exported.onnx'))
    } finally {
      await writeFile(space.path('images'), pixels)
    }
  })

  test('everything moved to another folder > resumes', async () => {
    const names = ['model.onnx', 'images', 'labels', 'sources', 'sources.json']
    for (const name of names) await cp(space.path(name), space.path(`elsewhere/${name}`), { recursive: true })
    expect(await resume(space.path('elsewhere/sources.json'), space.path('elsewhere/sources'))).toMatchObject({
      code: 0,
    })
  })
})
