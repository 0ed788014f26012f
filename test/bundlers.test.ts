import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { binary, createPackedProject, type PackedProject } from './packed-project.js'

const modules = fileURLToPath(new URL('../node_modules', import.meta.url))

/** A program that trains, and prints the loss and the runtime. */
const program = `import { adamw, crossEntropy, fromArrays, labelColumn, Trainer } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { mlp } from 'onnx-ire/models'
import { node } from 'onnx-ire/node'

async function main() {
  const runtime = node({ threads: 2 })
  const x = Float32Array.from({ length: 128 }, (_, i) => Math.sin(i))
  const labels = labelColumn(Array.from({ length: 32 }, (_, i) => i % 3))
  const trainer = await Trainer.create(modelOf(mlp({ features: 4, hidden: [8], classes: 3, seed: 0 })), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 1e-2 }),
    runtime,
  })
  const { loss } = await trainer.train(fromArrays({ x: { dims: [32, 4], data: x }, labels }), { totalEpochs: 2 })
  console.log(JSON.stringify({ loss, runtime: runtime.description }))
  await trainer.dispose()
  await runtime.dispose()
}
main()
`

interface Printed {
  readonly loss: number
  readonly runtime: string
}

let project: PackedProject
/** A folder outside of the project, in which onnxruntime-node is the only package: a bundle is moved there. */
const deployed = mkdtempSync(join(tmpdir(), 'onnx-ire-deployed-'))
let expected: Printed

// Without koffi the runtime is onnxruntime's binding in a worker thread, as on Windows and macOS.
beforeAll(async () => {
  project = await createPackedProject('onnxruntime-node')
  project.write('main.js', program)
  mkdirSync(join(deployed, 'node_modules'))
  symlinkSync(join(modules, 'onnxruntime-node'), join(deployed, 'node_modules/onnxruntime-node'))
  expected = run('main.js')
}, 300_000)

afterAll(() => {
  project.remove()
  rmSync(deployed, { recursive: true })
})

const run = (path: string): Printed => JSON.parse(project.run('node', path))

/** Bundles the program and other entry points. */
function esbuild(format: 'esm' | 'cjs', folder: string, ...entries: readonly string[]): string {
  const extension = format === 'esm' ? '.mjs' : '.cjs'
  const options = ['--bundle', '--platform=node', `--format=${format}`, `--outdir=${folder}`, '--log-level=error']
  project.run(binary('esbuild'), 'main.js', ...entries, ...options, `--out-extension:.js=${extension}`)
  return join(folder, `main${extension}`)
}

function webpack(folder: string): string {
  const config = {
    mode: 'none',
    target: 'node',
    context: project.folder,
    entry: './main.js',
    output: { path: folder, filename: 'main.cjs' },
  }
  project.write(
    'build.cjs',
    `require(${JSON.stringify(join(modules, 'webpack'))})(${JSON.stringify(config)}, (error, stats) => {
      if (error || stats.hasErrors()) throw error ?? new Error(stats.toString())
    })`,
  )
  project.run('node', 'build.cjs')
  return join(folder, 'main.cjs')
}

it('not bundled > trains in a worker thread', () => {
  expect(expected.loss).toBeCloseTo(1.1, 0)
  expect(expected.runtime).toMatch(/^onnxruntime-node .*, worker, because .*koffi/)
})

describe('bundled beside node_modules > trains in the worker thread of the installed package', () => {
  it.each([
    ['esbuild, ES modules', () => esbuild('esm', 'out')],
    ['esbuild, CommonJS', () => esbuild('cjs', 'out')],
    ['webpack, CommonJS', () => webpack(join(project.folder, 'out-webpack'))],
  ])('%s', (_, build) => {
    expect(run(build())).toEqual(expected)
  })
})

describe('deployed with onnxruntime-node alone', () => {
  it('a bundle without the file of the worker > trains in process, and the description has the reason', () => {
    const { loss, runtime } = run(esbuild('cjs', join(deployed, 'single')))
    expect(loss).toBe(expected.loss)
    expect(runtime).toMatch(/in process, .*because .*ort-worker\.js/)
  })

  it.each(['esm', 'cjs'] as const)(
    'an %s bundle beside the bundled files of the threads > trains in them',
    (format) => {
      const threads = ['ort-worker', 'helper-thread'].map(
        (name) => `${name}=node_modules/onnx-ire/dist/node/runtime/${name}.js`,
      )
      expect(run(esbuild(format, join(deployed, `several-${format}`), `main=main.js`, ...threads))).toEqual(expected)
    },
  )
})

it('CommonJS requires the package if Node can require ES modules, or reads how to import it', () => {
  project.write(
    'require.cjs',
    `try { console.log(typeof require('onnx-ire').Trainer.create, typeof require('onnx-ire/node').node) }
    catch (error) { console.log(error.code) }`,
  )
  const canRequire = (process.features as { readonly require_module?: boolean }).require_module === true
  expect(project.run('node', 'require.cjs').trim()).toBe(canRequire ? 'function function' : 'ERR_REQUIRE_ESM')
})
