import type { Tensors } from '../../ir/tensor.js'
import { leavesOf, topological } from '../../ir/topology.js'
import type { Graph, Value } from '../../ir/value.js'
import type { Loss, LossGraph } from '../../loss/loss.js'
import { type ScaledLoss, scaleTerms } from '../../loss/loss-scales.js'
import { accuracy } from '../../metric/accuracy.js'
import { type BuiltMetrics, buildMetrics } from '../../metric/build.js'
import type { Metric } from '../../metric/metric.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { OnnxIreError } from '../../util/errors.js'
import { type PreparationOptions, type PreparedModel, prepareForTraining } from '../model/prepare-model.js'
import { findTrainable, type Trainable } from '../model/trainable.js'
import { buildConditionalGradient, SAMPLED } from './conditional-gradient.js'
import {
  buildCurvature,
  buildGradients,
  gradientOutputs,
  lossOutputs,
  type SampledGraph,
} from './loss-and-curvature.js'

/** What decides the graphs of a training run. */
export interface TrainingOptions extends PreparationOptions {
  readonly loss: Loss
  /** Default: the parameters in weight positions. */
  readonly trainable?: Trainable
  /** Trainable tensors that stay as they are all the same. */
  readonly frozen?: ReadonlySet<string>
  /** What is measured in evaluations beside the loss. Default: `accuracy` where the loss is about classes. */
  readonly metrics?: readonly Metric[]
  /** What the curvature graph gives, as `ire` takes it. Default: there is none. */
  readonly curvature?: 'sampled' | 'hutchinson'
}

/**
 * The graphs of one training run. Parameters, running statistics among them, are inputs under their own names.
 * Outputs: `loss`, `count`, where examples have weights `weight`, and the sums of metrics as `sum/...`; in `training` and
 * `curvature` also `grad/<parameter>`, and in `training` with trained norms `next/<statistic>`.
 */
export interface TrainingGraphs {
  readonly training: GraphSpec
  readonly evaluation: GraphSpec
  /**
   * What IRE ranks, as `grad/<parameter>`: the gradient of the plain loss against sampled targets, or v * Hv of the loss, an
   * estimate of its Hessian's diagonal (Bekas et al. 2007). Null unless it is asked for, and for a loss that cannot be
   * sampled.
   */
  readonly curvature: SampledGraph | null
  /** `training` and a sampled `curvature` as one graph, made when first asked for; absent without a sampled one. */
  readonly conditional?: () => ConditionalGraph
  /** The graphs for batches run in parts, made when first asked for; absent where gradients of parts average as they are. */
  readonly microBatches?: () => MicroBatchGraphs
  /** Noise that the host draws for every example in training and curvature graph alike, uniform in [0, 1): for Dropout. */
  readonly noise: ReadonlyMap<string, Value>
  /** What the data must give, by name. */
  readonly data: ReadonlyMap<string, Value>
  /** The loss as built for training: what its labels may be. */
  readonly loss: LossGraph
  /** How the metrics of each graph are read from its sums. */
  readonly measured: { readonly training: BuiltMetrics; readonly evaluation: BuiltMetrics }
  readonly parameters: ReadonlyMap<string, Value>
  /** Running statistics of trained norms, updated by the graph and not by the optimizer. */
  readonly statistics: ReadonlyMap<string, Value>
}

/** What parts of a batch need where a loss is a sum of means: with gradients that add up to those of the whole. */
export interface MicroBatchGraphs {
  readonly training: GraphSpec
  readonly curvature: SampledGraph | null
  /** As of the whole. */
  readonly conditional?: () => ConditionalGraph
  /** Scalars to be fed by name, how much of a mean of the whole each of the part is; `sharesOf` tells. */
  readonly shares: ReadonlyMap<string, Value>
  /** What that depends on: `count`, and `weight/<mean>` of every mean. */
  readonly divisors: GraphSpec
}

/** A training graph whose gradients can be those of the curvature graph instead. */
export interface ConditionalGraph extends SampledGraph {
  /** Feeds that select the gradients of the loss. */
  readonly lossFeeds: Tensors
  /** Feeds that select the sampled gradients, in addition to the noise. */
  readonly curvatureFeeds: Tensors
}

/**
 * Builds the graphs of a training run from a model and a loss; float16 and bfloat16 models are trained in float32.
 * Throws `not-differentiable`, `invalid-option`.
 */
export const buildTrainingGraphs = (model: Graph, options: TrainingOptions): TrainingGraphs =>
  buildGraphs(prepareForTraining(model, options), options)

/**
 * Builds the graphs of a training run from a prepared model and a loss.
 * Throws `not-differentiable`, `invalid-option`.
 */
export function buildGraphs(form: PreparedModel, options: TrainingOptions): TrainingGraphs {
  const { graph, noise } = form
  const { loss } = options
  const evaluated = loss.build(graph.outputs)
  const trained = form.outputs === graph.outputs ? evaluated : loss.build(form.outputs)
  const measured = {
    training: buildMetrics([accuracy()], trained, false),
    evaluation: buildMetrics(options.metrics ?? [accuracy()], evaluated, options.metrics !== undefined),
  }

  const used = new Set(leavesOf([...valuesOf(evaluated, measured.evaluation), ...valuesOf(trained, measured.training)]))
  // Norms that the loss does not depend on stay as they are, as their weights do.
  const next = new Map([...form.statistics].filter(([name]) => used.has(graph.parameters.get(name)!)))
  const statistics = new Map([...next.keys()].map((name) => [name, graph.parameters.get(name)!]))
  const inputs = [...graph.inputs].filter(([, value]) => used.has(value))
  const parameters = trainedParameters(graph, options, used, statistics)
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

  const ends = [...form.outputs.values()]
  /** Training and curvature graph of a loss, with further inputs. */
  const differentiated = (of: LossGraph, part: string, added: Inputs) => {
    const dLoss = buildGradients(of.loss, parameters)
    const always = [...lossOutputs(of), ...measured.training.outputs]
    const outputs = (gradients: ReadonlyMap<string, Value>) =>
      new Map([...always, ...gradientOutputs(gradients, parameters), ...prefixed('next/', next)])
    const estimate = buildCurvature(of, dLoss, parameters, options.curvature)
    const either = ({ noise, probes }: Omit<SampledGraph, 'spec'>, sampled: Sampled): ConditionalGraph => {
      const computed = always.map(([, value]) => value)
      const { inputs, gradients, ...feeds } = buildConditionalGradient(of.loss, sampled, ends, computed, parameters)
      const graph = spec(`training${part}, or curvature`, of, outputs(gradients), [...added, ...inputs])
      return { ...sampledGraph(graph, { noise, probes }), ...feeds }
    }
    return {
      training: spec(`training${part}`, of, outputs(dLoss), added),
      curvature:
        estimate &&
        sampledGraph(spec(`curvature${part}`, of, estimate.outputs, [...added, ...estimate.inputs]), estimate),
      ...(options.curvature === 'sampled' && estimate && { either: once(() => either(estimate, of.sampled!)) }),
    }
  }
  const { training, curvature, either } = differentiated(trained, '', [])
  const evaluation = spec('evaluation', evaluated, new Map([...lossOutputs(evaluated), ...measured.evaluation.outputs]))
  const inParts = ({ loss, scales: shares, divisors }: ScaledLoss): MicroBatchGraphs => ({
    ...differentiated(loss, ' of a part', named(shares)),
    shares,
    divisors: withoutUnused(spec('divisors', trained, divisors)),
  })
  const shared = scaleTerms(trained)
  refuseClashes(
    [
      ...trained.targets.keys(),
      ...noise.keys(),
      ...(either ? [SAMPLED] : []),
      ...(curvature?.noise.keys() ?? []),
      ...(curvature?.probes.keys() ?? []),
      ...named(shared?.scales ?? new Map()).map(([name]) => name),
    ],
    graph,
  )
  return {
    training,
    evaluation,
    curvature,
    ...(either && { conditional: either }),
    ...(shared && { microBatches: once(() => inParts(shared)) }),
    noise,
    data: new Map([...inputs, ...trained.targets]),
    loss: trained,
    measured,
    parameters,
    statistics,
  }
}

type Sampled = NonNullable<LossGraph['sampled']>
type Inputs = readonly (readonly [string, Value])[]

/** Inputs under their own names. */
const named = (inputs: ReadonlyMap<string, Value>): Inputs => [...inputs.values()].map((value) => [value.name!, value])

const sampledGraph = (spec: GraphSpec, { noise, probes }: Omit<SampledGraph, 'spec'>): SampledGraph => ({
  spec,
  noise,
  probes,
})

const withoutUnused = (spec: GraphSpec): GraphSpec => {
  const used = new Set(leavesOf(spec.outputs.values()))
  return { ...spec, inputs: new Map([...spec.inputs].filter(([, value]) => used.has(value))) }
}

function once<T>(make: () => T): () => T {
  let made: T | undefined
  return () => {
    made ??= make()
    return made
  }
}

/** What a loss asks to be computed. */
const valuesOf = ({ loss, count, weight, sampled }: LossGraph, { outputs }: BuiltMetrics): Value[] =>
  [loss, count, weight, sampled?.loss, ...outputs.values()].filter((value) => value !== undefined)

/**
 * The chosen tensors but for the statistics that the graph itself updates; by default only those that the loss depends on,
 * so that weight decay does not wear down the rest of the model.
 */
function trainedParameters(
  graph: Graph,
  { trainable, frozen }: TrainingOptions,
  used: ReadonlySet<Value>,
  statistics: ReadonlyMap<string, Value>,
): ReadonlyMap<string, Value> {
  const byDefault = trainable === undefined || trainable === 'weights'
  const parameters = new Map(
    [...findTrainable(graph, trainable)].filter(
      ([name, value]) => !statistics.has(name) && !frozen?.has(name) && (!byDefault || used.has(value)),
    ),
  )
  if (parameters.size > 0) return parameters
  const quantized = topological(graph.outputs.values())
    .filter(({ operator }) => /Quantize|QLinear|Integer$/.test(operator))
    .map(({ operator, name, outputs }) => `${operator} '${name ?? outputs[0]?.name ?? '?'}'`)
  if (quantized.length > 0)
    throw new OnnxIreError(
      'invalid-option',
      `the model '${graph.name}' is quantized (${quantized.slice(0, 3).join(', ')}${quantized.length > 3 ? ` and ${quantized.length - 3} more` : ''}): its weights are integers, which gradients do not move. Fine-tune the float model it was made from, then quantize again`,
    )
  throw new OnnxIreError(
    'invalid-option',
    `the model '${graph.name}' has no tensors to train; name some with trainable`,
  )
}

function refuseClashes(added: readonly string[], { inputs, parameters }: Graph): void {
  const clash = added.find((name) => inputs.has(name) || parameters.has(name))
  if (clash !== undefined)
    throw new OnnxIreError(
      'invalid-option',
      `the loss adds an input '${clash}', and the model has a tensor of that name: name the loss's labels or targets differently`,
    )
}

const prefixed = (prefix: string, values: ReadonlyMap<string, Value>): [string, Value][] =>
  [...values].map(([name, value]) => [prefix + name, value])
