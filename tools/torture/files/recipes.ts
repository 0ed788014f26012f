import type { Random } from 'onnx-ire/data'
import { checkRecipe, fitOptions, parseRecipe, trainerOptions } from 'onnx-ire/recipe'
import { readShippedRecipe, recipeNames } from '../../../dist/cli/inputs/read-recipe.js'
import type { Case, Opened } from '../campaign.js'
import { applyEdits, drawEdits, type Edit, fewerEdits } from '../edits.js'
import { Verdict } from '../judge.js'
import { changeOne, hostileNames, hostileNumbers, pick } from '../random.js'

const utf8 = new TextEncoder()
const pieces = ['{', '[', '"', '}', ',', ':', '\\u0000', '1e999', '-', 'null', '__proto__', '[[[['].map((text) =>
  utf8.encode(text),
)

/** A recipe that uses most fields. */
const rich = {
  model: 'model.onnx',
  data: {
    train: { kind: 'csv', file: 'a.csv', tensors: { x: '*', y: { columns: 'k', as: 'class' } }, missing: 0 },
    validation: { kind: 'jsonl', file: 'b.jsonl', tensors: { x: 'x', y: { field: 'y', as: 'class' } } },
  },
  loss: { kind: 'cross-entropy', labelSmoothing: 0.1 },
  metrics: ['accuracy', 'perClass'],
  optimizer: {
    kind: 'adamw',
    lr: 0.01,
    betas: [0.9, 0.99],
    sam: { rho: 0.05 },
    ire: { kappa: 2, gamma: 0.8, interval: 5 },
  },
  schedule: { kind: 'cosine', warmup: 4 },
  groups: [{ tensors: 'hidden.*', lr: 0.005, frozen: { untilStep: 40 } }],
  trainable: ['a*', '*b'],
  head: { classes: 3 },
  clipNorm: 1,
  ema: 0.9,
  best: true,
  earlyStopping: { patience: 3 },
  checkpoints: { everySteps: 6, keep: 2 },
  batchSize: 16,
  microBatch: 4,
  epochs: 2,
  threads: 1,
  seed: 7,
}

/** Recipes with changed values, keys and bytes. */
export async function open(): Promise<Opened> {
  const shipped = await Promise.all((await recipeNames()).map(readShippedRecipe))
  const samples: readonly object[] = [rich, rich, rich, ...shipped]
  return {
    make(seed, random) {
      const sample = pick(random, samples)
      if (seed % 50 === 0) return textCase('a hostile document', utf8.encode(pick(random, documents)()))
      if (seed % 3 === 0) {
        const text = utf8.encode(JSON.stringify(sample, null, seed % 2 === 0 ? 0 : 2))
        return mutant(text, drawEdits(random, text, pieces))
      }
      let value: unknown = sample
      for (let i = pick(random, [1, 1, 2, 4]); i > 0; i--) value = changeJson(random, value)
      return textCase('a recipe with changed values', utf8.encode(toText(value)))
    },
  }
}

const documents: readonly (() => string)[] = [
  () => '['.repeat(100_000),
  () => `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`,
  () => `{"model": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
  () => `{"model": "${'x'.repeat(5_000_000)}`,
  () => `{"model": "${'x'.repeat(1_000_000)}"}`,
  () => `{${Array.from({ length: 50_000 }, (_, i) => `"field${i}": 1`).join(',')}}`,
  () => JSON.stringify({ ...rich, groups: Array(20_000).fill({ tensors: 5 }) }),
  () => JSON.stringify({ ...rich, trainable: ['*a'.repeat(5000), 7] }),
  () => '{"__proto__": {"model": "x"}, "constructor": 1}',
  () => '',
  () => 'null',
]

/** JSON with numbers that JSON cannot write replaced by large ones, and a `__proto__` key kept. */
const toText = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'number' && !Number.isFinite(item) ? (item > 0 ? 1e308 : -1e308) : item,
  ) ?? ''

const hostileValues = (random: Random): unknown =>
  pick<unknown>(random, [
    null,
    true,
    '',
    {},
    [],
    pick(random, hostileNumbers),
    pick(random, hostileNames),
    [pick(random, hostileNames)],
    { kind: pick(random, hostileNames) },
    Array(5000).fill(0),
    9e15,
    2 ** 31,
  ])

/** Changes a random value or key of a JSON document. */
function changeJson(random: Random, value: unknown): unknown {
  if (random.integer(4) === 0 || typeof value !== 'object' || value === null) return hostileValues(random)
  if (Array.isArray(value)) {
    if (random.integer(4) === 0) return [...value, hostileValues(random)]
    return changeOne(random, value as readonly unknown[], (item) => changeJson(random, item))
  }
  const entries = Object.entries(value)
  if (random.integer(6) === 0) entries.push([pick(random, hostileNames), hostileValues(random)])
  const at = random.integer(Math.max(entries.length, 1))
  const kept = entries.flatMap(([key, item], i): [string, unknown][] => {
    if (i !== at) return [[key, item]]
    const how = random.integer(8)
    if (how === 0) return []
    if (how === 1) return [[pick(random, hostileNames), item]]
    return [[key, changeJson(random, item)]]
  })
  return Object.fromEntries(kept)
}

const mutant = (text: Uint8Array, edits: readonly Edit[]): Case => ({
  ...textCase('a recipe with changed bytes', applyEdits(text, edits)),
  *simpler() {
    for (const fewer of fewerEdits(edits)) yield mutant(text, fewer)
  },
})

const textCase = (title: string, file: Uint8Array): Case => ({
  title,
  file,
  run(enter) {
    const verdict = new Verdict(enter)
    const text = new TextDecoder().decode(file)
    const recipe = verdict.stage('parse', () => parseRecipe(text))
    if (recipe) {
      verdict.stage('check', () => checkRecipe(recipe))
      verdict.stage('trainer options', () => trainerOptions(recipe))
      verdict.stage('fit options', () => fitOptions(recipe))
    }
    verdict.stage('override', () => parseRecipe(JSON.stringify(rich), [`optimizer.lr=${text.slice(0, 5000)}`]))
    return verdict.outcome()
  },
})
