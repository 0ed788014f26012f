import { getOwn } from '../util/record.js'
import type { Recipe } from './recipe.js'
import { mapPaths } from './resolve.js'

/** Fields that may differ when a run is resumed: its length, its output and the resources of the machine. */
const changeable: readonly string[] = [
  '$schema',
  'about',
  'output',
  'epochs',
  'steps',
  'checkpoints',
  'weights',
  'threads',
]

/**
 * Fields that make two recipes different runs. Paths of files may differ: checkpoints compare the contents of model and
 * data.
 */
export function diffRecipes(before: Recipe, now: Recipe): string[] {
  const [a, b] = [before, now].map((recipe) => mapPaths(recipe, () => '')) as [Recipe, Recipe]
  const fields = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...fields]
    .filter((field) => !changeable.includes(field))
    .flatMap((field) => diffValues(a[field as keyof Recipe], b[field as keyof Recipe], field))
}

function diffValues(a: unknown, b: unknown, path: string): string[] {
  if (!isObject(a) || !isObject(b)) return JSON.stringify(a) === JSON.stringify(b) ? [] : [path]
  const fields = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...fields].flatMap((field) => diffValues(getOwn(a, field), getOwn(b, field), `${path}.${field}`))
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
