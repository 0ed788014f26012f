import { execFileSync, spawnSync } from 'node:child_process'
import { readFile, symlink, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { predictExamples } from '../../src/cli/report/predict-examples.js'
import { readRuns } from '../../src/cli/runs/read-run.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { node, writeModel } from '../../src/node/index.js'
import type { Recipe } from '../../src/recipe/recipe.js'
import { json, run } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
  const x = input('x', 'float32', ['N', 5])
  const w = parameter('w', tensor('float32', [5, 1], new Float32Array(5)))
  const b = parameter('b', tensor('float32', [1], new Float32Array(1)))
  const y = op.Squeeze(op.Gemm(x, w, b), [1])
  await writeModel(
    space.path('linear.onnx'),
    modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }),
  )
  const rows = Array.from({ length: 60 }, (_, i) => {
    const [area, city] = [40 + ((i * 37) % 60), ['Basel', 'Bern', 'Genf'][i % 3]!]
    return `${i % 10 === 4 ? '' : area},${city},2024-05-${10 + (i % 7)},${1e6 + 1e4 * area + 1e5 * (i % 3)}`
  })
  await writeFile(space.path('houses.csv'), `area,city,sold,price\n${rows.join('\n')}\n`)
  await writeFile(space.path('new.csv'), 'area,city,sold\n70,Bern,2024-05-17\n,Rom,2023-01-01T12:00\n')
  await writeFile(space.path('first.csv'), `area,city,sold\n${rows[0]!.split(',').slice(0, 3).join(',')}\n`)
  await symlink(fileURLToPath(new URL('../../node_modules', import.meta.url)), space.path('node_modules'))
})
afterAll(() => space.remove())

test('class names of an input > are not those of predictions', async () => {
  const [x, color] = [input('x', 'float32', ['N', 1]), input('color', 'int64', ['N'])]
  const weight = (name: string, ...dims: number[]) =>
    parameter(name, tensor('float32', dims, new Float32Array(dims.reduce((a, b) => a * b)).fill(0.5)))
  const y = op.Gemm(op.Concat([x, op.Gather(weight('colors', 2, 1), color)], { axis: 1 }), weight('w', 2, 1))
  const model = modelOf({ name: 'm', inputs: new Map(Object.entries({ x, color })), outputs: new Map([['y', y]]) })
  await writeModel(space.path('colored.onnx'), model)
  await writeFile(space.path('colored.csv'), `size,color,price\n${'1,red,3\n2,blue,4\n'.repeat(8)}`)
  const tensors = { x: ['size'], color: { columns: 'color', as: 'class' }, targets: ['price'] }
  const recipe = await space.writeRecipe('colored.json', {
    ...{ model: 'colored.onnx', loss: { kind: 'mse' }, schedule: undefined, epochs: 1 },
    data: { train: { kind: 'csv', file: 'colored.csv', tensors } },
    optimizer: { kind: 'adamw', lr: 0.01 },
  })
  const { run: folder } = await json<{ run: string }>('train', recipe)
  const { stdout } = await run('predict', folder, space.path('colored.csv'))
  expect(JSON.parse(stdout.split('\n')[0]!)).toEqual({ index: 0, outputs: { y: [expect.any(Number)] } })
  expect((await run('snippet', folder)).stdout).not.toContain('blue')
})

test('missing: skip > training leaves rows out, predict refuses them: every row has its prediction', async () => {
  const x = input('x', 'float32', ['N', 2])
  const y = op.MatMul(x, parameter('w', tensor('float32', [2, 1], Float32Array.of(1, 1))))
  await writeModel(
    space.path('sum.onnx'),
    modelOf({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }),
  )
  await writeFile(space.path('sums.csv'), 'a,b,c\n1,2,3\n,5,6\n3,4,\n2,2,4\n')
  const path = await space.writeRecipe('sums.json', {
    ...{ model: 'sum.onnx', loss: { kind: 'mse' }, schedule: undefined, epochs: 1 },
    data: { train: { kind: 'csv', file: 'sums.csv', missing: 'skip', tensors: { x: ['a', 'b'], targets: ['c'] } } },
    optimizer: { kind: 'sgd', lr: 0.001 },
  })
  const { run: folder } = await json<{ run: string }>('train', path)
  expect((await json<{ count: number }>('evaluate', folder, '--on', 'train')).count).toBe(2)
  // A target is not read.
  await writeFile(space.path('more.csv'), 'a,b,c\n1,2,\n3,4,5\n')
  expect((await run('predict', folder, space.path('more.csv'))).stdout.trimEnd().split('\n')).toHaveLength(2)
  const refused = await run('predict', folder, space.path('sums.csv'))
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("sums.csv:3: column 'a' is empty")])
  const filled = await run('predict', folder, space.path('sums.csv'), '--set', 'data.train.missing=0')
  expect(filled.stdout.trimEnd().split('\n')).toHaveLength(4)
})

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
          { columns: 'sold', as: 'date', parts: ['weekday'], scale: 'standard' },
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
  const folder = space.path('run')
  const trained = await json<{ validation: { r2: number } }>('train', space.path('houses.json'), '--out', folder)
  expect(trained.validation.r2).toBeGreaterThan(0.8)
  const { data } = JSON.parse(await readFile(space.path('run/recipe.json'), 'utf8')) as Recipe
  const { statistics } = data.train as { statistics?: Record<string, Record<string, object>> }
  expect(statistics!['x']!['city']).toEqual({ categories: ['Basel', 'Bern', 'Genf'] })
  expect(statistics!['targets']!['price']).toEqual({ offset: expect.any(Number), divisor: expect.any(Number) })

  // Rows that are added do not change the statistics of the run.
  const evaluated = await json<{ r2: number }>('evaluate', folder)
  expect(evaluated.r2).toBeCloseTo(trained.validation.r2, 5)
  const predict = async (file: string): Promise<number[]> => {
    await json('predict', folder, space.path(file), '-o', space.path(`${file}.jsonl`))
    const lines = (await readFile(space.path(`${file}.jsonl`), 'utf8')).trim().split('\n')
    return lines.map((line) => JSON.parse(line).outputs.y)
  }
  const predicted = await predict('new.csv')
  expect(predicted).toHaveLength(2)

  // The exported model may convert the columns itself; its predictions are then prices.
  await json('export', folder, '--columns', '-o', space.path('prices.onnx'))
  const session = await ort.InferenceSession.create(space.path('prices.onnx'))
  const { y } = await session.run({
    area: new ort.Tensor('float64', Float64Array.of(70, Number.NaN), [2]),
    city: new ort.Tensor('string', ['Bern', 'Rom'], [2]),
    sold: new ort.Tensor('string', ['2024-05-17', '2023-01-01T12:00'], [2]),
  })
  const { offset, divisor } = statistics!['targets']!['price'] as { offset: number; divisor: number }
  expect([...(y!.data as Float32Array)].map((price) => (price - offset) / divisor)).toEqual(
    predicted.map((value) => expect.closeTo(value, 4)),
  )

  // A snippet runs it on the first row of the file.
  const snippet = async (target: string, file: string) => {
    const { stdout } = await run('snippet', folder, '--columns', space.path('prices.onnx'), '--for', target)
    await writeFile(space.path(file), stdout)
    return stdout
  }
  const price = Math.fround((await predict('first.csv'))[0]! * divisor + offset)
  const options = { cwd: space.path('.'), encoding: 'utf8' } as const
  expect(await snippet('node', 'use.mjs')).toContain('"sold": new ort.Tensor("string", ["2024-05-10"], [1])')
  expect(execFileSync(process.execPath, ['use.mjs'], options)).toBe(`y Float32Array(1) [ ${price} ]\n`)
  expect(await snippet('web', 'web.mjs')).toContain('"area": new ort.Tensor("float64", Float64Array.from([40]), [1])')
  expect(await snippet('python', 'use.py')).toContain('"city": np.array(["Basel"], "object").reshape([1])')
  // Other builds of onnxruntime may round the last bit otherwise.
  const expectPrice = (printed: string) =>
    expect(Math.abs(Number(/ \[ ?([\d.]+) ?\]\n$/.exec(printed)![1]) / price - 1)).toBeLessThan(2e-7)
  expectPrice(execFileSync(process.execPath, ['web.mjs'], options))
  const python = process.env['PYTHON'] ?? 'python3'
  if (spawnSync(python, ['-c', 'import onnxruntime, numpy']).status === 0)
    expectPrice(execFileSync(python, ['use.py'], options))
  const refused = await run('snippet', folder, '--columns', space.path('linear.onnx'))
  expect(refused.stderr).toMatch(/^error \(invalid-option\): --columns: .*linear\.onnx/)

  // A report has the held-out rows with the largest loss.
  const runtime = node({ worker: false })
  const shown = await predictExamples((await readRuns([folder]))[0]!, 3, runtime)
  await runtime.dispose()
  if (!('kind' in shown) || shown.kind !== 'losses') throw new Error(JSON.stringify(shown))
  expect(shown.worst.map(({ loss }) => loss)).toEqual(shown.worst.map(({ loss }) => loss).sort((a, b) => b - a))
  // The numbers are prices, with four digits.
  const numberOf = (text?: string) => Number(text!.replaceAll(',', ''))
  for (const { loss, given, predicted } of shown.worst)
    expect(Math.sqrt(loss)).toBeCloseTo(Math.abs(numberOf(given) - numberOf(predicted)) / divisor, 2)

  // A run resumes with the recipe that it was started with, and with its own.
  const longer = { ...recipe(), epochs: 22 }
  await writeFile(space.path('houses.json'), JSON.stringify(longer))
  await json('train', space.path('houses.json'), '--out', folder, '--resume')
  const resumed = await json<{ validation: { r2: number } }>(
    'train',
    space.path('run/recipe.json'),
    '--out',
    folder,
    '--resume',
    '--set',
    'epochs=24',
  )
  expect(resumed.validation.r2).toBeGreaterThan(0.8)
})

test('predict --data > is another place of the data of the run, of which the held-out part is predicted', async () => {
  const [moved, args] = [space.path('houses.csv'), ['predict', space.path('run'), '--data']]
  const held = await run(...args, moved, '--quiet')
  expect([held.code, held.stderr, held.stdout.trimEnd().split('\n').length]).toEqual([0, '', 12])
  const part = await run(...args, moved)
  expect(part.stderr).toContain(`predicts the held-out 12 of 60 examples; to predict all of ${moved}, give it as an`)
  expect((await run(...args, moved, '--on', 'train')).stderr).toContain('predicts the training 48 of 60 examples')
  const whole = ['predict', space.path('run/tuned.onnx'), space.path('run/recipe.json'), '--data', moved]
  expect((await run(...whole)).stderr).toContain('add --set data.split=null --on train')
  const all = await run(...whole, '--set', 'data.split=null', '--on', 'train')
  expect([all.code, all.stdout.trimEnd().split('\n').length]).toEqual([0, 60])
  const unlabeled = await run(...args, space.path('new.csv'))
  expect([unlabeled.code, unlabeled.stderr]).toEqual([
    1,
    expect.stringMatching(/'?price.*new\.csv, give it as an arg/s),
  ])
})

test('a stream with features > is not split', async () => {
  const { data, ...rest } = recipe()
  const streamed = { ...rest, data: { ...data, train: { ...data.train, stream: true } } }
  await writeFile(space.path('streamed.json'), JSON.stringify(streamed))
  await expect(json('train', space.path('streamed.json'), '--out', space.path('streamed'))).rejects.toThrow(
    /data.split.*statistics/s,
  )
})
