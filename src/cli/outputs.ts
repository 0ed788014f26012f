import { realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { listFiles } from '../node/data/folders.js'
import { listSourceFiles } from '../node/data/open-data.js'
import { checkTarget } from '../node/files/files.js'
import { listModelFiles } from '../node/files/model.js'
import { removeAbandonedFiles } from '../node/files/temporary-files.js'
import type { Model } from '../onnx/model.js'
import { isPresetFile } from '../recipe/model.js'
import type { Recipe } from '../recipe/recipe.js'
import { OnnxIreError } from '../util/errors.js'
import { isRecipeName } from './inputs/read-recipe.js'

/** Files that a command is going to write. */
export interface Outputs {
  /** Paths of files to create or to replace. */
  readonly files: readonly string[]
  /** Folders to remove with everything inside, if they exist. */
  readonly folders?: readonly string[]
}

/**
 * Checks the outputs of a command before it writes the first one: what exists under their names must be a regular file,
 * and none of the files that the command reads, by whatever path or hard link. Removes temporary files that killed
 * processes left beside the outputs.
 * @param listInputs lists the files that the command reads; called only if an output exists
 * @throws OnnxIreError `io`, or `invalid-option` for an output that is an input
 */
export async function prepareOutputs(
  { files, folders = [] }: Outputs,
  listInputs: () => Promise<readonly string[]>,
): Promise<void> {
  const existing = new Map<string, string>()
  const removed = await Promise.all(folders.map((folder) => listFiles(folder).catch((): string[] => [])))
  for (const output of [...files, ...removed.flat()]) {
    await checkTarget(output)
    for (const key of await identify(output)) existing.set(key, output)
  }
  for (const input of existing.size > 0 ? await listInputs() : []) {
    const output = (await identify(input)).map((key) => existing.get(key)).find((found) => found !== undefined)
    if (output !== undefined)
      throw new OnnxIreError(
        'invalid-option',
        `${output} would be overwritten, but it is ${output === input ? 'an input' : `the input ${input}`}; choose another name`,
      )
  }
  for (const folder of new Set(files.map((file) => dirname(file)))) await removeAbandonedFiles(folder)
}

/**
 * Keys that two paths share if and only if they are the same file: the real path, and device and number, which also
 * identify hard links and names that differ in case only. Empty if there is no file.
 */
async function identify(path: string): Promise<string[]> {
  try {
    const { dev, ino } = await stat(path, { bigint: true })
    // Some file systems do not number their files.
    return [await realpath(path), ...(ino === 0n ? [] : [`${dev} ${ino}`])]
  } catch {
    return []
  }
}

/** Lists the file of a recipe, unless it is in the package. */
export const listRecipeFile = (path: string): readonly string[] => (isRecipeName(path) ? [] : [path])

/** Lists the files of the model that a recipe starts from: the model and its data files, or its preset. */
export function listInitialFiles({ model: start }: Pick<Recipe, 'model'>, model: Model): readonly string[] {
  if (typeof start === 'string') return listModelFiles(start, model)
  return isPresetFile(start.preset) ? [start.preset] : []
}

/** Lists the files of a recipe's data. */
export const listDataFiles = ({ data: { train, validation } }: Pick<Recipe, 'data'>): Promise<readonly string[]> =>
  listSourceFiles(train, ...(validation ? [validation] : []))
