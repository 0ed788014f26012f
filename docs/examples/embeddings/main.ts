/** Embeddings for search: questions and answers that belong together get vectors that are close. */
import { writeFile } from 'node:fs/promises'
import { adam, fromArrays, multipleNegatives, predict, split, topK, Trainer } from 'onnx-ire'
import { paddedColumn, Random } from 'onnx-ire/data'
import { input, modelOf, op, parameter, tensor } from 'onnx-ire/graph'
import { node, writeModel } from 'onnx-ire/node'

const pairs = 800
const epochs = 10

// Replace this by your own pairs of a question and the text that answers it.
const random = new Random(0)
const choose = <T>(options: readonly T[]) => options[random.integer(options.length)]!
const topics = [
  ['password', 'reset it under account settings'],
  ['invoice', 'all receipts are under billing'],
  ['parcel', 'track the delivery with its number'],
  ['refund', 'money returns to your card within days'],
  ['camera', 'allow video in the privacy menu'],
  ['language', 'change the words of menus under region'],
  ['backup', 'copies of files are made every night'],
  ['battery', 'lower the brightness to save power'],
] as const
const devices = ['phone', 'tablet', 'laptop', 'watch', 'television', 'printer']
const examples = Array.from({ length: pairs }, () => {
  const [[topic, answer], device] = [choose(topics), choose(devices)]
  const opening = choose(['How do I change the', 'I have lost the', 'What about the', 'Where is the'])
  return { question: `${opening} ${topic} of my ${device}?`, answer: `On a ${device} ${answer}.` }
})

const wordsOf = (text: string) => text.toLowerCase().match(/[a-z]+/g) ?? []
const texts = examples.flatMap(({ question, answer }) => [question, answer])
const vocabulary = [...new Set(texts.flatMap(wordsOf))].sort()
const numbers = new Map(vocabulary.map((word, i) => [word, i + 2]))
const tokensOf = (given: readonly string[], mask: string) =>
  paddedColumn(
    given.map((text) => wordsOf(text).map((word) => numbers.get(word) ?? 1)),
    { multipleOf: 4, mask },
  )

// Each pass of the model reads its own tensors: `anchor/tokens`, `positive/tokens`.
const data = fromArrays({
  'anchor/tokens': tokensOf(
    examples.map(({ question }) => question),
    'anchor/mask',
  ),
  'positive/tokens': tokensOf(
    examples.map(({ answer }) => answer),
    'positive/mask',
  ),
})
const { train, validation } = split(data, { validation: 0.2 })

// The mean of word vectors, and a layer.
const width = 32
const drawn = (name: string, dims: readonly number[], deviation: number) => {
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
const tokens = input('tokens', 'int64', ['N', 'T'])
const mask = input('mask', 'int64', ['N', 'T'])
const present = op.Unsqueeze(op.Cast(mask, { to: 1 }), [2])
const vectors = op.Mul(op.Gather(drawn('words', [vocabulary.length + 2, width], 0.3), tokens), present)
const mean = op.Div(op.ReduceSum(vectors, [1], { keepdims: 0 }), op.ReduceSum(present, [1], { keepdims: 0 }))
const embedding = op.MatMul(mean, drawn('projection', [width, width], 0.2))
const inputs = new Map([
  ['tokens', tokens],
  ['mask', mask],
])
const model = modelOf({ name: 'search', inputs, outputs: new Map([['embedding', embedding]]) })

const runtime = node()
const trainer = await Trainer.create(model, {
  passes: ['anchor', 'positive'],
  loss: multipleNegatives(),
  metrics: [topK(1)],
  optimizer: adam({ lr: 1e-2 }),
  batchSize: 32,
  runtime,
})
// Several of the 32 questions may have the same answer here, so that the right one is not always the first.
for await (const { epoch, loss, validation: measured } of trainer.fit(train, { totalEpochs: epochs, validation }))
  console.log(`epoch ${epoch + 1}: loss ${loss.toFixed(3)}, first of 32 ${(measured!['top1'] as number).toFixed(3)}`)

const tuned = trainer.export()
await writeModel('search.onnx', tuned)
await writeFile('search.vocabulary.json', JSON.stringify(vocabulary))

/** Embeds texts as vectors of length 1. */
async function embed(given: readonly string[]): Promise<Float32Array[]> {
  const found: Float32Array[] = []
  for await (const { outputs, indices } of predict(tuned, fromArrays({ tokens: tokensOf(given, 'mask') }), { runtime }))
    for (const i of indices.keys()) {
      const vector = (outputs['embedding']!.data as Float32Array).slice(i * width, (i + 1) * width)
      const length = Math.hypot(...vector)
      found.push(vector.map((x) => x / length))
    }
  return found
}

const answers = [...new Set(examples.map(({ answer }) => answer))].sort()
const stored = await embed(answers)
for (const question of ['Where do I find the invoice of my laptop?', 'My watch needs another password']) {
  const [asked] = await embed([question])
  const scores = stored.map((vector) => vector.reduce((sum, x, i) => sum + x * asked![i]!, 0))
  console.log(`${question} -> ${answers[scores.indexOf(Math.max(...scores))]}`)
}
await trainer.dispose()
await runtime.dispose()
