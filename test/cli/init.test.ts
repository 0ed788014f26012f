import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { importGraph } from '../../src/graph/index.js'
import { decodeModel } from '../../src/index.js'
import { json, run } from './command.js'

const folder = await mkdtemp(join(tmpdir(), 'onnx-ire-init-'))
const path = (name: string) => join(folder, name)
afterAll(() => rm(folder, { recursive: true, force: true }))

interface Written {
  readonly output: string
  readonly kind: string
  readonly seed: number
  readonly parameters: number
  readonly inputs: readonly object[]
  readonly outputs: readonly object[]
}

test('init > --list > names the presets, described as init writes them', async () => {
  const { presets } = await json<{ presets: { name: string; parameters: number }[] }>('init', '--list')
  const names = presets.map(({ name }) => name)
  expect(names).toEqual(expect.arrayContaining(['mlp', 'lenet', 'resnet-56', 'wrn-28-10', 'vit-s-16', 'llama-229m']))
  expect(names.indexOf('llama-60m')).toBeLessThan(names.indexOf('llama-119m'))
  const written = await json<Written>('init', 'llama-tiny', '-o', path('tiny.onnx'))
  expect(written).toEqual({
    output: path('tiny.onnx'),
    kind: 'llama',
    seed: 0,
    parameters: presets.find(({ name }) => name === 'llama-tiny')!.parameters,
    inputs: [{ name: 'tokens', type: 'int64', shape: ['N', 64] }],
    outputs: [{ name: 'logits', type: 'float32', shape: ['N', 64, 256] }],
  })
  const { stdout } = await run('init', '--list')
  expect(stdout).toMatch(/lenet +61,706 +LeNet-5/)
})

test('init > --set changes options, --seed the weights', async () => {
  const init = (file: string, ...args: string[]) => json<Written>('init', 'resnet-20', '-o', path(file), ...args)
  const first = await init('a.onnx', '--set', 'classes=7', '--set', 'depths=[1,1,1]', '--seed', '3')
  await init('b.onnx', '--set', 'classes=7', '--set', 'depths=[1,1,1]', '--set', 'seed=3')
  await init('c.onnx', '--set', 'classes=7', '--set', 'depths=[1,1,1]')
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => readFile(path(`${name}.onnx`))))
  expect(first.seed).toBe(3)
  expect(a!.equals(b!)).toBe(true)
  expect(a!.equals(c!)).toBe(false)
  expect(importGraph(decodeModel(a!)).outputs.get('logits')!.shape).toEqual(['N', 7])
})

test('init > a preset file > writes its model', async () => {
  await writeFile(path('small.json'), JSON.stringify({ kind: 'mlp', features: 4, hidden: [3], classes: 2 }))
  const { parameters } = await json<Written>('init', path('small.json'), '-o', path('small.onnx'))
  expect(parameters).toBe(4 * 3 + 3 + 3 * 2 + 2)
  expect(importGraph(decodeModel(await readFile(path('small.onnx')))).name).toBe('small')
})

test.each([
  [['resnet-5'], 'invalid-option', "no preset 'resnet-5', did you mean 'resnet-50'?"],
  [
    ['resnet-20', '--set', 'clases=3'],
    'invalid-recipe',
    "resnet-20.clases: there is no such field, did you mean 'classes'?",
  ],
  [['resnet-20', '--set', 'classes=0'], 'invalid-recipe', 'resnet-20.classes is 0; it must be an integer in [1, '],
  [['vit-t-4', '--set', 'heads=5'], 'invalid-option', 'a width of 192 does not divide into 5 heads'],
  [[path('missing.json')], 'io', 'missing.json'],
] as const)('init > %j > fails with %s', async (args, code, message) => {
  const { code: exit, stdout } = await run('init', ...args, '-o', path('none.onnx'), '--json')
  expect(exit).toBe(1)
  expect(JSON.parse(stdout).error).toEqual({ code, message: expect.stringContaining(message) })
  await expect(readFile(path('none.onnx'))).rejects.toThrow()
})

test('init > invalid preset file > is rejected with the line', async () => {
  await writeFile(path('broken.json'), '{\n  "kind": "mlp",,\n}')
  const { stderr } = await run('init', path('broken.json'))
  expect(stderr).toContain(`${path('broken.json')}: not valid JSON: line 2`)
})

test.each([[[]], [['mlp', '--seed', '-1']], [['mlp', '--seed', 'x']]])('init > %j > exits with 2', async (args) => {
  expect((await run('init', ...args)).code).toBe(2)
})
