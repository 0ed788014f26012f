import { either, flag, type JsonSchema, kind, kinds, list, map, object, real, text } from './json-schema.js'
import type { CombinedLoss, LossKind, TaskLossOf } from './loss.js'

const nonNegative = { minimum: 0 }
const belowOne = { minimum: 0, exclusiveMaximum: 1 }

const weights = {
  sampleWeights: text('the name of the weights of examples'),
  mask: text('the name of what is 0 for targets to leave out'),
}
const logits = text("the model's output with the logits")
const targets = text('the name of the targets')
const axis: JsonSchema = { type: 'integer', description: 'the axis of the classes' }
const labelSmoothing = real(belowOne, 'the share of the target that is spread')
const regression = { output: text("the model's output that is compared"), targets, ...weights }

const tasks: { readonly [Kind in LossKind]: JsonSchema } = {
  'cross-entropy': object<TaskLossOf<'cross-entropy'>>(
    {
      kind: kind('cross-entropy'),
      logits,
      labels: text('the name of the labels'),
      axis,
      probabilities: flag('whether labels are distributions over the classes'),
      labelSmoothing,
      classWeights: either(
        [{ const: 'balanced' }, list(real(nonNegative), { minItems: 1 })],
        "a list with a weight for every class, or 'balanced'",
      ),
      ...weights,
      ignoreIndex: { type: 'integer', description: 'the label of examples to leave out' },
    },
    ['kind'],
  ),
  'binary-cross-entropy': object<TaskLossOf<'binary-cross-entropy'>>(
    {
      kind: kind('binary-cross-entropy'),
      logits,
      targets,
      posWeight: either(
        [real(nonNegative), list(real(nonNegative), { minItems: 1 })],
        'what a positive target weighs: a number, or a list of one for each element of the last axis',
      ),
      labelSmoothing,
      ...weights,
    },
    ['kind'],
  ),
  l1: object<TaskLossOf<'l1'>>({ kind: kind('l1'), ...regression }, ['kind']),
  huber: object<TaskLossOf<'huber'>>(
    {
      kind: kind('huber'),
      delta: real({ exclusiveMinimum: 0 }, 'the size of an error beyond which it counts linearly'),
      ...regression,
    },
    ['kind'],
  ),
  kl: object<TaskLossOf<'kl'>>({ kind: kind('kl'), logits, targets, axis, ...weights }, ['kind']),
  mse: object<TaskLossOf<'mse'>>({ kind: kind('mse'), ...regression }, ['kind']),
}

const task = object<CombinedLoss['tasks'][string]>(
  { loss: kinds(...Object.values(tasks)), weight: real(nonNegative, "the factor of this task's loss") },
  ['loss'],
)

export const lossSchema: JsonSchema = kinds(
  ...Object.values(tasks),
  object<CombinedLoss>({ kind: kind('combine'), tasks: map(task, 'the losses by name') }, ['kind', 'tasks']),
)
