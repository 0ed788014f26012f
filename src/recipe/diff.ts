import { getOwn, isObject } from '../util/record.js'
import type { DataSource, Recipe } from './recipe.js'
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
 * Fields that make two recipes different runs. Paths of model, teacher and data may differ: checkpoints compare their
 * contents.
 */
export function diffRecipes(before: Recipe, now: Recipe): string[] {
  const [a, b] = [before, now].map(withoutPaths) as [Recipe, Recipe]
  const fields = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...fields]
    .filter((field) => !changeable.includes(field))
    .flatMap((field) => diffValues(a[field as keyof Recipe], b[field as keyof Recipe], field))
}

/** A recipe without paths, and without statistics of the data. */
function withoutPaths(recipe: Recipe): Recipe {
  const mapped = mapPaths(recipe, () => '')
  const { train, validation } = mapped.data
  return {
    ...mapped,
    data: {
      ...mapped.data,
      train: withoutStatistics(train),
      ...(validation ? { validation: withoutStatistics(validation) } : {}),
    },
  }
}

/** A source without statistics, which follow from its data. */
function withoutStatistics(source: DataSource): DataSource {
  if (source.kind !== 'csv') return source
  const { statistics: _, ...rest } = source
  return rest
}

function diffValues(a: unknown, b: unknown, path: string): string[] {
  // Run folders have the number of classes; the checkpoint compares the shapes of the model.
  if (path === 'head.classes' && (a === 'data' || b === 'data')) return []
  if (!isObject(a) || !isObject(b)) return JSON.stringify(a) === JSON.stringify(b) ? [] : [path]
  const fields = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...fields].flatMap((field) => diffValues(getOwn(a, field), getOwn(b, field), `${path}.${field}`))
}
