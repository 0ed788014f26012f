import { readdir, readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Flatness } from '../../src/analysis/flatness/measure.js'
import { json, run, runInterrupted } from './command.js'
import { type Workspace, workspace } from './workspace.js'

type Result = Flatness & { readonly examples: number; readonly plots: string[] }

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

const call = (...args: string[]) => [
  'sharpness',
  space.path('model.onnx'),
  space.path('recipe.json'),
  '--threads',
  '1',
  ...args,
]

test('sharpness > defaults > trace, five eigenvalues and the rise within 0.05, reproducible', async () => {
  const found = await json<Result>(...call())
  expect(found).toMatchObject({
    method: 'exact',
    interrupted: false,
    examples: 160,
    plots: [],
    sharpness: { rho: 0.05 },
  })
  expect(Object.keys(found)).not.toContain('density')
  expect(found.eigenvalues!.largest).toHaveLength(5)
  expect(found.trace!.error).toBeGreaterThan(0)
  // The largest eigenvalues are part of the trace.
  const sum = found.eigenvalues!.largest.reduce((total, { value }) => total + value, 0)
  expect(sum).toBeGreaterThan(0)
  expect(sum).toBeLessThan(found.trace!.value + 3 * found.trace!.error)
  const again = await json<Result>(...call())
  expect(again.trace).toEqual(found.trace)
  const other = await json<Result>(...call('--seed', '8', '--trace'))
  expect(other.trace).not.toEqual(found.trace)
  expect(Math.abs(other.trace!.value - found.trace!.value)).toBeLessThan(5 * (other.trace!.error + found.trace!.error))
})

test('sharpness > density and landscape > are plotted into a folder', async () => {
  const folder = space.path('plots/deep')
  const { code, stdout, stderr } = await run(
    ...call('--density', '--landscape', '5', '--eigenvalues', '2', '--plot', folder, '--examples', '30'),
  )
  expect([code, stderr]).toEqual([0, expect.stringContaining('density: at most')])
  expect(stdout).toContain('30 examples, products exact')
  expect(stdout).toMatch(/largest 2 +\S+ +\S+/)
  expect((await readdir(folder)).sort()).toEqual(['landscape.svg', 'spectrum.svg'])
  for (const name of await readdir(folder)) expect(await readFile(`${folder}/${name}`, 'utf8')).toMatch(/^<svg/)
})

test('sharpness > data, loss and parameters as options > equal those of a recipe, and finite differences agree', async () => {
  const data = { kind: 'idx', images: space.path('images'), labels: space.path('labels'), end: 40, image: { size: 8 } }
  const of = (...more: string[]) =>
    json<Result>(
      ...['sharpness', space.path('model.onnx'), '--data', JSON.stringify(data), '--loss', 'cross-entropy'],
      ...['--trainable', 'head.*', '--eigenvalues', '1', '--threads', '1', '--quiet', ...more],
    )
  const [exact, differences] = [await of(), await of('--method', 'differences')]
  expect([exact.method, differences.method]).toEqual(['exact', 'differences'])
  expect(exact.examples).toBe(40)
  expect(differences.parameters).toBe(exact.parameters)
  const [a, b] = [exact, differences].map(({ eigenvalues }) => eigenvalues!.largest[0]!.value)
  expect(Math.abs(a! - b!) / a!).toBeLessThan(1e-3)
})

test('sharpness > Ctrl-C > writes completed results', async () => {
  const args = call('--trace', '--landscape', '400', '--json')
  const { code, stdout, stderr } = await runInterrupted(args, /landscape: at most/)
  expect(code).toBe(130)
  expect(stderr).toContain('stopping after this batch')
  const found = JSON.parse(stdout) as Result
  expect(found.interrupted).toBe(true)
  expect(found.trace!.probes).toBeGreaterThan(0)
  expect(found).not.toHaveProperty('landscape')
})

test('sharpness > a run folder > its model and its recipe', async () => {
  const trained = await json<{ run: string; model: string }>('train', space.path('recipe.json'), '--set', 'epochs=1')
  const measures = ['--sam', '0.1', '--examples', '20', '--threads', '1', '--quiet']
  const ofRun = await json<Result>('sharpness', trained.run, ...measures)
  const { sharpness } = await json<Result>('sharpness', trained.model, space.path('recipe.json'), ...measures)
  expect(ofRun).toMatchObject({ model: trained.model, sharpness })
})

test('sharpness > wrong usage > exits with 2 before any file is read', async () => {
  for (const args of [
    ['sharpness'],
    ['sharpness', 'none.onnx'],
    ['sharpness', 'none.onnx', 'recipe.json', '--loss', 'mse'],
    ['sharpness', 'none.onnx', '--sam', '-1', '--data', '{}', '--loss', 'mse'],
    ['sharpness', 'none.onnx', 'recipe.json', '--plot', 'folder'],
    ['sharpness', 'none.onnx', 'recipe.json', '--seed', 'x'],
  ])
    expect([args, (await run(...args)).code]).toEqual([args, 2])
})
