import { isFloat } from '../../ir/dtype.js'
import type { Graph } from '../../ir/value.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { fixedBatchSize } from '../../train/micro-batches.js'
import { type Contents, contentsOf } from './contents.js'
import { type Layer, layersOf } from './layers.js'
import { type InputShapes, type MissingLength, sized } from './lengths.js'
import {
  forwardWork,
  memoryOf,
  type Operations,
  perExample,
  type StepMemory,
  type TrainingStep,
  trainingStep,
  trainingWork,
} from './step.js'
import { attempt, type Failure, type TensorReport, tensorReports } from './tensors.js'

/** Options of `inspectModel`. */
export interface InspectOptions {
  /** Shapes of inputs whose lengths the file leaves open. A leading length that is not given is the batch, and counts as 1. */
  readonly shapes?: InputShapes
}

/** What a model is made of, what of it training would vary, and what a step costs. */
export interface Inspection extends Contents {
  /** The constant tensors of the main graph: initializers and Constant nodes. */
  readonly tensors: readonly TensorReport[]
  readonly training: {
    readonly tensors: number
    readonly elements: number
    /** Why nothing can be trained, or not everything that would be; null when it can. */
    readonly blocked: Failure | null
  }
  /** All operators in the order of the graph, a bias and a norm with the layer they belong to. */
  readonly layers: readonly Layer[]
  readonly cost: StepCost
}

/** What one example costs, multiply-adds counted as two operations. Shapes have 1 for the batch unless they are given. */
export interface StepCost {
  /** Lengths that have to be given for anything to be counted. */
  readonly missing: readonly MissingLength[]
  /** Why the model cannot be looked at with these shapes. */
  readonly error: Failure | null
  readonly forward: Operations | null
  /** The forward pass and the gradients of all trainable tensors, as they are computed; without loss and optimizer. */
  readonly training: Operations | null
  readonly memory: StepMemory | null
}

/** From this batch and a batch of one it is seen what an example more takes. */
const largerBatch = 32

/**
 * Looks at a model without running it. What is wrong with it is reported, not thrown.
 * @throws 'invalid-option' where `shapes` names no input or contradicts the file
 */
export function inspectModel(model: Model, { shapes = {} }: InspectOptions = {}): Inspection {
  const imported = attempt(() => importGraph(model))
  const graph = imported.value
  const tensors = tensorReports(model, graph)
  const trainable = tensors.filter((tensor) => tensor.trainable)
  const names = new Set(trainable.map(({ name }) => name))
  const blocked = graph ? blockedBy(graph, names) : imported.error
  return {
    ...contentsOf(model.proto, graph),
    tensors,
    training: {
      tensors: trainable.length,
      elements: trainable.reduce((sum, { elements }) => sum + elements, 0),
      blocked,
    },
    ...costOf(model, graph, shapes, names, blocked === null),
  }
}

/** What keeps the trainable tensors from having gradients. */
function blockedBy(graph: Graph, names: ReadonlySet<string>): Failure | null {
  if (names.size === 0)
    return { code: 'invalid-option', message: 'no tensor stands in a weight position; name some with trainable' }
  if (![...graph.outputs.values()].some(({ dtype }) => isFloat(dtype)))
    return { code: 'not-differentiable', message: 'no output is floating-point' }
  return attempt(() => trainingStep(graph, names)).error
}

function costOf(
  model: Model,
  graph: Graph | undefined,
  shapes: InputShapes,
  names: ReadonlySet<string>,
  trainable: boolean,
): Pick<Inspection, 'layers' | 'cost'> {
  const none: StepCost = { missing: [], error: null, forward: null, training: null, memory: null }
  if (!graph) return { layers: [], cost: none }
  const { model: one, missing, free } = sized(model, shapes, 1)
  const run = attempt(() => importGraph(one))
  if (!run.value || missing.length > 0)
    return { layers: layersOf(run.value ?? graph, names, null, 1), cost: { ...none, missing, error: run.error } }
  const examples = examplesOf(run.value)
  const work = forwardWork(run.value)
  const step = trainable ? attempt(() => trainingStep(run.value!, names)).value : undefined
  const larger = step && free ? largerStep(model, shapes, names) : undefined
  return {
    layers: layersOf(run.value, names, work, examples),
    cost: {
      ...none,
      forward: perExample(work, examples),
      training: step ? perExample(trainingWork(step), examples) : null,
      memory: step ? memoryOf({ step, examples }, larger && { step: larger, examples: largerBatch }) : null,
    },
  }
}

/** How many examples a graph of known lengths takes. */
const examplesOf = ({ inputs }: Graph): number =>
  [...inputs.values()].some(({ shape }) => (shape?.length ?? 0) > 1) ? (fixedBatchSize(inputs) ?? 1) : 1

/** Undefined for a model that takes one example in spite of what it declares. */
const largerStep = (model: Model, shapes: InputShapes, names: ReadonlySet<string>): TrainingStep | undefined =>
  attempt(() => trainingStep(importGraph(sized(model, shapes, largerBatch).model), names)).value
