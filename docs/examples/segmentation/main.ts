/** Segmentation: a small U-Net marks the pixels of a shape, learned from images and masks. */
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { adamw, dice, iou, predict, split, Trainer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { input, modelOf, op, parameter, tensor } from 'onnx-ire/graph'
import { imageFiles, imageMasks, node, writeModel } from 'onnx-ire/node'
import sharp from 'sharp'

const images = 120
const epochs = 12
const size = 64

// Replace this by your own: photos/1.jpg and masks/1.png, in which every pixel that is not black belongs to the object.
const random = new Random(0)
async function draw(photo: string, mask?: string): Promise<void> {
  const at = () => 12 + random.integer(size - 24)
  const color = (hue: number) => `hsl(${hue + random.integer(50)} 60% ${30 + random.integer(40)}%)`
  const [x, y, r] = [at(), at(), 8 + random.integer(8)]
  const svg = (content: string) =>
    sharp(Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}">${content}</svg>`))
  const clutter = Array.from({ length: 6 }, () => {
    return `<rect x="${at()}" y="${at()}" width="14" height="9" fill="${color(180)}"/>`
  })
  const background = `<rect width="${size}" height="${size}" fill="${color(200)}"/>${clutter.join('')}`
  await svg(`${background}<circle cx="${x}" cy="${y}" r="${r}" fill="${color(0)}"/>`)
    .png()
    .toFile(photo)
  const black = `<rect width="${size}" height="${size}" fill="black"/>`
  if (mask)
    await svg(`${black}<circle cx="${x}" cy="${y}" r="${r}" fill="white" shape-rendering="crispEdges"/>`)
      .png()
      .toFile(mask)
}
if (!existsSync('photos')) {
  await mkdir('photos')
  await mkdir('masks')
  for (let i = 0; i < images; i++) await draw(`photos/${i}.png`, `masks/${i}.png`)
}

const image = { size, mean: 0.5, std: 0.5 } as const
const data = await imageMasks('photos', 'masks', { image, input: 'x', mask: { as: 'binary' } })
const { train, validation } = split(data, { validation: 0.2 })
console.log(`${train.length} images to learn from`)

const convolution = (x: ReturnType<typeof input>, name: string, from: number, to: number, width = 3) => {
  const deviation = Math.sqrt(2 / (from * width * width))
  const weight = Float32Array.from({ length: to * from * width * width }, () => deviation * random.normal())
  const bias = parameter(`${name}.bias`, tensor('float32', [to], new Float32Array(to)))
  const pad = (width - 1) / 2
  const kernel = parameter(`${name}.weight`, tensor('float32', [to, from, width, width], weight))
  return op.Conv(x, kernel, bias, { pads: [pad, pad, pad, pad] })
}
const halved = (x: ReturnType<typeof input>) => op.MaxPool(x, { kernel_shape: [2, 2], strides: [2, 2] })[0]!
const photo = input('x', 'float32', ['N', 3, size, size])
const fine = op.Relu(convolution(photo, 'down.0', 3, 8))
const middle = op.Relu(convolution(halved(fine), 'down.1', 8, 16))
const coarse = op.Relu(convolution(halved(middle), 'bottom', 16, 32))
const doubled = (x: ReturnType<typeof input>, side: number) =>
  op.Resize(x, null, null, [side, side], { axes: [2, 3], mode: 'nearest' })
const up = op.Relu(convolution(op.Concat([doubled(coarse, size / 2), middle], { axis: 1 }), 'up.1', 48, 16))
const last = op.Relu(convolution(op.Concat([doubled(up, size), fine], { axis: 1 }), 'up.0', 24, 8))
const outputs = new Map([['mask', convolution(last, 'head', 8, 1, 1)]])
const model = modelOf({ name: 'unet', inputs: new Map([['x', photo]]), outputs })

const runtime = node()
const trainer = await Trainer.create(model, {
  loss: dice({ binary: true }),
  optimizer: adamw({ lr: 3e-3 }),
  schedule: { kind: 'cosine' },
  metrics: [iou()],
  batchSize: 8,
  runtime,
})
for await (const { epoch, loss, validation: measured } of trainer.fit(train, { totalEpochs: epochs, validation }))
  console.log(`epoch ${epoch + 1}: loss ${loss.toFixed(3)}, mean IoU ${(measured!['iou'] as number).toFixed(3)}`)
await writeModel('unet.onnx', trainer.export())

await draw('new.png')
for await (const { outputs } of predict(trainer.export(), imageFiles(['new.png'], { image, input: 'x' }), {
  runtime,
})) {
  const pixels = Uint8Array.from(outputs['mask']!.data as Float32Array, (logit) => (logit > 0 ? 255 : 0))
  await sharp(pixels, { raw: { width: size, height: size, channels: 1 } })
    .png()
    .toFile('new-mask.png')
  console.log(`new-mask.png: ${pixels.filter((pixel) => pixel > 0).length} pixels`)
}
await trainer.dispose()
await runtime.dispose()
