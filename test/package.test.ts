import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { convnet } from '../models/convnet.js'
import { modelOf } from '../src/onnx/export/export-graph.js'
import { encodeModel } from '../src/onnx/model.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const project = mkdtempSync(join(tmpdir(), 'onnx-ire-package-'))
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: project, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

function link(target: string, path: string): void {
  mkdirSync(dirname(join(project, path)), { recursive: true })
  symlinkSync(target, join(project, path))
}

/** The packed package. */
let archive: string

// The package is unpacked as npm does, beside exactly the packages that it declares as dependencies.
beforeAll(() => {
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', project]
  const [{ filename }] = JSON.parse(execFileSync('npm', pack, { cwd: root, encoding: 'utf8' }))
  archive = join(project, filename)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }))
  const installed = join(project, 'node_modules/onnx-ire')
  mkdirSync(installed, { recursive: true })
  run('tar', '-xzf', archive, '--strip-components=1', '-C', installed)
  const { dependencies, bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  for (const name of Object.keys(dependencies)) link(join(root, 'node_modules', name), `node_modules/${name}`)
  chmodSync(join(installed, bin['onnx-ire']), 0o755)
  link(join(installed, bin['onnx-ire']), 'node_modules/.bin/onnx-ire')
  const graph = convnet({ channels: 1, stages: [4], classes: 3 })
  const model = modelOf({
    ...graph,
    inputs: new Map([['input', graph.inputs.get('x')!]]),
    outputs: new Map([['output', graph.outputs.get('logits')!]]),
  })
  writeFileSync(join(project, 'model.onnx'), encodeModel(model))
}, 300_000)

afterAll(() => rmSync(project, { recursive: true, force: true }))

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
  writeFileSync(join(project, 'first.mjs'), `${data}${blocks[0]}`)
  const printed = run('node', 'first.mjs')
  expect(printed.match(/epoch: \d/g)).toEqual(['epoch: 0', 'epoch: 1', 'epoch: 2'])
  const [before, after] = [readFileSync(join(project, 'model.onnx')), readFileSync(join(project, 'tuned.onnx'))]
  expect(after.length).toBe(before.length)
  expect(after.equals(before)).toBe(false)
})

it('reads a recipe', () => {
  writeFileSync(
    join(project, 'recipe.mjs'),
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
  expect(run('node', 'recipe.mjs')).toBe('model,data,loss,optimizer 0.5\n')
})

it('has exports and types that Node and TypeScript resolve', () => {
  run(join(root, 'node_modules/.bin/publint'), 'run', archive, '--strict')
  run(join(root, 'node_modules/.bin/attw'), archive, '--profile', 'esm-only', '--quiet')
})

it('inspects a model with npx', () => {
  const { inputs } = JSON.parse(run('npx', 'onnx-ire', 'inspect', 'model.onnx', '--json'))
  expect(inputs[0].name).toBe('input')
})

it('type-checks every code block of the README that stands alone', () => {
  const standing = blocks.filter((block) => block.includes('\n\nconst '))
  expect(standing.length).toBeGreaterThanOrEqual(2)
  for (const [i, block] of standing.entries()) writeFileSync(join(project, `block${i}.ts`), block)
  const options = {
    module: 'nodenext',
    target: 'es2023',
    strict: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: true,
    outDir: 'out',
    types: [],
  }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['block*.ts'] }))
  execFileSync(join(root, 'node_modules/.bin/tsc'), ['-p', project], { cwd: project, encoding: 'utf8' })
  for (const i of standing.keys()) run('node', `out/block${i}.js`)
})
