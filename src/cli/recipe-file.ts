import { readFile } from 'node:fs/promises'
import { basename, dirname, extname, resolve } from 'node:path'
import { OnnxIreError } from '../errors.js'
import { codeOf } from '../node/files.js'
import { parseRecipe } from '../recipe/parse.js'
import { mapPaths } from '../recipe/paths.js'
import type { Recipe } from '../recipe/recipe.js'

/**
 * Reads a recipe file, its paths made absolute. Throws `io`, and `invalid-recipe` naming file and field.
 * @param assignments `path=value` changes
 */
export async function readRecipe(path: string, assignments: readonly string[] = []): Promise<Recipe> {
  const text = await readText(path)
  try {
    return mapPaths(parseRecipe(text, assignments), (relative) => resolve(dirname(path), relative))
  } catch (cause) {
    if (!(cause instanceof OnnxIreError) || cause.code !== 'invalid-recipe') throw cause
    throw new OnnxIreError('invalid-recipe', `${path}: ${cause.message}`, { cause })
  }
}

/** Where a recipe's run goes unless it or the command line says so. */
export const defaultRunFolder = (path: string): string => resolve(dirname(path), 'runs', basename(path, extname(path)))

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const reasons: Readonly<Record<string, string>> = {
      ENOENT: 'there is no such file',
      ENOTDIR: 'there is no such file',
      EISDIR: 'it is a folder; name the recipe file in it',
      EACCES: 'it may not be read; change its permissions',
    }
    const reason = reasons[codeOf(cause) ?? ''] ?? (cause instanceof Error ? cause.message : String(cause))
    throw new OnnxIreError('io', `cannot read the recipe ${path}: ${reason}`, { cause })
  }
}
