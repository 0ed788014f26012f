import type { DataSource, Recipe } from './recipe.js'

/** The fields that are paths, by kind of source. */
const pathFields = { idx: ['images', 'labels'] } as const satisfies {
  readonly [K in DataSource['kind']]: readonly (keyof Extract<DataSource, { kind: K }>)[]
}

/** A source with every path in it passed through `f`. */
export function mapSourcePaths(source: DataSource, f: (path: string) => string): DataSource {
  return { ...source, ...Object.fromEntries(pathFields[source.kind].map((field) => [field, f(source[field])])) }
}

/** A recipe with every path in it passed through `f`. */
export function mapPaths(recipe: Recipe, f: (path: string) => string): Recipe {
  const { train, validation } = recipe.data
  return {
    ...recipe,
    model: f(recipe.model),
    ...(recipe.output === undefined ? {} : { output: f(recipe.output) }),
    data: {
      train: mapSourcePaths(train, f),
      ...(validation === undefined ? {} : { validation: mapSourcePaths(validation, f) }),
    },
  }
}
