import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { mlp, transformer } from '../../models/index.js'
import { readPreset } from '../../src/cli/inputs/read-preset.js'
import { checkRecipe } from '../../src/recipe/parse.js'
import { evaluationSchema, recipeSchema } from '../../src/recipe/schema.js'
import type { JsonSchema } from '../../src/util/json-schema.js'
import { errorWith, rejectedMessage, thrownMessage } from '../thrown.js'

/** Integers of a schema, by path. */
function integersOf(schema: JsonSchema, path = ''): [path: string, schema: JsonSchema][] {
  const { properties = {}, oneOf = [], anyOf = [], items, additionalProperties } = schema
  return [
    ...(schema.type === 'integer' ? [[path, schema] as [string, JsonSchema]] : []),
    ...Object.entries(properties).flatMap(([name, inner]) => integersOf(inner, `${path}.${name}`)),
    ...[...oneOf, ...anyOf].flatMap((inner) => integersOf(inner, path)),
    ...(items ? integersOf(items, `${path}[]`) : []),
    ...(typeof additionalProperties === 'object' ? integersOf(additionalProperties, `${path}.*`) : []),
  ]
}

/** Integers that determine neither memory nor time. */
const free = /\.(seed|start|end)$/

describe('integers of a recipe', () => {
  const all = [...integersOf(recipeSchema), ...integersOf(evaluationSchema)]

  test('every one has a minimum and a maximum', () => {
    expect(all.length).toBeGreaterThan(60)
    for (const [path, { minimum, maximum }] of all) {
      const most = free.test(path) ? Number.MAX_SAFE_INTEGER : 1e9
      expect([path, minimum !== undefined, maximum !== undefined && maximum <= most]).toEqual([path, true, true])
    }
  })

  const recipe = {
    model: 'm.onnx',
    data: { train: { kind: 'tokens', file: 't', context: 8 } },
    loss: { kind: 'cross-entropy' },
    optimizer: { kind: 'sgd', lr: 0.1 },
    epochs: 1,
  }
  const image = (size: number) => ({ train: { kind: 'image-folder', folder: 'f', image: { size } } })

  test.each([
    ['threads', { threads: 100_000 }],
    ['batchSize', { batchSize: 2 ** 30 }],
    ['microBatch', { microBatch: 2 ** 30 }],
    ['head.classes', { head: { classes: 1e9 } }],
    ['mixup.classes', { mixup: { alpha: 1, classes: 1e9 } }],
    ['checkpoints.keep', { checkpoints: { keep: 1e9 } }],
    ['checkpoints.everySeconds', { checkpoints: { everySeconds: 1e300 } }],
    ['epochs', { epochs: 9e15 }],
    ['data.train.context', { data: { train: { kind: 'tokens', file: 't', context: 1e9 } } }],
    ['data.train.image.size', { data: image(1e6) }],
  ])('%s beyond its maximum > error that names the field', (field, changes) => {
    expect(checkRecipe(recipe)).toEqual(recipe)
    expect(() => checkRecipe({ ...recipe, ...changes })).toThrow(errorWith('invalid-recipe', `${field} is `))
  })
})

describe('sizes of presets', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'onnx-ire-'))
  afterAll(() => rm(folder, { recursive: true }))

  test.each([
    ['layers', 1e9],
    ['width', 9e15],
    ['vocabulary', 9e15],
    ['context', 1e9],
  ])('%s of %d > error that names the field', async (option, value) => {
    const path = join(folder, 'own.json')
    const preset = { kind: 'transformer', vocabulary: 9, context: 6, width: 8, heads: 2, layers: 1 }
    await writeFile(path, JSON.stringify(preset))
    expect(await readPreset(path)).toEqual(preset)
    const message = await rejectedMessage('invalid-recipe', () => readPreset(path, [`${option}=${value}`]))
    expect(message).toMatch(`own.${option} is ${value}`)
  })

  test('more elements than 2^32 > error before any is generated', () => {
    const start = process.memoryUsage().arrayBuffers
    expect(thrownMessage('invalid-option', () => mlp({ features: 2 ** 20, hidden: [2 ** 13] }))).toMatch(
      'hidden0.weight',
    )
    const many = { vocabulary: 2 ** 20, context: 8, width: 2 ** 13, heads: 1, layers: 2 }
    expect(thrownMessage('invalid-option', () => transformer(many))).toMatch(String(2 ** 32))
    expect(process.memoryUsage().arrayBuffers - start).toBeLessThan(2 ** 24)
  })
})
