import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeSkipped } from '../../../src/data/image/image-files.js'
import { batches } from '../../../src/data/index.js'
import { splitStream, streamSubset } from '../../../src/data/stream.js'
import { exportGraph, input, op } from '../../../src/graph/index.js'
import { type DatasetOrStream, type Model, stream } from '../../../src/index.js'
import type { OpenContext } from '../../../src/node/data/data-source.js'
import { openData } from '../../../src/node/data/open-data.js'
import { RecipeData, resolveHead } from '../../../src/node/data/recipe-data.js'
import type { DataSource, Recipe } from '../../../src/recipe/recipe.js'

let folder = ''
const path = (name: string) => join(folder, name)

async function write(name: string, content: string | Uint8Array) {
  await mkdir(dirname(path(name)), { recursive: true })
  await writeFile(path(name), content)
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-ire-data-'))
  await write('images', Buffer.from([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 51, 102, 153, 204, 255]))
  await write('labels', Buffer.from([0, 0, 8, 1, 0, 0, 0, 3, 2, 0, 1]))
  await write('train.csv', 'a,b,kind\n1,2,pear\n3,4,apple\n5,6,fig\n7,8,apple\n')
  await write('held.csv', 'a,b,kind\n1,2,pear\n3,4,fig\n')
  await write('train.jsonl', '{"t":[1,2,3],"m":{"k":"sad"}}\n{"t":[4],"m":{"k":"glad"}}\n{"t":[5,6],"m":{"k":"sad"}}\n')
  await write('book.txt', 'abcdefgh\nij\n\nk')
  await write('docs/good/1.txt', 'ab')
  await write('docs/bad/1.txt', 'abc')
  for (const [name, gray] of [
    ['cat/1.png', 255],
    ['dog/a/1.png', 0],
    ['dog/2.png', 51],
  ] as const) {
    const image = { width: 2, height: 2, channels: 3, background: { r: gray, g: gray, b: gray } } as const
    await write(`photos/${name}`, await sharp({ create: image }).png().toBuffer())
  }
})
afterAll(() => rm(folder, { recursive: true }))

function modelWith(...names: string[]): Model {
  const inputs = new Map(names.map((name) => [name, input(name, 'float32', ['N', 3])]))
  const outputs = new Map([['y', op.Neg([...inputs.values()][0]!)]])
  return { proto: exportGraph({ name: 'm', inputs, outputs }), external: null }
}

const opening = (changes: Partial<OpenContext> = {}): OpenContext => ({
  model: modelWith('x'),
  targets: [{ name: 'labels', isClasses: true }],
  classes: async () => ({}),
  ...changes,
})

/** All examples, as plain numbers or texts by name. */
async function read(data: DatasetOrStream, batchSize = 100): Promise<Record<string, unknown>> {
  const all: Record<string, unknown[]> = {}
  for await (const { tensors } of batches(data, { batchSize }))
    for (const [name, tensor] of Object.entries(tensors))
      all[name] = [
        ...(all[name] ?? []),
        ...Array.from<unknown, unknown>(tensor.data, (x) => (typeof x === 'bigint' ? Number(x) : x)),
      ]
  return all
}

const open = (source: DataSource, changes?: Partial<OpenContext>) => openData('data.train', source, opening(changes))

test('idx > pixels and labels, a subset, class indices or regression targets', async () => {
  const source = { kind: 'idx', images: path('images'), labels: path('labels') } as const
  const { data, labels } = await open(source)
  expect(await read(data)).toEqual({ x: [0, 0.2, 0.4, 0.6, 0.8, 1].map(Math.fround), labels: [2, 0, 1] })
  expect(await read(labels!)).toEqual({ labels: [2, 0, 1] })
  const part = await open({ ...source, start: 1, end: 2 })
  expect(await read(part.data)).toEqual({ x: [0.4, 0.6].map(Math.fround), labels: [0] })
  expect(await read(part.labels!)).toEqual({ labels: [0] })
  const numbers = await open(source, { targets: [{ name: 't', isClasses: false }] })
  const { value: batch } = await batches(numbers.data, { batchSize: 1 }).next()
  expect(batch!.tensors['t']).toEqual({ dtype: 'float32', dims: [1], data: Float32Array.of(2) })
  expect(Object.keys(await read((await open(source, { targets: null })).data))).toEqual(['x'])
})

test('images > have the dims of the model input', async () => {
  const source = { kind: 'idx', images: path('images'), labels: path('labels') } as const
  const first = async (data: DatasetOrStream) =>
    (await batches(data, { batchSize: 2 }).next()).value!.tensors['x']!.dims
  expect(await first((await open(source)).data)).toEqual([2, 1, 1, 2])
  expect(await first((await open({ ...source, dims: [2] })).data)).toEqual([2, 2])
  const folder = { kind: 'image-folder', folder: path('photos'), dims: [12] } as const
  for (const targets of [opening().targets, null])
    expect(await first((await open(folder, { targets })).data)).toEqual([2, 12])
  await expect(first((await open({ ...source, dims: [3] })).data)).rejects.toThrow(/'x' cannot have the dims \[3\]/)
})

test('several inputs or targets > must be named', async () => {
  const source = { kind: 'idx', images: path('images'), labels: path('labels') } as const
  const two = { model: modelWith('p', 'q'), targets: ['s', 't'].map((name) => ({ name, isClasses: true })) }
  await expect(open(source, two)).rejects.toThrow(/^data\.train: the model has 2 inputs \(p, q\); .*"input"/)
  await expect(open({ ...source, input: 'q' }, two)).rejects.toThrow(/^data\.train: .* s, t; .*"target"/)
  await expect(open({ ...source, input: 'q', target: 'u' }, two)).rejects.toThrow(
    /^data\.train: target is 'u', .* s, t/,
  )
  const { data } = await open({ ...source, input: 'q', target: 't' }, two)
  expect(Object.keys(await read(data))).toEqual(['q', 't'])
})

const table = (file: string, more: Partial<DataSource> = {}): DataSource =>
  ({
    kind: 'csv',
    file: path(file),
    tensors: { x: '*', labels: { columns: 'kind', as: 'class' } },
    ...more,
  }) as DataSource

test.each([false, true])('csv, stream %s > columns by tensor', async (streaming) => {
  const { data, classes } = await open(table('train.csv', { stream: streaming, start: 1, end: 3 }))
  expect('batch' in data).toBe(!streaming)
  expect(classes).toEqual({ labels: ['apple', 'fig', 'pear'] })
  expect(data.length).toBe(2)
  expect(await read(data)).toEqual({ x: [3, 4, 5, 6], labels: [0, 1] })
  await expect(open(table('train.csv', { stream: streaming, start: 2, end: 9 }))).rejects.toThrow(
    /^data\.train: .*end.* 9/,
  )
})

test.each([false, true])('held-out data, stream %s > has the class indices of the training data', async (streaming) => {
  const known = async () => ({ labels: ['apple', 'fig', 'pear'] })
  const { data } = await open(table('held.csv', { stream: streaming }), { classes: known })
  expect((await read(data))['labels']).toEqual([2, 1])
  const other = async () => ({ labels: ['apple', 'pear'] })
  const opened = open(table('held.csv', { stream: streaming }), { classes: other })
  await expect(opened.then(({ data }) => read(data))).rejects.toThrow(
    /held\.csv:3: column 'kind' is 'fig', not one of the classes/,
  )
})

test.each([false, true])('jsonl, stream %s > fields by tensor, padded', async (stream) => {
  const { data, classes } = await open({
    kind: 'jsonl',
    file: path('train.jsonl'),
    tensors: { x: { field: 't', as: 'integer' }, labels: { field: 'm.k', as: 'class' } },
    padding: { x: { value: 9, mask: 'mask' } },
    stream,
  })
  expect(classes).toEqual({ labels: ['glad', 'sad'] })
  expect(await read(data)).toEqual({
    x: [1, 2, 3, 4, 9, 9, 5, 6, 9],
    mask: [1, 1, 1, 1, 0, 0, 1, 1, 0],
    labels: [1, 0, 1],
  })
})

test('image-folder > decoded images labeled by folder; all images if labels are not used', async () => {
  const source: DataSource = { kind: 'image-folder', folder: path('photos'), image: { size: 1, channels: 1 } }
  const found = await open(source)
  expect(await read(found.data)).toEqual({ x: [1, 0.2, 0].map(Math.fround), labels: [0, 1, 1] })
  expect(found.classes).toEqual({ labels: ['cat', 'dog'] })
  expect(await read(found.labels!)).toEqual({ labels: [0, 1, 1] })
  const turned = await open(source, { classes: async () => ({ labels: ['dog', 'cat'] }) })
  expect((await read(turned.data))['labels']).toEqual([0, 0, 1])
  const bare = await open({ ...source, start: 1 }, { targets: null })
  expect(bare.files).toEqual([path('photos/dog/2.png'), path('photos/dog/a/1.png')])
  expect(await read(bare.data)).toEqual({ x: [0.2, 0].map(Math.fround) })
  await writeFile(path('photos/dog/scan.TIF'), 'not read')
  const { warnings } = await open(source)
  expect(warnings).toEqual([expect.stringMatching(/^1 image was skipped, since \.tif .*first: .*scan\.TIF/)])
  expect(describeSkipped([])).toBeUndefined()
})

test.each([false, true])('text, stream %s > every window of bytes with the bytes that follow', async (stream) => {
  const codes = (text: string) => [...Buffer.from(text)].map((byte) => byte + 3)
  const base = { kind: 'text', files: path('book.txt'), tokens: 'bytes', offset: 3, stream } as const
  const touching = await open({ ...base, context: 4 })
  expect(await read(touching.data)).toEqual({ x: codes('abcdefgh\nij\n'), labels: codes('bcdefgh\nij\n\n') })
  const overlapping = await open({ ...base, context: 4, stride: 3, start: 1, end: 3 })
  expect(await read(overlapping.data)).toEqual({ x: codes('defggh\ni'), labels: codes('efghh\nij') })
  const sparse = await open({ ...base, context: 2, stride: 9 })
  expect(await read(sparse.data)).toEqual({ x: codes('abij'), labels: codes('bcj\n') })
  const unlabeled = await open({ ...base, context: 7 }, { targets: null })
  expect(await read(unlabeled.data)).toEqual({ x: codes('abcdefgh\nij\n\nk') })
  await expect(open({ ...base, context: 14 }).then(({ data }) => read(data))).rejects.toThrow(/has 15 bytes/)
})

test('text > lines as strings or bytes, and documents by class', async () => {
  const files = path('book.txt')
  for (const stream of [false, true]) {
    const lines = await open({ kind: 'text', files, stream })
    expect(await read(lines.data)).toEqual({ x: ['abcdefgh', 'ij', 'k'] })
  }
  const bytes = await open({ kind: 'text', files, tokens: 'bytes', start: 1, padding: { mask: 'm', maxLength: 2 } })
  expect(await read(bytes.data)).toEqual({ x: [105, 106, 107, 0], m: [1, 1, 1, 0] })
  const documents: DataSource = { kind: 'text', folder: path('docs'), tokens: 'bytes' }
  const found = await open(documents)
  expect(await read(found.data)).toEqual({ x: [97, 98, 99, 97, 98, 0], labels: [0, 1] })
  expect(found.classes).toEqual({ labels: ['bad', 'good'] })
  const bare = await open({ kind: 'text', folder: path('docs') }, { targets: null })
  expect(await read(bare.data)).toEqual({ x: ['abc', 'ab'] })
  expect(bare.files).toEqual([path('docs/bad/1.txt'), path('docs/good/1.txt')])
})

const counted = (length?: number) =>
  stream(() => Array.from({ length: 100 }, (_, i) => ({ x: i })), length === undefined ? {} : { length })

test('stream > is split and truncated like a dataset', async () => {
  const options = { validation: 0.2, seed: 3 }
  const { train, validation } = splitStream(counted(), options)
  const [kept, held] = [(await read(train))['x'] as number[], (await read(validation))['x'] as number[]]
  expect([...kept, ...held].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i))
  expect(held.length).toBeGreaterThan(8)
  expect(held.length).toBeLessThan(35)
  expect(train.length).toBe(undefined)
  const known = splitStream(counted(100), options)
  expect([known.train.length, known.validation.length]).toEqual([kept.length, held.length])
  expect((await read(known.validation))['x']).toEqual(held)
  expect((await read(splitStream(counted(), { ...options, seed: 4 }).validation))['x']).not.toEqual(held)
  expect((await read(streamSubset(counted(), 97, undefined)))['x']).toEqual([97, 98, 99])
  expect(streamSubset(counted(100), 97, undefined).length).toBe(3)
  expect(() => streamSubset(counted(), 5, 5)).toThrow(/start is 5; .* 5$/)
  await expect(read(streamSubset(counted(), 90, 101))).rejects.toThrow(/its length is 11/)
})

const recipe = (data: Recipe['data'], more: Partial<Recipe> = {}): Recipe => ({
  model: 'm',
  data,
  loss: { kind: 'cross-entropy' },
  optimizer: { kind: 'sgd' },
  epochs: 1,
  ...more,
})

test('split > holds out a part of the training data, with its labels', async () => {
  const data = { train: table('train.csv'), split: { validation: 0.25, seed: 1 } }
  const prepared = await RecipeData.open(recipe(data), modelWith('x'))
  const [train, held] = [await read(await prepared.train()), await read((await prepared.validation())!)]
  expect((train['x'] as number[]).length).toBe(6)
  expect([...(train['x'] as number[]), ...(held['x'] as number[])].sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  expect(await prepared.classes()).toEqual({ labels: ['apple', 'fig', 'pear'] })
  const none = await RecipeData.open(recipe({ ...data, split: { validation: 0.01 } }), modelWith('x'))
  await expect(none.train()).rejects.toThrow(/^data\.split: .*both parts need at least one/)
})

test('split > holds out one of several folds, each example once', async () => {
  const held: number[] = []
  for (const fold of [0, 1, 2, 3]) {
    const data = { train: table('train.csv'), split: { folds: 4, fold } }
    const prepared = await RecipeData.open(recipe(data), modelWith('x'))
    const part = (await read((await prepared.validation())!))['x'] as number[]
    expect(part).toHaveLength(2)
    held.push(...part)
  }
  expect(held.sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
})

test('balance > samples every class equally in training data, and leaves held-out data unchanged', async () => {
  const data = { train: table('train.csv'), validation: table('held.csv'), balance: true }
  const prepared = await RecipeData.open(recipe(data), modelWith('x'))
  const { labels } = await read(await prepared.train())
  expect((labels as number[]).sort()).toEqual([0, 0, 1, 1, 2, 2])
  expect((await read((await prepared.validation())!))['labels']).toEqual([2, 1])
  const streamed = recipe({ train: table('train.csv', { stream: true }), balance: true })
  await expect((await RecipeData.open(streamed, modelWith('x'))).train()).rejects.toThrow(/^data\.balance: /)
})

test('class weights > are computed after the split', async () => {
  const loss = { kind: 'cross-entropy', classWeights: 'balanced' } as const
  const train = recipe({ train: table('train.csv') }, { loss })
  const { recipe: settled } = await RecipeData.open(train, modelWith('x'))
  expect(settled.loss).toEqual({ kind: 'cross-entropy', classWeights: [4 / 6, 4 / 3, 4 / 3].map(Math.fround) })
})

test.each([255, -100])('ignoreIndex %i > is no class of the head, balancing and labels', async (ignored) => {
  const classes = [0, 1, ignored, 0, 2, 0, ignored]
  await write('some.csv', `x,labels\n${classes.map((label, i) => `${i},${label}`).join('\n')}\n`)
  const train: DataSource = {
    kind: 'csv',
    file: path('some.csv'),
    tensors: { x: 'x', labels: { columns: 'labels', as: 'integer' } },
  }
  const whole = recipe(
    { train, balance: true },
    { head: { classes: 'data' }, loss: { kind: 'cross-entropy', ignoreIndex: ignored } },
  )
  expect((await resolveHead(whole, modelWith('x'))).head).toEqual({ classes: 3 })
  const prepared = await RecipeData.open(whole, modelWith('x'))
  // Ignored examples are neither repeated nor left out.
  expect((await read(await prepared.train()))['x']).toEqual([0, 1, 1, 1, 2, 3, 4, 4, 4, 5, 6])
  const { data, ...labeled } = await prepared.labeledTrain()
  expect((await read(data))['x']).toEqual([0, 1, 3, 4, 5])
  expect(labeled).toEqual({
    labels: [0, 1, 0, 2, 0],
    positions: Uint32Array.of(0, 1, 3, 4, 5),
    files: undefined,
    names: [0, 1, 3, 4, 5],
  })
})

test('exclude > leaves examples out of the training part, and the held-out part as it is', async () => {
  const rows = Array.from({ length: 40 }, (_, i) => `${i},${i % 2}`)
  await write('many.csv', `x,labels\n${rows.join('\n')}\n`)
  const train = {
    kind: 'csv',
    file: path('many.csv'),
    tensors: { x: 'x', labels: { columns: 'labels', as: 'integer' } },
  }
  const openWith = (data: object) =>
    RecipeData.open(
      { model: '', data: { train, ...data }, loss: { kind: 'cross-entropy' }, optimizer: { kind: 'sgd' } } as Recipe,
      modelWith('x'),
    )
  const split = { validation: 0.25, seed: 1 }
  const whole = await openWith({ split })
  const all = (await read(await whole.train()))['x'] as number[]
  const cleaned = await openWith({ split, exclude: [all[3], all[7]] })
  expect((await read(await cleaned.train()))['x']).toEqual(all.filter((_, i) => i !== 3 && i !== 7))
  expect(await read((await cleaned.validation())!)).toEqual(await read((await whole.validation())!))
  const { names, labels, files } = await cleaned.labeledTrain()
  expect([names.length, files]).toEqual([28, undefined])
  expect(labels).toEqual(names.map((position) => (position as number) % 2))
  expect((await read(await (await openWith({ exclude: [0, 39] })).train()))['x']).toHaveLength(38)
  for (const wrong of [40, 'many.csv'])
    await expect((await openWith({ exclude: [wrong] })).train()).rejects.toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('data.exclude'),
    })
})
