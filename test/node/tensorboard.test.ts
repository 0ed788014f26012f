import { execFileSync } from 'node:child_process'
import { closeSync, openSync, writeSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { drawMatrix } from '../../src/cli/training/report-to-tensorboard.js'
import { crossEntropy, ire, sgd, track } from '../../src/index.js'
import { csvLog, tensorBoard } from '../../src/node/index.js'
import { pythonOf } from '../../tools/python/environments.js'
import { needs } from '../requirements.js'
import { errorWith } from '../thrown.js'
import { clusters } from '../train/problem.js'
import { startTrainers } from '../train/small-trainer.js'

const { create } = startTrainers()

/** Event file of `writeEvents`, and what TensorBoard 2.21 of PyPI read in it. UPDATE_GOLDEN=1 writes both again. */
const golden = fileURLToPath(new URL('golden/', import.meta.url))
const reader = fileURLToPath(new URL('../../tools/trackers/read_events.py', import.meta.url))

let root = ''
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'onnx-ire-tensorboard-'))
})
afterAll(() => rm(root, { recursive: true }))

const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYPgPAAEDAQDvhSEHAAAAAElFTkSuQmCC',
  'base64',
)
const values = Float32Array.from({ length: 1000 }, (_, i) => Math.fround(Math.sin(i)))

/** Writes one value of every kind, then a resumed run, which replaces the steps from 2 on. */
function writeEvents(folder: string): void {
  let time = 1_700_000_000
  const now = () => time++
  const board = tensorBoard(folder, { now })
  for (const step of [1, 2, 3]) board.log({ 'train/loss': 1 / step, 'train/größe': step * 1e6 }, step)
  board.histogram('weights', values, 2)
  board.histogram('constant', [3, 3, Number.NaN], 2)
  board.image('confusion', { width: 1, height: 1, data: png }, 2)
  board.text('recipe', '**bold** é', 0)
  board.finish()
  const resumed = tensorBoard(folder, { now: () => now() + 1000, step: 2 })
  resumed.log({ 'train/loss': 0.25 }, 3)
  resumed.finish()
}

const readFolder = async (folder: string) => {
  const names = (await readdir(folder)).sort()
  expect(names.every((name) => name.startsWith('events.out.tfevents.17000'))).toBe(true)
  return Buffer.concat(await Promise.all(names.map((name) => readFile(join(folder, name)))))
}

const readByTensorBoard = (folder: string): string =>
  execFileSync(pythonOf('tensorboard'), [reader, folder], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })

interface Found {
  readonly scalars: Record<string, [step: number, time: number, value: number][]>
  readonly histograms: Record<string, [step: number, { num: number; bucket: number[]; bucket_limit: number[] }][]>
  readonly images: Record<string, [step: number, width: number, height: number, png: string][]>
  readonly texts: Record<string, [step: number, text: string][]>
}

test('tensorBoard > writes the bytes in which TensorBoard found what was logged', async () => {
  const folder = join(root, 'golden')
  writeEvents(folder)
  const written = await readFolder(folder)
  if (process.env['UPDATE_GOLDEN']) {
    await writeFile(join(golden, 'tensorboard.tfevents'), written)
    await writeFile(join(golden, 'tensorboard.json'), readByTensorBoard(folder))
  }
  expect(written.equals(await readFile(join(golden, 'tensorboard.tfevents')))).toBe(true)
  const found = JSON.parse(await readFile(join(golden, 'tensorboard.json'), 'utf8')) as Found
  expect(found.scalars['train/loss']!.map(([step, , value]) => [step, value])).toEqual([
    [1, 1],
    [2, 0.5],
    [3, 0.25], // of the resumed run
  ])
  expect(found.scalars['train/größe']!.at(0)).toEqual([1, 1_700_000_002, 1e6])
  const [[step, { num, bucket, bucket_limit: limits }]] = found.histograms['weights'] as [
    Found['histograms'][string][0],
  ]
  expect([step, num, bucket.length]).toEqual([2, 1000, 40])
  for (const [k, limit] of limits.entries()) {
    const below = bucket.slice(0, k + 1).reduce((sum, count) => sum + count, 0)
    // A number on a limit may be in either bucket.
    expect(Math.abs(below - values.filter((value) => value <= limit).length)).toBeLessThanOrEqual(1)
  }
  expect(found.histograms['constant']![0]![1]).toMatchObject({ num: 2, bucket: [2], bucket_limit: [3] })
  expect(found.images['confusion']).toEqual([[2, 1, 1, png.toString('base64')]])
  expect(found.texts['recipe']).toEqual([[0, '**bold** é']])
})

test(
  'track > a run > the same numbers in TensorBoard, CSV and an object with log',
  await needs('TensorBoard'),
  async () => {
    const logged: [number, object][] = []
    const board = tensorBoard(join(root, 'run'))
    const trainer = await create({
      optimizer: ire(sgd({ lr: 0.1 }), { kappa: 1, gamma: 0.5, interval: 2 }),
      loss: crossEntropy(),
    })
    const callbacks = track(board, csvLog(join(root, 'run.csv')), { log: (each, step) => logged.push([step, each]) })
    const points = clusters(40, [6])
    await trainer.train(points, { totalEpochs: 2, validation: points, measureEvery: 4, ...callbacks })
    board.finish()
    const { scalars } = JSON.parse(readByTensorBoard(join(root, 'run'))) as Found
    const expected: Record<string, [number, number][]> = {}
    for (const [step, each] of logged)
      for (const [name, value] of Object.entries(each)) expected[name] = [...(expected[name] ?? []), [step, value]]
    expect(Object.keys(scalars).sort()).toEqual(Object.keys(expected).sort())
    expect(Object.keys(scalars)).toEqual(
      expect.arrayContaining(['train/loss', 'epoch/accuracy', 'validation/accuracy']),
    )
    expect(Object.keys(scalars).filter((name) => name.startsWith('updateRatio/'))).not.toEqual([])
    for (const [name, found] of Object.entries(scalars))
      expect(found.map(([step, , value]) => [step, value])).toEqual(
        expected[name]!.map(([step, value]) => [step, Math.fround(value)]),
      )
    const rows = (await readFile(join(root, 'run.csv'), 'utf8')).trimEnd().split('\n')
    expect(rows[0]).toBe('step,name,value')
    const [step, each] = logged[0]!
    expect(rows.slice(1, 1 + Object.keys(each).length)).toEqual(
      Object.entries(each).map(([name, value]) => `${step},${name},${value}`),
    )
  },
)

test('the confusion matrix > is an image with a row per true class', async () => {
  const { width, height, data } = drawMatrix([
    [4, 0],
    [1, 1],
  ])
  const { data: pixels, info } = await sharp(data).raw().toBuffer({ resolveWithObject: true })
  expect(info).toMatchObject({ width, height, channels: 3 })
  const at = (x: number, y: number) => [...pixels.subarray(3 * (y * width + x), 3 * (y * width + x) + 3)]
  expect([at(5, 5), at(200, 5), at(5, 200), at(200, 200)]).toEqual([
    [0, 114, 178],
    [255, 255, 255],
    [128, 185, 217],
    [128, 185, 217],
  ])
})

test('tensorBoard > writes nothing after finish, also if another file has the number of the closed one', async () => {
  const board = tensorBoard(join(root, 'closed'))
  board.finish()
  const other = join(root, 'other')
  const file = openSync(other, 'w')
  try {
    expect(() => board.log({ loss: 1 }, 1)).toThrow(errorWith('io', 'finish() has closed it'))
    board.finish()
    writeSync(file, 'own')
  } finally {
    closeSync(file)
  }
  expect(await readFile(other, 'utf8')).toBe('own')
})

test('csvLog > an empty file gets its header', async () => {
  const file = join(root, 'empty.csv')
  await writeFile(file, '')
  csvLog(file).log({ loss: 1 }, 1)
  expect(await readFile(file, 'utf8')).toBe('step,name,value\n1,loss,1\n')
})
