import { existsSync } from 'node:fs'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { adapterOf, quantizeModel, removeAdapter } from '../../src/adapter/index.js'
import type { FoldsResult } from '../../src/cli/training/format-folds.js'
import type { TrainingResult } from '../../src/cli/training/training-request.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { encodeModel, type Measures, namedTensors } from '../../src/index.js'
import { readModel, writeModel } from '../../src/node/index.js'
import { json, run, start } from './command.js'
import { pretrained, type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

const linesOf = async (path: string) =>
  (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; step: number })

test('train, evaluate and export > report the same results', async () => {
  const recipe = space.path('recipe.json')
  const { code, stdout, stderr } = await run('train', recipe, '--json')
  expect(code).toBe(0)
  const result = JSON.parse(stdout) as TrainingResult
  expect(result).toMatchObject({
    run: space.path('runs/recipe'),
    interrupted: false,
    step: 20,
    parameters: 64 * 16 + 16 + 16 * 10 + 10,
  })
  expect(result.epochs.map(({ step }) => step)).toEqual([10, 20])
  expect(result.epochs[1]!.loss).toBeLessThan(result.epochs[0]!.loss)
  expect(result.epochs[1]!.flatShare).toBeCloseTo(0.8, 2)

  // Output is not a terminal, so lines have no control characters of a progress bar.
  expect(stderr).toMatch(/^epoch 1, step 1\/20: loss [\d.]+, [\d.]+ examples\/s, .* left$/m)
  expect(stderr).toMatch(/^epoch 2, step 20: loss .*; held out: loss .*, accuracy [\d.]+ %/m)
  expect(stderr).not.toContain('\x1b')

  const log = await linesOf(space.path('runs/recipe/metrics.jsonl'))
  expect(log.map(({ kind }) => kind)).toEqual([...Array(10).fill('step'), 'epoch', ...Array(10).fill('step'), 'epoch'])

  const measured = await json<Measures>('evaluate', result.model!, recipe)
  expect(measured.accuracy).toBe(result.validation!.accuracy)
  expect(measured.loss).toBeCloseTo(result.validation!.loss, 5)
  const data = JSON.stringify({
    kind: 'idx',
    images: space.path('images'),
    labels: space.path('labels'),
    start: 160,
    image: { size: 8 },
  })
  const again = await json<Measures>(
    'evaluate',
    result.model!,
    '--data',
    data,
    '--loss',
    'cross-entropy',
    '--batch-size',
    '7',
  )
  expect(again.accuracy).toBe(measured.accuracy)

  await json('export', result.run, '-o', space.path('exported.onnx'))
  expect(Buffer.compare(await readFile(space.path('exported.onnx')), await readFile(result.model!))).toBe(0)
})

test('train > data without a target that counts > a warning says so', async () => {
  const weight = parameter('w', tensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)))
  const x = input('x', 'float32', ['N', 2])
  const outputs = new Map([['y', op.MatMul(x, weight)]])
  await writeModel(space.path('linear.onnx'), modelOf({ name: 'linear', inputs: new Map([['x', x]]), outputs }))
  await writeFile(space.path('masked.jsonl'), '{"x": [1, 2], "label": -1}\n'.repeat(4))
  const recipe = {
    model: 'linear.onnx',
    data: {
      train: { kind: 'jsonl', file: 'masked.jsonl', tensors: { x: 'x', labels: { field: 'label', as: 'integer' } } },
    },
    loss: { kind: 'cross-entropy', ignoreIndex: -1 },
    optimizer: { kind: 'sgd', lr: 0.1 },
    epochs: 1,
  }
  await writeFile(space.path('masked.json'), JSON.stringify(recipe))
  const { code, stderr } = await run('train', space.path('masked.json'))
  expect(code).toBe(0)
  expect(stderr).toContain('no target counts in the loss of these steps')
  const log = await linesOf(space.path('runs/masked/metrics.jsonl'))
  expect(log.map(({ kind }) => kind)).toEqual(['step', 'warning', 'epoch'])
})

test('train > lines too long for ctc > are left out with a warning that has their number', async () => {
  const weight = parameter('w', tensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)))
  const x = input('x', 'float32', ['N', 3, 2])
  const outputs = new Map([['y', op.MatMul(x, weight)]])
  await writeModel(space.path('lines.onnx'), modelOf({ name: 'lines', inputs: new Map([['x', x]]), outputs }))
  const lines = [
    [1, 2, 0],
    [1, 1, 2],
    [2, 0, 0],
    [2, 2, 2],
  ]
  const steps = [
    [1, 2],
    [2, 1],
    [0, 1],
  ]
  await writeFile(
    space.path('lines.jsonl'),
    lines.map((labels) => `${JSON.stringify({ x: steps, labels })}\n`).join(''),
  )
  const recipe = {
    model: 'lines.onnx',
    data: {
      train: {
        kind: 'jsonl',
        file: 'lines.jsonl',
        tensors: { x: 'x', labels: { field: 'labels', as: 'integer' } },
      },
    },
    loss: { kind: 'ctc' },
    optimizer: { kind: 'sgd', lr: 0.1 },
    batchSize: 3,
    epochs: 2,
  }
  await writeFile(space.path('lines.json'), JSON.stringify(recipe))
  const { code, stderr } = await run('train', space.path('lines.json'))
  expect(code, stderr).toBe(0)
  expect(stderr.match(/ctc leaves out \d of the training examples/g)).toEqual([
    'ctc leaves out 2 of the training examples',
  ])
  const log = await linesOf(space.path('runs/lines/metrics.jsonl'))
  expect(log.filter(({ kind }) => kind === 'epoch')).toMatchObject([
    { count: 2, tooLong: 2 },
    { count: 2, tooLong: 2 },
  ])
})

test('train > quantized layers > are named: only the other tensors are trained, unless an adapter is', async () => {
  await writeModel(space.path('q8.onnx'), quantizeModel(await readModel(space.path('model.onnx')), { bits: 8 }))
  const recipe = await space.writeRecipe('q8.json', { model: 'q8.onnx', epochs: 1, trainable: '*bias' })
  const { code, stderr } = await run('train', recipe)
  expect(stderr).toMatch(/the weights of 2 layers are integers and stay as they are \(hidden, head\)/)
  expect(code).toBe(0)
  const adapted = await run(
    'train',
    await space.writeRecipe('q8-lora.json', { model: 'q8.onnx', epochs: 1, adapter: { r: 2 } }),
  )
  expect(adapted.code).toBe(0)
  expect(adapted.stderr).not.toContain('integers')
})

test('train > --set > changes the recipe, also in the run folder', async () => {
  const out = space.path('sgd')
  const sets = ['optimizer={"kind":"sgd","lr":0.1}', 'schedule=null', 'epochs=null', 'steps=3', 'head.classes=12']
  const { step } = await json<TrainingResult>(
    'train',
    space.path('recipe.json'),
    ...sets.flatMap((set) => ['--set', set]),
    '--out',
    out,
  )
  expect(step).toBe(3)
  const kept = JSON.parse(await readFile(`${out}/recipe.json`, 'utf8'))
  expect(kept).toMatchObject({
    model: '../model.onnx',
    output: '.',
    optimizer: { kind: 'sgd', lr: 0.1 },
    steps: 3,
    head: { classes: 12 },
  })
  expect(kept).not.toHaveProperty('epochs')
  expect(kept.data.train.images).toBe('../images')
})

test('train > a head with the classes of the data > has their number, in the run folder too', async () => {
  const head = { classes: 'data' }
  const recipe = await space.writeRecipe('counted.json', { head, epochs: undefined, steps: 2, schedule: undefined })
  const out = space.path('counted')
  await json('train', recipe, '--out', out)
  expect(JSON.parse(await readFile(`${out}/recipe.json`, 'utf8')).head).toEqual({ classes: 10 })
  expect(
    namedTensors(await readModel(`${out}/tuned.onnx`))
      .get('head.weight')!
      .dims.at(-1),
  ).toBe(10)
  await json('train', recipe, '--out', out, '--resume', '--set', 'steps=3')
  await json('export', out, '-o', space.path('counted.onnx'))
  await json('build', recipe, '-o', space.path('counted-graphs'))
})

test('train > --folds > a run per fold, with mean and spread; --resume continues', async () => {
  const data = { train: { kind: 'idx', images: 'images', labels: 'labels', end: 90, image: { size: 8 } } }
  const recipe = await space.writeRecipe('crossed.json', { data, epochs: undefined, steps: 2, schedule: undefined })
  const out = space.path('crossed')
  const train = (...more: string[]) => json<FoldsResult>('train', recipe, '--folds', '3', '--out', out, ...more)
  const { folds, metrics } = await train()
  expect(folds.map((each) => each.run)).toEqual([0, 1, 2].map((fold) => `${out}/fold-${fold}`))
  expect(folds.reduce((sum, { validation }) => sum + validation!.count, 0)).toBe(90)
  const accuracies = folds.map(({ validation }) => validation!.accuracy!)
  expect(metrics['accuracy']!.values).toEqual(accuracies)
  expect(metrics['accuracy']!.mean).toBeCloseTo(accuracies.reduce((a, b) => a + b) / 3, 12)
  await rm(`${out}/fold-2`, { recursive: true })
  expect((await train('--resume')).metrics['accuracy']).toEqual(metrics['accuracy'])
  const { stdout } = await run('train', recipe, '--folds', '3', '--out', out, '--resume')
  expect(stdout).toMatch(/^ +deviation +[\d.]+ +[\d.]+ %$/m)
  const { groups } = await json<{ groups: { runs: string[] }[] }>('show', out)
  expect(groups.map(({ runs }) => runs)).toEqual([['fold-0', 'fold-1', 'fold-2']])
  const both = await run('train', space.path('recipe.json'), '--folds', '3', '--out', space.path('both'))
  expect(both.stderr).toContain('both validation and split')
})

test('train > --folds > is checked before the first run, and not mixed with other runs', async () => {
  const data = { train: { kind: 'idx', images: 'images', labels: 'labels', end: 30, image: { size: 8 } } }
  const recipe = await space.writeRecipe('folded.json', { data, epochs: undefined, steps: 1, schedule: undefined })
  const train = (out: string, ...more: string[]) => run('train', recipe, '--out', space.path(out), '--quiet', ...more)
  expect(await train('few', '--folds', '1')).toMatchObject({ code: 2, stderr: expect.stringContaining('at least 2') })
  const many = await train('many', '--folds', '31')
  expect([many.code, many.stderr]).toEqual([1, expect.stringMatching(/invalid-option.* 31 folds.* 30 examples/)])
  expect(existsSync(space.path('many/fold-0'))).toBe(false)

  const refused = (message: string) => ({ code: 1, stderr: expect.stringMatching(`${message}.* --out`) })
  expect(await train('single')).toMatchObject({ code: 0 })
  for (const option of [[], ['--force'], ['--resume']])
    expect(await train('single', '--folds', '3', ...option)).toMatchObject(refused('already holds a run'))
  expect(existsSync(space.path('single/fold-0'))).toBe(false)

  expect(await train('crosses', '--folds', '3')).toMatchObject({ code: 0 })
  expect(await train('crosses')).toMatchObject(refused('holds the runs of a cross-validation'))
  const names = async () => (await readdir(space.path('crosses'))).sort()
  expect(await names()).toEqual(['fold-0', 'fold-1', 'fold-2'])
  // No fold is trained if a later one would be refused.
  await rm(space.path('crosses/fold-0'), { recursive: true })
  expect(await train('crosses', '--folds', '2')).toMatchObject(refused('fold-1 already holds a run'))
  expect(await names()).toEqual(['fold-1', 'fold-2'])
  await writeFile(space.path('crosses/fold-2/notes.txt'), 'mine')
  expect(await train('crosses', '--folds', '2', '--force')).toMatchObject({ code: 0 })
  const { groups } = await json<{ groups: { runs: string[] }[] }>('show', space.path('crosses'))
  expect(groups.map(({ runs }) => runs)).toEqual([['fold-0', 'fold-1']])
  expect(await readdir(space.path('crosses/fold-2'))).toEqual(['notes.txt'])
})

test('train > existing run folder > is neither replaced nor mixed with another run', async () => {
  const [recipe, out] = [space.path('recipe.json'), space.path('taken')]
  const train = (...more: string[]) => run('train', recipe, '--set', 'epochs=1', '--out', out, '--quiet', ...more)
  expect(await train()).toMatchObject({ code: 0, stderr: '' })
  const first = await readFile(`${out}/tuned.onnx`)
  const refused = await train()
  expect(refused.code).toBe(1)
  expect(refused.stderr).toMatch(/--resume.* --force.* --out/)
  const other = await train('--resume', '--set', 'optimizer.ire.kappa=3', '--set', 'seed=1')
  expect(other.code).toBe(1)
  expect(other.stderr).toMatch(/differs in optimizer\.ire\.kappa, seed/)
  expect(Buffer.compare(await readFile(`${out}/tuned.onnx`), first)).toBe(0)
  const replaced = await train('--force', '--set', 'seed=1')
  expect(replaced.code).toBe(0)
  expect(Buffer.compare(await readFile(`${out}/tuned.onnx`), first)).not.toBe(0)
  const nowhere = await run('train', recipe, '--resume', '--out', space.path('nowhere'))
  expect(nowhere).toMatchObject({ code: 1, stderr: expect.stringContaining('error (io): ') })
})

test('train --measure-every --tensorboard > an event file, and every field of metrics.jsonl is documented', async () => {
  const recipe = await space.writeRecipe('measured.json', { metrics: ['accuracy', 'confusion'] })
  const out = space.path('measured')
  const board = space.path('boards/measured')
  await json('train', recipe, '--out', out, '--measure-every', '10', '--memory', '1', '--tensorboard', board)
  const [events, ...others] = await readdir(board)
  expect(others).toEqual([])
  const text = await readFile(`${board}/${events}`, 'latin1')
  for (const part of ['train/loss', 'validation/accuracy', 'maskOverlap/head.weight', 'tensor/head.bias', '"kappa": 2'])
    expect(text).toContain(part)
  expect(text).toMatch(/validation\/confusion[\s\S]*\x89PNG/)
  const lines = (await linesOf(`${out}/metrics.jsonl`)) as unknown as Record<string, object>[]
  const tensors = lines.filter(({ kind }) => (kind as unknown) === 'tensors')
  expect(tensors.map(({ step }) => step)).toEqual([1, 11])
  expect(Object.keys(tensors[1]!['tensors']!)).toEqual(['hidden.weight', 'hidden.bias', 'head.weight', 'head.bias'])
  const page = await readFile(new URL('../../docs/run-folders.md', import.meta.url), 'utf8')
  const documented = new Set([...page.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name!))
  const written = lines.flatMap((line) => [
    String(line['kind']),
    ...Object.keys(line),
    ...Object.values(line['tensors'] ?? {}).flatMap((measures: object) => Object.keys(measures)),
  ])
  expect(new Set(written)).toContain('maskOverlap')
  expect(new Set(written)).toContain('warning')
  expect([...new Set(written)].filter((name) => !documented.has(name))).toEqual([])
})

describe('train > interrupted', () => {
  let [recipe, whole] = ['', {} as TrainingResult]
  beforeAll(async () => {
    recipe = await space.writeRecipe('long.json', { epochs: 50, threads: 1 })
    whole = await json<TrainingResult>('train', recipe, '--out', space.path('whole'))
  })

  /** Starts the run, and sends it a signal in its second epoch. */
  async function stopped(out: string, signals: readonly NodeJS.Signals[]) {
    const { process, finished } = start(['train', recipe, '--out', out, '--json'])
    await new Promise<void>((resolve) => {
      let printed = ''
      process.stderr!.on('data', (text: string) => {
        printed += text
        if (/epoch 2, step 20:/.test(printed)) resolve()
      })
    })
    for (const signal of signals) process.kill(signal)
    return finished
  }

  /** Checks that a resumed run equals the whole run byte for byte, and that every step is in the log exactly once. */
  async function resume(out: string) {
    const rest = await json<TrainingResult>('train', recipe, '--out', out, '--resume')
    expect(rest).toMatchObject({ interrupted: false, step: whole.step, validation: whole.validation })
    expect(Buffer.compare(await readFile(rest.model!), await readFile(whole.model!))).toBe(0)
    const steps = (await linesOf(`${out}/metrics.jsonl`)).filter(({ kind }) => kind === 'step')
    expect(steps.map((entry) => entry.step)).toEqual(Array.from({ length: whole.step }, (_, i) => i + 1))
  }

  // A closed terminal sends SIGHUP, and the shell in it sends another.
  test.each([[['SIGTERM']], [['SIGHUP', 'SIGHUP']]] as const)(
    '%s > finishes the step, saves and exits with 130',
    async (signals) => {
      const out = space.path(signals.join('-'))
      const { code, stdout } = await stopped(out, signals)
      expect(code).toBe(130)
      const { interrupted, step, model } = JSON.parse(stdout) as TrainingResult
      expect({ interrupted, model }).toEqual({ interrupted: true, model: null })
      expect(step).toBeGreaterThanOrEqual(20)
      expect(step).toBeLessThan(whole.step)
      // Both end in the same way.
      if (signals[0] === 'SIGTERM') await resume(out)
      else
        expect(await readdir(`${out}/checkpoints`)).toContain(`checkpoint-${String(step).padStart(8, '0')}.safetensors`)
    },
  )
})

test('train > pretrained model with a new head > learns digits', async () => {
  const image = { size: 48, channels: 3, mean: 0.5, std: 0.5 }
  const source = { kind: 'idx', images: 'images', labels: 'labels' }
  const recipe = await space.writeRecipe('pretrained.json', {
    model: pretrained,
    data: { train: { ...source, end: 128, image }, validation: { ...source, start: 160, image } },
    head: { classes: 10 },
    optimizer: { kind: 'adamw', lr: 0.003, ire: { kappa: 1, gamma: 0.8, interval: 4 } },
    batchSize: 32,
    epochs: 3,
  })
  const result = await json<TrainingResult>('train', recipe)
  expect(result.epochs.at(-1)!.loss).toBeLessThan(0.9 * result.epochs[0]!.loss)
  const measured = await json<Measures>('evaluate', result.model!, recipe)
  expect(measured.accuracy).toBe(result.validation!.accuracy)
})

test('adapter > is trained alone, or with the new head; export and resume have it too', async () => {
  const recipe = await space.writeRecipe('lora.json', {
    adapter: { r: 2, alpha: 8 },
    optimizer: { kind: 'adamw', lr: 0.05 },
  })
  const result = await json<TrainingResult>('train', recipe)
  expect(result.parameters).toBe(2 * (64 + 16) + 2 * (16 + 10))
  expect(result.epochs[1]!.loss).toBeLessThan(result.epochs[0]!.loss)
  const tuned = await readModel(result.model!)
  const bytes = await readFile(space.path('model.onnx'))
  expect(Buffer.compare(encodeModel(removeAdapter(tuned)), bytes)).toBe(0)
  expect(adapterOf(tuned).layers.map(({ module, scale }) => [module, scale])).toEqual([
    ['hidden', 4],
    ['head', 4],
  ])
  await json('export', result.run, '-o', space.path('lora.onnx'))
  expect(Buffer.compare(await readFile(space.path('lora.onnx')), await readFile(result.model!))).toBe(0)
  const longer = await json<TrainingResult>('train', recipe, '--resume', '--set', 'epochs=3')
  expect(longer.step).toBe(30)

  const withHead = ['head.classes=12', 'adapter.targets=["hidden"]'].flatMap((set) => ['--set', set])
  const resized = await json<TrainingResult>('train', recipe, ...withHead, '--out', space.path('lora-head'))
  expect(resized.parameters).toBe(2 * (64 + 16) + 16 * 12 + 12)
})

test('teacher > is imitated; the run resumes with it, and not with another', async () => {
  const teacher = { model: 'model.onnx', weight: 1, temperature: 1 }
  const optimizer = { kind: 'adamw', lr: 0.01, ire: { kappa: 1, gamma: 0.8 } }
  const recipe = await space.writeRecipe('taught.json', { teacher, optimizer, head: { classes: 10 } })
  const result = await json<TrainingResult>('train', recipe)
  // The head is new, and the teacher is the model with its old one.
  expect(result.epochs[1]!.loss).toBeLessThan(0.5 * result.epochs[0]!.loss)
  const same = await json<TrainingResult>(
    'train',
    recipe,
    '--set',
    'head=null',
    '--set',
    'steps=1',
    '--set',
    'epochs=null',
    '--out',
    space.path('same'),
  )
  expect(same.epochs[0]!.loss).toBeCloseTo(0, 6)
  const longer = await json<TrainingResult>('train', recipe, '--resume', '--set', 'epochs=3')
  expect(longer.step).toBe(30)
  const other = await run('train', recipe, '--resume', '--set', 'epochs=4', '--set', 'teacher.weight=0.5', '--json')
  expect(JSON.parse(other.stdout).error.message).toContain('teacher.weight')
  const missing = await run('train', recipe, '--set', 'teacher.model=none.onnx', '--out', space.path('none'), '--json')
  expect(JSON.parse(missing.stdout).error).toMatchObject({
    code: 'io',
    message: expect.stringContaining('teacher.model'),
  })
})
