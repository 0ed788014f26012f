import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type AdaptableLayer, lora } from '../../src/adapter/index.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import type { Inspection } from '../../src/index.js'
import { encodeModel } from '../../src/index.js'
import { writeModel } from '../../src/node/index.js'
import { edit } from '../../src/onnx/proto/message.js'
import { json, run } from './command.js'
import { pretrained, smallModel, type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

test('pretrained model > prints types, operators, weights and their consumers', async () => {
  const found = await json<Inspection & { file: string; bytes: number }>('inspect', pretrained)
  expect(found).toMatchObject({ file: pretrained, irVersion: 8, opsets: { '': 9 } })
  expect(found.bytes).toBe(578_966)
  expect(found.inputs).toEqual([
    { name: 'x', type: 'float32', shape: [expect.any(String), 3, expect.any(String), expect.any(String)] },
  ])
  expect(found.operators).toContainEqual({ operator: 'Conv', count: 53, supported: true })
  expect(found.stored.floatElements).toBe(133_664)
  const byName = new Map(found.tensors.map((tensor) => [tensor.name, tensor]))
  expect(byName.get('batch_norm_0.w_0')).toMatchObject({
    trainable: true,
    why: expect.stringMatching(/^scale of BatchNormalization/),
  })
  expect(byName.get('batch_norm_0.w_1')).toMatchObject({
    trainable: false,
    why: expect.stringMatching(/no weight by its position or values: mean of/),
  })
  const trainable = found.tensors.filter((tensor) => tensor.trainable)
  expect(found.training).toEqual({
    shared: [],
    copies: [],
    tensors: trainable.length,
    elements: trainable.reduce((sum, { elements }) => sum + elements, 0),
    total: found.stored.floatElements,
    adapter: false,
    blocked: null,
  })
})

test('text output > is an excerpt, and lists all tensors with --tensors', async () => {
  const [short, long] = await Promise.all([run('inspect', pretrained), run('inspect', pretrained, '--tensors')])
  expect(short.stdout).toMatch(/and \d+ more: --tensors lists them all/)
  expect(short.stdout).toContain('Training changes')
  expect(long.stdout).not.toContain('more: --tensors')
  expect(long.stdout).toContain('batch_norm_9.w_2')
})

test('a file that is no model > is named', async () => {
  const { code, stderr } = await run('inspect', space.path('recipe.json'))
  expect([code, stderr]).toEqual([1, expect.stringMatching(/recipe\.json: not an ONNX model: it looks like JSON/)])
})

test('--recompute > needs the lengths, and checks the names', async () => {
  const without = await run('inspect', pretrained, '--recompute', 'none')
  expect([without.code, without.stderr]).toEqual([2, expect.stringMatching(/--recompute .*--shape x=1x3x\?x\?/s)])
  const shape = ['--shape', 'x=1x3x48x192']
  expect(await run('inspect', pretrained, '--recompute', 'none', ...shape)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("'none'"),
  })
  expect((await run('inspect', pretrained, '--recompute', 'blocks', ...shape)).code).toBe(0)
})

test('layers, FLOPs and memory > are unknown until --shape sets the dims', async () => {
  const without = await run('inspect', pretrained)
  expect(without.stdout).toContain('--shape x=1x3x?x?')
  const { stdout } = await run('inspect', pretrained, '--shape', 'x=1x3x48x192')
  expect(stdout).toMatch(/forward: \d+\.\d MFLOPs per example/)
  expect(stdout).toMatch(/training step: \d+(\.\d+)? MFLOPs per example, [2-4]\.\d times the forward pass/)
  expect(stdout).toMatch(/activations: about .* per example, .* for a batch of 32/)
  expect(stdout).toMatch(/^ {2}\S+ +Conv, BatchNormalization +\[1, 8, 24, 96\] +232 +yes +\d+\.\d%$/m)
  expect(stdout).toMatch(/and \d+ operators without weights, \d+\.\d% of the FLOPs \(--all lists them\)/)
  const found = await json<Inspection>('inspect', pretrained, '--shape', 'x=1x3x48x192')
  expect(found.cost).toMatchObject({ missing: [], error: null, forward: { atLeast: false } })
  const all = await run('inspect', pretrained, '--shape', 'x=1x3x48x192', '--all')
  expect(all.stdout).toMatch(/^ {2}\S+ +GlobalAveragePool +\[/m)
  const table = stdout.slice(stdout.indexOf('\nLayers'), stdout.indexOf('\nOperators'))
  expect(Math.max(...table.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100)
})

test('the shape of a layer that does not fit > has ? for lengths that are not numbers, and all axes', async () => {
  const x = input('x', 'float32', ['examples', 3, 'rows', 'columns'])
  const w = parameter('w', tensor('float32', [4, 3, 3, 3], new Float32Array(108).fill(0.1)))
  const y = op.Conv(x, w, null, { strides: [2, 2] })
  await writeModel(
    space.path('open.onnx'),
    modelOf({ name: 'open', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }),
  )
  const { stdout } = await run('inspect', space.path('open.onnx'))
  expect(stdout).toMatch(/^ {2}\S+ +Conv +\[1, 4, \?, \?\] +108 /m)
})

test.each([
  ['x', 2, /x=1x3x224x224/],
  ['x=1xa', 2, /x=1x3x224x224/],
  ['z=1x3x4x4', 1, /'z', which is no input/],
])('inspect > --shape %s > is rejected', async (shape, expected, message) => {
  const { code, stderr } = await run('inspect', pretrained, '--shape', shape)
  expect(code).toBe(expected)
  expect(stderr).toMatch(message)
})

test('model with an unknown operator > is shown, with the reason why it cannot be trained', async () => {
  const model = smallModel()
  const graph = model.proto.graph!
  const node = graph.node.map((node) =>
    node.opType === 'Relu' ? edit(node, { opType: 'Frobnicate', domain: 'my.ops' }) : node,
  )
  const proto = edit(model.proto, { graph: edit(graph, { node }) })
  await writeFile(space.path('odd.onnx'), encodeModel({ proto, external: null }))
  const found = await json<Inspection>('inspect', space.path('odd.onnx'))
  expect(found.operators).toContainEqual({ operator: 'my.ops.Frobnicate', count: 1, supported: false })
  expect(found.tensors.map(({ name }) => name)).toContain('hidden.weight')
  expect(found.training.blocked).toMatchObject({
    code: 'unsupported-operator',
    message: expect.stringContaining('my.ops.Frobnicate'),
  })
  const { code, stdout } = await run('inspect', space.path('odd.onnx'))
  expect(code).toBe(0)
  expect(stdout).toContain('unsupported: my.ops.Frobnicate')
})

test('names with control characters > are escaped in the report, in JSON and in errors', async () => {
  const hostile = 'lay\x1b[8mer\u202e\x9b\n'
  const x = input(hostile, 'float32', ['N', 4])
  const w = parameter(`${hostile}.weight`, tensor('float32', [4, 2], new Float32Array(8)))
  const outputs = new Map([[`${hostile}.y`, op.Unique(op.MatMul(x, w))[0]!]])
  const folder = await mkdtemp(join(tmpdir(), 'onnx-ire-hostile-'))
  const file = join(folder, 'hostile.onnx')
  await writeModel(file, modelOf({ name: hostile, inputs: new Map([[hostile, x]]), outputs }))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the characters that must not be printed
  const controls = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/
  for (const args of [
    ['inspect', file, '--tensors'],
    ['inspect', file, '--json'],
    ['gradient', file, '-o', `${file}.g`],
  ]) {
    const { stdout, stderr } = await run(...args)
    expect(stdout + stderr).toContain('u001b')
    expect(stdout + stderr).not.toMatch(controls)
  }
  await rm(folder, { recursive: true })
})

test('--adapter-targets > lists the layers that an adapter can change', async () => {
  const model = space.path('model.onnx')
  const { adaptable } = await json<{ adaptable: readonly AdaptableLayer[] }>('inspect', model, '--adapter-targets')
  expect(adaptable.map(({ module, kind, in: inputs, out }) => [module, kind, inputs, out])).toEqual([
    ['hidden', 'linear', 64, 16],
    ['head', 'linear', 16, 10],
  ])
  const { stdout } = await run('inspect', model, '--adapter-targets')
  expect(stdout).toMatch(/^ {2}hidden +Gemm +linear +64 to 16 +float32 +yes$/m)
  expect((await run('inspect', model)).stdout).not.toContain('adapter')
})

test('a model with an adapter > shows the share that is trained', async () => {
  const path = join(space.folder, 'adapted.onnx')
  await writeModel(path, lora(smallModel(), { r: 2 }))
  const { stdout } = await run('inspect', path, '--tensors')
  const [trained, total] = [2 * (64 + 16) + 2 * (16 + 10), 64 * 16 + 16 + 16 * 10 + 10]
  // The scales are numbers of the model too.
  expect(stdout).toContain(`trainable ${trained} of ${(total + trained + 2).toLocaleString('en-US')} (`)
  expect(stdout).toMatch(/hidden\.weight .* the model has an adapter: only that is trained/)
})
