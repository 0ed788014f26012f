import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { DatasetOrStream } from '../../data/stream.js'
import type { LossKind } from '../../loss/registry.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { openData } from '../../node/data/open-data.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import type { Model } from '../../onnx/model.js'
import { lossOnOutput, lossTarget, taskLosses } from '../../recipe/loss.js'
import { checkEvaluation, parseJson } from '../../recipe/parse.js'
import type { EvaluationRecipe, Recipe } from '../../recipe/recipe.js'
import { mapSourcePaths } from '../../recipe/sources/source.js'
import { readRecipe } from './read-recipe.js'

export interface DataOptions {
  readonly on: 'train' | 'validation'
  readonly set: readonly string[]
  readonly data?: string
  readonly loss?: string
  readonly logits?: string
  readonly metrics?: readonly string[]
}

/** What to evaluate on, once the model is there. */
export type Choose = (model: Model) => Promise<{
  readonly data: DatasetOrStream
  readonly classes: ClassNames
  readonly recipe: Omit<EvaluationRecipe, 'data'> & Pick<Partial<Recipe>, 'trainable' | 'seed'>
}>

/** Data and loss of a recipe, or of the options that stand in for one; wrong usage is told before anything is opened. */
export const selectData = (path: string | undefined, options: DataOptions, command: Command): Promise<Choose> =>
  path === undefined ? fromOptions(options, command) : fromRecipe(path, options, command)

async function fromRecipe(path: string, options: DataOptions, command: Command): Promise<Choose> {
  if (options.data !== undefined || options.loss !== undefined || options.logits !== undefined) {
    command.error('error: --data, --loss and --logits stand in for a recipe; change a recipe with --set', {
      exitCode: 2,
    })
  }
  const recipe = await readRecipe(path, options.set)
  if (options.on === 'validation' && !recipe.data.validation && !recipe.data.split) {
    command.error(`error: ${path} has neither data.validation nor data.split; add one, or use --on train`, {
      exitCode: 2,
    })
  }
  return async (model) => {
    const prepared = await RecipeData.of(recipe, model, model)
    const data = (options.on === 'validation' && (await prepared.validation())) || (await prepared.train())
    // Without tables no names are shown, and to find them may take reading the training data.
    const tables = options.metrics ?? recipe.metrics ?? []
    return { data, classes: tables.length > 0 ? await prepared.classes() : {}, recipe: prepared.recipe }
  }
}

async function fromOptions(options: DataOptions, command: Command): Promise<Choose> {
  const { data: given, loss, logits } = options
  if (given === undefined || loss === undefined) {
    command.error('error: give a recipe, or both --data and --loss', { exitCode: 2 })
  }
  if (options.set.length > 0) command.error('error: --set changes a recipe, and none is given', { exitCode: 2 })
  const written = loss.trimStart().startsWith('{')
  if (written && logits !== undefined) command.error('error: --logits goes with a loss by its kind', { exitCode: 2 })
  // A kind that is none is refused by the check.
  const { data: source, ...recipe } = checkEvaluation({
    data: parseJson(given),
    loss: written ? parseJson(loss) : lossOnOutput(loss as LossKind, logits),
  })
  return async (model) => {
    const targets = taskLosses(recipe.loss).map(([, task]) => lossTarget(task))
    const opening = { model, targets, classes: async () => ({}) }
    const { data, classes = {} } = await openData(
      '--data',
      mapSourcePaths(source, (path) => resolve(path)),
      opening,
    )
    return { data, classes, recipe }
  }
}
