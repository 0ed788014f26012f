import { access, readdir, readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { decodeModel, gradientModel, inspectModel, type Model } from '../../src/index.js'
import { node, readModel, writeModel } from '../../src/node/index.js'
import { declareDims } from '../../src/onnx/import/declarations.js'
import { edit } from '../../src/onnx/proto/message.js'
import { json, run } from './command.js'
import { smallModel, type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

test('gradient > output equals that of gradientModel', async () => {
  const output = space.path('gradient.onnx')
  const found = await json<{ outputs: string[]; gradients: string[] }>(
    'gradient',
    space.path('model.onnx'),
    '-o',
    output,
  )
  expect(found.gradients.sort()).toEqual(
    ['grad/x', 'grad/hidden.weight', 'grad/hidden.bias', 'grad/head.weight', 'grad/head.bias'].sort(),
  )
  const expected = gradientModel(new Uint8Array(await readFile(space.path('model.onnx'))))
  expect(Buffer.compare(await readFile(output), expected)).toBe(0)
})

test('gradient > --wrt, external data > selects the parameters', async () => {
  await writeModel(space.path('outside.onnx'), smallModel(), { externalData: 64 })
  const output = space.path('narrow.onnx')
  const { gradients } = await json<{ gradients: string[] }>(
    'gradient',
    space.path('outside.onnx'),
    '-o',
    output,
    '--wrt',
    'head.*',
    'x',
  )
  expect(gradients.sort()).toEqual(['grad/head.bias', 'grad/head.weight', 'grad/x'])
  const runtime = node({ worker: false, threads: 1 })
  const program = await runtime.compile(new Uint8Array(await readFile(output)))
  expect([...program.inputNames].sort()).toEqual(['dy/y', 'head.bias', 'head.weight', 'x'])
  await runtime.dispose()
})

/** The small model, its file fixing one example. */
function fixedModel(): Model {
  const { proto } = smallModel()
  const graph = proto.graph!
  const input = graph.input.map((info) => declareDims(info, [1, 1, 8, 8]))
  const output = graph.output.map((info) => declareDims(info, undefined))
  return { proto: edit(proto, { graph: edit(graph, { input, output }) }), external: null }
}

test('batch > writes a model for any number of examples, and inspect names the fixed number', async () => {
  const [fixed, free] = [space.path('fixed one.onnx'), space.path('free.onnx')]
  await writeModel(fixed, fixedModel())
  const { stdout } = await run('inspect', fixed)
  expect(stdout).toContain('batch fixed at 1')
  expect(stdout).toContain(`onnx-ire batch '${fixed}' -o free.onnx`)
  expect(await json('batch', fixed, '-o', free)).toEqual({ output: free, fixed: 1, changes: [] })
  expect(inspectModel(await readModel(free)).inputs[0]!.shape).toEqual(['batch', 1, 8, 8])
  expect((await run('inspect', free)).stdout).not.toContain('batch fixed')
  expect(await json('batch', free, '-o', space.path('again.onnx'))).toEqual({ output: null, fixed: null, changes: [] })
  await expect(access(space.path('again.onnx'))).rejects.toThrow()
})

interface Built {
  readonly model: string
  readonly graphs: readonly { readonly file: string; readonly inputs: string[]; readonly outputs: string[] }[]
}

test('build > writes graphs that load, with a new head and a subset of trainable parameters', async () => {
  const folder = space.path('graphs/deep')
  const built = await json<Built>(
    ...[
      'build',
      space.path('model.onnx'),
      '--loss',
      'cross-entropy',
      '--head-classes',
      '4',
      '--trainable',
      'head.*',
      '-o',
      folder,
    ],
  )
  expect(built.graphs.map(({ file }) => file.slice(folder.length + 1))).toEqual([
    'training.onnx',
    'evaluation.onnx',
    'curvature.onnx',
  ])
  const [training, evaluation, curvature] = built.graphs
  expect(training!.inputs).toEqual(['x', 'labels', 'head.weight', 'head.bias'])
  const measures = ['loss', 'count', 'sum/accuracy/correct', 'sum/accuracy/count']
  expect(training!.outputs).toEqual([...measures, 'grad/head.weight', 'grad/head.bias'])
  expect(evaluation!.outputs).toEqual(measures)
  expect(curvature!.inputs).toContain('noise/labels')
  const runtime = node({ worker: false, threads: 1 })
  for (const { file, inputs, outputs } of built.graphs) {
    const program = await runtime.compile(new Uint8Array(await readFile(file)))
    expect(outputs).toEqual(program.outputNames)
    expect(inputs).toEqual(expect.arrayContaining([...program.inputNames]))
    const { metadataProps } = decodeModel(new Uint8Array(await readFile(file))).proto
    expect(JSON.parse(metadataProps[0]!.value!)).toEqual(outputs.filter((name) => name.startsWith('grad/')))
  }
  await runtime.dispose()
  const { initializer } = (await readModel(built.model)).proto.graph!
  expect(Array.from(initializer.find(({ name }) => name === 'head.weight')!.dims)).toEqual([16n, 4n])
})

test('build > accepts a recipe', async () => {
  const recipe = await space.writeRecipe('mse.json', { loss: { kind: 'mse' } })
  const { model, graphs } = await json<Built>(
    'build',
    recipe,
    '--set',
    'trainable=hidden.*',
    '-o',
    space.path('from-recipe'),
  )
  expect(model).toBe(space.path('model.onnx'))
  expect(graphs[0]!.outputs).toEqual(['loss', 'count', 'grad/hidden.weight', 'grad/hidden.bias'])
  expect(graphs[0]!.inputs).toContain('targets')
})

test('build > removes the curvature graph of an earlier build if the loss has none', async () => {
  const folder = space.path('again')
  const build = (loss: string) => json<Built>('build', space.path('model.onnx'), '--loss', loss, '-o', folder)
  await build('cross-entropy')
  expect((await build('focal')).graphs).toHaveLength(2)
  expect((await readdir(folder)).toSorted()).toEqual(['evaluation.onnx', 'training.onnx'])
})
