import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import * as library from '../src/index.js'
import { lossRegistry } from '../src/loss/registry.js'
import { metricRegistry } from '../src/metric/registry.js'
import { parseRecipe } from '../src/recipe/index.js'
import { thrownMessage } from './thrown.js'

const source = fileURLToPath(new URL('../src', import.meta.url))

/** Functions that create losses or metrics and have no row, with the reason. */
const withoutRow: Readonly<Record<string, string>> = {
  combine: 'joins losses of several outputs; recipes write them as a list of tasks',
  createMetric: 'creates the rows by name',
  distillation: 'takes a model',
  topK: 'takes k itself; its row creates it from an option',
}

/** Names of the exported functions of a folder of src that return `type`, as their declarations say. */
const creatorsIn = (folder: string, type: string): string[] =>
  readdirSync(join(source, folder)).flatMap((file) =>
    [
      ...readFileSync(join(source, folder, file), 'utf8').matchAll(
        new RegExp(`^export (?:function|const) (\\w+)(?: = )?\\(.*\\): ${type} (?:=>|{)`, 'gm'),
      ),
    ].map(([, name]) => name!),
  )

it.each([
  ['loss', 'Loss', lossRegistry],
  ['metric', 'Metric', metricRegistry],
] as const)('every function of src/%s that creates a %s > is exported and has a row', (folder, type, registry) => {
  const rows = new Set<unknown>(Object.values(registry).map(({ create }) => create))
  const exported = new Map<string, unknown>(Object.entries(library))
  const names = creatorsIn(folder, type)
  expect(names.filter((name) => !exported.has(name))).toEqual([])
  expect(names.filter((name) => !rows.has(exported.get(name)) && !(name in withoutRow))).toEqual([])
  expect(names.length).toBeGreaterThanOrEqual(rows.size)
})

it.each([
  ...Object.entries(lossRegistry),
  ...Object.entries(metricRegistry).filter(([name, { options }]) => name !== 'topK' && Object.keys(options).length > 0),
])('%s > a misspelled option is refused, with the options of its row', (_, { create, options }) => {
  const message = thrownMessage('invalid-option', () => (create as (options: object) => unknown)({ labelsmoothing: 1 }))
  const named = message.slice(message.indexOf('available: ') + 'available: '.length).split(', ')
  expect(named.sort()).toEqual(Object.keys(options).sort())
})

it('the recipes in docs/losses-and-metrics.md are valid', () => {
  const page = readFileSync(join(source, '../docs/losses-and-metrics.md'), 'utf8')
  const recipes = [...page.matchAll(/```json\n([\s\S]*?)```/g)].map(([, text]) => parseRecipe(text!))
  expect(recipes.map(({ loss, passes }) => [loss, passes])).toEqual([
    [{ kind: 'ctc' }, undefined],
    [expect.anything(), ['anchor', 'positive']],
  ])
})

it('every loss and metric has a row in docs/losses-and-metrics.md', () => {
  const page = readFileSync(join(source, '../docs/losses-and-metrics.md'), 'utf8')
  const named = new Set([...page.matchAll(/^\| (`[^|]*) \|/gm)].flatMap(([, cell]) => cell!.match(/[^`, ]+/g)!))
  const kinds = [...Object.keys(lossRegistry), ...Object.keys(metricRegistry)]
  expect(kinds.filter((kind) => !named.has(kind === 'topK' ? 'top<k>' : kind))).toEqual([])
})

it('every folder of tools > has a row in tools/README.md', () => {
  const tools = join(source, '../tools')
  const folders = readdirSync(tools, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? entry.name : [],
  )
  const rows = [...readFileSync(join(tools, 'README.md'), 'utf8').matchAll(/^\| `([\w-]+)` \|/gm)].map(
    ([, name]) => name,
  )
  expect(rows).toEqual(folders.filter((name) => name !== 'node_modules').sort())
})
