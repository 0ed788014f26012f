import type { ModelUsage } from '../data/model/model-usage.js'
import { type LossRecipe, lossTargets, taskLosses } from './loss.js'
import type { Recipe } from './recipe.js'
import type { DataSource } from './sources/source.js'

/** Class names of the tensors that the loss of a recipe compares with outputs, and not of the inputs of the model. */
export function namesOfTargets(
  { loss }: Pick<Recipe, 'loss'>,
  classes: Readonly<Record<string, readonly string[]>>,
): Readonly<Record<string, readonly string[]>> {
  const targets = new Set(lossTargets(loss).map(({ name }) => name))
  return Object.fromEntries(Object.entries(classes).filter(([tensor]) => targets.has(tensor)))
}

/** Class names of the targets that metrics measure class by class: `namesOfTargets` without the characters of texts. */
export function measuredClassNames(
  { loss }: Pick<Recipe, 'loss'>,
  classes: Readonly<Record<string, readonly string[]>>,
): Readonly<Record<string, readonly string[]>> {
  const texts = new Set(lossTargets(loss).flatMap(({ name, blank }) => (blank === undefined ? [] : [name])))
  const names = Object.entries(namesOfTargets({ loss }, classes))
  return Object.fromEntries(names.filter(([tensor]) => !texts.has(tensor)))
}

/**
 * Task, class names and the conversion of images of the model that a recipe trains, for its metadata.
 * @param classes class names of the data by tensor
 */
export function usageOf(
  { data, loss }: Pick<Recipe, 'data' | 'loss'>,
  classes: Readonly<Record<string, readonly string[]>>,
): ModelUsage {
  const { train } = data
  const [names, ...others] = Object.values(namesOfTargets({ loss }, classes))
  const task = taskOf(train)
  return {
    ...(names && others.length === 0 ? { ...(task ? { task } : {}), classes: names } : {}),
    ...(task === textTask && taskLosses(loss).some(([, each]) => each.kind === 'ctc' && each.timeFirst)
      ? { timeFirst: true }
      : {}),
    ...((train.kind === 'image-folder' || train.kind === 'image-texts') &&
    train.image?.size !== undefined &&
    train.dims === undefined
      ? { image: train.image }
      : {}),
  }
}

/** The loss of a model that recognizes text, by its usage; undefined for another model. */
export const lossOfUsage = ({ task, classes = [], timeFirst }: ModelUsage): LossRecipe | undefined =>
  task === textTask
    ? { kind: 'ctc', blank: Math.max(0, classes.indexOf('')), ...(timeFirst ? { timeFirst } : {}) }
    : undefined

/** Name of the task of reading the text of images. */
const textTask = 'image-to-text'

/** Name of the task that a source with class names is for; undefined if the source does not determine it. */
function taskOf(source: DataSource): string | undefined {
  switch (source.kind) {
    case 'image-folder':
    case 'cifar-10':
    case 'cifar-100':
      return 'image-classification'
    case 'image-texts':
      return textTask
    case 'text':
      return 'text-classification'
    case 'csv': {
      const columns = Object.values(source.tensors).flat()
      const hasTexts = columns.some((each) => typeof each === 'object' && 'as' in each && each.as === 'text')
      return hasTexts ? 'text-classification' : 'tabular-classification'
    }
    default:
      return undefined
  }
}
