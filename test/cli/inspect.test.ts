import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Inspection } from '../../src/index.js'
import { encodeModel } from '../../src/index.js'
import { edit } from '../../src/onnx/message.js'
import { json, run } from './command.js'
import { pretrained, smallModel, type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

test('a pretrained model: types, operators, weights and what reads them', async () => {
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
    why: expect.stringMatching(/no weight position: mean of/),
  })
  const trainable = found.tensors.filter((tensor) => tensor.trainable)
  expect(found.training).toEqual({
    tensors: trainable.length,
    elements: trainable.reduce((sum, { elements }) => sum + elements, 0),
    blocked: null,
  })
})

test('people get an excerpt, and all tensors with --tensors', async () => {
  const [short, long] = await Promise.all([run('inspect', pretrained), run('inspect', pretrained, '--tensors')])
  expect(short.stdout).toMatch(/and \d+ more: --tensors lists them all/)
  expect(short.stdout).toContain('Training varies')
  expect(long.stdout).not.toContain('more: --tensors')
  expect(long.stdout).toContain('batch_norm_9.w_2')
})

test('a model with an unknown operator is shown, and what blocks training said', async () => {
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
  expect(stdout).toContain('not known to onnx-ire: my.ops.Frobnicate')
})
