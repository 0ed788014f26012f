import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { basename, dirname, extname, resolve } from 'node:path'
import { readError } from '../../node/files.js'
import { parseRecipe } from '../../recipe/parse.js'
import { mapPaths } from '../../recipe/paths.js'
import type { Recipe } from '../../recipe/recipe.js'
import { closest } from '../../recipe/suggestion.js'
import { OnnxIreError } from '../../util/errors.js'

const folder = new URL('../../models/recipes/', import.meta.url)

/** The recipes of the package, sizes in order. */
export async function recipeNames(): Promise<string[]> {
  const files = await readdir(folder)
  return files
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
}

/** A recipe of the package as it is written. */
export const shippedRecipe = async (name: string): Promise<Recipe> => parseRecipe(await readFile(shipped(name), 'utf8'))

const shipped = (name: string): URL => new URL(`${name}.json`, folder)

/** Whether this names a recipe of the package: neither a path nor a file that is there. */
export const isRecipeName = (path: string): boolean => /^[\w-]+$/.test(path) && !existsSync(path)

/**
 * Reads a recipe file, its paths made absolute; or a recipe of the package by its name, where paths are relative to the
 * working directory. Throws `io`, `invalid-option` for a name that is not there, and `invalid-recipe` naming file and field.
 * @param assignments `path=value` changes
 */
export async function readRecipe(path: string, assignments: readonly string[] = []): Promise<Recipe> {
  const named = isRecipeName(path)
  if (named) await refuseUnknown(path)
  const text = await readFile(named ? shipped(path) : path, 'utf8').catch((cause) => {
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

async function refuseUnknown(name: string): Promise<void> {
  const names = await recipeNames()
  if (names.includes(name)) return
  const meant = closest(name, names)
  throw new OnnxIreError(
    'invalid-option',
    `there is no file and no recipe of the package '${name}'${meant === undefined ? '' : `, did you mean '${meant}'?`}; onnx-ire train --list names those of the package`,
  )
}
