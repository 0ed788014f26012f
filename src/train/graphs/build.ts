import { activeValues } from '../../grad/active.js'
import { gradientsWithin, zerosLike } from '../../grad/gradient.js'
import { cpuGradientTables, gpuGradientTables, gradientTables } from '../../grad/gradient-tables.js'
import { hessianProducts } from '../../grad/hessian.js'
import { shareRepeated } from '../../grad/repeated.js'
import type { GradientTables } from '../../grad/rule.js'
import { scalar } from '../../ir/leaf.js'
import type { Tensors } from '../../ir/tensor.js'
import { leavesOf, topological } from '../../ir/topology.js'
import type { Graph, Value } from '../../ir/value.js'
import type { Loss, LossGraph, NoiseDistribution } from '../../loss/loss.js'
import { type ScaledLoss, scaleTerms } from '../../loss/loss-scales.js'
import { accuracy } from '../../metric/accuracy.js'
import { withLossTerms } from '../../metric/loss-terms.js'
import type { Metric } from '../../metric/metric.js'
import { type BuiltMetrics, buildMetrics } from '../../metric/metric.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { op } from '../../op/op.js'
import type { Provider } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import { lazy } from '../../util/lazy.js'
import { type PreparationOptions, type PreparedModel, prepareForTraining } from '../model/prepare-model.js'
import { checkUsable, findTrainable, noTensorsError, type Trainable } from '../model/trainable.js'
import { buildConditionalGradient, sampledInput } from './conditional-gradient.js'
import { dequantizeAgain, type Recompute, recomputeActivations } from './recompute.js'

const tablesByProvider: Readonly<Record<Provider, GradientTables>> = {
  cpu: cpuGradientTables,
  wasm: gradientTables,
  cuda: gpuGradientTables,
  webgpu: gpuGradientTables,
}

/** Outputs of every graph of a loss: `loss`, `count` and, for weighted examples, `weight`. */
export const lossOutputs = ({ loss, count, weight }: LossGraph): [string, Value][] => [
  ['loss', loss],
  ['count', count],
  ...(weight ? [['weight', weight] as [string, Value]] : []),
]

/** A graph and its random inputs, which the host samples. */
export interface SampledGraph {
  readonly spec: GraphSpec
  /** Noise per example. */
  readonly noise: ReadonlyMap<string, { readonly value: Value; readonly distribution: NoiseDistribution }>
  /** Random signs with the shapes of parameters; the same for all micro-batches of a batch. */
  readonly probes: ReadonlyMap<string, Value>
}

/** Options that determine the graphs of a training run. */
export interface TrainingOptions extends PreparationOptions {
  /** Loss to minimize. */
  readonly loss: Loss
  /**
   * Parameters to train: name patterns, or patterns to `include` and to `exclude`; 'default' among them is the default:
   * `['default', '*.gain']`. Default: the adapter of a model that has one, otherwise the parameters that were trained,
   * as layers and values show.
   */
  readonly trainable?: Trainable
  /** Names of trainable tensors that are not trained. */
  readonly frozen?: ReadonlySet<string>
  /** Metrics of evaluations, in addition to the loss. Default: `accuracy` for losses over classes. */
  readonly metrics?: readonly Metric[]
  /** Curvature estimate of the curvature graph; see `ire`. Default: no such graph. */
  readonly curvature?: 'sampled' | 'hutchinson'
  /**
   * Execution provider that will run the graphs after they are lowered for it: gradients of convolutions have other
   * forms for 'cpu' and on a GPU. Default: forms that any CPU runs fast.
   */
  readonly provider?: Provider
  /**
   * Activations that the backward pass computes again instead of storing them: 'blocks' for all blocks of the model;
   * patterns of names of nodes or values after which a block ends; or the bytes that the activations of a batch may
   * take. Default: none.
   */
  readonly recompute?: Recompute
  /** Number of examples of a run, by which `recompute` in bytes is counted. Default 32. */
  readonly batchSize?: number
}

/**
 * The graphs of one training run. Parameters and running statistics are inputs under their names. Outputs: `loss`;
 * `count`, the number of targets; `weight`, if examples have weights; and the sums of metrics as `sum/...`. In
 * `training` and `curvature` also `grad/<parameter>`, and in `training` with trained norms `next/<statistic>`.
 */
export interface TrainingGraphs {
  readonly training: GraphSpec
  readonly evaluation: GraphSpec
  /**
   * The curvature estimate that IRE ranks, as `grad/<parameter>`: the gradient of the plain loss against sampled
   * targets, or v * Hv of the loss, an estimate of its Hessian's diagonal (Bekas et al. 2007). Null if not requested,
   * and for a loss that cannot be sampled.
   */
  readonly curvature: SampledGraph | null
  /** Builds `training` and a sampled `curvature` as one graph, once; absent without sampled curvature. */
  readonly conditional?: () => ConditionalGraph
  /** Builds the graphs for micro-batches, once; absent if `training` and `curvature` work for micro-batches too. */
  readonly microBatches?: () => MicroBatchGraphs
  /** Random inputs of the training and curvature graphs, per example, uniform in [0, 1): the noise of Dropout. */
  readonly noise: ReadonlyMap<string, Value>
  /** Inputs that the data must provide, by name. */
  readonly data: ReadonlyMap<string, Value>
  /** The loss of the training graph, with the valid range of its labels. */
  readonly loss: LossGraph
  /** The loss of the evaluation graph. */
  readonly evaluated: LossGraph
  /** Metrics of each graph, computed from its sums. */
  readonly metrics: { readonly training: BuiltMetrics; readonly evaluation: BuiltMetrics }
  readonly parameters: ReadonlyMap<string, Value>
  /** Running statistics of trained norms, updated by the graph and not by the optimizer. */
  readonly statistics: ReadonlyMap<string, Value>
}

/** Graphs for micro-batches of a loss with several means: their gradients add up to those of the whole batch. */
export interface MicroBatchGraphs {
  readonly training: GraphSpec
  readonly curvature: SampledGraph | null
  /** Like `TrainingGraphs.conditional`, for one micro-batch. */
  readonly conditional?: () => ConditionalGraph
  /** Scalar inputs by mean: the weight of the mean of a micro-batch in the mean of the batch; see `lossScales`. */
  readonly scales: ReadonlyMap<string, Value>
  /** Graph of the numbers that the scales depend on: `count`, and `weight/<mean>` of every mean. */
  readonly divisors: GraphSpec
}

/** A graph that computes the gradients of the training graph or of the curvature graph, selected by feeds. */
interface ConditionalGraph extends SampledGraph {
  /** Feeds that select the gradients of the loss. */
  readonly lossFeeds: Tensors
  /** Feeds that select the sampled gradients, in addition to the noise. */
  readonly curvatureFeeds: Tensors
}

function buildLoss(loss: Loss, outputs: ReadonlyMap<string, Value>): LossGraph {
  const built = loss.build(outputs)
  const missing = (['loss', 'targets', 'count'] as const).filter((field) => built?.[field] === undefined)
  if (missing.length === 0) return built
  throw new OnnxIreError(
    'invalid-option',
    `build of the loss '${loss.name}' returns no ${missing.join(' and no ')}: it returns { loss, targets, count }`,
  )
}

/**
 * Builds the graphs of a training run from a model and a loss. float16 and bfloat16 models are trained in float32.
 *
 * @example
 * const { training } = buildTrainingGraphs(importGraph(model), { loss: crossEntropy() })
 * const file = encodeModel({ proto: exportGraph(training), external: null })
 *
 * @throws OnnxIreError `not-differentiable`, `invalid-option`
 */
export function buildTrainingGraphs(model: Graph, options: TrainingOptions): TrainingGraphs {
  const { training, curvature, ...others } = buildGraphs(prepareForTraining(model, options), options)
  return { training, curvature, ...others }
}

/**
 * Builds the graphs of a training run from a prepared model and a loss. Gradients are built when a graph that has them
 * is first read, which throws `not-differentiable`.
 * @throws OnnxIreError `invalid-option`
 */
export function buildGraphs(prepared: PreparedModel, options: TrainingOptions): TrainingGraphs {
  const { graph, noise } = prepared
  const { loss, provider = 'wasm' } = options
  const tables = tablesByProvider[provider]
  const ends = [...prepared.outputs.values()]
  const evaluated = buildLoss(loss, graph.outputs)
  const forward = prepared.outputs === graph.outputs ? evaluated : buildLoss(loss, prepared.outputs)
  const requested = buildMetrics(options.metrics ?? [accuracy()], evaluated, options.metrics !== undefined)
  const measured = withLossTerms(requested, evaluated)
  const { inputs, parameters, statistics, next } = selectLeaves(prepared, options, forward, [
    ...valuesOf(evaluated, measured),
    ...valuesOf(forward, buildMetrics([accuracy()], forward, false)),
  ])
  const trained = forward.withSeeds?.(activeValues(topological(ends), parameters.values())) ?? forward
  const metrics = { training: buildMetrics([accuracy()], trained, false), evaluation: measured }
  const spec = (name: string, of: LossGraph, outs: ReadonlyMap<string, Value>, added: Inputs = []): GraphSpec => ({
    name: `${graph.name || 'model'}/${name}`,
    inputs: new Map([
      ...inputs,
      ...of.targets,
      ...(of === evaluated ? [] : noise),
      ...added,
      ...parameters,
      ...statistics,
    ]),
    outputs: outs,
    metadata: { 'onnx-ire.gradients': JSON.stringify([...outs.keys()].filter((key) => key.startsWith('grad/'))) },
  })

  const { recompute } = options
  const withRecomputation = (outs: ReadonlyMap<string, Value>, forward: readonly Value[]) =>
    recompute === undefined
      ? shareRepeated(dequantizeAgain(outs, [...forward, ...next.values(), ...ends]))
      : recomputeActivations(outs, [...forward, ...next.values(), ...ends], recompute, lengthsOf(inputs, options))
  const shared: SharedParts = {
    spec,
    parameters,
    inOrder: inOrderOfUse(parameters, ends),
    metrics: metrics.training,
    next,
    ends,
    curvature: options.curvature,
    tables,
    withRecomputation,
  }
  const graphs = buildGradientGraphs(trained, '', [], shared)
  const evaluation = spec('evaluation', evaluated, new Map([...lossOutputs(evaluated), ...metrics.evaluation.outputs]))
  // Object.assign preserves the getters, which a spread would call.
  const buildMicroBatchGraphs = ({ loss, scales, divisors }: ScaledLoss): MicroBatchGraphs =>
    Object.assign(buildGradientGraphs(loss, ' of a part', entriesByName(scales), shared), {
      scales,
      divisors: removeUnusedInputs(spec('divisors', trained, divisors)),
    })
  const scaled = scaleTerms(trained)
  checkInputNames(
    [
      ...trained.targets.keys(),
      ...noise.keys(),
      ...(graphs.conditional ? [sampledInput, ...trained.sampled!.noise.keys()] : []),
      ...(options.curvature === 'hutchinson' ? graphs.curvature!.probes.keys() : []),
      ...entriesByName(scaled?.scales ?? new Map()).map(([name]) => name),
    ],
    // The loss may read an input that the outputs of the model do not depend on.
    [...inputs.map(([name]) => name), ...graph.parameters.keys()],
  )
  return Object.assign(graphs, {
    evaluation,
    ...(scaled && { microBatches: lazy(() => buildMicroBatchGraphs(scaled)) }),
    noise,
    data: new Map([...inputs, ...trained.targets]),
    loss: trained,
    evaluated,
    metrics,
    parameters,
    statistics,
  })
}

/**
 * Selects the leaves that the graphs of a run have as inputs: those that some of the values depend on.
 * @returns `next`: the updated running statistics
 */
function selectLeaves(
  { graph, statistics: updates }: PreparedModel,
  options: TrainingOptions,
  { loss }: LossGraph,
  values: readonly Value[],
) {
  const used = new Set(leavesOf(values))
  // Norms that the loss does not depend on are not trained, and neither are their weights.
  const next = new Map([...updates].filter(([name]) => used.has(graph.parameters.get(name)!)))
  const statistics = new Map([...next.keys()].map((name) => [name, graph.parameters.get(name)!]))
  const inputs = [...graph.inputs].filter(([, value]) => used.has(value))
  return {
    inputs,
    parameters: selectParameters(graph, options, new Set(leavesOf([loss])), statistics),
    statistics,
    next,
  }
}

/** Values and functions that the graphs with gradients of a run share. */
interface SharedParts {
  /** Creates a graph with the inputs of the model, of a loss, and added ones. */
  readonly spec: (name: string, of: LossGraph, outputs: ReadonlyMap<string, Value>, added: Inputs) => GraphSpec
  readonly parameters: ReadonlyMap<string, Value>
  /** The parameters in the order of their first use. */
  readonly inOrder: ReadonlyMap<string, Value>
  readonly metrics: BuiltMetrics
  /** The updated running statistics of trained norms. */
  readonly next: ReadonlyMap<string, Value>
  /** The outputs of the model. */
  readonly ends: readonly Value[]
  readonly curvature: TrainingOptions['curvature']
  readonly tables: GradientTables
  /** Outputs of a graph with gradients, which read activations that are computed again if the options request it. */
  readonly withRecomputation: (
    outputs: ReadonlyMap<string, Value>,
    forward: readonly Value[],
  ) => ReadonlyMap<string, Value>
}

/**
 * Returns the training and curvature graphs of a loss with additional inputs. Each is built when it is first read: a
 * run that uses `conditional` reads none of the others.
 * @param part end of the names of the graphs
 */
function buildGradientGraphs(of: LossGraph, part: string, added: Inputs, shared: SharedParts) {
  const { spec, parameters, inOrder, metrics, next, ends, tables, withRecomputation } = shared
  const dLoss = lazy(() => buildGradients(of, parameters, tables))
  const always = [...lossOutputs(of), ...metrics.outputs]
  const computed = always.map(([, value]) => value)
  const outputs = (gradients: ReadonlyMap<string, Value>) =>
    withRecomputation(
      new Map([...always, ...gradientOutputs(gradients, inOrder), ...withPrefix('next/', next)]),
      computed,
    )
  const training = lazy(() => spec(`training${part}`, of, outputs(dLoss()), added))
  const curvature = lazy(() => {
    const order = shared.curvature === 'sampled' ? inOrder : parameters
    const estimate = buildCurvature(of, dLoss, order, shared.curvature, tables)
    if (!estimate) return null
    const outputs = withRecomputation(estimate.outputs, [estimate.loss])
    return sampledGraph(spec(`curvature${part}`, of, outputs, [...added, ...estimate.inputs]), estimate)
  })
  const buildConditional = (sampled: Sampled): ConditionalGraph => {
    const { inputs, gradients, ...feeds } = buildConditionalGradient(
      of.loss,
      sampled,
      ends,
      computed,
      parameters,
      tables,
    )
    const graph = spec(`training${part}, or curvature`, of, outputs(gradients), [...added, ...inputs])
    return { ...sampledGraph(graph, { noise: sampled.noise, probes: new Map() }), ...feeds }
  }
  const { sampled } = of
  return {
    get training() {
      return training()
    },
    get curvature() {
      return curvature()
    },
    // Losses that compute their own gradients do so in one node, which no border divides.
    ...(shared.curvature === 'sampled' &&
      sampled &&
      !of.seeds && { conditional: lazy(() => buildConditional(sampled)) }),
  }
}

/** Builds the gradients of a loss by parameter name, for parameters that have one. */
function buildGradients(
  { loss, seeds = [[loss, scalar(loss.dtype, 1)]] }: Pick<LossGraph, 'loss' | 'seeds'>,
  parameters: ReadonlyMap<string, Value>,
  tables: GradientTables,
): ReadonlyMap<string, Value> {
  const found = gradientsWithin(seeds, [...parameters.values()], () => true, tables)
  return new Map([...parameters.keys()].flatMap((name, i) => (found[i] ? [[name, found[i]]] : [])))
}

/**
 * Sorts parameters by their first use. onnxruntime computes the output that is written last first, so that gradients
 * are computed from the last layer to the first, each as soon as its layer is reached, whatever the order in the file
 * is.
 */
function inOrderOfUse(parameters: ReadonlyMap<string, Value>, ends: Iterable<Value>): ReadonlyMap<string, Value> {
  const positions = new Map(leavesOf(ends).map((leaf, i) => [leaf, i]))
  const position = (value: Value) => positions.get(value) ?? -1
  return new Map([...parameters].sort(([, a], [, b]) => position(a) - position(b)))
}

/** Gradients as graph outputs `grad/<parameter>`, zeros for parameters without one. */
const gradientOutputs = (found: ReadonlyMap<string, Value>, parameters: ReadonlyMap<string, Value>) =>
  [...parameters].map(([name, value]): [string, Value] => [`grad/${name}`, found.get(name) ?? zerosLike(value)])

/** A curvature estimate, which IRE ranks, and its random inputs. */
interface CurvatureEstimate extends Omit<SampledGraph, 'spec'> {
  readonly inputs: readonly (readonly [string, Value])[]
  readonly outputs: ReadonlyMap<string, Value>
  /** The loss that was differentiated. */
  readonly loss: Value
}

/**
 * Builds the curvature estimate of a loss. 'sampled': the gradient against sampled targets. 'hutchinson': v * Hv with a
 * random sign vector v, an estimate of the Hessian's diagonal (Bekas et al. 2007). Returns null for a loss that cannot
 * be sampled.
 * @param dLoss returns the gradients of the loss, which 'hutchinson' differentiates again
 */
function buildCurvature(
  loss: LossGraph,
  dLoss: () => ReadonlyMap<string, Value>,
  parameters: ReadonlyMap<string, Value>,
  kind: 'sampled' | 'hutchinson' | undefined,
  tables: GradientTables,
): CurvatureEstimate | null {
  const counts = lossOutputs(loss).filter(([name]) => name !== 'loss')
  if (kind === 'hutchinson') {
    if (loss.seeds)
      throw new OnnxIreError(
        'invalid-option',
        "curvature 'hutchinson' needs second derivatives, which a loss with the option 'chunk' does not have: omit the option",
      )
    const found = dLoss()
    const g = [...parameters.keys()].map((name) => found.get(name) ?? null)
    const { vectors: probes, products } = hessianProducts(g, parameters, 'probe/', tables)
    const estimates = [...probes.values()].map((v, i) => (products[i] ? op.Mul(v, products[i]) : zerosLike(v)))
    const named = [...parameters.keys()].map((name, i): [string, Value] => [`grad/${name}`, estimates[i]!])
    return { inputs: [...probes], outputs: new Map([...counts, ...named]), noise: new Map(), probes, loss: loss.loss }
  }
  if (kind === undefined || !loss.sampled) return null
  const { noise } = loss.sampled
  const outputs = new Map([...counts, ...gradientOutputs(buildGradients(loss.sampled, parameters, tables), parameters)])
  const inputs = [...noise].map(([name, { value }]) => [name, value] as const)
  return { inputs, outputs, noise, probes: new Map(), loss: loss.sampled.loss }
}

type Sampled = NonNullable<LossGraph['sampled']>
type Inputs = readonly (readonly [string, Value])[]

/** Entries of inputs by their names. */
const entriesByName = (inputs: ReadonlyMap<string, Value>): Inputs =>
  [...inputs.values()].map((value) => [value.name!, value])

const sampledGraph = (spec: GraphSpec, { noise, probes }: Omit<SampledGraph, 'spec'>): SampledGraph => ({
  spec,
  noise,
  probes,
})

const removeUnusedInputs = (spec: GraphSpec): GraphSpec => {
  const used = new Set(leavesOf(spec.outputs.values()))
  return { ...spec, inputs: new Map([...spec.inputs].filter(([, value]) => used.has(value))) }
}

/** Lengths of the symbolic leading dims of inputs: the number of examples. */
const lengthsOf = (inputs: Inputs, { batchSize = 32 }: TrainingOptions): ReadonlyMap<string, number> =>
  new Map(inputs.flatMap(([, { shape }]) => (typeof shape?.[0] === 'string' ? [[shape[0], batchSize] as const] : [])))

/** All values that a loss and its metrics compute. */
const valuesOf = ({ loss, count, weight, sampled }: LossGraph, { outputs }: BuiltMetrics): Value[] =>
  [loss, count, weight, sampled?.loss, ...outputs.values()].filter((value) => value !== undefined)

/**
 * Selects the parameters to train: without the statistics that the graph updates, and only parameters that the loss
 * depends on, so that weight decay does not change the rest of the model.
 */
function selectParameters(
  graph: Graph,
  { trainable, frozen }: TrainingOptions,
  used: ReadonlySet<Value>,
  statistics: ReadonlyMap<string, Value>,
): ReadonlyMap<string, Value> {
  const isUsable = (name: string, value: Value) => !statistics.has(name) && used.has(value)
  const chosen = findTrainable(graph, trainable)
  checkUsable(graph, trainable, isUsable)
  const parameters = new Map([...chosen].filter(([name, value]) => isUsable(name, value) && !frozen?.has(name)))
  if (parameters.size > 0) return parameters
  throw noTensorsError(graph)
}

/** Throws `invalid-option` if the model has a tensor with the name of an added input. */
function checkInputNames(added: readonly string[], names: readonly string[]): void {
  const clash = added.find((name) => names.includes(name))
  if (clash !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `the loss adds an input '${clash}', but the model has a tensor of that name: choose another name for the labels or targets of the loss`,
    )
}

const withPrefix = (prefix: string, values: ReadonlyMap<string, Value>): [string, Value][] =>
  [...values].map(([name, value]) => [prefix + name, value])
