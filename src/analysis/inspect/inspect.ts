import { adaptableLayers, countWeights } from '../../adapter/layers.js'
import { findAdapterParts } from '../../adapter/record.js'
import { isFloat } from '../../ir/dtype.js'
import type { Graph } from '../../ir/value.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { checkModel, type Model } from '../../onnx/model.js'
import type { Recompute } from '../../train/graphs/recompute.js'
import { fixedBatchSize } from '../../train/micro-batches.js'
import { batchSizeOf, freeBatchAxis } from '../../train/model/free-batch-axis.js'
import { findTiedCopies, type TiedCopy } from '../../train/model/tie-tensors.js'
import { noTensorsError } from '../../train/model/trainable.js'
import { findSharedTensors, type SharedTensor } from '../../train/model/untie-tensors.js'
import { applyShapes, type InputShapes, type MissingLength } from './apply-shapes.js'
import { type ModelContents, readContents } from './contents.js'
import { type LayerReport, listLayers } from './layers.js'
import { loadedModelBytes } from './run-memory.js'
import { attempt, type Failure, reportTensors, type TensorReport } from './tensors.js'
import {
  buildTrainingStep,
  countForwardWork,
  countTrainingWork,
  estimateMemory,
  type Operations,
  type StepMemory,
  toOperations,
} from './training-step.js'

/** Options of `inspectModel`. */
export interface InspectOptions {
  /** Shapes of inputs with symbolic dims. A leading dim that is not given is the batch, and counts as 1. */
  readonly shapes?: InputShapes
  /** Activations that the backward pass computes again, as in `Trainer.create`: lowers the estimated memory. */
  readonly recompute?: Recompute
}

/** Contents of a model, its trainable tensors, its layers, and operations and memory of a training step. */
export interface Inspection extends ModelContents {
  /** The constant tensors of the main graph: initializers and Constant nodes. */
  readonly tensors: readonly TensorReport[]
  readonly training: {
    readonly tensors: number
    readonly elements: number
    /** Elements of all floating-point tensors and quantized weights. */
    readonly total: number
    /** Whether the model has an adapter, which alone is trained. */
    readonly adapter: boolean
    /** Trainable tensors that several layers share. Training changes them for all; see `untie`. */
    readonly shared: readonly SharedTensor[]
    /** Trainable tensors that are copies of an embedding. Training changes each by itself; see `tie`. */
    readonly copies: readonly TiedCopy[]
    /** The reason why the trainable tensors have no gradients; null if they have. */
    readonly blocked: Failure | null
  }
  /**
   * The number of examples that the file fixes, so that training computes as many at once, and the reason why
   * `freeBatch` cannot change that, or null if it can. Null for a model that takes any number of examples.
   */
  readonly batch: { readonly fixed: number; readonly obstacle: Failure | null } | null
  /** All operators in the order of the graph; biases and norms are part of their layer. */
  readonly layers: readonly LayerReport[]
  readonly cost: StepCost
}

/** Operations and memory per example; a multiply-add is two operations. The batch is 1 unless shapes are given. */
export interface StepCost {
  /** Dims that must be given before anything can be counted. */
  readonly missing: readonly MissingLength[]
  /** The reason why the model cannot be inspected with these shapes. */
  readonly error: Failure | null
  readonly forward: Operations | null
  /** The forward pass and the gradients of all trainable tensors, without loss and optimizer. */
  readonly training: Operations | null
  readonly memory: StepMemory | null
}

/** Batch size that is compared with a batch of one to find the memory per example. */
const largerBatch = 32

/**
 * Inspects a model without running it. Faults of the model are reported, not thrown.
 * @throws OnnxIreError `invalid-option` if `shapes` names no input or contradicts the file, or if `recompute` has a
 *   name that the model does not have
 *
 * @example
 * ```ts
 * const { training, cost } = inspectModel(model, { shapes: { x: [1, 3, 224, 224] } })
 * console.log(training.elements, cost.forward?.flops)
 * ```
 */
export function inspectModel(model: Model, { shapes = {}, recompute }: InspectOptions = {}): Inspection {
  checkModel(model)
  const imported = attempt(() => {
    const graph = importGraph(model)
    findAdapterParts(graph.metadata) // throws if the metadata of an adapter are damaged
    return graph
  })
  const graph = imported.value
  const tensors = reportTensors(model, graph)
  const trainable = tensors.filter((tensor) => tensor.trainable)
  const names = new Set(trainable.map(({ name }) => name))
  const blocked = graph ? findObstacle(graph, names) : imported.error
  const contents = readContents(model.proto, graph)
  return {
    ...contents,
    tensors,
    training: {
      tensors: trainable.length,
      elements: trainable.reduce((sum, { elements }) => sum + elements, 0),
      total: contents.stored.floatElements + countQuantizedElements(model),
      adapter: findAdapterParts(graph?.metadata) !== undefined,
      shared: graph ? findSharedTensors(graph).filter(({ tensor }) => names.has(tensor)) : [],
      copies: graph ? findTiedCopies(model, graph).filter(({ tensor }) => names.has(tensor)) : [],
      blocked,
    },
    batch: graph ? inspectBatch(model) : null,
    ...inspectCost(model, graph, { shapes, recompute }, names, blocked === null),
  }
}

function inspectBatch(model: Model): Inspection['batch'] {
  const fixed = batchSizeOf(model)
  return fixed === null ? null : { fixed, obstacle: attempt(() => freeBatchAxis(model)).error }
}

const countQuantizedElements = (model: Model): number =>
  countWeights((attempt(() => adaptableLayers(model)).value ?? []).filter(({ weight }) => !isFloat(weight.dtype)))

/** The reason why the trainable tensors have no gradients; null if they have. */
function findObstacle(graph: Graph, names: ReadonlySet<string>): Failure | null {
  if (names.size === 0) {
    const { code, message } = noTensorsError(graph)
    return { code, message }
  }
  if (![...graph.outputs.values()].some(({ dtype }) => isFloat(dtype)))
    return { code: 'not-differentiable', message: 'no output is floating-point' }
  return attempt(() => buildTrainingStep(graph, names)).error
}

function inspectCost(
  model: Model,
  graph: Graph | undefined,
  { shapes = {}, recompute }: { readonly shapes?: InputShapes; readonly recompute: Recompute | undefined },
  names: ReadonlySet<string>,
  trainable: boolean,
): Pick<Inspection, 'layers' | 'cost'> {
  const none: StepCost = { missing: [], error: null, forward: null, training: null, memory: null }
  if (!graph) return { layers: [], cost: none }
  const { model: one, missing, free } = applyShapes(model, shapes, 1)
  const run = attempt(() => importGraph(one))
  if (!run.value || missing.length > 0)
    return { layers: listLayers(run.value ?? graph, names, null, 1), cost: { ...none, missing, error: run.error } }
  const examples = countExamples(run.value)
  const work = countForwardWork(run.value)
  const build = (graph: Graph) => buildTrainingStep(graph, names, recompute)
  // Without `recompute` the gradients were built before, so that an error is one of its names.
  const step = trainable
    ? recompute === undefined
      ? attempt(() => build(run.value!)).value
      : build(run.value)
    : undefined
  const larger =
    step && free ? attempt(() => build(importGraph(applyShapes(model, shapes, largerBatch).model))).value : undefined
  return {
    layers: listLayers(run.value, names, work, examples),
    cost: {
      ...none,
      forward: toOperations(work, examples),
      training: step ? toOperations(countTrainingWork(step), examples) : null,
      memory: step
        ? estimateMemory(
            { step, examples },
            larger && { step: larger, examples: largerBatch },
            loadedModelBytes(model, names),
          )
        : null,
    },
  }
}

/** Number of examples of a graph with static shapes. */
const countExamples = ({ inputs }: Graph): number =>
  [...inputs.values()].some(({ shape }) => (shape?.length ?? 0) > 1) ? (fixedBatchSize(inputs) ?? 1) : 1
