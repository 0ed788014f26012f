/** A table: the price of a house from numbers, a city and a date, some of them missing. */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { adamw, mae, mse, predict, r2, split, Trainer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { input, modelOf, op, parameter, tensor } from 'onnx-ire/graph'
import { node, readCsv, writeModel } from 'onnx-ire/node'

const rows = 2000
const epochs = 30

// Replace this by your own file: one row per example, with the names of the columns in the first line.
const random = new Random(0)
const cities = { Aarhus: 1.2, Bergen: 1.4, Cork: 1, Delft: 1.7 }
function house(): string {
  const [city, level] = Object.entries(cities)[random.integer(4)]!
  const area = 40 + random.integer(160)
  const rooms = Math.max(1, Math.round(area / 28 + random.normal()))
  const year = 2000 + random.integer(25)
  const price = 2000 * area * level * (1 + 0.03 * (year - 2000)) + 8000 * rooms + 9000 * random.normal()
  const known = (value: string | number) => (random.uniform() < 0.05 ? '' : value)
  return [known(area), known(rooms), known(city), `${year}-0${1 + random.integer(9)}-15`, Math.round(price)].join(',')
}
const header = 'area,rooms,city,sold,price'
if (!existsSync('houses.csv'))
  await writeFile('houses.csv', `${[header, ...Array.from({ length: rows }, house)].join('\n')}\n`)

const tensors = {
  x: [
    { columns: ['area', 'rooms'], impute: 'median', scale: 'standard' },
    { columns: 'city', as: 'one-hot' },
    { columns: 'sold', as: 'date', parts: ['year'], scale: 'standard' },
  ],
  targets: { columns: 'price', scale: 'standard' },
} as const
const { train, validation } = split(await readCsv('houses.csv', { tensors, missing: 0 }), { validation: 0.2 })
const width = (await train.batch([0]))['x']!.dims[1]!
console.log(`${train.length} rows to learn from, ${width} features`)

/** A network with two hidden layers. */
const features = input('x', 'float32', ['N', width])
const layer = (x: typeof features, name: string, from: number, to: number) => {
  const deviation = Math.sqrt(2 / from)
  const weight = Float32Array.from({ length: from * to }, () => deviation * random.normal())
  const bias = parameter(`${name}.bias`, tensor('float32', [to], new Float32Array(to)))
  return op.Gemm(x, parameter(`${name}.weight`, tensor('float32', [from, to], weight)), bias)
}
const hidden = op.Relu(layer(op.Relu(layer(features, 'first', width, 64)), 'second', 64, 64))
const inputs = new Map([['x', features]])
const price = op.Squeeze(layer(hidden, 'last', 64, 1), [1])
const model = modelOf({ name: 'price', inputs, outputs: new Map([['price', price]]) })

const runtime = node()
const trainer = await Trainer.create(model, {
  loss: mse(),
  optimizer: adamw({ lr: 3e-3 }),
  schedule: { kind: 'cosine' },
  metrics: [r2(), mae()],
  batchSize: 64,
  best: { metric: 'loss' },
  runtime,
})
for await (const { epoch, loss, validation: measured } of trainer.fit(train, { totalEpochs: epochs, validation }))
  if ((epoch + 1) % 10 === 0)
    console.log(`epoch ${epoch + 1}: loss ${loss.toFixed(4)}, R² ${(measured!['r2'] as number).toFixed(3)}`)

const tuned = trainer.export({ weights: 'best' })
await writeModel('price.onnx', tuned)
await writeFile('price.statistics.json', JSON.stringify(train.statistics))

// New rows, converted by the statistics of the training part.
await writeFile('new.csv', `${header}\n120,4,Delft,2020-06-15,0\n120,,Cork,2005-06-15,0\n`)
const asked = await readCsv('new.csv', { tensors, missing: 0, statistics: train.statistics })
const { offset = 0, divisor = 1 } = train.statistics!['targets']!['price']!
for await (const { outputs } of predict(tuned, asked, { runtime }))
  for (const scaled of outputs['price']!.data as Float32Array)
    console.log(`price: ${Math.round(offset + divisor * scaled)}`)
await trainer.dispose()
await runtime.dispose()
