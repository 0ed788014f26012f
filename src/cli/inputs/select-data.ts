import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { DatasetOrStream } from '../../data/stream.js'
import type { LossKind } from '../../loss/registry.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { listSourceFiles, openData } from '../../node/data/open-data.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import type { Model } from '../../onnx/model.js'
import { lossOnOutput, lossTargets } from '../../recipe/loss.js'
import { checkEvaluation, parseJson } from '../../recipe/parse.js'
import type { EvaluationRecipe, Recipe } from '../../recipe/recipe.js'
import { resolveMetrics } from '../../recipe/resolve.js'
import { mapSourcePaths } from '../../recipe/sources/source.js'
import { prefixError } from '../../util/errors.js'
import { usageError } from '../errors.js'
import { setOption } from '../options.js'
import { listDataFiles, listRecipeFile } from '../outputs.js'
import { describeOtherData, readRunRecord } from '../training/run-record.js'
import { pathsOfSource, withPathAdvice } from './moved-paths.js'
import { overrideSource, readRecipe } from './read-recipe.js'

/** Values of the options that select data and loss. */
export interface DataOptions {
  readonly on: 'train' | 'validation'
  readonly set: readonly string[]
  readonly data?: string
  readonly loss?: string
  readonly logits?: string
  readonly metrics?: readonly string[]
}

/**
 * Adds the options that select data and loss: from a recipe, or in place of one.
 * @param on the default of --on
 */
export function addDataOptions(command: Command, on: DataOptions['on']): void {
  command
    .addOption(onOption(on))
    .addOption(setOption('change a field of the recipe'))
    .option(
      '--data <path|json>',
      `file or folder of the data; in place of a recipe: the data, like data.${on} of a recipe`,
    )
    .option('--loss <kind|json>', 'in place of a recipe: the loss, by its kind or like the loss of a recipe')
    .option('--logits <name>', 'in place of a recipe: the output of the model that the loss reads')
}

/** The option `--on`, which selects training or validation data of a recipe. */
export const onOption = (defaultData: DataOptions['on']): Option =>
  new Option('--on <data>', 'which data of the recipe').choices(['train', 'validation']).default(defaultData)

/** Opens the selected data for a model. */
type OpenSelectedData = (model: Model) => Promise<{
  readonly data: DatasetOrStream
  readonly classes: ClassNames
  /** Lists the files of the recipe, if any, and of its data. */
  readonly listFiles: () => Promise<readonly string[]>
  /** Difference between the data and those of the run that the recipe belongs to; undefined for none. */
  readonly warning?: string | undefined
  readonly recipe: Omit<EvaluationRecipe, 'data'> & Pick<Partial<Recipe>, 'trainable' | 'seed'>
}>

/** Whether the value of --data is JSON, and not a path. */
export const isJsonObject = (data: string | undefined): boolean => data?.trimStart().startsWith('{') === true

/** Parses the value of --data in place of a recipe. Ends the command if it is a path. */
export function parseData(data: string, command: Command): unknown {
  if (!isJsonObject(data))
    usageError(
      command,
      `--data: without a recipe give JSON, such as { "kind": "image-folder", "folder": ${JSON.stringify(data)}, "image": { "size": 224 } }`,
    )
  try {
    return parseJson(data)
  } catch (cause) {
    throw prefixError(cause, '--data')
  }
}

/** Replaces the path of the data that the options select by the path in --data, if any. */
export function withDataPath(recipe: Recipe, options: Pick<DataOptions, 'data' | 'on'>): Recipe {
  const { data } = recipe
  if (options.data === undefined) return recipe
  const name = replacedSource(recipe, options)
  return { ...recipe, data: { ...data, [name]: overrideSource(`data.${name}`, data[name]!, options.data) } }
}

/** The source whose path --data replaces. */
const replacedSource = ({ data }: Pick<Recipe, 'data'>, { on }: Pick<DataOptions, 'on'>): DataOptions['on'] =>
  on === 'validation' && data.validation ? 'validation' : 'train'

/** Selects data and loss from a recipe or from options. Wrong usage is reported here, before any file is opened. */
export const selectData = (
  path: string | undefined,
  options: DataOptions,
  command: Command,
): Promise<OpenSelectedData> =>
  path === undefined ? selectFromOptions(options, command) : selectFromRecipe(path, options, command)

async function selectFromRecipe(path: string, options: DataOptions, command: Command): Promise<OpenSelectedData> {
  if (isJsonObject(options.data) || options.loss !== undefined || options.logits !== undefined)
    usageError(command, '--data as JSON, --loss and --logits replace a recipe; change a recipe with --set')
  const { metrics } = options
  const recipe = { ...withDataPath(await readRecipe(path, options.set), options), ...(metrics ? { metrics } : {}) }
  const record = await readRunRecord(path)
  if (options.on === 'validation' && !recipe.data.validation && !recipe.data.split)
    usageError(command, `${path} has neither data.validation nor data.split; add one, or use --on train`)
  const open: OpenSelectedData = async (model) => {
    const recipeData = await RecipeData.open(recipe, model)
    const data = (options.on === 'validation' && (await recipeData.validation())) || (await recipeData.train())
    // Class names appear in tables only, and reading them may mean reading the training data.
    const tables = recipe.metrics ?? []
    const listFiles = async () => [...listRecipeFile(path), ...(await listDataFiles(recipe))]
    return {
      data,
      classes: tables.length > 0 ? await recipeData.classes() : {},
      listFiles,
      recipe: recipeData.recipe,
      warning: await describeOtherData(record, options.on === 'train' ? 'training' : 'validation', data),
    }
  }
  const replaced = replacedSource(recipe, options)
  const paths = (['train', 'validation'] as const).flatMap((name) => {
    const source = recipe.data[name]
    return source ? pathsOfSource(`data.${name}`, source, name === replaced) : []
  })
  return (model) => withPathAdvice(paths, () => open(model))
}

async function selectFromOptions(options: DataOptions, command: Command): Promise<OpenSelectedData> {
  const { data: dataJson, loss, logits } = options
  if (dataJson === undefined || loss === undefined)
    return usageError(command, `give a recipe, or both --data and --loss: ${command.args[0]} is no run folder`)
  if (options.set.length > 0) usageError(command, '--set changes a recipe, but no recipe is given')
  const isJson = loss.trimStart().startsWith('{')
  if (isJson && logits !== undefined) usageError(command, '--logits needs a --loss that is a kind, not JSON')
  const { data: source, ...recipe } = checkEvaluation({
    data: parseData(dataJson, command),
    // checkEvaluation rejects an unknown kind.
    loss: isJson ? parseJson(loss) : lossOnOutput(loss as LossKind, logits),
  })
  return async (model) => {
    const resolved = mapSourcePaths(source, (path) => resolve(path))
    const { data, classes = {} } = await openData('--data', resolved, {
      model,
      targets: lossTargets(recipe.loss),
      loss: recipe.loss,
      classes: async () => ({}),
    })
    const metrics = await resolveMetrics(recipe, options.metrics ?? [], { classes: async () => classes })
    const listFiles = () => listSourceFiles(resolved)
    return { data, classes, listFiles, recipe: { ...recipe, ...(options.metrics ? { metrics } : {}) } }
  }
}
