import { combine } from '../loss/combine.js'
import type { Loss } from '../loss/loss.js'
import { type LossKind, type LossOptions, type LossTarget, lossRegistry } from '../loss/registry.js'
import { OnnxIreError } from '../util/errors.js'
import { either, type JsonSchema, kind, kinds, map, object, real } from '../util/json-schema.js'

/** Class weights of a recipe: numbers, or 'balanced' for N / (C n_c), counted in the training data. */
type WithBalance<Options> = Options extends { readonly classWeights?: readonly number[] }
  ? Omit<Options, 'classWeights'> & { readonly classWeights?: readonly number[] | 'balanced' }
  : Options

/** Loss of one output, of a given kind. */
type TaskLossOf<Kind extends LossKind> = { readonly kind: Kind } & WithBalance<LossOptions[Kind]>

/** Loss of one output. */
export type TaskLoss = { [Kind in LossKind]: TaskLossOf<Kind> }[LossKind]

/** Weighted sum of several losses. */
export interface CombinedLoss {
  readonly kind: 'combine'
  readonly tasks: Readonly<Record<string, { readonly loss: TaskLoss; readonly weight?: number }>>
}

/** Loss of a recipe: the kind of a loss with its options, or several losses combined. */
export type LossRecipe = TaskLoss | CombinedLoss

/** Lists the losses of a recipe, each with its path. */
export const taskLosses = (recipe: LossRecipe): readonly (readonly [path: string, loss: TaskLoss])[] =>
  recipe.kind === 'combine'
    ? Object.entries(recipe.tasks).map(([task, { loss }]) => [`loss.tasks.${task}.loss`, loss])
    : [['loss', recipe]]

/** Whether a loss reads every score as a yes or no of its own. */
export const isBinaryLoss = (loss: TaskLoss): boolean =>
  loss.kind === 'binary-cross-entropy' || ('binary' in loss && loss.binary === true)

/** Maps each loss of a recipe by `f`. */
export function mapLosses(recipe: LossRecipe, f: (loss: TaskLoss) => TaskLoss): LossRecipe {
  if (recipe.kind !== 'combine') return f(recipe)
  const tasks = Object.entries(recipe.tasks).map(([task, { loss, ...rest }]) => [task, { ...rest, loss: f(loss) }])
  return { ...recipe, tasks: Object.fromEntries(tasks) }
}

/** Creates the loss of a recipe. Throws `invalid-option`, also for class weights that are not resolved yet. */
export function createLoss(recipe: LossRecipe): Loss {
  if (recipe.kind !== 'combine') return createTaskLoss(recipe)
  const tasks = Object.entries(recipe.tasks).map(([task, { loss, ...rest }]) => [
    task,
    { ...rest, loss: createTaskLoss(loss) },
  ])
  return combine(Object.fromEntries(tasks))
}

function createTaskLoss({ kind, ...options }: TaskLoss): Loss {
  if ('classWeights' in options && options.classWeights === 'balanced')
    throw new OnnxIreError(
      'invalid-option',
      "loss.classWeights: 'balanced' needs the labels of training data, which this command does not read; give a number for every class",
    )
  // The kind ties the function to its options; the compiler does not follow that through a table.
  return lossRegistry[kind].create(options as object)
}

/** Data that a loss compares the model's output with; undefined for a loss that compares outputs with each other. */
export const lossTarget = ({ kind, ...options }: TaskLoss): LossTarget | undefined =>
  lossRegistry[kind].target?.(options as object)

/** Data that the losses of a recipe compare outputs with. */
export const lossTargets = (recipe: LossRecipe): readonly LossTarget[] =>
  taskLosses(recipe).flatMap(([, loss]) => lossTarget(loss) ?? [])

/** Loss of a kind on an output of the model; undefined for the only output. */
export function lossOnOutput(kind: LossKind, output: string | undefined): TaskLoss {
  return { kind, ...(output === undefined ? {} : { [lossRegistry[kind].output]: output }) } as TaskLoss
}

const nonNegative = { minimum: 0 }

const taskSchemas: readonly JsonSchema[] = Object.entries(lossRegistry).map(([name, { options }]) =>
  object<{ kind: unknown }>(
    {
      kind: kind(name),
      ...options,
      ...('classWeights' in options
        ? {
            classWeights: either(
              [{ const: 'balanced' }, options.classWeights],
              "a list with a weight for every class, or 'balanced'",
            ),
          }
        : {}),
    },
    ['kind'],
  ),
)

const taskSchema = object<CombinedLoss['tasks'][string]>(
  { loss: kinds(...taskSchemas), weight: real(nonNegative, "the factor of this task's loss") },
  ['loss'],
)

/** JSON Schema of a recipe's loss. */
export const lossSchema: JsonSchema = kinds(
  ...taskSchemas,
  object<CombinedLoss>({ kind: kind('combine'), tasks: map(taskSchema, 'the losses by name') }, ['kind', 'tasks']),
)
