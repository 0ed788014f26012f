import { readFile, writeFile } from 'node:fs/promises'
import * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { writeModel } from '../../src/node/index.js'
import type { Recipe } from '../../src/recipe/recipe.js'
import { json } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
  const x = input('x', 'float32', ['N', 4])
  const w = parameter('w', tensor('float32', [4, 1], new Float32Array(4)))
  const b = parameter('b', tensor('float32', [1], new Float32Array(1)))
  const y = op.Squeeze(op.Gemm(x, w, b), [1])
  await writeModel(
    space.path('linear.onnx'),
    modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }),
  )
  const rows = Array.from({ length: 60 }, (_, i) => {
    const [area, city] = [40 + ((i * 37) % 60), ['Basel', 'Bern', 'Genf'][i % 3]!]
    return `${i % 10 === 4 ? '' : area},${city},${1e6 + 1e4 * area + 1e5 * (i % 3)}`
  })
  await writeFile(space.path('houses.csv'), `area,city,price\n${rows.join('\n')}\n`)
  await writeFile(space.path('new.csv'), 'area,city\n70,Bern\n,Rom\n')
})
afterAll(() => space.remove())

const recipe = () => ({
  model: 'linear.onnx',
  data: {
    train: {
      kind: 'csv',
      file: 'houses.csv',
      tensors: {
        x: [
          { columns: 'area', impute: 'median', scale: 'standard' },
          { columns: 'city', as: 'one-hot' },
        ],
        targets: { columns: 'price', scale: 'standard' },
      },
    },
    split: { validation: 0.2 },
  },
  loss: { kind: 'mse', output: 'y' },
  metrics: ['r2'],
  trainable: '*',
  optimizer: { kind: 'adam', lr: 0.05 },
  epochs: 20,
  seed: 0,
})

test('a table with features > trains, and its run converts other rows alike', async () => {
  await writeFile(space.path('houses.json'), JSON.stringify(recipe()))
  const run = space.path('run')
  const trained = await json<{ validation: { r2: number } }>('train', space.path('houses.json'), '--out', run)
  expect(trained.validation.r2).toBeGreaterThan(0.8)
  const { data } = JSON.parse(await readFile(space.path('run/recipe.json'), 'utf8')) as Recipe
  const { statistics } = data.train as { statistics?: Record<string, Record<string, object>> }
  expect(statistics!['x']!['city']).toEqual({ categories: ['Basel', 'Bern', 'Genf'] })
  expect(statistics!['targets']!['price']).toEqual({ offset: expect.any(Number), divisor: expect.any(Number) })

  // Rows that are added do not change the statistics of the run.
  const evaluated = await json<{ r2: number }>('evaluate', run)
  expect(evaluated.r2).toBeCloseTo(trained.validation.r2, 5)
  await json('predict', run, space.path('new.csv'), '-o', space.path('new.jsonl'))
  const predicted = (await readFile(space.path('new.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(predicted).toHaveLength(2)

  // The exported model may convert the columns itself; its predictions are then prices.
  await json('export', run, '--columns', '-o', space.path('prices.onnx'))
  const session = await ort.InferenceSession.create(space.path('prices.onnx'))
  const area = new ort.Tensor('float64', Float64Array.of(70, Number.NaN), [2])
  const { y } = await session.run({ area, city: new ort.Tensor('string', ['Bern', 'Rom'], [2]) })
  const { offset, divisor } = statistics!['targets']!['price'] as { offset: number; divisor: number }
  const scaled = predicted.map(({ outputs }) => outputs.y as number)
  expect([...(y!.data as Float32Array)].map((price) => (price - offset) / divisor)).toEqual(
    scaled.map((value) => expect.closeTo(value, 4)),
  )

  // A run resumes with the recipe that it was started with, and with its own.
  const longer = { ...recipe(), epochs: 22 }
  await writeFile(space.path('houses.json'), JSON.stringify(longer))
  await json('train', space.path('houses.json'), '--out', run, '--resume')
  const resumed = await json<{ validation: { r2: number } }>(
    'train',
    space.path('run/recipe.json'),
    '--out',
    run,
    '--resume',
    '--set',
    'epochs=24',
  )
  expect(resumed.validation.r2).toBeGreaterThan(0.8)
})

test('a stream with features > is not split', async () => {
  const { data, ...rest } = recipe()
  const streamed = { ...rest, data: { ...data, train: { ...data.train, stream: true } } }
  await writeFile(space.path('streamed.json'), JSON.stringify(streamed))
  await expect(json('train', space.path('streamed.json'), '--out', space.path('streamed'))).rejects.toThrow(
    /data.split.*statistics/s,
  )
})
