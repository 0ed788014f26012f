import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { ModelUsage } from '../../data/model/model-usage.js'
import type { OpenContext } from '../../node/data/data-source.js'
import { openImages } from '../../node/data/image-folder.js'
import { openData } from '../../node/data/open-data.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import type { Model } from '../../onnx/model.js'
import { checkSource } from '../../recipe/parse.js'
import type { DataSource, LossRecipe, Recipe } from '../../recipe/recipe.js'
import { hasImageFiles, mapSourcePaths } from '../../recipe/sources/source.js'
import { lossOfUsage } from '../../recipe/usage.js'
import { refuseOptions, usageError } from '../errors.js'
import { overrideSource, readRecipe } from '../inputs/read-recipe.js'
import { isJsonObject, parseData, withDataPath } from '../inputs/select-data.js'
import type { Origins } from './format-predictions.js'
import type { OpenedExamples, PredictOptions } from './write-predictions.js'

/** A data source, and the part of its examples to predict for. */
export interface SelectedSource {
  /** Files in place of those of the source. */
  readonly files: readonly string[]
  /** Path of the source in the recipe, for messages. */
  readonly path: string
  readonly source: DataSource
  /** The recipe that splits the source, and the part; null for the whole source. */
  readonly split: { readonly recipe: Recipe; readonly part: 'train' | 'validation' } | null
  /** The loss of the recipe, if one is given. */
  readonly loss?: LossRecipe
  /** The training data, whose statistics the columns of a table are converted with. */
  readonly train?: DataSource
}

/**
 * Selects the data of a recipe, or files in their place, or the data of --data.
 * @param recipePath undefined without a recipe
 * @param files files in place of the data of the recipe
 * @param usage the metadata of the model, which describe it if no recipe does
 */
export async function selectSource(
  recipePath: string | undefined,
  files: readonly string[],
  options: PredictOptions,
  command: Command,
  usage: ModelUsage,
): Promise<SelectedSource> {
  if (recipePath === undefined) {
    if (options.data === undefined) return usageError(command, 'give a recipe, or --data')
    refuseOptions(command, ['on'], 'selects data of a recipe, but no recipe is given')
    if (options.set.length > 0) usageError(command, '--set changes a recipe, but no recipe is given')
    const source = mapSourcePaths(checkSource(parseData(options.data, command)), (path) => resolve(path))
    const loss = lossOfUsage(usage) ?? (source.kind === 'image-texts' ? ({ kind: 'ctc' } as const) : undefined)
    return { path: '--data', source, files, split: null, ...(loss ? { loss } : {}) }
  }
  if (isJsonObject(options.data)) usageError(command, '--data as JSON replaces a recipe; change a recipe with --set')
  const recipe = withDataPath(await readRecipe(recipePath, options.set), options)
  const { data, loss } = recipe
  if (files.length > 0) {
    const { start: _start, end: _end, ...source } = data.train
    const takesImages = hasImageFiles(source)
    if (!takesImages && files.length > 1)
      usageError(command, `the run has data of the kind ${source.kind}, of which one file can be given`)
    const own = takesImages ? source : refuseMissing(overrideSource('data.train', source, files[0]!))
    return { path: 'data.train', source: own, files, split: null, loss }
  }
  if (data.split) return { path: 'data.train', source: data.train, files, split: { recipe, part: options.on }, loss }
  const source = data[options.on]
  if (source === undefined)
    return usageError(command, `${recipePath} has no data.${options.on}; add it, or use --on train`)
  return { path: `data.${options.on}`, source, files, split: null, train: data.train, loss }
}

/** A table in which missing fields are an error: a row left out would shift the numbers of the predictions after it. */
const refuseMissing = (source: DataSource): DataSource =>
  source.kind === 'csv' && source.missing === 'skip' ? { ...source, missing: 'error' } : source

/** The images of files or folders, converted as the metadata of the model say. */
export function imagesOf(usage: ModelUsage, files: readonly string[]): SelectedSource {
  const { image } = usage
  const loss = lossOfUsage(usage)
  return {
    ...{ path: 'the metadata of the model', split: null, files },
    source: { kind: 'image-folder', folder: '.', ...(image ? { image } : {}) },
    ...(loss ? { loss } : {}),
  }
}

/** Opens a selected source for a model. */
export async function openSelected(
  { path, source, files: given, split, train, loss }: SelectedSource,
  model: Model,
): Promise<OpenedExamples> {
  const plain: OpenContext = { model, targets: null, loss, classes: async () => ({}) }
  let opened: ReturnType<typeof openData> | undefined
  const openTrain = async () => {
    if (train) opened ??= openData('data.train', train, plain)
    return opened
  }
  const statistics = async () => (await openTrain())?.data.statistics
  const classesOfTrain = async () => (await openTrain())?.classes ?? {}
  const context: OpenContext = source === train ? plain : { ...plain, statistics, classes: classesOfTrain }
  if (hasImageFiles(source) && given.length > 0) {
    const { data, files } = await openImages(source, given, context)
    return { data, origins: originsOf(files) }
  }
  // The labels decide which examples are held out.
  if (split) {
    const { mixup: _mixup, ...recipe } = split.recipe
    const { balance: _balance, ...data } = recipe.data
    const recipeData = await RecipeData.open({ ...recipe, data }, model)
    const parts = { train: await recipeData.train(), validation: (await recipeData.validation())! }
    const [some, others] = [parts.train.length, parts.validation.length]
    const total = some === undefined || others === undefined ? undefined : some + others
    return {
      data: parts[split.part],
      origins: originsOf(await recipeData.files(split.part)),
      positions: await recipeData.positions(split.part),
      total,
      classes: await recipeData.classes(),
    }
  }
  const { data, files, classes } = await openData(path, source, context)
  return { data, origins: originsOf(files), classes }
}

const originsOf = (files: readonly string[] | undefined): Origins | undefined => files && { kind: 'file', names: files }
