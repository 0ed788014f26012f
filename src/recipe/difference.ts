import type { Recipe } from './recipe.js'

/** What a resumed run may change: how long it trains, what it keeps and where, and what it uses of the machine. */
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

/** The paths of the fields in which two recipes are different runs. */
export function differences(a: Recipe, b: Recipe): string[] {
  const fields = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...fields]
    .filter((field) => !changeable.includes(field))
    .flatMap((field) => differing(a[field as keyof Recipe], b[field as keyof Recipe], field))
}

function differing(a: unknown, b: unknown, path: string): string[] {
  if (!isObject(a) || !isObject(b)) return JSON.stringify(a) === JSON.stringify(b) ? [] : [path]
  const fields = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...fields].flatMap((field) => differing(a[field], b[field], `${path}.${field}`))
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
