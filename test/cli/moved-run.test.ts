import { copyFile, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { convnet } from '../../models/convnet.js'
import { input, modelOf, op, parameter } from '../../src/graph/index.js'
import { writeModel } from '../../src/node/index.js'
import { json, run } from './command.js'
import { smallModel, type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
  await writeModel(space.path('two.onnx'), smallModel(2))
  for (const [c, name] of ['dark', 'light'].entries()) {
    await mkdir(space.path(`photos/${name}`), { recursive: true })
    for (let i = 0; i < 20; i++)
      await sharp(
        Uint8Array.from({ length: 64 }, (_, p) => 120 * c + ((p * (i + 3)) % 100)),
        { raw: { width: 8, height: 8, channels: 1 } },
      )
        .png()
        .toFile(space.path(`photos/${name}/${i}.png`))
  }
  await space.writeRecipe('photos.json', {
    model: 'two.onnx',
    data: {
      train: { kind: 'image-folder', folder: 'photos', image: { size: 8, channels: 1, mean: 0.5, std: 0.25 } },
      split: { validation: 0.25 },
    },
    optimizer: { kind: 'adamw', lr: 0.02 },
    schedule: { kind: 'constant' },
    batchSize: 4,
    metrics: ['accuracy'],
    epochs: 3,
  })
  await json('train', space.path('photos.json'), '--out', space.path('whole'))
})
afterAll(() => space.remove())

const tuned = (folder: string) => readFile(space.path(`${folder}/tuned.onnx`))
const move = (from: string, to: string) => rename(space.path(from), space.path(to))

test('a moved run > is resumed, exported and evaluated', async () => {
  await json('train', space.path('photos.json'), '--set', 'epochs=2', '--out', space.path('part'))
  await mkdir(space.path('deep/inside'), { recursive: true })
  await move('part', 'deep/inside/moved')
  const moved = space.path('deep/inside/moved')
  await json('train', `${moved}/recipe.json`, '--resume', '--set', 'epochs=3')
  expect(await tuned('deep/inside/moved')).toEqual(await tuned('whole'))
  // A second move: the paths hold from where the run was resumed.
  await move('deep/inside/moved', 'again')
  await rm(space.path('deep'), { recursive: true })
  await json('export', space.path('again'), '-o', space.path('exported.onnx'))
  expect(await readFile(space.path('exported.onnx'))).toEqual(await tuned('whole'))
  const { accuracy, warnings } = await json<{ accuracy: number; warnings?: string[] }>('evaluate', space.path('again'))
  expect([accuracy > 0.9, warnings]).toEqual([true, undefined])
})

test('moved model and data > are named by --model and --data', async () => {
  await json('train', space.path('photos.json'), '--set', 'epochs=2', '--out', space.path('left'))
  await move('two.onnx', 'elsewhere.onnx')
  await move('photos', 'pictures')
  try {
    const paths = ['--model', space.path('elsewhere.onnx'), '--data', space.path('pictures')]
    const refused = await run('export', space.path('left'), '-o', space.path('none.onnx'))
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/^error \(io\): .*two\.onnx/)])
    const data = /data\.train\.folder \(.*photos\) by --data /
    for (const field of [/model \(.*two\.onnx\) by --model /, data]) expect(refused.stderr).toMatch(field)
    for (const args of [
      ['train', `${space.path('left')}/recipe.json`, '--resume', '--set', 'epochs=3', '--model', paths[1]!],
      ['evaluate', space.path('left')],
      ['predict', space.path('left')],
      ['snippet', space.path('left')],
    ]) {
      const { code, stderr } = await run(...args)
      expect([args[0], code, stderr]).toEqual([args[0], 1, expect.stringMatching(data)])
      expect(stderr).not.toContain('--model')
    }
    // Files on the command line do not need the data, and are not those of the run.
    const photo = await run('predict', space.path('left'), space.path('none.png'))
    expect([photo.code, photo.stderr]).toEqual([1, expect.not.stringContaining('--data')])
    await json('train', `${space.path('left')}/recipe.json`, '--resume', '--set', 'epochs=3', ...paths)
    expect(await tuned('left')).toEqual(await tuned('whole'))
    await json('snippet', space.path('left'), ...paths.slice(2))
    await json('export', space.path('left'), ...paths, '-o', space.path('named.onnx'))
    expect(await readFile(space.path('named.onnx'))).toEqual(await tuned('whole'))
    const other = await run(
      ...['train', `${space.path('left')}/recipe.json`, '--resume', '--set', 'epochs=4'],
      ...['--model', space.path('model.onnx'), '--data', space.path('pictures')],
    )
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('error (')])
  } finally {
    await move('elsewhere.onnx', 'two.onnx')
    await move('pictures', 'photos')
  }
})

test('a moved teacher > is named by --teacher; another one is refused', async () => {
  await copyFile(space.path('two.onnx'), space.path('teacher.onnx'))
  const train = ['train', space.path('photos.json'), '--set', 'teacher.model=teacher.onnx']
  const taught = await json<{ step: number }>(...train, '--out', space.path('taught'))
  await json(...train, '--set', 'epochs=2', '--out', space.path('pupil'))
  await move('teacher.onnx', 'large.onnx')
  const resume = ['train', `${space.path('pupil')}/recipe.json`, '--resume', '--set', 'epochs=3']
  const missing = await run(...resume)
  expect([missing.code, missing.stderr]).toEqual([
    1,
    expect.stringMatching(/^error \(io\): .*teacher\.model \(.*teacher\.onnx\) by --teacher <file>$/m),
  ])
  const other = await run(...resume, '--teacher', space.path('whole/tuned.onnx'))
  expect([other.code, other.stderr]).toEqual([1, expect.stringMatching(/error \(checkpoint\): .*loss/)])
  const { step } = await json<{ step: number }>(...resume, '--teacher', space.path('large.onnx'))
  expect(step).toBe(taught.step)
  expect(await tuned('pupil')).toEqual(await tuned('taught'))
  const without = await run('train', space.path('photos.json'), '--teacher', 'large.onnx', '--out', space.path('none'))
  expect([without.code, without.stderr]).toEqual([1, expect.stringMatching(/error \(invalid-option\): --teacher/)])
})

test('a run that has not ended > has no model yet', async () => {
  await mkdir(space.path('begun'))
  await copyFile(space.path('whole/recipe.json'), space.path('begun/recipe.json'))
  for (const command of ['predict', 'evaluate', 'snippet']) {
    const { code, stderr } = await run(command, space.path('begun'))
    expect([command, code, stderr]).toEqual([
      command,
      1,
      expect.stringMatching(
        /^error \(io\): .*train \S+begun\/recipe\.json --resume, .*export \S+begun -o model\.onnx$/m,
      ),
    ])
  }
})

test('predict > takes files in the form of the run, with its class names', async () => {
  const files = ['dark/1.png', 'light/2.png'].map((name) => space.path(`photos/${name}`))
  const { stdout, code } = await run('predict', space.path('whole'), ...files)
  expect(code).toBe(0)
  expect(stdout.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/dark\/1\.png: dark \d+\.\d %$/),
    expect.stringMatching(/light\/2\.png: light \d+\.\d %$/),
  ])
  // The model file alone describes its images and classes.
  const alone = await run('predict', space.path('whole/tuned.onnx'), ...files)
  expect([alone.code, alone.stdout]).toEqual([0, stdout])
  const folder = space.path('folder.jsonl')
  await json('predict', space.path('whole'), space.path('photos/light'), '-o', folder)
  const lines = (await readFile(folder, 'utf8')).trimEnd().split('\n')
  expect(lines).toHaveLength((await readdir(space.path('photos/light'))).length)
  expect(JSON.parse(lines[0]!)).toMatchObject({ index: 0, class: 1, name: 'light' })
  // Without files: the held-out examples, and their files.
  await json('predict', space.path('whole'), '-o', folder)
  const held = (await readFile(folder, 'utf8')).trimEnd().split('\n')
  expect(held).toHaveLength(10)
  for (const line of held) {
    const { file, name } = JSON.parse(line)
    expect(file).toMatch(new RegExp(`photos/${name}/\\d+\\.png$`))
  }
  // Options about the data of a recipe have no effect on files.
  for (const options of [
    ['whole', '--on', 'train'],
    ['whole', '--data', space.path('photos')],
    ['whole/tuned.onnx', '--on', 'validation'],
    ['whole/tuned.onnx', '--set', 'seed=1'],
  ]) {
    const [model, ...more] = options as [string, ...string[]]
    const { code, stderr } = await run('predict', space.path(model), ...files, ...more)
    expect([options, code, stderr]).toEqual([options, 2, expect.stringContaining(`error: ${more[0]} `)])
  }
  const background = await run('predict', space.path('whole'), ...files, '--set', 'data.train.image.mean=0')
  expect(background.code).toBe(0)
  expect(background.stdout).not.toBe(stdout)
})

test('other data than those of the run > evaluate warns, --resume refuses', async () => {
  await json('train', space.path('photos.json'), '--set', 'epochs=1', '--out', space.path('short'))
  await rm(space.path('photos/dark/0.png'))
  await rm(space.path('photos/light/0.png'))
  const { warnings } = await json<{ warnings?: string[] }>('evaluate', space.path('whole'))
  expect(warnings).toHaveLength(1)
  const { stderr } = await run('evaluate', space.path('whole'))
  expect(stderr).toMatch(/^warning: the validation data are not those of the run/m)
  const resumed = await run('train', `${space.path('short')}/recipe.json`, '--resume', '--set', 'epochs=2')
  expect([resumed.code, resumed.stderr]).toEqual([1, expect.stringMatching(/error \(checkpoint\): /)])
})

test('a model with norms > the option batchNorm is named, unless the recipe sets it', async () => {
  const { name, inputs, outputs } = convnet({ channels: 1, stages: [2], classes: 2 })
  await writeModel(space.path('norms.onnx'), modelOf({ name, inputs, outputs }))
  const train = async (...set: string[]) => {
    const changes = ['model=norms.onnx', 'steps=1', 'epochs=null', ...set].flatMap((each) => ['--set', each])
    const { stderr } = await run('train', space.path('photos.json'), '--out', space.path('n'), '--force', ...changes)
    return stderr
  }
  expect(await train()).toContain('batchNorm=trained')
  expect(await train('batchNorm=frozen')).not.toContain('batchNorm=trained')
})

test('head.classes: data > data of one class are refused', async () => {
  const one = ['head.classes="data"', 'data.train.classes=["dark"]'].flatMap((each) => ['--set', each])
  const { code, stderr } = await run('train', space.path('photos.json'), '--out', space.path('one'), ...one)
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^error \(invalid-data\): head\.classes: .*one class/)])
})

test('a model that fixes the number of examples > freeBatch is named, unless the recipe sets it', async () => {
  const x = input('x', 'float32', [1, 1, 8, 8])
  const w = parameter('w', { dtype: 'float32', dims: [64, 2], data: new Float32Array(128) })
  const outputs = new Map([['y', op.MatMul(op.Flatten(x), w)]])
  await writeModel(space.path('fixed.onnx'), modelOf({ name: 'fixed', inputs: new Map([['x', x]]), outputs }))
  const train = async (...set: string[]) => {
    const changes = ['model=fixed.onnx', 'steps=1', 'epochs=null', ...set].flatMap((each) => ['--set', each])
    return (await run('train', space.path('photos.json'), '--out', space.path('f'), '--force', ...changes)).stderr
  }
  expect(await train()).toContain('--set freeBatch=true')
  for (const value of [true, false]) expect(await train(`freeBatch=${value}`)).not.toContain('--set freeBatch=true')
})

test('a recipe outside of a run folder > evaluate compares nothing', async () => {
  const { warnings } = await json<{ warnings?: string[] }>(
    'evaluate',
    space.path('whole/tuned.onnx'),
    space.path('photos.json'),
  )
  expect(warnings).toBeUndefined()
})
