import { mkdir, readFile, writeFile } from 'node:fs/promises'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { predictExamples } from '../../src/cli/report/predict-examples.js'
import { readRuns } from '../../src/cli/runs/read-run.js'
import { Random } from '../../src/data/index.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { node, writeModel } from '../../src/node/index.js'
import { json, run } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
const [size, count] = [8, 20]

beforeAll(async () => {
  space = await workspace()
  const random = new Random(4)
  const weight = (name: string, ...dims: number[]) =>
    parameter(
      name,
      tensor(
        'float32',
        dims,
        Float32Array.from({ length: dims.reduce((a, b) => a * b) }, () => 0.3 * random.normal()),
      ),
    )
  const x = input('x', 'float32', ['N', 3, size, size])
  const hidden = op.Relu(op.Conv(x, weight('w1', 8, 3, 3, 3), weight('b1', 8), { pads: [1, 1, 1, 1] }))
  const y = op.Conv(hidden, weight('w2', 3, 8, 3, 3), weight('b2', 3), { pads: [1, 1, 1, 1] })
  await writeModel(
    space.path('net.onnx'),
    modelOf({ name: 'net', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }),
  )
  for (const folder of ['photos', 'masks']) await mkdir(space.path(folder))
  // A rectangle of class 1 or 2 by its color, on a dark background; its frame is not labeled.
  for (let i = 0; i < count; i++) {
    const [label, top, left] = [1 + (i % 2), 1 + random.integer(4), 1 + random.integer(4)]
    const isInside = (p: number) =>
      Math.floor(p / size) - top < 3 && p / size >= top && (p % size) - left < 3 && p % size >= left
    const photo = Array.from({ length: size * size }, (_, p) =>
      isInside(p) ? (label === 1 ? [250, 40, 0] : [0, 40, 250]) : [20, 60, 20],
    ).flat()
    const mask = Array.from({ length: size * size }, (_, p) => (p === 0 ? 255 : isInside(p) ? label : 0))
    const write = (name: string, data: number[], channels: 1 | 3) =>
      sharp(Uint8Array.from(data), { raw: { width: size, height: size, channels } })
        .png()
        .toFile(space.path(name))
    await write(`photos/${i}.png`, photo, 3)
    await write(`masks/${i}.png`, mask, 1)
  }
})
afterAll(() => space.remove())

/** A report shows held-out photos with predicted and given masks, those with the largest loss first. */
async function checkMasks(folder: string) {
  const report = space.path('report.html')
  await json('plot', folder, '--examples', '2', '-o', report)
  expect((await readFile(report, 'utf8')).match(/<img src="data:image\/png;base64,/g)).toHaveLength(4 * 3)
  const [stored] = await readRuns([folder])
  const runtime = node({ worker: false })
  const shown = await predictExamples(stored!, 5, runtime)
  await runtime.dispose()
  if (!('kind' in shown) || shown.kind !== 'losses') throw new Error(JSON.stringify(shown))
  const losses = shown.worst.map(({ loss }) => loss)
  expect(losses).toEqual(losses.toSorted((a, b) => b - a))
  const colors: Readonly<Record<number, string>> = { 0: '0,0,0', 1: '0,114,178', 2: '213,94,0', 255: '128,128,128' }
  const pixelsOf = async (from: string | Buffer) => [...(await sharp(from).removeAlpha().raw().toBuffer())]
  const split = (pixels: number[]) => Array.from({ length: size * size }, (_, i) => `${pixels.slice(3 * i, 3 * i + 3)}`)
  const decode = async (address?: string) => split(await pixelsOf(Buffer.from(address!.split(',')[1]!, 'base64')))
  for (const { name, image, givenImage, predictedImage } of shown.worst) {
    const mask = await sharp(space.path(`masks/${name}.png`))
      .toColourspace('b-w')
      .raw()
      .toBuffer()
    const given = await decode(givenImage)
    expect(given).toEqual([...mask].map((label) => colors[label]))
    const predicted = await decode(predictedImage)
    expect(predicted.filter((color, i) => color === given[i]).length).toBeGreaterThan(0.7 * size * size)
    expect(await decode(image)).toHaveLength(size * size)
  }
}

test('image-masks > trains with cross-entropy and Dice, measured by mean IoU, and predicts for a photo', async () => {
  const recipe = {
    model: 'net.onnx',
    data: {
      train: {
        kind: 'image-masks',
        images: 'photos',
        masks: 'masks',
        mask: { ignoreIndex: 255 },
        augment: [{ kind: 'crop', padding: 1 }, { kind: 'flip' }],
      },
      split: { validation: 0.25 },
    },
    loss: {
      kind: 'combine',
      tasks: {
        pixels: { loss: { kind: 'cross-entropy', axis: 1, ignoreIndex: 255 } },
        overlap: { loss: { kind: 'dice', axis: 1, labels: 'masks', ignoreIndex: 255 } },
      },
    },
    metrics: ['iou'],
    trainable: '*',
    optimizer: { kind: 'adam', lr: 0.05 },
    batchSize: 6,
    epochs: 8,
  }
  await writeFile(space.path('masks.json'), JSON.stringify(recipe))
  const trained = await json<{ validation: Record<string, unknown> }>(
    'train',
    space.path('masks.json'),
    '--out',
    space.path('segment'),
  )
  expect(trained.validation['pixels/iou']).toBeGreaterThan(0.6)
  await json('predict', space.path('segment'), space.path('photos/3.png'), '-o', space.path('one.jsonl'))
  const [line, ...others] = (await readFile(space.path('one.jsonl'), 'utf8')).trim().split('\n')
  expect(others).toEqual([])
  const scores = (JSON.parse(line!) as { outputs: { y: number[][][] } }).outputs.y
  const { stdout } = await run('predict', space.path('segment'), space.path('photos/3.png'), '--classes', '--json')
  const { classes } = JSON.parse(stdout) as { classes: { class: number }[][] }
  const best = (row: number, column: number) => {
    const pixel = scores.map((plane) => plane[row]![column]!)
    return pixel.indexOf(Math.max(...pixel))
  }
  expect(classes.map((row) => row.map((pixel) => pixel.class))).toEqual(
    Array.from({ length: size }, (_, row) => Array.from({ length: size }, (_, column) => best(row, column))),
  )

  await checkMasks(space.path('segment'))

  const { masks: _, ...train } = recipe.data.train
  await writeFile(space.path('unmasked.json'), JSON.stringify({ ...recipe, data: { ...recipe.data, train } }))
  const { code, stderr } = await run('train', space.path('unmasked.json'))
  expect([code, stderr]).toEqual([1, expect.stringContaining('data.train.masks')])
})
