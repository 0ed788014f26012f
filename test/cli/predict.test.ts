import { readdir, readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findScoreKind } from '../../src/analysis/snippet/score-kind.js'
import { findClassAxis, topClasses } from '../../src/cli/prediction/top-classes.js'
import { body, exportGraph, input, op } from '../../src/graph/index.js'
import { writeModel } from '../../src/node/index.js'
import { json, run, start } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
  const x = input('x', 'float32', ['N', 2])
  const outputs = new Map([
    ['same', op.Identity(x)],
    ['sum', op.ReduceSum(x, [1], { keepdims: 0 })],
    ['grid', op.Reshape(op.Concat([x, x], { axis: 1 }), [-1, 2, 2])],
    ['whole', op.Cast(op.Floor(x), { to: 7 })],
    ['ratio', op.Div(x, op.Sub(x, x))],
  ])
  const proto = exportGraph({ name: 'm', inputs: new Map([['x', x]]), outputs })
  await writeModel(space.path('several.onnx'), { proto, external: null })
  await writeFile(space.path('rows.csv'), 'a,b\n0.1,2.5\n-3,0\n4,5\n')
  await writeFile(space.path('names.json'), '["none","one","two, or so"]')
})
afterAll(() => space.remove())

const inSpace = (columns = '*') =>
  JSON.stringify({ kind: 'csv', file: space.path('rows.csv'), tensors: { x: columns } })
const written = async (name: string) => (await readFile(space.path(name), 'utf8')).split('\n')
/** Numbers and scores of the examples of scores.jsonl. */
const readScores = async () =>
  (await written('scores.jsonl')).slice(0, -1).map((line) => {
    const { index, outputs } = JSON.parse(line) as {
      readonly index: number
      readonly outputs: { readonly y: number[] }
    }
    return { index, y: outputs.y }
  })

describe('predict > outputs', () => {
  test('as JSON lines > are nested like the output', async () => {
    const output = space.path('all.jsonl')
    const result = await json(
      'predict',
      space.path('several.onnx'),
      '--data',
      inSpace(),
      '--batch-size',
      '2',
      '-o',
      output,
    )
    expect(result).toMatchObject({ output, examples: 3 })
    const [first, second, third, end] = await written('all.jsonl')
    expect(JSON.parse(first!)).toEqual({
      index: 0,
      outputs: {
        same: [0.1, 2.5],
        sum: 2.6,
        grid: [
          [0.1, 2.5],
          [0.1, 2.5],
        ],
        whole: [0, 2],
        ratio: ['Infinity', 'Infinity'],
      },
    })
    expect(JSON.parse(second!)).toMatchObject({ index: 1, outputs: { sum: -3, ratio: ['-Infinity', 'NaN'] } })
    expect(JSON.parse(third!)).toMatchObject({ index: 2, outputs: { sum: 9 } })
    expect(end).toBe('')
  })

  test('as CSV > have one column per element', async () => {
    const output = space.path('some.csv')
    await json('predict', space.path('several.onnx'), '--data', inSpace(), '--outputs', 's*,grid', '-o', output)
    expect(await written('some.csv')).toEqual([
      'index,same[0],same[1],sum,"grid[0,0]","grid[0,1]","grid[1,0]","grid[1,1]"',
      '0,0.1,2.5,2.6,0.1,2.5,0.1,2.5',
      '1,-3,0,-3,-3,0,-3,0',
      '2,4,5,9,4,5,4,5',
      '',
    ])
  })
})

describe('predict > classes', () => {
  test('held-out data of a recipe > uses the class names of a file', async () => {
    const [recipe, output] = [space.path('recipe.json'), space.path('classes.csv')]
    const model = space.path('model.onnx')
    await writeFile(space.path('digits.json'), JSON.stringify({ labels: [...'abcdefghij'] }))
    await json('predict', model, recipe, '--classes', '--class-names', space.path('digits.json'), '-o', output)
    await json('predict', model, recipe, '-o', space.path('scores.jsonl'))
    const scores = await readScores()
    const expected = scores.map(({ index, y }) => {
      const top = y.indexOf(Math.max(...y))
      return `${index},${top},${'abcdefghij'[top]},${y[top]}`
    })
    expect(scores.length).toBe(40)
    expect(await written('classes.csv')).toEqual(['index,class,name,probability', ...expected, ''])
  })

  test('parts of the data > are numbered as the whole', async () => {
    const { data, ...recipe } = JSON.parse(await readFile(space.path('recipe.json'), 'utf8'))
    const predicted = async (more: object, on: string) => {
      await writeFile(space.path('part.json'), JSON.stringify({ ...recipe, data: { train: data.train, ...more } }))
      const part = [space.path('part.json'), '--on', on]
      await json('predict', space.path('model.onnx'), ...part, '-o', space.path('scores.jsonl'))
      return readScores()
    }
    const split = { split: { validation: 0.25 } }
    const parts = [...(await predicted(split, 'validation')), ...(await predicted(split, 'train'))]
    const whole = await predicted({}, 'train')
    expect(parts.toSorted((a, b) => a.index - b.index)).toEqual(whole)
  })

  test('class names > are quoted; logits become probabilities', async () => {
    const output = space.path('named.csv')
    const names = ['--classes', '--class-names', space.path('names.json')]
    await json('predict', space.path('several.onnx'), '--data', inSpace(), ...names, '--outputs', 'same', '-o', output)
    const p = (z: number) => Number((1 / (1 + Math.exp(-z))).toPrecision(7))
    const found = (await written('named.csv')).slice(1, 4).map((line) => line.split(','))
    expect(found.map(([index, top, name]) => [index, top, name])).toEqual([
      ['0', '1', 'one'],
      ['1', '1', 'one'],
      ['2', '1', 'one'],
    ])
    for (const [i, z] of [2.4, 3, 1].entries()) expect(Number(found[i]![3])).toBeCloseTo(p(z), 6)
  })

  test('kind of scores > is inferred from the operator that computes them', () => {
    const x = input('x', 'float32', ['N', 2])
    const c = input('c', 'bool', [])
    const branch = body([], () => [op.Sigmoid(x)])
    const outputs = new Map([
      ['p', op.Reshape(op.Softmax(x), [-1, 2])],
      ['l', op.LogSoftmax(x)],
      ['s', op.Sigmoid(x)],
      ['m', op.ReduceMean(op.Sigmoid(x), [1])],
      ['t', op.Transpose(op.Softmax(x, { axis: 1 }), { perm: [1, 0] })],
      ['b', op.If(c, { then_branch: branch, else_branch: branch })[0]!],
      ['z', op.Neg(x)],
    ])
    const model = {
      proto: exportGraph({
        name: 'm',
        inputs: new Map([
          ['x', x],
          ['c', c],
        ]),
        outputs,
      }),
      external: null,
    }
    const kinds = [...outputs.keys()].map((name) => findScoreKind(model, name))
    const p = 'probabilities'
    expect(kinds).toEqual([p, 'log-probabilities', p, p, p, p, 'logits'])
    expect(['t', 'z'].map((name) => findClassAxis(model, name, undefined))).toEqual([0, undefined])
  })

  test('one column > yes or no; several positions > one class each', () => {
    const scores = (dims: number[], ...data: number[]) => ({
      dtype: 'float32' as const,
      dims,
      data: Float32Array.from(data),
    })
    expect(topClasses('y', scores([2, 1], 0.25, 0.75), 'probabilities')).toEqual([
      { class: 0, probability: 0.75 },
      { class: 1, probability: 0.75 },
    ])
    expect(topClasses('y', scores([1, 1], 0), 'logits')).toEqual([{ class: 0, probability: 0.5 }])
    const each = topClasses('y', scores([1, 2, 2], 0, 0, 3, 2), 'logits')
    expect(each.map((top) => top.class)).toEqual([0, 0])
    expect(each[1]!.probability).toBeCloseTo(1 / (1 + Math.exp(-1)), 12)
    const pixels = scores([1, 3, 1, 2], 1, 5, 2, 4, 3, 6)
    expect(topClasses('y', pixels, 'logits', 1).map((top) => top.class)).toEqual([2, 2])
    expect(topClasses('y', pixels, 'logits', -1).map((top) => top.class)).toEqual([1, 1, 1])
    expect(() => topClasses('y', pixels, 'logits')).toThrow(/along axis 1 or the last one: give a recipe/)
    const yes = topClasses('y', scores([1, 1, 1, 3], 0.2, 0.7, 0.4), 'probabilities')
    expect(yes.map((top) => top.class)).toEqual([0, 1, 0])
    expect(() => topClasses('y', scores([3], 1, 2, 3), 'logits')).toThrow(/the output 'y' is float32 \[3\]/)
  })
})

describe('predict > several labels of an example, each a yes or no', () => {
  const files = (...names: string[]) => names.map((name) => space.path(name))
  const labels = async (output: string, ...args: string[]) => {
    const train = { kind: 'csv', file: 'rows.csv', tensors: { x: ['a', 'b'], targets: ['a', 'b'] } }
    const loss = { kind: 'binary-cross-entropy', logits: output }
    const recipe = await space.writeRecipe('labels.json', { data: { train }, loss })
    return run('predict', ...files('several.onnx'), recipe, '--on', 'train', '--outputs', output, '--classes', ...args)
  }
  const names = () => ['--class-names', space.path('pair.json')]
  beforeAll(() => writeFile(space.path('pair.json'), '["cat","dog"]'))

  test('as JSON > an answer for each label', async () => {
    const { stdout } = await labels('same', '--json', ...names())
    const [first, second] = stdout
      .split('\n')
      .slice(0, 2)
      .map((line) => JSON.parse(line))
    expect(first).toEqual({
      index: 0,
      labels: [
        { name: 'cat', class: 1, probability: expect.closeTo(0.52498, 5) },
        { name: 'dog', class: 1, probability: expect.closeTo(0.92414, 5) },
      ],
    })
    expect(second.labels).toMatchObject([{ class: 0, probability: expect.closeTo(0.95257, 5) }, { class: 0 }])
    const several = await labels('grid', '--json')
    expect(JSON.parse(several.stdout.split('\n')[1]!).labels).toEqual(
      [0, 1].map(() => [
        { class: 0, probability: expect.closeTo(0.95257, 5) },
        { class: 0, probability: 0.5 },
      ]),
    )
  })

  test('as lines > the labels with the answer yes', async () => {
    const { stdout } = await labels('same', ...names())
    expect(stdout.split('\n').slice(0, 2)).toEqual(['example 0: cat 52.5 %, dog 92.4 %', 'example 1: none'])
    expect((await labels('grid')).stdout).toContain('example 1: none; none')
  })

  test('scores of a Sigmoid without a loss > an answer for each label; with the loss of classes, one class', async () => {
    const x = input('x', 'float32', ['N', 2])
    const proto = exportGraph({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Sigmoid(x)]]) })
    await writeModel(space.path('sigmoid.onnx'), { proto, external: null })
    const predict = (...args: string[]) => run('predict', ...files('sigmoid.onnx'), '--classes', ...names(), ...args)
    const { stdout } = await predict('--data', inSpace())
    expect(stdout.split('\n').slice(0, 2)).toEqual(['example 0: cat 52.5 %, dog 92.4 %', 'example 1: none'])
    const train = { kind: 'csv', file: 'rows.csv', tensors: { x: ['a', 'b'] } }
    const recipe = await space.writeRecipe('one.json', { data: { train }, loss: { kind: 'cross-entropy' } })
    const one = await predict(recipe, '--on', 'train')
    expect(one.stdout.split('\n').slice(0, 2)).toEqual(['example 0: dog 92.4 %', 'example 1: dog 50.0 %'])
  })

  test('as CSV > two columns for each label', async () => {
    await labels('same', '-o', space.path('labels.csv'), ...names())
    const [header, , second] = await written('labels.csv')
    expect(header).toBe('index,cat,cat probability,dog,dog probability')
    expect(second).toMatch(/^1,0,0\.952574\d*,0,0\.5$/)
  })
})

describe('predict > scores that are not numbers', () => {
  const scores = (...row: number[]) => ({
    dtype: 'float32' as const,
    dims: [1, row.length],
    data: new Float32Array(row),
  })

  test.each([
    ['one of several logits', scores(1, Number.NaN), 'logits'],
    ['an infinite logit', scores(1, Number.POSITIVE_INFINITY), 'logits'],
    ['one of several probabilities', scores(0.9, Number.NaN), 'probabilities'],
    ['yes or no', scores(Number.NaN), 'logits'],
  ] as const)('%s > no class', (_, tensor, kind) => {
    expect(topClasses('y', tensor, kind)).toEqual([{ class: null, probability: Number.NaN }])
  })

  test('are written as no class', async () => {
    const args = ['--data', inSpace(), '--classes', '--class-names', space.path('names.json'), '--outputs', 'ratio']
    const lines = await run('predict', space.path('several.onnx'), ...args, '--json')
    expect(JSON.parse(lines.stdout.split('\n')[1]!)).toEqual({ index: 1, class: null, probability: 'NaN' })
    const text = await run('predict', space.path('several.onnx'), ...args)
    expect(text.stdout.split('\n')[1]).toMatch(/^example 1: no class .*NaN/)
    await json('predict', space.path('several.onnx'), ...args, '-o', space.path('unknown.csv'))
    expect((await written('unknown.csv'))[2]).toBe('1,,,NaN')
  })
})

test.each<[string, string[], number, RegExp]>([
  ['an unknown extension', ['-o', 'p.txt'], 2, /--output .*\.jsonl .*\.csv/],
  ['class names without classes', ['-o', 'p.csv', '--class-names', 'names.json'], 2, /--class-names .*--classes/],
  [
    'classes of several outputs',
    ['-o', 'p.csv', '--classes'],
    1,
    /invalid-option.*--classes.*same, sum, grid.*--outputs/,
  ],
  ['an unknown output', ['-o', 'p.csv', '--outputs', 'z'], 1, /no output matches 'z'/],
  [
    'classes of several positions, as CSV',
    ['-o', 'p.csv', '--classes', '--outputs', 'grid'],
    1,
    /invalid-data.*'grid'.*\.jsonl/,
  ],
  ['no data', ['-o', 'p.csv'], 2, /a recipe, or --data/],
  ['data that do not match the model', ['-o', 'p.csv', '--data', 'a'], 1, /'x' has the shape \[3\]/],
])('predict > %s > is rejected, and nothing is written', async (_, given, exit, message) => {
  const args = given.map((arg, i) =>
    given[i - 1] === '--data' ? inSpace(arg) : /^p\.|\.json$/.test(arg) ? space.path(arg) : arg,
  )
  const data = args.includes('--data') || exit === 2 ? [] : ['--data', inSpace()]
  const { code, stderr } = await run('predict', space.path('several.onnx'), ...args, ...data)
  expect(stderr).toMatch(message)
  expect(code).toBe(exit)
  const names = await readdir(space.folder)
  expect(names.filter((name) => name.startsWith('p.') || name.includes('.tmp'))).toEqual([])
})

test('predict > data in place of a recipe > the run folder, or JSON', async () => {
  const several = space.path('several.onnx')
  const rows = space.path('rows.csv')
  const none = await run('predict', several, rows)
  expect([none.code, none.stderr]).toEqual([2, expect.stringMatching(/rows\.csv is no recipe: .*--data/)])
  await space.writeRecipe('of-run.json', { epochs: 1, batchSize: 160 })
  const folder = space.path('of-run')
  await json('train', space.path('of-run.json'), '--out', folder)
  const tuned = space.path('of-run/tuned.onnx')
  const inRun = await run('predict', tuned, rows)
  expect([inRun.code, inRun.stderr]).toEqual([2, expect.stringContaining(`onnx-ire predict ${folder} ${rows}`)])
  const image = await run('predict', tuned, 'photo.png')
  expect([image.code, image.stderr]).toEqual([
    2,
    expect.stringMatching(new RegExp(`recipe has image\\.size\\. .*onnx-ire predict ${folder} photo\\.png`)),
  ])
  const path = await run('predict', several, '--data', 'photos')
  expect([path.code, path.stderr]).toEqual([2, expect.stringContaining('"folder": "photos"')])
})

test('predict > rows of a .jsonl file without labels > by a run on such rows', async () => {
  const row = (i: number) => ({ f: [i, 1], mood: i % 2 === 0 ? 'glad' : 'sad', tags: Array(1 + (i % 3)).fill(i) })
  const lines = (rows: object[]) => rows.map((each) => `${JSON.stringify(each)}\n`).join('')
  await writeFile(space.path('moods.jsonl'), lines([0, 1, 2, 3].map(row)))
  await writeFile(space.path('unknown.jsonl'), lines([{ f: [0, 1] }, { f: [3, 1] }]))
  const tensors = { x: 'f', labels: { field: 'mood', as: 'class' }, tags: 'tags' }
  const recipe = await space.writeRecipe('moods.json', {
    model: { preset: 'mlp', options: { features: 2, hidden: [4], classes: 2 } },
    data: { train: { kind: 'jsonl', file: 'moods.jsonl', tensors, padding: { tags: { value: -1 } } } },
    ...{ optimizer: { kind: 'sgd', lr: 0.1 }, schedule: undefined, epochs: 1 },
  })
  const { run: folder } = await json<{ run: string }>('train', recipe)
  const { stdout } = await run('predict', folder, space.path('unknown.jsonl'))
  expect(stdout).toMatch(/^example 0: (glad|sad) [\d.]+ %\nexample 1: (glad|sad) [\d.]+ %\n$/)
})

test('predict > Ctrl-C > leaves no partial file', async () => {
  const line = `${Array.from({ length: 64 }, (_, i) => i % 9).join(',')}\n`
  await writeFile(space.path('long.csv'), line + line.repeat(60_000))
  const tensors = { x: { columns: '*', dims: [1, 8, 8] } }
  const data = { kind: 'csv', file: 'long.csv', tensors, header: false, stream: true }
  const args = [
    'predict',
    'model.onnx',
    '--data',
    JSON.stringify(data),
    '--batch-size',
    '1',
    '-o',
    'long.jsonl',
    '--json',
  ]
  const { process, finished, until } = start(args, space.folder)
  const unfinished = async () => (await readdir(space.folder)).some((name) => name.endsWith('.tmp'))
  await until(unfinished)
  process.kill('SIGINT')
  const { code, stdout } = await finished
  expect(code).toBe(130)
  expect(JSON.parse(stdout)).toMatchObject({ output: null, interrupted: true })
  expect(await unfinished()).toBe(false)
  expect(await readdir(space.folder)).not.toContain('long.jsonl')
})

test('interrupted while it prints > standard output has the predictions alone, and the errors their number', async () => {
  await writeFile(space.path('printed.csv'), `a,b\n${'1,2\n'.repeat(100_000)}`)
  const data = JSON.stringify({ kind: 'csv', file: 'printed.csv', tensors: { x: '*' } })
  for (const more of [[], ['--json']]) {
    const args = ['predict', 'several.onnx', '--data', data, '--outputs', 'sum', '--batch-size', '1', ...more]
    const { process, finished } = start(args, space.folder)
    process.stdout!.once('data', () => process.kill('SIGINT'))
    const { code, stdout, stderr } = await finished
    const lines = stdout.trimEnd().split('\n')
    expect([code, JSON.parse(lines.at(-1)!)]).toEqual([130, { index: lines.length - 1, outputs: { sum: 3 } }])
    expect(stderr).toContain(`interrupted after ${lines.length.toLocaleString('en')} example`)
    expect(stderr).not.toContain('nothing was written')
  }
})

test('text output > names the written file', async () => {
  const { stdout } = await run('predict', space.path('several.onnx'), '--data', inSpace(), '-o', space.path('x.csv'))
  expect(stdout).toMatch(/^wrote .*x\.csv: 3 examples in /)
})

test('--json without --output > a line of JSON per example, as the help says', async () => {
  const { stdout } = await run('predict', space.path('several.onnx'), '--data', inSpace(), '--json')
  expect(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).index),
  ).toEqual([0, 1, 2])
  expect((await run('predict', '--help')).stdout).toMatch(/--json .*a line per\s+example/)
  expect((await run('--help')).stdout).toMatch(/--json .*predict without --output a line of JSON\s+per example/)
})
