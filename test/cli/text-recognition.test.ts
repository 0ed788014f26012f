import { mkdir, readFile, writeFile } from 'node:fs/promises'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { predictExamples } from '../../src/cli/report/predict-examples.js'
import { readRuns } from '../../src/cli/runs/read-run.js'
import { Random } from '../../src/data/index.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { addUsage, type ImageOptions, type Model, readUsage } from '../../src/index.js'
import { node, readModel, writeModel } from '../../src/node/index.js'
import { create, edit } from '../../src/onnx/proto/message.js'
import { json, run } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
const image: ImageOptions = { size: [6, 32], fit: 'line', order: 'BGR', mean: 0.5, std: 0.5, background: 127.5 }
const colors: Readonly<Record<string, readonly number[]>> = {
  a: [250, 20, 20],
  b: [20, 250, 20],
  c: [20, 20, 250],
  ' ': [240, 240, 240],
}

/** A recognizer with a step for every 2 of 32 columns and a class for every one of `characters`, besides the blank. */
function recognizer(classes: number, timeFirst = false) {
  const random = new Random(3)
  const weight = (name: string, fanIn: number, ...dims: number[]) => {
    const deviation = Math.sqrt(2 / fanIn)
    const length = dims.reduce((a, b) => a * b)
    return parameter(
      name,
      tensor(
        'float32',
        dims,
        Float32Array.from({ length }, () => deviation * random.normal()),
      ),
    )
  }
  const x = input('x', 'float32', ['N', 3, 6, 'W'])
  const row = op.Relu(op.Conv(x, weight('w1', 72, 24, 3, 6, 4), null, { pads: [0, 1, 0, 1], strides: [1, 2] }))
  const steps = op.Transpose(op.Squeeze(row, [2]), { perm: [0, 2, 1] })
  const logits = op.Add(op.MatMul(steps, weight('w2', 48, 24, classes)), weight('b2', 1e6, classes))
  const scores = op.Softmax(logits, { axis: 2 })
  const y = timeFirst ? op.Transpose(scores, { perm: [1, 0, 2] }) : scores
  return modelOf({ name: 'reader', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
}

/** A recognizer with the list of its characters in the metadata, as those of RapidOCR. */
function withCharacters(classes: number, value: string): Model {
  const model = recognizer(classes)
  const metadataProps = [create('StringStringEntryProto', { key: 'character', value })]
  return { ...model, proto: edit(model.proto, { metadataProps }) }
}

/** Writes images of texts in which every character is a square of its color between black columns. */
async function drawLines(folder: string, texts: readonly string[]): Promise<void> {
  await mkdir(space.path(folder), { recursive: true })
  for (const [i, text] of texts.entries()) {
    const width = Math.max(1, 6 * text.length)
    const pixels = Array.from({ length: 6 * width }, (_, p) =>
      (p % width) % 6 === 0 ? [0, 0, 0] : (colors[text[Math.floor((p % width) / 6)]!] ?? [0, 0, 0]),
    ).flat()
    await sharp(Uint8Array.from(pixels), { raw: { width, height: 6, channels: 3 } })
      .png()
      .toFile(space.path(`${folder}/${i}.png`))
  }
  const lines = texts.map((text, i) => `${i}.png\t${text}\n`)
  await writeFile(space.path(`${folder}/rec_gt.txt`), lines.join(''))
}

const recipe = (changes: object = {}, data: object = {}) => ({
  model: 'reader.onnx',
  data: {
    train: { kind: 'image-texts', file: 'train/rec_gt.txt', image, ...data },
    validation: { kind: 'image-texts', file: 'validation/rec_gt.txt', image },
  },
  loss: { kind: 'ctc' },
  metrics: ['cer', 'wer', 'sequenceAccuracy'],
  optimizer: { kind: 'adamw', lr: 0.03 },
  schedule: { kind: 'cosine', warmup: 3 },
  clipNorm: 5,
  batchSize: 10,
  epochs: 12,
  seed: 2,
  ...changes,
})

const measures = (...args: readonly string[]) => json<Record<string, number>>(...args)

beforeAll(async () => {
  space = await workspace()
  const random = new Random(8)
  const text = () => Array.from({ length: 1 + random.integer(5) }, () => 'abc '[random.integer(4)]).join('')
  await drawLines('train', Array.from({ length: 80 }, text))
  await drawLines('validation', ['a', 'ab', 'b a', 'cab', 'c cb', 'aabc'])
  await writeModel(space.path('reader.onnx'), withCharacters(5, 'a\nb\nc'))
  await writeFile(space.path('recipe.json'), JSON.stringify(recipe()))
})
afterAll(() => space.remove())

test('training on images with texts > errors of characters and words fall; files, data and runs are read as text', async () => {
  const before = await measures('evaluate', space.path('reader.onnx'), space.path('recipe.json'))
  expect(before['cer']).toBeGreaterThan(0.5)
  const trained = await run('train', space.path('recipe.json'), '--quiet')
  expect(trained.stderr).toBe('')
  const folder = space.path('runs/recipe')
  const after = await measures('evaluate', folder, '--metrics', 'cer,wer')
  // The result is text: its measures have no classes, of which there may be thousands.
  expect(after).not.toHaveProperty('classes')
  expect(after['cer']).toBeLessThan(0.15)
  expect(after['wer']).toBeLessThan(0.35)
  // PP-OCR has the space after the characters of its list.
  const tuned = await readModel(`${folder}/tuned.onnx`)
  expect(readUsage(tuned)).toEqual({ task: 'image-to-text', classes: ['', 'a', 'b', 'c', ' '], image })
  const line = space.path('validation/3.png')
  const read = /3\.png: cab \d+\.\d %\n$/
  expect((await run('predict', folder, line)).stdout).toMatch(read)
  expect((await run('predict', `${folder}/tuned.onnx`, line)).stdout).toMatch(read)
  const data = JSON.stringify({ kind: 'image-texts', file: space.path('validation/rec_gt.txt'), image })
  const rows = (await run('predict', `${folder}/tuned.onnx`, '--data', data, '--classes', '--json')).stdout
  const fourth = JSON.parse(rows.split('\n')[3]!)
  expect(fourth).toEqual({ index: 3, file: line, text: 'cab', probability: expect.any(Number) })
  expect(fourth.probability).toBeGreaterThan(0.3)
  expect(fourth.probability).toBeLessThanOrEqual(1)
  await run('predict', folder, '-o', space.path('texts.csv'))
  const csv = (await readFile(space.path('texts.csv'), 'utf8')).split('\n')
  expect(csv[0]).toBe('index,file,text,probability')
  expect(csv[4]).toMatch(/^3,.*3\.png,cab,0\.\d+$/)
  const [stored] = await readRuns([folder])
  const runtime = node({ worker: false })
  const shown = await predictExamples(stored!, 6, runtime)
  await runtime.dispose()
  expect(shown).toMatchObject({
    samples: expect.arrayContaining([expect.objectContaining({ name: '3.png', given: 'cab', predicted: 'cab' })]),
  })
})

test('other characters than those of the model > an error that says what to do; a new last layer has those of the texts', async () => {
  await writeModel(space.path('other.onnx'), withCharacters(4, 'a\nb\nd'))
  await writeFile(space.path('other.json'), JSON.stringify(recipe({ model: 'other.onnx', epochs: 12 })))
  const refused = await run('train', space.path('other.json'), '--quiet')
  expect(refused.code).toBe(1)
  expect(refused.stderr).toMatch(
    /data\.train: \d+ of 80 texts have characters that the alphabet of the model lacks: .*"c".*first: .*rec_gt\.txt:\d+, .*"head": \{ "classes": "data" \}/,
  )
  const head = ['--set', 'head.classes="data"']
  expect((await run('train', space.path('other.json'), ...head, '--quiet')).stderr).toBe('')
  const tuned = await readModel(space.path('runs/other/tuned.onnx'))
  expect(readUsage(tuned).classes).toEqual(['', ' ', 'a', 'b', 'c'])
  // The list of the replaced layer would be wrong.
  expect(tuned.proto.metadataProps.map(({ key }) => key)).not.toContain('character')
  expect((await measures('evaluate', space.path('runs/other')))['cer']).toBeLessThan(0.3)
})

test('a dictionary > has the classes in order; another number of classes is an error', async () => {
  await writeModel(space.path('plain.onnx'), recognizer(5))
  await writeFile(space.path('dictionary.txt'), 'c\r\nb\r\na\r\n')
  const plain = recipe({ model: 'plain.onnx', epochs: 1 }, { dictionary: 'dictionary.txt' })
  await writeFile(space.path('plain.json'), JSON.stringify(plain))
  expect((await run('train', space.path('plain.json'), '--quiet')).stderr).toBe('')
  expect(readUsage(await readModel(space.path('runs/plain/tuned.onnx'))).classes).toEqual(['', 'c', 'b', 'a', ' '])
  await writeFile(space.path('dictionary.txt'), 'a\nb\nc\nd\ne\n')
  const refused = await run('train', space.path('plain.json'), '--force', '--quiet')
  expect(refused.stderr).toMatch(/the model has 5 classes, but the dictionary .* has 6, the blank included: /)
})

test('texts that need more steps than the model has > are counted with an example', async () => {
  await drawLines('long', ['abc', 'aabb', 'cccccccccc', 'ab'])
  await writeFile(space.path('long.json'), JSON.stringify(recipe({ epochs: 1 }, { file: 'long/rec_gt.txt' })))
  const { stderr, code } = await run('train', space.path('long.json'), '--set', 'output="runs/long"')
  expect(code).toBe(0)
  expect(stderr).toMatch(
    /warning: 1 of 4 texts need more than the 16 steps of the model, .*first: .*rec_gt\.txt:3, "cccccccccc" needs 19.*image\.size/,
  )
  expect(stderr.match(/^warning: /gm)).toHaveLength(1)
  const both = ['data.validation.file="long/rec_gt.txt"', 'output="runs/long-both"'].flatMap((set) => ['--set', set])
  expect((await run('train', space.path('long.json'), ...both)).stderr.match(/^warning: .*/gm)).toEqual([
    expect.stringContaining('1 of 4 texts need more'),
    expect.stringContaining('ctc leaves out 1 of the validation examples'),
  ])
  const without = ['data.exclude=[2]', 'output="runs/without"'].flatMap((set) => ['--set', set])
  expect((await run('train', space.path('long.json'), ...without)).stderr).not.toMatch(/^warning: /m)
  await drawLines('long', ['cccccccccc', 'aaaaaaaaaaaa'])
  const refused = await run('train', space.path('long.json'), '--set', 'output="runs/longer"', '--quiet')
  expect(refused.stderr).toMatch(/data\.train: 2 of 2 texts need more than the 16 steps/)
})

test('a recognizer whose scores are [T, N, C] > predicts as one whose scores are [N, T, C], also without its recipe', async () => {
  const names = ['a', 'b', 'c', ' ', '']
  await writeFile(space.path('names.json'), JSON.stringify(names))
  const texts: string[] = []
  for (const timeFirst of [false, true]) {
    const [name, usage] = [`ordered-${timeFirst}`, { task: 'image-to-text', classes: names, image, timeFirst }]
    await writeModel(space.path(`${name}.onnx`), addUsage(recognizer(5, timeFirst), usage))
    const loss = { kind: 'ctc', blank: 4, timeFirst }
    await writeFile(space.path(`${name}.json`), JSON.stringify(recipe({ model: `${name}.onnx`, loss, epochs: 1 })))
    const model = space.path(`${name}.onnx`)
    const images = await run('predict', model, space.path('validation'))
    const named = ['--classes', '--class-names', space.path('names.json'), '--batch-size', '4', '--quiet']
    const held = await run('predict', model, space.path(`${name}.json`), ...named)
    expect(held.stdout).toBe(images.stdout)
    texts.push(images.stdout)
    const scores = await run('predict', model, space.path(`${name}.json`), '--quiet')
    expect(JSON.parse(scores.stdout.split('\n')[5]!).outputs.y).toHaveLength(16)
  }
  expect(texts[1]).toBe(texts[0])
  expect(texts[0]).toMatch(/: [abc ]+ \d/)
  const folder = space.path('runs/ordered-true')
  const trained = await json<object>('train', space.path('ordered-true.json'), '--quiet')
  expect(trained).toMatchObject({ classes: {} })
  expect(readUsage(await readModel(`${folder}/tuned.onnx`))).toMatchObject({ timeFirst: true, classes: names })
  const { stdout } = await run('predict', `${folder}/tuned.onnx`, space.path('validation'))
  expect(stdout).toBe((await run('predict', folder, space.path('validation'))).stdout)
  const [stored] = await readRuns([folder])
  const runtime = node({ worker: false })
  const shown = await predictExamples(stored!, 6, runtime)
  await runtime.dispose()
  const { samples } = shown as Extract<typeof shown, { kind: 'losses' }>
  for (const { name, predicted } of samples) expect(stdout).toContain(`${name}: ${predicted || 'no text'}`)
  const { code } = await json<{ code: string }>('snippet', folder, '--for', 'python')
  expect(code).toContain('results[0].reshape(-1, len(classes))')
})

test.each(['node', 'python'])('snippet %s > shows the text', async (target) => {
  const { code } = await json<{ code: string }>('snippet', space.path('runs/recipe'), '--for', target)
  expect(code).toContain('["","a","b","c"," "]')
  expect(code).toContain(target === 'node' ? '2 - c' : '::-1')
})
