import { existsSync } from 'node:fs'
import { codeOf } from '../../node/files/files.js'
import type { DataSource, Recipe } from '../../recipe/recipe.js'
import { sourceFields } from '../../recipe/sources/source.js'
import { OnnxIreError } from '../../util/errors.js'

/** A path of a recipe, with the option of the command that replaces it. */
export interface ReplaceablePath {
  readonly field: string
  readonly path: string
  readonly option: string
}

/**
 * Paths of a data source.
 * @param field the field of the source in the recipe
 * @param isReplaced whether `--data` replaces the path of this source, if it has one only
 */
export function pathsOfSource(field: string, source: DataSource, isReplaced: boolean): ReplaceablePath[] {
  const found = sourceFields(source)
  return found.map(([name, path]) => ({
    field: `${field}.${name}`,
    path,
    option: isReplaced && found.length === 1 ? '--data <path>' : `--set ${field}.${name}=<absolute path>`,
  }))
}

/** Paths of model and data that training reads. */
export const pathsOfTraining = ({ model, data }: Recipe): ReplaceablePath[] => [
  ...(typeof model === 'string' ? [{ field: 'model', path: model, option: '--model <file>' }] : []),
  ...pathsOfSource('data.train', data.train, true),
  ...(data.validation ? pathsOfSource('data.validation', data.validation, false) : []),
]

/** The path of the teacher of a recipe. */
export const pathOfTeacher = ({ teacher }: Recipe): ReplaceablePath[] =>
  teacher ? [{ field: 'teacher.model', path: teacher.model, option: '--teacher <file>' }] : []

/** Runs `action`. Its error for a missing file or folder names the paths that do not exist, and how to replace them. */
export async function withPathAdvice<T>(paths: readonly ReplaceablePath[], action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    if (!(cause instanceof OnnxIreError) || !isMissingFile(cause)) throw cause
    const missing = paths.filter(({ path }) => !existsSync(path))
    if (missing.length === 0) throw cause
    const places = missing.map(({ field, path, option }) => `${field} (${path}) by ${option}`)
    throw new OnnxIreError(cause.code, `${cause.message}. If it was moved, name its new path: ${places.join(', ')}`, {
      cause,
    })
  }
}

/** Whether an error, or one that it was caused by, is that of a path that does not exist. */
const isMissingFile = (error: unknown): boolean =>
  error instanceof Error && (['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '') || isMissingFile(error.cause))
