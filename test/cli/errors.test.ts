import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeModel } from '../../src/node/index.js'
import { run } from './command.js'
import { smallModel, type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
  const model = await readFile(space.path('model.onnx'))
  await writeFile(space.path('random.onnx'), Buffer.from(Array.from({ length: 999 }, (_, i) => (i * 7919 + 13) % 251)))
  await writeFile(space.path('truncated.onnx'), model.subarray(0, model.length - 500))
  await writeModel(space.path('two-classes.onnx'), smallModel(2))
  await writeModel(space.path('outside.onnx'), smallModel(), { externalData: 64 })
  await rm(space.path('outside.onnx.data'))
  await writeFile(space.path('broken.json'), '{\n  "model": "model.onnx",\n  "data": }')
  await writeFile(
    space.path('few-labels'),
    Buffer.concat([Buffer.from([0, 0, 8, 1, 0, 0, 0, 3]), Buffer.from([1, 2, 3])]),
  )
})
afterAll(() => space.remove())

const runFolder = (sets: readonly string[]) => `failed-${sets.join('-').replaceAll(/\W/g, '-')}`

const train =
  (...sets: string[]) =>
  (path: (name: string) => string) => [
    'train',
    path('recipe.json'),
    '--out',
    // A folder for each: the tests run side by side.
    path(runFolder(sets)),
    ...sets.flatMap((set) => ['--set', set]),
  ]

type Case = readonly [
  what: string,
  args: (path: (name: string) => string) => readonly string[],
  code: string,
  message: RegExp,
]

const cases: readonly Case[] = [
  ['a missing model', (path) => ['inspect', path('none.onnx')], 'io', /none\.onnx: there is no such file/],
  ['random bytes', (path) => ['inspect', path('random.onnx')], 'invalid-model', /./],
  ['a truncated model', (path) => ['gradient', path('truncated.onnx'), '-o', path('g.onnx')], 'invalid-model', /./],
  ['a missing external file', train('model=outside.onnx'), 'external-data', /outside\.onnx\.data/],
  [
    'an output in no folder',
    (path) => ['gradient', path('model.onnx'), '-o', path('no/g.onnx')],
    'io',
    /no does not exist/,
  ],
  ['an output below a file', (path) => ['build', path('recipe.json'), '-o', path('labels/graphs')], 'io', /is a file/],
  [
    'an output over the model',
    (path) => ['gradient', path('model.onnx'), '-o', path('model.onnx')],
    'invalid-option',
    /model\.onnx/,
  ],
  [
    'a run folder below a file',
    (path) => ['train', path('recipe.json'), '--out', path('labels/run')],
    'io',
    /is a file/,
  ],
  ['a missing recipe', (path) => ['train', path('none.json')], 'io', /cannot read the recipe .*none\.json/],
  ['a recipe that is no JSON', (path) => ['train', path('broken.json')], 'invalid-recipe', /line 3, column 11/],
  [
    'a misspelt field',
    train('optimizer.ire.kapa=3'),
    'invalid-recipe',
    /optimizer\.ire\.kapa: .* did you mean 'kappa'\?/,
  ],
  ['a value out of range', train('optimizer.ire.gamma=2'), 'invalid-recipe', /optimizer\.ire\.gamma is 2/],
  ['a wrong kind', train('loss.kind=crossentropy'), 'invalid-recipe', /did you mean 'cross-entropy'\?; it must be/],
  ['an assignment that is none', train('epochs'), 'invalid-option', /path=value/],
  ['a missing data file', train('data.train.images=none'), 'io', /data\.train: cannot read the data file .*none/],
  ['a data file of another format', train('data.train.images=model.onnx'), 'invalid-data', /not a valid IDX file/],
  [
    'fewer labels than images',
    train('data.train.labels=few-labels'),
    'invalid-data',
    /200 examples and 'labels' has 3/,
  ],
  ['more examples than there are', train('data.train.end=1000'), 'invalid-option', /data\.train: .*'end' is 1000/],
  ['data of another shape', train('data.train.image.size=9'), 'invalid-data', /'x' has the shape \[16, 1, 9, 9\]/],
  [
    'labels out of range',
    train('model=two-classes.onnx'),
    'invalid-data',
    /'.*' .*label \d .*2 classes.*head: \{ classes \}/,
  ],
  ['an output the model does not have', train('loss.logits=z'), 'invalid-option', /no output 'z'; it has 'y'/],
  ['a pattern that fits nothing', train('trainable=conv*'), 'invalid-option', /no tensor matches 'conv\*'/],
  ['a folder that holds no run', (path) => ['export', path('none'), '-o', path('t.onnx')], 'io', /none.*recipe\.json/],
  [
    'data to evaluate that are no JSON',
    (path) => ['evaluate', path('model.onnx'), '--loss', 'mse', '--data', '{'],
    'invalid-recipe',
    /not valid JSON/,
  ],
]

test.each(['evaluate', 'sharpness'])(
  '%s > a path that is no run folder > usage error with the path',
  async (command) => {
    const { code, stderr } = await run(command, space.path('missing run'))
    expect([code, stderr]).toEqual([2, expect.stringContaining('missing run is no run folder')])
  },
)

describe.concurrent('error > has a code, exit code 1, and leaves no partial file', () => {
  test.each(cases)('%s', async (_, args, code, message) => {
    const others = async () => (await readdir(space.folder)).filter((name) => !name.startsWith('failed'))
    const before = await others()
    const given = args(space.path)
    const { code: exit, stdout, stderr } = await run(...given, '--json')
    expect(exit).toBe(1)
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string } }
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
    expect(stderr).toContain(`error (${code}): ${error.message}`)
    expect(await others()).toEqual(before)
    const folder = given[given.indexOf('--out') + 1]!
    if (given.includes('--out')) expect(await readdir(folder).catch(() => [])).toEqual([])
  })
})
