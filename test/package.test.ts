import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { convnet } from '../models/convnet.js'
import { modelOf } from '../src/onnx/export/export-graph.js'
import { encodeModel } from '../src/onnx/model.js'
import { binary, createPackedProject, type PackedProject } from './packed-project.js'

const root = fileURLToPath(new URL('..', import.meta.url))
let project: PackedProject

beforeAll(async () => {
  project = await createPackedProject('onnxruntime-node')
  const bin = join(project.folder, 'node_modules/onnx-ire/dist/cli/bin.js')
  chmodSync(bin, 0o755)
  mkdirSync(join(project.folder, 'node_modules/.bin'))
  symlinkSync(bin, join(project.folder, 'node_modules/.bin/onnx-ire'))
  const graph = convnet({ channels: 1, stages: [4], classes: 3 })
  const model = modelOf({
    ...graph,
    inputs: new Map([['input', graph.inputs.get('x')!]]),
    outputs: new Map([['output', graph.outputs.get('logits')!]]),
  })
  project.write('model.onnx', encodeModel(model))
}, 300_000)

afterAll(() => project.remove())

/** The code blocks of the README, by the order they stand in. */
const blocks = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map(
  ([, code]) => code!,
)

it("runs the README's first code block from the packed package", () => {
  const data = `
import { fromArrays, labelColumn } from 'onnx-ire'
const pixels = Float32Array.from({ length: 96 * 64 }, (_, i) => Math.sin(i) + (Math.floor(i / 64) % 3))
const data = fromArrays({ input: { dims: [96, 1, 8, 8], data: pixels }, labels: labelColumn(Array.from({ length: 96 }, (_, i) => i % 3)) })
`
  project.write('first.mjs', `${data}${blocks[0]}`)
  const printed = project.run('node', 'first.mjs')
  expect(printed.match(/epoch: \d/g)).toEqual(['epoch: 0', 'epoch: 1', 'epoch: 2'])
  const [before, after] = ['model.onnx', 'tuned.onnx'].map((name) => readFileSync(join(project.folder, name))) as [
    Buffer,
    Buffer,
  ]
  expect(after.length).toBe(before.length)
  expect(after.equals(before)).toBe(false)
})

it("trains and writes a new file where globals are not Node's, as in tests under Jest", () => {
  project.install('vitest')
  project.write(
    'realm.test.mjs',
    `import { readFileSync } from 'node:fs'
import { adamw, crossEntropy, decodeModel, fromArrays, labelColumn, Trainer } from 'onnx-ire'
import { node, readModel, writeModel } from 'onnx-ire/node'
import { expect, it } from 'vitest'

it.each([true, undefined])('worker: %s', async (worker) => {
  expect(new Error('own') instanceof Error && !(process.cwd instanceof Function)).toBe(true)
  const runtime = node({ worker, threads: 1 })
  const trainer = await Trainer.create(await readModel('model.onnx'), { loss: crossEntropy(), optimizer: adamw(), runtime })
  const data = fromArrays({ input: { dims: [4, 1, 8, 8], data: new Float32Array(256).fill(1) }, labels: labelColumn([0, 1, 2, 0]) })
  expect((await trainer.train(data, { totalEpochs: 2, validation: data })).loss).toBeGreaterThan(0)
  await writeModel('realm-' + worker + '.onnx', trainer.export())
  expect(decodeModel(readFileSync('realm-' + worker + '.onnx')).proto.graph.node.length).toBeGreaterThan(0)
  await expect(readModel('none.onnx')).rejects.toThrow('cannot read the model none.onnx: there is no such file')
  await trainer.dispose()
  await runtime.dispose()
})
`,
  )
  project.run(binary('vitest'), 'run', '--root', '.', '--pool', 'vmForks', 'realm.test.mjs')
}, 60_000)

it('reads a recipe', () => {
  project.write(
    'recipe.mjs',
    `import { parseRecipe, recipeSchema, trainerOptions } from 'onnx-ire/recipe'
const recipe = parseRecipe(JSON.stringify({
  model: 'model.onnx',
  data: { train: { kind: 'csv', file: 'rows.csv', tensors: { input: '*' } } },
  loss: { kind: 'mse' },
  optimizer: { kind: 'sgd', lr: 0.5 },
  epochs: 1,
}))
console.log(recipeSchema.required.join(), trainerOptions(recipe).optimizer.lr)`,
  )
  expect(project.run('node', 'recipe.mjs')).toBe('model,data,loss,optimizer 0.5\n')
})

it('has exports and types that Node and TypeScript resolve', () => {
  project.run(binary('publint'), 'run', project.archive, '--strict')
  project.run(binary('attw'), project.archive, '--profile', 'esm-only', '--quiet')
})

it("has every file to which the README's links lead", () => {
  const links = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)/g)]
  expect(links.length).toBeGreaterThan(40)
  const targets = links.map(([, target]) => join(project.folder, 'node_modules/onnx-ire', target!))
  expect(targets.filter((target) => !existsSync(target))).toEqual([])
})

it('inspects a model with npx', () => {
  const { inputs } = JSON.parse(project.run('npx', 'onnx-ire', 'inspect', 'model.onnx', '--json'))
  expect(inputs[0].name).toBe('input')
})

describe('without its optional peers', () => {
  const sources = ['onnx-ire/node', 'onnx-ire/web', 'onnx-ire', 'onnx-ire/graph', 'onnx-ire/models']

  /** Runs programs, and returns the code and the message of the error that each throws. */
  const failuresOf = (programs: readonly string[]): { readonly code?: string; readonly message?: string }[] => {
    const imports = sources.map((name) => `import * as ${basename(name).replace('onnx-ire', 'main')} from '${name}'`)
    const attempts = programs.map(
      (program) => `try { ${program}; failures.push({}) }
catch ({ code, message }) { failures.push({ code, message }) }`,
    )
    const lines = [...imports, 'const failures = []', ...attempts, 'console.log(JSON.stringify(failures))']
    project.write('peers.mjs', lines.join('\n'))
    return JSON.parse(project.run('node', 'peers.mjs'))
  }
  beforeAll(() => project.uninstall('onnxruntime-node'))
  afterAll(() => project.install('onnxruntime-node'))

  it('errors have the command that installs the package', () => {
    mkdirSync(join(project.folder, 'images/a'), { recursive: true })
    const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
    project.write('images/a/dot.png', Buffer.from(png, 'base64'))
    const programs: readonly (readonly [name: string, program: string])[] = [
      ['onnxruntime-node', 'node.node()'],
      ['onnxruntime-node', "node.node({ provider: 'webgpu' })"],
      ['onnxruntime-web', 'await web.wasm()'],
      ['koffi', 'node.cApi()'],
      ['echarts', "await node.plotCurves([{ name: 'loss', points: [[0, 1], [1, 0]] }])"],
      ['sharp', "await (await node.imageFolder('images')).batch([0])"],
    ]
    const failures = failuresOf(programs.map(([, program]) => program))
    for (const [i, [name]] of programs.entries())
      expect(failures[i]).toMatchObject({
        code: 'runtime',
        message: expect.stringMatching(new RegExp(`npm install ${name}\\b`)),
      })
  })

  it('models are built, inspected, differentiated and read', () => {
    const program = `const model = await node.readModel('model.onnx')
      main.inspectModel(model); main.gradientModel(main.encodeModel(graph.modelOf(models.lenet({ classes: 3 }))))`
    expect(failuresOf([program])).toEqual([{}])
    const command = join(project.folder, 'node_modules/.bin/onnx-ire')
    expect(JSON.parse(project.run(command, 'inspect', 'model.onnx', '--json')).inputs).toHaveLength(1)
  })

  it('the types of onnx-ire/web do not name types of WebGPU, which TypeScript 5 lacks', () => {
    const files = new Set<string>()
    const visit = (path: string) => {
      if (files.has(path)) return
      files.add(path)
      for (const [, next] of readFileSync(path, 'utf8').matchAll(/from '(\.[^']+)\.js'/g))
        visit(join(dirname(path), `${next}.d.ts`))
    }
    visit(join(project.folder, 'node_modules/onnx-ire/dist/web/index.d.ts'))
    expect(files.size).toBeGreaterThan(20)
    const naming = [...files].filter((path) => /[:<|] ?GPU[A-Z]/.test(readFileSync(path, 'utf8')))
    expect(naming.map((path) => basename(path))).toEqual([])
  })

  it('the types of every entry point are complete', () => {
    const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: object }
    const names = Object.keys(exports).filter((name) => name !== './package.json')
    expect(names.length).toBeGreaterThan(9)
    const uses = names.map((name, i) => `export * as entry${i} from '${name.replace('.', 'onnx-ire')}'`)
    mkdirSync(join(project.folder, 'types'))
    project.write('types/every.ts', uses.join('\n'))
    const options = { module: 'nodenext', strict: true, skipLibCheck: false, noEmit: true, types: [] }
    const lib = ['es2024', 'dom', 'dom.iterable', 'dom.asynciterable']
    project.write('types/tsconfig.json', JSON.stringify({ compilerOptions: { ...options, target: 'es2024', lib } }))
    project.run(binary('tsc'), '-p', 'types')
  })
})
