import { execFileSync, spawnSync } from 'node:child_process'
import { copyFile, link, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { relative } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exportGraph, input, op } from '../../src/graph/index.js'
import { readModel, writeModel } from '../../src/node/index.js'
import { run } from './command.js'
import { smallModel, type Workspace, workspace } from './workspace.js'

let space: Workspace
const at = (name: string) => space.path(name)
beforeAll(async () => {
  space = await workspace()
  await writeModel(at('outside.onnx'), smallModel(), { externalData: 64 })
  const x = input('x', 'float32', ['N', 2])
  const proto = exportGraph({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Softmax(x)]]) })
  await writeModel(at('rows.onnx'), { proto, external: null })
  await writeFile(at('rows.csv'), 'a,b\n0.1,2.5\n-3,0\n')
  await link(at('rows.csv'), at('hard.csv'))
  await symlink('rows.csv', at('soft.csv'))
  await writeFile(at('names.csv'), '["no", "yes"]')
  const data = { train: { kind: 'csv', file: 'rows.csv', tensors: { x: '*' } } }
  await space.writeRecipe('rows.json', { model: 'rows.onnx', data })
  await writeFile(at('preset.json'), JSON.stringify({ kind: 'mlp', features: 4, hidden: [3], classes: 2 }))
  await mkdir(at('graphs'))
  await copyFile(at('model.onnx'), at('graphs/training.onnx'))
  await mkdir(at('plots'))
  await copyFile(at('model.onnx'), at('plots/spectrum.svg'))
  await mkdir(at('corpus'))
  await writeFile(at('corpus/train.tokens'), 'a b a b a b c\n'.repeat(50))
  await mkdir(at('cifar'))
  // The first training file is a link to a file that the command would write.
  await writeFile(at('cifar/train-images.idx'), Buffer.alloc(3073))
  await symlink('train-images.idx', at('cifar/data_batch_1.bin'))
  for (const name of ['data_batch_2', 'data_batch_3', 'data_batch_4', 'data_batch_5', 'test_batch'])
    await writeFile(at(`cifar/${name}.bin`), Buffer.alloc(3073))
  // An image is a link to a file that the command would write; another is in the folder of its temporary parts.
  for (const name of ['pictures', 'parts/.prepare']) {
    await mkdir(at(`${name}/class`), { recursive: true })
    await writeFile(at(`${name}/class/first.png`), await png())
  }
  await writeFile(at('pictures/train-images.idx'), await png())
  await symlink('../train-images.idx', at('pictures/class/second.png'))
  await mkdir(at('mixed'))
  for (const name of ['tuned.onnx', 'start.onnx']) await copyFile(at('model.onnx'), at(`mixed/${name}`))
  await copyFile(at('images'), at('mixed/metrics.jsonl'))
  await copyFile(at('labels'), at('mixed/classes.json'))
  await mkdir(at('mixed/checkpoints'))
  await copyFile(at('images'), at('mixed/checkpoints/images'))
  await space.writeRecipe('mixed/recipe.json', { epochs: 1, model: 'start.onnx' })
  await space.writeRecipe('one.json', { epochs: 1 })
  expect(await run('train', at('one.json'), '--out', at('run'), '--quiet')).toMatchObject({ code: 0 })
})
afterAll(() => space.remove())

const png = () =>
  sharp({ create: { width: 2, height: 2, channels: 3, background: '#123' } })
    .png()
    .toBuffer()

/** All files of the workspace with their contents. */
async function contents(): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const entry of await readdir(space.folder, { withFileTypes: true, recursive: true })) {
    const path = `${entry.parentPath}/${entry.name}`
    if (entry.isFile()) found[relative(space.folder, path)] = await readFile(path, 'latin1')
  }
  return found
}

const csv = (file: string) => JSON.stringify({ kind: 'csv', file: at(file), tensors: { x: '*' } })
const predict = (output: string, ...more: string[]) => ['predict', at('rows.onnx'), ...more, '-o', at(output)]
const train = (...sets: string[]) => [
  ...['train', at('one.json'), '--out', at('mixed'), '--force', '--quiet'],
  ...sets.flatMap((set) => ['--set', set]),
]

const cases: readonly (readonly [what: string, args: () => readonly string[]])[] = [
  ['predict > data of --data', () => predict('rows.csv', '--data', csv('rows.csv'))],
  ['predict > hard link to the data', () => predict('hard.csv', '--data', csv('rows.csv'))],
  ['predict > link to the data', () => predict('soft.csv', '--data', csv('rows.csv'))],
  ['predict > data of the recipe', () => predict('rows.csv', at('rows.json'), '--on', 'train')],
  [
    'predict > class names',
    () => predict('names.csv', '--data', csv('rows.csv'), '--classes', '--class-names', at('names.csv')),
  ],
  ['gradient > model', () => ['gradient', at('model.onnx'), '-o', at('model.onnx')]],
  ['gradient > external data of the model', () => ['gradient', at('outside.onnx'), '-o', at('outside.onnx.data')]],
  ['init > preset', () => ['init', at('preset.json'), '-o', at('preset.json')]],
  ['build > model', () => ['build', at('graphs/training.onnx'), '--loss', 'mse', '-o', at('graphs')]],
  ['export > initial model', () => ['export', at('run'), '-o', at('model.onnx')]],
  ['export > data of the run', () => ['export', at('run'), '-o', at('labels')]],
  ['export > recipe of the run', () => ['export', at('run'), '-o', at('run/recipe.json')]],
  ['export > log of the run', () => ['export', at('run'), '-o', at('run/metrics.jsonl')]],
  ['export > checkpoint', () => ['export', at('run'), '-o', at('run/checkpoints/checkpoint-00000010.safetensors')]],
  [
    'sharpness > model',
    () => ['sharpness', at('plots/spectrum.svg'), at('one.json'), '--density', '--plot', at('plots'), '--quiet'],
  ],
  ['labels > data as the recipe without suspects', () => ['labels', at('one.json'), '--drop', at('labels'), '--quiet']],
  ['labels > model as the page', () => ['labels', at('one.json'), '--html', at('model.onnx'), '--quiet']],
  ['plot > data of the examples', () => ['plot', at('run'), '--examples', '2', '-o', at('labels')]],
  ['plot > initial model of a preset', () => ['plot', at('mixed'), '-o', at('mixed/start.onnx')]],
  ['data prepare text > input', () => ['data', 'prepare', 'text', at('corpus/train.tokens'), '-o', at('corpus')]],
  ['data prepare cifar > input', () => ['data', 'prepare', 'cifar', at('cifar'), '-o', at('cifar')]],
  [
    'data prepare images > input',
    () => ['data', 'prepare', 'images', at('pictures'), '--size', '4', '-o', at('pictures')],
  ],
  [
    'data prepare images > input in the folder of parts',
    () => ['data', 'prepare', 'images', at('parts/.prepare'), '--size', '4', '-o', at('parts')],
  ],
  ['train > model', () => train(`model=${at('mixed/tuned.onnx')}`)],
  ['train --force > initial model in the folder', () => train(`model=${at('mixed/start.onnx')}`)],
  ['train > data as the log', () => train(`data.train.images=${at('mixed/metrics.jsonl')}`)],
  ['train > labels as class names', () => train(`data.validation.labels=${at('mixed/classes.json')}`)],
  ['train > data among the checkpoints', () => train(`data.train.images=${at('mixed/checkpoints/images')}`)],
  [
    'train > recipe with changes',
    () => ['train', at('mixed/recipe.json'), '--out', at('mixed'), '--force', '--set', 'seed=9'],
  ],
]

describe('output of a command that is an input too > is refused and unchanged', () => {
  test.each(cases)('%s', async (_, args) => {
    const before = await contents()
    const { code, stdout } = await run(...args(), '--json')
    expect([code, JSON.parse(stdout).error?.code]).toEqual([1, 'invalid-option'])
    expect(await contents()).toEqual(before)
  })
})

test('labels > page and recipe under one name > usage error', async () => {
  const { code, stderr } = await run('labels', at('one.json'), '--html', at('both'), '--drop', at('both'))
  expect([code, stderr]).toEqual([2, expect.stringContaining('--html and --drop name the same file')])
})

describe('output that is no file > is refused at once', () => {
  test.each([
    ['predict', () => predict('pipe.csv', '--data', csv('rows.csv'))],
    ['gradient', () => ['gradient', at('model.onnx'), '-o', at('pipe.csv')]],
    ['init', () => ['init', at('preset.json'), '-o', at('pipe.csv')]],
    ['export', () => ['export', at('run'), '-o', at('pipe.csv')]],
  ])('%s', async (_, args) => {
    spawnSync('mkfifo', [at('pipe.csv')])
    const { code, stdout } = await run(...args(), '--json')
    expect([code, JSON.parse(stdout).error?.code]).toEqual([1, 'io'])
  })
})

describe('input that is a pipe > is refused at once', () => {
  test.each([
    ['model', () => ['inspect', at('pipe')]],
    ['recipe', () => ['train', at('pipe.json')]],
    ['preset', () => ['init', at('pipe.json')]],
    ['data', () => predict('p.csv', '--data', csv('pipe'))],
    ['images', () => ['train', at('one.json'), '--set', `data.train.images=${at('pipe')}`]],
    ['class names', () => predict('p.csv', '--data', csv('rows.csv'), '--classes', '--class-names', at('pipe.json'))],
    ['corpus', () => ['data', 'prepare', 'text', at('pipe'), '-o', at('prepared')]],
    ['parquet', () => ['data', 'prepare', 'text', at('pipe.parquet'), '-o', at('prepared')]],
    [
      'tokenizer',
      () => ['data', 'prepare', 'text', at('rows.csv'), '--tokenizer', at('pipe.json'), '-o', at('prepared')],
    ],
    ['folder of images', () => ['data', 'prepare', 'images', at('photos'), '--size', '4', '-o', at('prepared')]],
  ])('%s', async (_, args) => {
    await mkdir(at('photos/class'), { recursive: true })
    for (const name of ['pipe', 'pipe.json', 'pipe.parquet', 'photos/class/x.png']) spawnSync('mkfifo', [at(name)])
    const { code, stdout } = await run(...args(), '--json')
    expect([code, JSON.parse(stdout).error?.code]).toEqual([1, 'io'])
  })
})

test('temporary files of killed processes > are removed by the next command that writes there', async () => {
  const abandoned = async (folder: string) => {
    const { pid } = spawnSync(process.execPath, ['--version'])
    const code = `import { temporaryName } from '${new URL('../../dist/node/files/temporary-files.js', import.meta.url)}'
      console.log(temporaryName())`
    const name = execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' }).trim()
    await mkdir(at(folder), { recursive: true })
    await writeFile(at(`${folder}/${name.replace(/-\d+-/, `-${pid}-`)}`), 'part of a file')
  }
  const left = async (folder: string) => (await readdir(at(folder))).filter((name) => name.endsWith('.tmp'))
  for (const folder of ['again', 'again/checkpoints', 'models', 'prepared-again', 'prepared-again/.prepare'])
    await abandoned(folder)
  expect(await run('train', at('one.json'), '--out', at('again'), '--quiet')).toMatchObject({ code: 0 })
  expect(await run('export', at('run'), '-o', at('models/m.onnx'))).toMatchObject({ code: 0 })
  const prepare = ['data', 'prepare', 'text', at('corpus/train.tokens'), '--vocabulary', '260', '--validation', '0']
  expect(await run(...prepare, '-o', at('prepared-again'), '--quiet')).toMatchObject({ code: 0 })
  for (const folder of ['again', 'again/checkpoints', 'models', 'prepared-again'])
    expect(await left(folder)).toEqual([])
})

test('train --force > keeps the data file of a copy of the trained model', async () => {
  expect(await run('train', at('one.json'), '--out', at('copied'), '--quiet')).toMatchObject({ code: 0 })
  await writeModel(at('copied/tuned.onnx'), await readModel(at('copied/tuned.onnx')), { externalData: 64 })
  await copyFile(at('copied/tuned.onnx'), at('copied/kept.onnx'))
  expect(await run('train', at('one.json'), '--out', at('copied'), '--force', '--quiet')).toMatchObject({ code: 0 })
  await writeModel(at('read.onnx'), await readModel(at('copied/kept.onnx')), { externalData: false })
})

test('recipe of a run folder > trains there again', async () => {
  await mkdir(at('own'), { recursive: true })
  await writeFile(at('own/recipe.json'), await readFile(at('run/recipe.json')))
  expect(await run('train', at('own/recipe.json'), '--out', at('own'), '--quiet')).toMatchObject({ code: 0 })
  expect(await run('train', at('own/recipe.json'), '--force', '--quiet')).toMatchObject({ code: 0 })
})
