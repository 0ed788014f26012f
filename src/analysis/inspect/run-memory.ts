import { buildTensorUpdate } from '../../backend/graph-updates.js'
import { type Tensor, totalSizeOf } from '../../ir/tensor.js'
import { topological } from '../../ir/topology.js'
import type { Value } from '../../ir/value.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { listInputs, readShape } from '../../onnx/import/declarations.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { type Model, namedTensors } from '../../onnx/model.js'
import { staysInFile } from '../../onnx/proto/tensor.js'
import { locateTensors } from '../../onnx/tensor-locations.js'
import { createRules, isGraphRule, momentTypeOf, type Rules } from '../../optim/base-optimizer.js'
import { unwrap } from '../../optim/optimizer.js'
import { samMoment } from '../../optim/sam.js'
import { describeTensors } from '../../train/describe-tensors.js'
import { buildTrainingGraphs } from '../../train/graphs/build.js'
import { passInput } from '../../train/model/repeat-model.js'
import { replaceHead } from '../../train/model/replace-head.js'
import { findTrainable } from '../../train/model/trainable.js'
import { curvatureShareOf, type TrainerOptions } from '../../train/options.js'
import { findFrozen } from '../../train/parameter-groups.js'
import { getOwn } from '../../util/record.js'
import { sum } from '../../util/statistics.js'
import { applyShapes, type InputShapes } from './apply-shapes.js'
import { countBytes, peakBytes } from './arena-peak.js'

const MiB = 2 ** 20

/**
 * Estimated peak memory of a Node process that trains on the CPU, in bytes by cause. The causes are those of
 * onnxruntime's binding in a worker thread; the C API has fewer copies and takes about as much in all (tools/memory).
 * The peak of the process is their sum: onnxruntime's arenas keep their memory between runs, so that it makes no
 * difference when each cause is largest.
 */
export interface RunMemory {
  /**
   * Node with this library, and the model. Large trained tensors that `readModel` left in a file are not part of it;
   * others in a file are mapped into memory by onnxruntime.
   */
  readonly loaded: number
  /** onnxruntime with its thread, and the nodes of the graphs: objects while they are built, then sessions. */
  readonly runtime: number
  /**
   * Trained tensors, their copies in onnxruntime's thread, moving averages, best weights, SAM's ascent, and the random
   * signs of Hutchinson's curvature.
   */
  readonly weights: number
  /** The optimizer's moments and IRE's mask. */
  readonly optimizer: number
  /** Gradients that onnxruntime returned. */
  readonly gradients: number
  /** Batches: the current one, the next one, and the copy in onnxruntime's thread. */
  readonly batches: number
  /** onnxruntime's arena of training: activations, and gradients before they are returned. */
  readonly training: number
  /** onnxruntime's arena of evaluation. */
  readonly evaluation: number
  /** Updates that are graphs, as of `muon`, `adafactor` and `adamw-8bit`: onnxruntime's arenas, and copies. */
  readonly update: number
  /** The bytes of a checkpoint, before they are written. */
  readonly checkpoint: number
}

/** Numbers that the memory of a run depends on. */
export interface RunSize {
  /** Bytes of the model's tensors, except trained ones that stay in a file. */
  readonly model: number
  /** Bytes and elements of the trained tensors. */
  readonly trained: { readonly bytes: number; readonly elements: number }
  /** Number of nodes of all graphs. */
  readonly nodes: number
  readonly batch: number
  /** Bytes of the arenas. */
  readonly arenas: { readonly training: number; readonly evaluation: number; readonly update: number }
  readonly optimizer: TrainerOptions['optimizer']
  /** Bytes of the optimizer's moments; default that of an optimizer that treats all tensors alike. */
  readonly moments?: number
  /** Number of processes that divide the optimizer's state; default 1. */
  readonly shards?: number
  /** Number of additional copies of the weights, such as a moving average. */
  readonly copies: number
}

/** Resident memory of Node 20 after this library was imported. */
const loadedBytes = 70 * MiB
/** onnxruntime's library, its thread and the thread's JavaScript engine, after a model of one node was loaded. */
const runtimeBytes = 42 * MiB
/**
 * Bytes per node of a training graph: its objects until they are collected, its serialized form, and the node in
 * onnxruntime's session. Measured on graphs of 600 to 6,300 nodes as what `Trainer.create` adds beside the weights.
 */
const nodeBytes = 25 * 1024
/**
 * Bytes of arrays that V8 leaves uncollected: it starts a collection when arrays outside of its heap have grown by 64
 * MiB (`kExternalAllocationSoftLimit`).
 */
const uncollectedBytes = 64 * MiB

/** Estimates the memory of a run from its size. */
export function runMemory(size: RunSize): RunMemory {
  const { model, trained, nodes, batch, arenas, optimizer, copies, shards = 1 } = size
  const { base, sam, ire } = unwrap(optimizer)
  const { bytes, elements } = trained
  const { moments = bytes * base.moments.length } = size
  // Every process has the moment of SAM.
  const ascent = sam && samMoment(sam) ? bytes : 0
  const state = moments + (ire && ire.beta > 0 ? bytes : 0) + (ire ? elements : 0)
  const own = state / shards
  const hasSecondGradient = sam !== null || (ire !== null && ire.curvature !== 'empirical')
  return {
    loaded: loadedBytes + model,
    runtime: runtimeBytes + nodes * nodeBytes,
    // onnxruntime-node rejects shared memory, so its thread copies each tensor into a buffer that it keeps.
    // SAM's weights after the ascent are sent to the thread instead.
    // Random signs are sampled as float64, written as float32 and copied in the thread.
    weights: bytes * (2 + copies + (sam ? 2 : 0)) + (ire?.curvature === 'hutchinson' ? 16 * elements : 0),
    // A refresh makes a new mask while the old one is in use.
    optimizer: own + ascent + (ire ? elements / shards : 0),
    // The gradient of this step, and others that are unused but not yet collected: that of the step before, and with
    // SAM or sampled curvature the first one of this step; small ones accumulate up to V8's limit.
    gradients: bytes + Math.max((hasSecondGradient ? 2 : 1) * bytes, uncollectedBytes),
    batches: 3 * batch,
    ...arenas,
    // The state of the other processes is collected before.
    checkpoint: bytes * (1 + copies) + state + ascent + (state - own),
  }
}

/** Sum of all causes. */
export const totalBytes = (memory: RunMemory): number => Object.values(memory).reduce((sum, bytes) => sum + bytes, 0)

/**
 * Bytes of updates that are graphs: a program for each rule and shape, with an arena of its own, and the copies of the
 * inputs and outputs of the largest in onnxruntime's thread. Scratch memory of kernels is not included.
 */
function updateBytes(parameters: ReadonlyMap<string, Value>, rules: Rules, options: RunOptions): number {
  const variant = { clipped: options.clipValue !== undefined, enhanced: unwrap(options.optimizer).ire !== null }
  const specs = new Map<string, GraphSpec>()
  for (const [name, { shape }] of parameters) {
    const rule = rules(name)
    const dims = shape as readonly number[]
    if (isGraphRule(rule)) specs.set(JSON.stringify([rule.key, dims]), buildTensorUpdate(rule, dims, variant))
  }
  const copiesOf = ({ inputs, outputs }: GraphSpec) => sum([...inputs.values(), ...outputs.values()].map(countBytes))
  const all = [...specs.values()]
  return sum(all.map(arenaOf)) + Math.max(0, ...all.map(copiesOf))
}

/** Bytes of the moments of all trained tensors. */
function momentBytes(parameters: ReadonlyMap<string, Value>, rules: Rules): number {
  const bytesOf = (name: string, value: Value, moment: string) => {
    const { dtype, dims } = momentTypeOf(rules(name), moment, value.shape as readonly number[])
    // A moment of the parameter's shape has its precision too.
    return countBytes({ dtype: dtype === 'uint8' ? dtype : value.dtype, shape: dims })
  }
  return sum([...parameters].flatMap(([name, value]) => rules(name).moments.map((each) => bytesOf(name, value, each))))
}

/** Options of a trainer that its memory depends on. */
type RunOptions = Omit<TrainerOptions, 'runtime'>

/**
 * Estimates the memory of a run on batches of known shapes; undefined if a length depends on more than the shapes of a
 * batch.
 * @param batch the shapes of the tensors of a batch, of which the data may have more than the model has inputs
 */
export function estimateRun(model: Model, options: RunOptions, batch: InputShapes): RunMemory | undefined {
  const { optimizer, head, ema, best, localSteps, processGroup: group, shardOptimizer } = options
  const { ire } = unwrap(optimizer)
  const original = head ? replaceHead(model, head) : model
  const curvature = ire && ire.curvature !== 'empirical' ? { curvature: ire.curvature } : {}
  /** The graphs for a share of the batch. */
  const importShare = (share: number) =>
    importGraph(applyShapes(original, shapesOfRun(original, options, batch, share), 1).model)
  const buildGraphs = (share: number, graph = importShare(share)) => {
    const frozen = findFrozen([...findTrainable(graph, options.trainable).keys()], options)
    return buildTrainingGraphs(graph, { ...options, frozen, ...curvature })
  }
  const graph = importShare(1)
  const graphs = buildGraphs(1, graph)
  const conditional = graphs.conditional?.()
  const curvatureShare = curvatureShareOf(options, graphs.statistics.size > 0)
  const partial = () => (curvatureShare < 1 ? buildGraphs(curvatureShare) : graphs)
  // Without curvature there is no graph of a part of the batch either.
  const second = conditional || !graphs.curvature ? [] : [partial().curvature!.spec]
  const specs = [conditional?.spec ?? graphs.training, ...second]
  const trained = [...graphs.parameters.values()]
  const { base } = unwrap(optimizer)
  const rules = createRules(base, base.ruleOf ? describeTensors(graphs.parameters, graph, options) : undefined)
  const update = updateBytes(graphs.parameters, rules, options)
  const arenas = { training: sum(specs.map(arenaOf)), evaluation: arenaOf(graphs.evaluation), update }
  if (Number.isNaN(arenas.training + arenas.evaluation)) return undefined
  return runMemory({
    model: loadedModelBytes(model, graphs.parameters),
    trained: { bytes: sum(trained.map(countBytes)), elements: totalSizeOf(trained) },
    nodes: sum([...specs, graphs.evaluation].map(({ outputs }) => topological(outputs.values()).length)),
    batch: sum([...graphs.data].map(([name, { dtype }]) => countBytes({ dtype, shape: getOwn(batch, name) ?? [] }))),
    arenas,
    optimizer,
    moments: momentBytes(graphs.parameters, rules),
    shards: shardOptimizer ? (group?.size ?? 1) : 1,
    // Local steps have a momentum, and the weights at the beginning of a round.
    copies: [ema !== undefined, best !== undefined, localSteps, localSteps].filter(Boolean).length,
  })
}

/** Bytes of all tensors in the file of a model. */
export const modelBytes = (model: Model): number => sum([...namedTensors(model).values()].map(tensorBytes))

/** Bytes of a model's tensors in memory. Trained ones that are in a file are copied from there to the trainer. */
export const loadedModelBytes = ({ proto, external }: Model, trained: { has(name: string): boolean }): number =>
  sum(
    [...locateTensors(proto, external)].map(([stored, { name, tensor }]) =>
      trained.has(name) && staysInFile(stored, external) ? 0 : tensorBytes(tensor),
    ),
  )

const tensorBytes = ({ dtype, dims }: Tensor): number => countBytes({ dtype, shape: dims })

/**
 * Shapes of the model's inputs in one run on a share of a batch: those of these examples, or of the ones that the
 * runtime computes at once.
 */
function shapesOfRun(
  { proto }: Model,
  { batchSize = 32, microBatch, passes }: RunOptions,
  batch: InputShapes,
  share: number,
): InputShapes {
  return Object.fromEntries(
    listInputs(proto).flatMap((info): [string, readonly number[]][] => {
      const [name, declared] = [info.name ?? '', readShape(info)?.[0]]
      const shape = passes ? longest(passes.map((pass) => getOwn(batch, passInput(pass, name)))) : getOwn(batch, name)
      if (!shape) return []
      const [length = 1] = shape
      const examples = Math.max(1, Math.round(share * length))
      const atOnce = length === batchSize ? Math.min(examples, microBatch ?? examples) : length
      return [[name, shape.length === 0 ? [] : [typeof declared === 'number' ? declared : atOnce, ...shape.slice(1)]]]
    }),
  )
}

/** The lengths of the longest of some tensors; undefined if one is absent. */
const longest = ([first, ...others]: readonly (readonly number[] | undefined)[]): readonly number[] | undefined =>
  others.includes(undefined)
    ? undefined
    : first?.map((dim, axis) => Math.max(dim, ...others.map((dims) => dims![axis]!)))

/** The arena of a graph. Leaves that are no inputs are constants, on which onnxruntime computes once. */
function arenaOf({ inputs, outputs }: GraphSpec): number {
  const fed = new Set(inputs.values())
  return peakBytes([...outputs.values()], (leaf: Value) => !fed.has(leaf))
}
