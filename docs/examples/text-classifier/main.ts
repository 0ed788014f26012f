/** A text classifier: which team answers a message, learned from examples, one JSON object per line. */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { accuracy, adam, crossEntropy, type Dataset, fromArrays, labelColumn, predict, split, Trainer } from 'onnx-ire'
import { paddedColumn, Random } from 'onnx-ire/data'
import { input, modelOf, op, parameter, tensor } from 'onnx-ire/graph'
import { node, readJsonRows, writeModel } from 'onnx-ire/node'

const messages = 600
const epochs = 10

interface Message {
  readonly text: string
  readonly team: string
}

// Replace this by your own messages: {"text": "Where is my parcel?", "team": "shipping"}
const random = new Random(0)
const choose = (...options: readonly string[]) => options[random.integer(options.length)]!
const parts: Readonly<Record<string, readonly [subjects: readonly string[], troubles: readonly string[]]>> = {
  billing: [
    ['The invoice', 'My receipt', 'The last payment', 'A refund'],
    ['is wrong', 'did not arrive', 'was charged twice', 'has the old address'],
  ],
  shipping: [
    ['The parcel', 'My order', 'The delivery', 'A package'],
    ['is late', 'did not arrive', 'was damaged', 'went to the old address'],
  ],
  technical: [
    ['The app', 'My account', 'The login page', 'An update'],
    ['crashes', 'shows an error', 'does not load', 'is very slow'],
  ],
}
if (!existsSync('messages.jsonl')) {
  const lines = Array.from({ length: messages }, () => {
    const team = choose(...Object.keys(parts))
    const [subjects, troubles] = parts[team]!
    const greeting = choose('Hello, ', 'Hi! ', 'Please help. ', '')
    const text = `${greeting}${choose(...subjects)} ${choose(...troubles)}${choose(' since Monday', ' again', '')}.`
    return `${JSON.stringify({ text, team })}\n`
  })
  await writeFile('messages.jsonl', lines.join(''))
}

const rows = (await readJsonRows('messages.jsonl')) as readonly Message[]
const classes = [...new Set(rows.map(({ team }) => team))].sort()
const wordsOf = (text: string) => text.toLowerCase().match(/[a-z']+/g) ?? []
const vocabulary = [...new Set(rows.flatMap(({ text }) => wordsOf(text)))].sort()
/** 0 is padding, and 1 stands for every word that the training messages do not have. */
const numbers = new Map(vocabulary.map((word, i) => [word, i + 2]))
const tokensOf = (texts: readonly string[]) =>
  paddedColumn(
    texts.map((text) => wordsOf(text).map((word) => numbers.get(word) ?? 1)),
    { multipleOf: 8, mask: 'mask' },
  )

const data: Dataset = fromArrays({
  tokens: tokensOf(rows.map(({ text }) => text)),
  labels: labelColumn(rows.map(({ team }) => classes.indexOf(team))),
})
const { train, validation } = split(data, { validation: 0.2 })
console.log(`${train.length} messages to learn from, ${vocabulary.length} words, teams ${classes.join(', ')}`)

// The mean of word vectors, and a linear layer.
const width = 16
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
const vectors = op.Mul(op.Gather(drawn('embedding', [vocabulary.length + 2, width], 0.1), tokens), present)
const mean = op.Div(op.ReduceSum(vectors, [1], { keepdims: 0 }), op.ReduceSum(present, [1], { keepdims: 0 }))
const logits = op.Gemm(
  mean,
  drawn('head.weight', [width, classes.length], 0.1),
  drawn('head.bias', [classes.length], 0),
)
const inputs = new Map([
  ['tokens', tokens],
  ['mask', mask],
])
const model = modelOf({ name: 'teams', inputs, outputs: new Map([['logits', logits]]) })

const runtime = node()
const trainer = await Trainer.create(model, {
  loss: crossEntropy(),
  optimizer: adam({ lr: 1e-2 }),
  metrics: [accuracy()],
  runtime,
})
for await (const { epoch, loss, validation: measured } of trainer.fit(train, { totalEpochs: epochs, validation }))
  console.log(`epoch ${epoch + 1}: loss ${loss.toFixed(3)}, validation accuracy ${measured?.accuracy?.toFixed(3)}`)

await writeModel('teams.onnx', trainer.export())
await writeFile('teams.json', JSON.stringify({ classes, vocabulary }))

const asked = ['My parcel was charged twice', 'The delivery is damaged', 'The app shows an error after the update']
for await (const { outputs } of predict(trainer.export(), fromArrays({ tokens: tokensOf(asked) }), { runtime })) {
  const scores = outputs['logits']!.data as Float32Array
  for (const [i, text] of asked.entries()) {
    const own = [...scores.subarray(i * classes.length, (i + 1) * classes.length)]
    console.log(`${classes[own.indexOf(Math.max(...own))]}: ${text}`)
  }
}
await trainer.dispose()
await runtime.dispose()
