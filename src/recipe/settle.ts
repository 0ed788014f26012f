import { mixup } from '../data/augment/mixup.js'
import { batches } from '../data/batches.js'
import { classWeights } from '../data/classes.js'
import type { DatasetOrStream } from '../data/stream.js'
import { isFloat } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import type { Graph } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { createLoss, lossTarget, mapLosses, type TaskLoss, type TaskLossOf, taskLosses } from './loss.js'
import type { MixupRecipe, Recipe } from './recipe.js'

/** What settling looks at, asked for only where it is needed. */
export interface Sight {
  /** The model to be trained, its head replaced. */
  readonly graph: () => Graph
  /** The training data, or as much of each example as holds the labels. */
  readonly labels: () => Promise<DatasetOrStream>
}

/**
 * A recipe in which nothing is left to the model or the data: balanced class weights are numbers, mixup knows the number
 * of classes and what it mixes, and the loss takes the probabilities that it makes.
 * Throws `invalid-option`, `invalid-data`.
 */
export async function settled<R extends Pick<Recipe, 'loss' | 'mixup'>>(recipe: R, sight: Sight): Promise<R> {
  const balanced = new Map<TaskLoss, readonly number[]>()
  for (const [place, loss] of taskLosses(recipe.loss))
    if (loss.kind === 'cross-entropy' && loss.classWeights === 'balanced')
      balanced.set(loss, await balancedWeights(place, loss, sight))
  const loss = mapLosses(recipe.loss, (task) => {
    const weights = balanced.get(task)
    if (task.kind !== 'cross-entropy') return task
    return {
      ...task,
      ...(weights ? { classWeights: weights } : {}),
      ...(recipe.mixup ? { probabilities: true } : {}),
    }
  })
  if (!recipe.mixup) return { ...recipe, loss }
  const mixing: MixupRecipe = {
    ...recipe.mixup,
    classes: recipe.mixup.classes ?? classesOf('mixup.classes', taskLosses(recipe.loss)[0]![1], sight),
    inputs: recipe.mixup.inputs ?? floatInputs(sight.graph()),
  }
  return { ...recipe, loss, mixup: mixing }
}

/** The data of a settled recipe as its loss takes them: mixed, where it says so. */
export function mixed(data: DatasetOrStream, { loss, mixup: mixing }: Pick<Recipe, 'loss' | 'mixup'>): DatasetOrStream {
  if (!mixing || loss.kind === 'combine') return data
  const { alpha, classes = 0, inputs } = mixing
  return mixup(data, { alpha, classes, labels: lossTarget(loss).name, inputs })
}

const floatInputs = ({ inputs }: Graph): string[] =>
  [...inputs].flatMap(([name, { dtype }]) => (isFloat(dtype) ? [name] : []))

/** How many classes the model tells apart. */
function classesOf(place: string, loss: TaskLoss, { graph }: Sight): number {
  const plain = loss.kind === 'cross-entropy' ? withoutWeights(loss) : loss
  const compared = createLoss(plain).build(graph().outputs).predictions?.get('')
  const classes = compared?.kind === 'classes' ? compared.logits.shape?.[compared.axis] : undefined
  if (typeof classes === 'number') return classes
  throw new OnnxIreError('invalid-option', `${place}: the model does not say how many classes it tells apart; give it`)
}

async function balancedWeights(place: string, loss: TaskLossOf<'cross-entropy'>, sight: Sight): Promise<number[]> {
  const { name } = lossTarget(loss)
  const classes = classesOf(`${place}.classWeights`, loss, sight)
  const labels: number[] = []
  for await (const { tensors } of batches(await sight.labels(), { batchSize: 1024 })) {
    const tensor = tensors[name]
    if (!tensor)
      throw new OnnxIreError(
        'invalid-data',
        `${place}.classWeights: the training data give no '${name}'; they give ${Object.keys(tensors).join(', ')}`,
      )
    for (const label of numbersOf(tensor)) if (label !== loss.ignoreIndex) labels.push(label)
  }
  return Array.from(classWeights(labels, classes))
}

function withoutWeights(loss: TaskLossOf<'cross-entropy'>): TaskLoss {
  const { classWeights: _, ...rest } = loss
  return rest
}
