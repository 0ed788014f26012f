import type { Model } from '../../onnx/model.js'
import type { Recipe } from '../../recipe/recipe.js'
import { checksumModel, type DataSummary, differsIn, summarizeData } from '../../train/checkpoint/checksums.js'
import { checksum } from '../../util/checksum.js'
import { OnnxIreError } from '../../util/errors.js'
import { loadTeacher } from '../inputs/read-recipe.js'
import { openTraining } from '../training/open-training.js'

/** Checksums of the models and the data that a trial reads. */
export interface TrialSources {
  /** The model that the trial starts from, with all its weights. */
  readonly model: string
  readonly teacher?: string
  readonly training: DataSummary
  readonly validation?: DataSummary
}

/** The model and the data of a recipe. */
export type OpenedTraining = Awaited<ReturnType<typeof openTraining>>

/**
 * Computes the checksums of trials, once for recipes that read the same; null for recipes that cannot be opened, which
 * fail as trials.
 * @param opened recipe that is open already, with what it reads
 */
export async function checksumSources(
  recipes: readonly Recipe[],
  opened: readonly [Recipe, OpenedTraining],
): Promise<readonly (TrialSources | null)[]> {
  const sources = new Map<string, TrialSources | null>([[keyOf(opened[0]), await checksumOpened(...opened)]])
  for (const recipe of recipes) {
    const key = keyOf(recipe)
    if (!sources.has(key)) sources.set(key, await checksumRecipe(recipe))
  }
  return recipes.map((recipe) => sources.get(keyOf(recipe))!)
}

/** The fields that select models and data. The weights of a preset depend on the seed. */
const keyOf = ({ model, seed, teacher, head, data }: Recipe): string =>
  JSON.stringify([model, typeof model === 'string' ? null : seed, teacher?.model, head, data])

async function checksumRecipe(recipe: Recipe): Promise<TrialSources | null> {
  try {
    return await checksumOpened(recipe, await openTraining(recipe))
  } catch (error) {
    if (error instanceof OnnxIreError) return null
    throw error
  }
}

async function checksumOpened(recipe: Recipe, { initial, data, validation }: OpenedTraining): Promise<TrialSources> {
  const teacher = await loadTeacher(recipe)
  return {
    model: checksumAll(initial),
    ...(teacher ? { teacher: checksumAll(teacher) } : {}),
    training: await summarizeData(data),
    ...(validation ? { validation: await summarizeData(validation) } : {}),
  }
}

function checksumAll(model: Model): string {
  const { graph, tensors } = checksumModel(model, () => false)
  return checksum([graph, JSON.stringify(tensors)])
}

/** Names the sources of a trial that have changed, as far as they are known before and now. */
export function diffSources(before: TrialSources | null | undefined, now: TrialSources | null): string[] {
  if (!before || !now) return []
  const isOther = (a: DataSummary | undefined, b: DataSummary | undefined) =>
    differsIn('examples', a, b) || differsIn('checksum', a, b)
  return [
    ...(before.model === now.model ? [] : ['the model']),
    ...(before.teacher === now.teacher ? [] : ['the teacher']),
    ...(isOther(before.training, now.training) ? ['the training data'] : []),
    ...(isOther(before.validation, now.validation) ? ['the validation data'] : []),
  ]
}
