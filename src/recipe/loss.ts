import { type BinaryCrossEntropyOptions, binaryCrossEntropy } from '../loss/binary-cross-entropy.js'
import { combine } from '../loss/combine.js'
import { type CrossEntropyOptions, crossEntropy } from '../loss/cross-entropy.js'
import { type HuberOptions, huber } from '../loss/huber.js'
import { type KlOptions, kl } from '../loss/kl.js'
import { type L1Options, l1 } from '../loss/l1.js'
import type { Loss } from '../loss/loss.js'
import { type MseOptions, mse } from '../loss/mse.js'
import { OnnxIreError } from '../util/errors.js'

interface OptionsOf {
  'cross-entropy': Omit<CrossEntropyOptions, 'classWeights'> & {
    /** A weight for every class; 'balanced': N / (C n_c), from the labels of the training data, so that all count alike. */
    readonly classWeights?: readonly number[] | 'balanced'
  }
  'binary-cross-entropy': BinaryCrossEntropyOptions
  l1: L1Options
  huber: HuberOptions
  kl: KlOptions
  mse: MseOptions
}

export type LossKind = keyof OptionsOf

export type TaskLossOf<Kind extends LossKind> = { readonly kind: Kind } & OptionsOf[Kind]

/** A loss of one output. */
export type TaskLoss = { [Kind in LossKind]: TaskLossOf<Kind> }[LossKind]

/** Several losses at once, their sum weighted. */
export interface CombinedLoss {
  readonly kind: 'combine'
  readonly tasks: Readonly<Record<string, { readonly loss: TaskLoss; readonly weight?: number }>>
}

export type LossRecipe = TaskLoss | CombinedLoss

/** The losses in a recipe, each with its path. */
export const taskLosses = (recipe: LossRecipe): readonly (readonly [place: string, loss: TaskLoss])[] =>
  recipe.kind === 'combine'
    ? Object.entries(recipe.tasks).map(([task, { loss }]) => [`loss.tasks.${task}.loss`, loss])
    : [['loss', recipe]]

/** A loss recipe with each of its losses passed through `f`. */
export function mapLosses(recipe: LossRecipe, f: (loss: TaskLoss) => TaskLoss): LossRecipe {
  if (recipe.kind !== 'combine') return f(recipe)
  const tasks = Object.entries(recipe.tasks).map(([task, { loss, ...rest }]) => [task, { ...rest, loss: f(loss) }])
  return { ...recipe, tasks: Object.fromEntries(tasks) }
}

/** The loss of a recipe. Throws `invalid-option`, also for class weights that are still to be computed. */
export function lossOf(recipe: LossRecipe): Loss {
  if (recipe.kind !== 'combine') return taskLossOf(recipe)
  const tasks = Object.entries(recipe.tasks).map(([task, { loss, ...rest }]) => [
    task,
    { ...rest, loss: taskLossOf(loss) },
  ])
  return combine(Object.fromEntries(tasks))
}

function taskLossOf(recipe: TaskLoss): Loss {
  switch (recipe.kind) {
    case 'cross-entropy': {
      const { kind: _, classWeights, ...options } = recipe
      if (classWeights === 'balanced')
        throw new OnnxIreError(
          'invalid-option',
          "loss.classWeights: 'balanced' is computed from the labels of training data, and there are none here; give a number for every class",
        )
      return crossEntropy({ ...options, ...(classWeights === undefined ? {} : { classWeights }) })
    }
    case 'binary-cross-entropy':
      return binaryCrossEntropy(withoutKind(recipe))
    case 'l1':
      return l1(withoutKind(recipe))
    case 'huber':
      return huber(withoutKind(recipe))
    case 'kl':
      return kl(withoutKind(recipe))
    case 'mse':
      return mse(withoutKind(recipe))
  }
}

function withoutKind<T extends { readonly kind: string }>(recipe: T): Omit<T, 'kind'> {
  const { kind: _, ...options } = recipe
  return options
}

/** What a loss compares with, as the data have to give it. */
export interface Target {
  readonly name: string
  /** Whether it is class numbers; else numbers to be met. */
  readonly classes: boolean
}

export const targetOf = (loss: TaskLoss): Target =>
  loss.kind === 'cross-entropy'
    ? { name: loss.labels ?? 'labels', classes: !loss.probabilities }
    : { name: loss.targets ?? 'targets', classes: false }

/** The loss of this kind on an output, its name left out where the model has only one. */
export function lossOn(kind: LossKind, output: string | undefined): TaskLoss {
  const field = kind === 'mse' || kind === 'l1' || kind === 'huber' ? 'output' : 'logits'
  return { kind, ...(output === undefined ? {} : { [field]: output }) } as TaskLoss
}
