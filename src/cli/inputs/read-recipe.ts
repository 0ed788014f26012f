import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, extname, resolve } from 'node:path'
import { Option } from 'commander'
import { build } from 'onnx-ire/models'
import { readRegularFile } from '../../node/files/files.js'
import { readModel } from '../../node/files/model.js'
import { modelOf } from '../../onnx/export/export-graph.js'
import type { Model } from '../../onnx/model.js'
import { parseRecipe } from '../../recipe/parse.js'
import type { DataSource, Recipe } from '../../recipe/recipe.js'
import { mapPaths } from '../../recipe/resolve.js'
import { mapSourcePaths, sourcePaths } from '../../recipe/sources/source.js'
import { OnnxIreError, prefixError, withPath } from '../../util/errors.js'
import { readRunRecord } from '../training/run-record.js'
import { presetTitle, readPreset } from './read-preset.js'
import { checkShippedName, shippedNames } from './shipped-files.js'

/**
 * Loads the model that a recipe starts from: reads its file, or builds its preset.
 * Throws `io`, `invalid-model`; for a preset `invalid-option`, and `invalid-recipe` naming every invalid option.
 */
export async function loadModel({ model, seed }: Pick<Recipe, 'model' | 'seed'>): Promise<Model> {
  if (typeof model === 'string') return readModel(model)
  const { preset: name, options = {} } = model
  return withPath('model', async () => {
    const assignments = Object.entries(options).map(([option, value]) => `${option}=${JSON.stringify(value)}`)
    const { inputs, outputs } = build(await readPreset(name, assignments), model.seed ?? seed)
    return modelOf({ name: presetTitle(name), inputs, outputs })
  })
}

/** Loads the teacher of a recipe; undefined if it has none. */
export const loadTeacher = async ({ teacher }: Pick<Recipe, 'teacher'>): Promise<Model | undefined> =>
  teacher && withPath('teacher.model', () => readModel(teacher.model))

/** Name of the initial model: the path of its file, or its preset. */
export const modelTitle = ({ model }: Pick<Recipe, 'model'>): string =>
  typeof model === 'string' ? model : model.preset

const folder = new URL('../../models/recipes/', import.meta.url)

/** Names of the recipes in the package, numbers in names in numeric order. */
export const recipeNames = (): Promise<string[]> => shippedNames(folder)

/** Reads a recipe of the package, with its paths unchanged. */
export const readShippedRecipe = async (name: string): Promise<Recipe> =>
  parseRecipe(await readFile(shippedFile(name), 'utf8'))

const shippedFile = (name: string): URL => new URL(`${name}.json`, folder)

/** Whether `path` is a name for a recipe of the package: neither a path nor an existing file. */
export const isRecipeName = (path: string): boolean => /^[\w-]+$/.test(path) && !existsSync(path)

/**
 * Reads a recipe file and makes its paths absolute, or a recipe of the package by its name, with paths relative to the
 * working directory. Throws `io`, `invalid-option` for an unknown name, and `invalid-recipe` with file and field.
 * Paths of a run folder that was moved are also relative to its former place.
 * @param assignments `path=value` changes
 */
export async function readRecipe(path: string, assignments: readonly string[] = []): Promise<Recipe> {
  const isName = isRecipeName(path)
  if (isName) {
    const hint = 'onnx-ire train --list prints the recipes of the package'
    checkShippedName(path, await recipeNames(), 'file and no recipe of the package', hint)
  }
  const source = isName ? shippedFile(path) : path
  const text = (
    await readRegularFile('recipe', source, { EISDIR: 'it is a folder; name the recipe file in it' })
  ).toString()
  try {
    const folder = (await readRunRecord(path))?.folder
    return mapPaths(parseRecipe(text, assignments), (relative) => {
      const here = resolve(dirname(path), relative)
      const before = folder === undefined ? here : resolve(folder, relative)
      return existsSync(here) || !existsSync(before) ? here : before
    })
  } catch (cause) {
    throw prefixError(cause, path, 'invalid-recipe')
  }
}

/** Paths from the command line in place of those of a recipe, relative to the working directory. */
export interface PathOverrides {
  /** Model that the run starts from. */
  readonly model?: string
  /** File or folder of the training data. */
  readonly data?: string
  /** Model that the run imitates. */
  readonly teacher?: string
}

/**
 * Replaces the paths of model, training data and teacher. Throws `invalid-option` for data that consist of several
 * files, and for the teacher of a recipe without one.
 */
export function overridePaths(recipe: Recipe, { model, data, teacher }: PathOverrides): Recipe {
  if (teacher !== undefined && !recipe.teacher)
    throw new OnnxIreError('invalid-option', '--teacher replaces teacher.model, and the recipe has no teacher: omit it')
  return {
    ...recipe,
    ...(teacher === undefined ? {} : { teacher: { ...recipe.teacher, model: resolve(teacher) } }),
    ...(model === undefined ? {} : { model: resolve(model) }),
    ...(data === undefined
      ? {}
      : { data: { ...recipe.data, train: overrideSource('data.train', recipe.data.train, data) } }),
  }
}

/** Replaces the path of a data source. @param path the field of the source, for messages */
export function overrideSource(path: string, source: DataSource, file: string): DataSource {
  if (sourcePaths(source).length === 1) return mapSourcePaths(source, () => resolve(file))
  throw new OnnxIreError(
    'invalid-option',
    `--data replaces one path, but ${path} (${source.kind}) has several: replace each by --set ${path}.<field>=<path>`,
  )
}

/** The options --model, --data and --teacher of commands that read a run again. */
export const modelPathOption = (): Option =>
  new Option('--model <file>', 'the model that the run starts from, if it is elsewhere now')
export const dataPathOption = (): Option =>
  new Option('--data <path>', 'file or folder of the training data, if they are elsewhere now')
export const teacherPathOption = (): Option =>
  new Option('--teacher <file>', 'the teacher of the run, if it is elsewhere now')

/** The run folder if neither the recipe nor the command line sets one: `runs/<recipe>` next to the recipe. */
export const defaultRunFolder = (path: string): string => resolve(dirname(path), 'runs', basename(path, extname(path)))
