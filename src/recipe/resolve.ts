import { mixup } from '../data/augment/mixup.js'
import { batches } from '../data/batches.js'
import { classWeights } from '../data/classes.js'
import type { DatasetOrStream } from '../data/stream.js'
import { isFloat } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import type { Graph } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import { createLoss, lossTarget, mapLosses, type TaskLoss, taskLosses } from './loss.js'
import { addClassOptions, type MetricRecipe, needsClassNames } from './metric.js'
import { mapModelPath } from './model.js'
import type { MixupRecipe, Recipe } from './recipe.js'
import { mapSourcePaths } from './sources/source.js'
import { namesOfTargets } from './usage.js'

/** Maps every path of a recipe by `f`, to resolve paths relative to its file for instance. */
export function mapPaths(recipe: Recipe, f: (path: string) => string): Recipe {
  const { train, validation } = recipe.data
  const { teacher } = recipe
  return {
    ...recipe,
    model: mapModelPath(recipe.model, f),
    ...(teacher && { teacher: { ...teacher, model: f(teacher.model) } }),
    ...(recipe.output === undefined ? {} : { output: f(recipe.output) }),
    data: {
      ...recipe.data,
      train: mapSourcePaths(train, f),
      ...(validation === undefined ? {} : { validation: mapSourcePaths(validation, f) }),
    },
  }
}

/** Model and data of a run, loaded only if a recipe needs them to be resolved. */
interface RecipeContext {
  /** Graph of the model to train, with its new head. */
  readonly graph: () => Graph
  /** Training data, or only the labels of their examples. */
  readonly labels: () => Promise<DatasetOrStream>
  /** Class names of the training data, by tensor. */
  readonly classes: () => Promise<Readonly<Record<string, readonly string[]>>>
}

/**
 * Resolves the fields of a recipe that depend on the model or the data: balanced class weights become numbers, mixup
 * gets the number of classes and the inputs to mix, the loss of mixed examples compares probabilities, and metrics get
 * the options that follow from class names.
 * @throws OnnxIreError `invalid-option`, `invalid-data`
 */
export async function resolveRecipe<R extends Pick<Recipe, 'loss' | 'mixup' | 'metrics'>>(
  given: R,
  context: RecipeContext,
): Promise<R> {
  const recipe = given.metrics?.some(needsClassNames)
    ? { ...given, metrics: await resolveMetrics(given, given.metrics, context) }
    : given
  const balanced = new Map<TaskLoss, readonly number[]>()
  for (const [path, loss] of taskLosses(recipe.loss))
    if ('classWeights' in loss && loss.classWeights === 'balanced')
      balanced.set(loss, await computeBalancedWeights(path, loss, context))
  const loss = mapLosses(recipe.loss, (task) => {
    const weights = balanced.get(task)
    return {
      ...task,
      ...(weights && { classWeights: weights }),
      ...(recipe.mixup && task.kind === 'cross-entropy' && { probabilities: true }),
    } as TaskLoss
  })
  if (!recipe.mixup) return { ...recipe, loss }
  const resolved: MixupRecipe = {
    ...recipe.mixup,
    classes: recipe.mixup.classes ?? findClassCount('mixup.classes', taskLosses(recipe.loss)[0]![1], context),
    inputs: recipe.mixup.inputs ?? floatInputs(context.graph()),
  }
  return { ...recipe, loss, mixup: resolved }
}

/** Gives metrics the options that follow from the class names of the labels. */
export async function resolveMetrics(
  { loss }: Pick<Recipe, 'loss'>,
  metrics: readonly MetricRecipe[],
  { classes }: Pick<RecipeContext, 'classes'>,
): Promise<readonly MetricRecipe[]> {
  const [names] = Object.values(namesOfTargets({ loss }, await classes()))
  return metrics.map((metric) => addClassOptions(metric, names))
}

/** Applies the mixup of a resolved recipe, if any, to its data. */
export function applyMixup(
  data: DatasetOrStream,
  { loss, mixup: options }: Pick<Recipe, 'loss' | 'mixup'>,
): DatasetOrStream {
  const target = loss.kind === 'combine' ? undefined : lossTarget(loss)
  if (!options || !target) return data
  const { alpha, classes = 0, inputs } = options
  return mixup(data, { alpha, classes, labels: target.name, inputs })
}

const floatInputs = ({ inputs }: Graph): string[] =>
  [...inputs].flatMap(([name, { dtype }]) => (isFloat(dtype) ? [name] : []))

/** Finds the number of classes of the model from the predictions of the loss. */
function findClassCount(path: string, loss: TaskLoss, { graph }: RecipeContext): number {
  const plain = 'classWeights' in loss ? withoutWeights(loss) : loss
  const comparison = createLoss(plain).build(graph().outputs).predictions?.get('')
  const classes = comparison?.kind === 'classes' ? comparison.logits.shape?.[comparison.axis] : undefined
  if (typeof classes === 'number') return classes
  throw new OnnxIreError('invalid-option', `${path}: the model has no static number of classes; set it in the recipe`)
}

/** Loss with weights of classes. */
type WeightedLoss = Extract<TaskLoss, { readonly classWeights?: unknown }>

async function computeBalancedWeights(path: string, loss: WeightedLoss, context: RecipeContext): Promise<number[]> {
  const { name } = lossTarget(loss)!
  const classes = findClassCount(`${path}.classWeights`, loss, context)
  const labels: number[] = []
  for await (const { tensors } of batches(await context.labels(), { batchSize: 1024 })) {
    const tensor = getOwn(tensors, name)
    if (!tensor)
      throw new OnnxIreError(
        'invalid-data',
        `${path}.classWeights: the training data have no '${name}'; they have ${Object.keys(tensors).join(', ')}`,
      )
    for (const label of numbersOf(tensor)) if (label !== loss.ignoreIndex) labels.push(label)
  }
  return Array.from(classWeights(labels, classes))
}

function withoutWeights(loss: WeightedLoss): TaskLoss {
  const { classWeights: _, ...rest } = loss
  return rest
}
