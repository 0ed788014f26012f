import { execFileSync } from 'node:child_process'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { convnet } from '../../models/convnet.js'
import { Random } from '../../src/data/index.js'
import { constant, exportGraph, input, modelOf, op, parameter, type Value } from '../../src/graph/index.js'
import { addUsage, writeSnippet } from '../../src/index.js'
import { tensor } from '../../src/ir/tensor.js'
import { writeModel } from '../../src/node/index.js'
import { needs, pythonWith } from '../requirements.js'
import { json, run } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
const image = { size: [16, 12] as const, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], background: 90 }
beforeAll(async () => {
  space = await workspace()
  const { inputs, outputs } = convnet({ channels: 3, stages: [4], classes: 2, seed: 2 })
  await writeModel(space.path('net.onnx'), modelOf({ name: 'net', inputs, outputs }))
  for (const name of ['smooth', 'it\'s "rough"'])
    for (let i = 0; i < 4; i++)
      await writePhoto(space.path(`photos/${name}`), i, 29 + 7 * i, 41 - 5 * i, name === 'smooth')
  await space.writeRecipe('photos.json', {
    model: 'net.onnx',
    data: { train: { kind: 'image-folder', folder: 'photos', image } },
    ...{ optimizer: { kind: 'adamw', lr: 0.01 }, schedule: undefined, batchSize: 4, epochs: 1 },
  })
  await json('train', space.path('photos.json'), '--out', space.path('run'))
  await writeFile(space.path('tuned.onnx'), 'another file in the working directory')
  await symlink(fileURLToPath(new URL('../../node_modules', import.meta.url)), space.path('node_modules'))
})
afterAll(() => space.remove())

/** Writes a photo: gradients and noise, with transparency if it is rough. */
async function writePhoto(folder: string, i: number, width: number, height: number, smooth: boolean): Promise<void> {
  const random = new Random(i)
  await mkdir(folder, { recursive: true })
  const channels = smooth ? 3 : 4
  const pixels = Uint8Array.from({ length: width * height * channels }, (_, k) =>
    smooth ? (k * (i + 1)) % 256 : random.integer(256),
  )
  await sharp(pixels, { raw: { width, height, channels } }).png().toFile(`${folder}/${i}.png`)
}

const snippet = async (target: string) =>
  (await json<{ code: string }>('snippet', space.path('run'), '--for', target)).code

test('snippet > images in half floats > invalid-option', async () => {
  const x = input('x', 'float16', ['N', 3, 16, 12])
  const outputs = new Map([['y', op.ReduceMean(x, [2, 3], { keepdims: 0 })]])
  const model = modelOf({ name: 'half', inputs: new Map([['x', x]]), outputs })
  await writeModel(space.path('half.onnx'), addUsage(model, { task: 'image-classification', image }))
  const { code, stderr } = await run('snippet', space.path('half.onnx'))
  expect([code, stderr]).toEqual([1, expect.stringMatching(/images of input 'x' are float16.*float32/)])
})

test('snippet > a model without its run folder > the same lines, from its metadata', async () => {
  for (const target of ['node', 'web', 'python'])
    expect(await json('snippet', space.path('run/tuned.onnx'), '--for', target)).toEqual({
      for: target,
      code: await snippet(target),
    })
  const [bare, columns] = [
    await run('snippet', space.path('net.onnx')),
    await run('snippet', space.path('run/tuned.onnx'), '--columns', space.path('net.onnx')),
  ]
  expect([bare.code, bare.stderr]).toEqual([1, expect.stringMatching(/^error \(invalid-option\): .*net\.onnx/)])
  expect([columns.code, columns.stderr]).toEqual([2, expect.stringContaining('--columns')])
})

test.each([
  ['fill', {}],
  ['cover', { fit: 'cover', layout: 'NCHW' }],
  ['contain', { fit: 'contain', scale: 0.01 }],
])('snippet --for node > %s > prints what predict prints', async (_, changes) => {
  const path = space.path('run/recipe.json')
  const recipe = JSON.parse(await readFile(path, 'utf8'))
  recipe.data.train.image = { ...image, ...changes }
  await writeFile(path, JSON.stringify(recipe))
  await writeFile(space.path('run/use.mjs'), await snippet('node'))
  for (const photo of ['smooth/1.png', 'it\'s "rough"/2.png']) {
    const file = space.path(`photos/${photo}`)
    const { stdout } = await run('predict', space.path('run'), file)
    // The model beside the code is run, whatever the working directory has.
    const own = execFileSync(process.execPath, ['run/use.mjs', file], { cwd: space.path('.'), encoding: 'utf8' })
    expect(stdout).toBe(`${file}: ${own}`)
  }
})

const imagingNeeded = await needs('Pillow in Python')
const runInPython = (...args: string[]) =>
  execFileSync(pythonWith('onnxruntime', 'PIL', 'numpy')!, args, { cwd: space.path('.'), encoding: 'utf8' })

test('snippet --for python > prints what predict prints, to a fifth of a percent', imagingNeeded, async () => {
  await writeFile(space.path('run/use.py'), await snippet('python'))
  for (const photo of ['smooth/1.png', 'it\'s "rough"/2.png']) {
    const file = space.path(`photos/${photo}`)
    const { stdout } = await run('predict', space.path('run'), file)
    const own = runInPython('run/use.py', file)
    const [, name, percent] = /^(.*) ([\d.]+) %$/.exec(own.trim())!
    expect(stdout).toContain(`: ${name} `)
    expect(Math.abs(Number(percent) - Number(/ ([\d.]+) %/.exec(stdout)![1]))).toBeLessThan(0.2)
  }
})

test('snippet --for python > transparent pixels have the background, as in training', () => {
  const code = (channels: 1 | 3 | 4) =>
    writeSnippet('python', {
      ...{ model: 'm.onnx', outputs: ['y'], classes: null },
      inputs: [{ kind: 'image', name: 'x', image: { size: 2, background: 7, channels }, dims: [channels, 2, 2] }],
    })
  for (const channels of [1, 3] as const)
    expect(code(channels)).toContain(
      [
        "ground = Image.new('RGBA', image.size, (7, 7, 7, 255))",
        "image = Image.alpha_composite(ground, image.convert('RGBA')).convert('RGB')\n",
      ].join('\n'),
    )
  expect(code(4)).toContain("image = image.convert('RGBA')\n")
})

test('snippet --for python > values in float16 are numbers', () => {
  const example = tensor('float16', [1, 3], Uint16Array.of(0x3c00, 0xc100, 0x7c00))
  const code = writeSnippet('python', {
    ...{ model: 'm.onnx', outputs: ['y'], classes: null },
    inputs: [{ kind: 'values', name: 'x', example }],
  })
  expect(code).toContain('np.array([1, -2.5, np.inf], "float16").reshape([1, 3])')
})

test('snippet > a model of numbers > has the values of an example', async () => {
  await json('train', space.path('recipe.json'), '--out', space.path('digits'))
  const { stdout } = await run('snippet', space.path('digits'))
  await writeFile(space.path('digits/use.mjs'), stdout)
  const own = execFileSync(process.execPath, ['use.mjs'], { cwd: space.path('digits'), encoding: 'utf8' })
  const predicted = (await run('predict', space.path('digits'), '--on', 'train')).stdout.split('\n')[0]!
  const [first] = JSON.parse(predicted).outputs.y
  expect(own).toContain(String(first).slice(0, 8))
})

test('snippet > inputs of other types than the data > have the values as training converts them', async () => {
  const x = input('x', 'float64', ['N', 2])
  const steps = input('steps', 'int32', ['N', 1])
  const w = parameter('w', tensor('float32', [2, 1], Float32Array.of(0.5, -1.25)))
  const y = op.Add(op.MatMul(op.Cast(x, { to: 1 }), w), op.Cast(steps, { to: 1 }))
  const inputs = new Map([
    ['x', x],
    ['steps', steps],
  ])
  await writeModel(space.path('typed.onnx'), modelOf({ name: 'typed', inputs, outputs: new Map([['y', y]]) }))
  const rows = Array.from({ length: 8 }, (_, i) => JSON.stringify({ x: [i + 1, 2], n: [3 + i], y: [i] }))
  await writeFile(space.path('typed.jsonl'), rows.join('\n'))
  await space.writeRecipe('typed.json', {
    model: 'typed.onnx',
    data: {
      train: {
        ...{ kind: 'jsonl', file: 'typed.jsonl' },
        tensors: { x: 'x', steps: { field: 'n', as: 'integer' }, targets: 'y' },
      },
    },
    ...{ loss: { kind: 'mse' }, optimizer: { kind: 'sgd', lr: 0.001 }, schedule: undefined, epochs: 1 },
  })
  await json('train', space.path('typed.json'), '--out', space.path('typed'))
  await writeFile(space.path('typed/use.mjs'), (await run('snippet', space.path('typed'))).stdout)
  const own = execFileSync(process.execPath, ['use.mjs'], { cwd: space.path('typed'), encoding: 'utf8' })
  const predicted = (await run('predict', space.path('typed'), '--on', 'train')).stdout.split('\n')[0]!
  expect(own).toContain(String(JSON.parse(predicted).outputs.y[0]).slice(0, 6))
})

test(
  'snippet --for python > a model of numbers > has the output that Node has',
  await needs('onnxruntime in Python'),
  async () => {
    await json('train', space.path('recipe.json'), '--out', space.path('python'), '--force')
    const outputs = []
    for (const [target, program, file] of [
      ['node', process.execPath, 'use.mjs'],
      ['python', pythonWith('onnxruntime', 'numpy')!, 'use.py'],
    ] as const) {
      const { stdout } = await run('snippet', space.path('python'), '--for', target)
      await writeFile(space.path(`python/${file}`), stdout)
      const printed = execFileSync(program, [`python/${file}`], { cwd: space.path('.'), encoding: 'utf8' })
      outputs.push([...printed.matchAll(/-?\d+\.\d+(e-?\d+)?/g)].map(([number]) => Number(number)))
    }
    const [fromNode, fromPython] = outputs
    expect(fromNode!.length).toBeGreaterThan(0)
    expect(fromPython!.length).toBe(fromNode!.length)
    for (const [i, value] of fromPython!.entries()) expect(value).toBeCloseTo(fromNode![i]!, 3)
  },
)

test('snippet > scores of several positions > are printed, not the class of the largest of all', async () => {
  const x = input('x', 'float32', ['N', 3, 16, 12])
  const positions = op.Transpose(op.Reshape(x, [0, 3, 192]), { perm: [0, 2, 1] })
  for (const [name, y] of [
    ['tokens', positions],
    ['one', op.ReduceMean(positions, [1])],
  ] as const) {
    const proto = exportGraph({ name: 'm', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    await writeModel(
      space.path(`${name}.onnx`),
      addUsage({ proto, external: null }, { classes: ['a', 'b', 'c'], image }),
    )
    const { code } = await json<{ code: string }>('snippet', space.path(`${name}.onnx`))
    expect(code.includes('classes[top]')).toBe(name === 'one')
  }
})

/** Writes a model that answers by yes or no, and its snippets. */
async function writeAnswering(name: string, width: number, last: (z: Value) => Value): Promise<void> {
  const x = input('x', 'float32', ['N', 3, 16, 12])
  const means = op.ReduceMean(op.Reshape(x, [0, 3, 192]), [2], { keepdims: 0 })
  const signs = constant(
    tensor('float32', [3, width], Float32Array.of(1, -1, 2, -2, 1, -3, 1, 1, 1).slice(0, 3 * width)),
  )
  const outputs = new Map([['y', last(op.MatMul(means, signs))]])
  const proto = exportGraph({ name: 'm', inputs: new Map([['x', x]]), outputs })
  const classes = ['a', 'b', 'c'].slice(0, Math.max(2, width))
  await mkdir(space.path(`answers/${name}`), { recursive: true })
  await writeModel(space.path(`answers/${name}/m.onnx`), addUsage({ proto, external: null }, { classes, image }))
  await writeFile(
    space.path(`answers/${name}/use.mjs`),
    (await run('snippet', space.path(`answers/${name}/m.onnx`))).stdout,
  )
  const python = await json<{ code: string }>('snippet', space.path(`answers/${name}/m.onnx`), '--for', 'python')
  await writeFile(space.path(`answers/${name}/use.py`), python.code)
}

describe.each([
  ['labels', 3, (z: Value) => op.Sigmoid(z)],
  ['binary', 1, (z: Value) => op.Sigmoid(z)],
  ['score', 1, (z: Value) => z],
] as const)('snippet > %s', (name, width, last) => {
  const photos = ['smooth/1.png', 'it\'s "rough"/2.png']
  const predicted = async (file: string) => (await run('predict', space.path(`answers/${name}/m.onnx`), file)).stdout
  beforeAll(() => writeAnswering(name, width, last))

  test('answers by yes or no, as predict', async () => {
    for (const photo of photos) {
      const file = space.path(`photos/${photo}`)
      const own = execFileSync(process.execPath, [`answers/${name}/use.mjs`, file], {
        cwd: space.path('.'),
        encoding: 'utf8',
      })
      expect(`${file}: ${own}`).toBe(await predicted(file))
    }
  })

  test('in Python > the same answers', imagingNeeded, async () => {
    const words = (line: string) => line.replace(/[\d.]+ %/g, '').trim()
    for (const photo of photos) {
      const file = space.path(`photos/${photo}`)
      expect(words(`${file}: ${runInPython(`answers/${name}/use.py`, file)}`)).toBe(words(await predicted(file)))
    }
  })
})

test('snippet > web and python > contain preprocessing, classes and outputs; wrong folders are errors', async () => {
  for (const target of ['web', 'python']) {
    const code = await snippet(target)
    for (const part of ['0.485, 0.456, 0.406', '"smooth"', '"it\'s \\"rough\\""', 'tuned.onnx'])
      expect(code).toContain(part)
  }
  await writeFile(space.path('web.mjs'), await snippet('web'))
  execFileSync(process.execPath, ['--check', space.path('web.mjs')])
  expect((await run('snippet', space.path('photos'))).stderr).toMatch(/^error \(io\): .*photos: it is a folder/)
  const path = space.path('run/recipe.json')
  await writeFile(path, (await readFile(path, 'utf8')).replace('"contain"', '"none"'))
  expect((await run('snippet', space.path('run'))).stderr).toMatch(/^error \(invalid-option\): image.fit/)
})
