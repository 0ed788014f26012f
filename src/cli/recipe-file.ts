import { readFile } from 'node:fs/promises'
import { basename, dirname, extname, resolve } from 'node:path'
import { OnnxIreError } from '../errors.js'
import { readError } from '../node/files.js'
import { parseRecipe } from '../recipe/parse.js'
import { mapPaths } from '../recipe/paths.js'
import type { Recipe } from '../recipe/recipe.js'

/**
 * Reads a recipe file, its paths made absolute. Throws `io`, and `invalid-recipe` naming file and field.
 * @param assignments `path=value` changes
 */
export async function readRecipe(path: string, assignments: readonly string[] = []): Promise<Recipe> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw readError('recipe', path, cause, { EISDIR: 'it is a folder; name the recipe file in it' })
  })
  try {
    return mapPaths(parseRecipe(text, assignments), (relative) => resolve(dirname(path), relative))
  } catch (cause) {
    if (!(cause instanceof OnnxIreError) || cause.code !== 'invalid-recipe') throw cause
    throw new OnnxIreError('invalid-recipe', `${path}: ${cause.message}`, { cause })
  }
}

/** Where a recipe's run goes unless it or the command line says so. */
export const defaultRunFolder = (path: string): string => resolve(dirname(path), 'runs', basename(path, extname(path)))
