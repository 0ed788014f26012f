import { OnnxIreError } from '../errors.js'
import { gradients, zerosLike } from '../grad/gradient.js'
import { scalar } from '../ir/leaf.js'
import { leavesOf, topological } from '../ir/topology.js'
import type { Graph, Value } from '../ir/value.js'
import type { Loss, LossGraph, Noise } from '../loss/loss.js'
import type { GraphSpec } from '../onnx/export.js'
import { quantization } from '../op/quantization.js'
import { trainNorms } from './batch-norm.js'
import { type Trainable, trainableOf } from './weights.js'
import { widened } from './widen.js'

export interface TrainingOptions {
  readonly loss: Loss
  /** Default: the parameters in weight positions. */
  readonly trainable?: Trainable
  /** 'frozen' normalises by the pretrained statistics, 'trained' by the batch while updating them. Default 'frozen'. */
  readonly batchNorm?: 'frozen' | 'trained'
}

/**
 * The graphs of one training run. Parameters, running statistics among them, are inputs under their own names.
 * Outputs: `loss`, `count`, for classifiers `correct`; in `training` and `curvature` also `grad/<parameter>`, and in
 * `training` with trained norms `next/<statistic>`.
 */
export interface TrainingGraphs {
  readonly training: GraphSpec
  readonly evaluation: GraphSpec
  /** The gradient of the plain loss against sampled targets; null for a loss that cannot be sampled. */
  readonly curvature: GraphSpec | null
  /** What the data must give, by name. */
  readonly data: ReadonlyMap<string, Value>
  /** The loss as built for training: what its labels may be. */
  readonly loss: LossGraph
  /** Noise the host draws for the curvature graph. */
  readonly noise: ReadonlyMap<string, { readonly value: Value; readonly distribution: Noise }>
  readonly parameters: ReadonlyMap<string, Value>
  /** Running statistics of trained norms, updated by the graph and not by the optimizer. */
  readonly statistics: ReadonlyMap<string, Value>
}

/** Builds the graphs from a model and a loss; float16 and bfloat16 models are trained in float32. Throws `not-differentiable`, `invalid-option`. */
export function trainingGraphs(model: Graph, options: TrainingOptions): TrainingGraphs {
  const graph = widened(model)
  const { loss, batchNorm = 'frozen' } = options
  const evaluated = loss.build(graph.outputs)
  const norms =
    batchNorm === 'trained'
      ? trainNorms(graph.outputs)
      : { outputs: graph.outputs, statistics: new Map<string, Value>() }
  const trained = batchNorm === 'trained' ? loss.build(norms.outputs) : evaluated

  const used = new Set(leavesOf([evaluated, trained].flatMap(valuesOf)))
  // Norms that the loss does not depend on stay as they are, as their weights do.
  const next = new Map([...norms.statistics].filter(([name]) => used.has(graph.parameters.get(name)!)))
  const statistics = new Map([...next.keys()].map((name) => [name, graph.parameters.get(name)!]))
  const inputs = [...graph.inputs].filter(([, value]) => used.has(value))
  const parameters = trainedParameters(graph, options.trainable, used, statistics)
  refuseClashes([...trained.targets.keys(), ...(trained.sampled?.noise.keys() ?? [])], graph)
  const spec = (
    name: string,
    of: LossGraph,
    outs: ReadonlyMap<string, Value>,
    extra: readonly (readonly [string, Value])[] = [],
  ): GraphSpec => ({
    name: `${graph.name || 'model'}/${name}`,
    inputs: new Map([...inputs, ...of.targets, ...extra, ...parameters, ...statistics]),
    outputs: outs,
    metadata: { 'onnx-ire.gradients': JSON.stringify([...outs.keys()].filter((key) => key.startsWith('grad/'))) },
  })
  const measures = (of: LossGraph): [string, Value][] => [
    ['loss', of.loss],
    ['count', of.count],
    ...(of.correct ? [['correct', of.correct] as [string, Value]] : []),
  ]

  const training = spec(
    'training',
    trained,
    new Map([...measures(trained), ...gradientOutputs(trained.loss, parameters), ...prefixed('next/', next)]),
  )
  const evaluation = spec('evaluation', evaluated, new Map(measures(evaluated)))
  const { sampled } = trained
  const curvature =
    sampled &&
    spec(
      'curvature',
      trained,
      new Map([['count', trained.count], ...gradientOutputs(sampled.loss, parameters)]),
      [...sampled.noise].map(([name, { value }]) => [name, value] as const),
    )
  return {
    training,
    evaluation,
    curvature: curvature ?? null,
    data: new Map([...inputs, ...trained.targets]),
    loss: trained,
    noise: sampled?.noise ?? new Map(),
    parameters,
    statistics,
  }
}

/** What a loss asks to be computed. */
const valuesOf = ({ loss, count, correct, sampled }: LossGraph): Value[] =>
  [loss, count, correct, sampled?.loss].filter((value) => value !== undefined)

/**
 * The chosen tensors but for the statistics that the graph itself updates; by default only those that the loss depends on,
 * so that weight decay does not wear down the rest of the model.
 */
function trainedParameters(
  graph: Graph,
  trainable: Trainable | undefined,
  used: ReadonlySet<Value>,
  statistics: ReadonlyMap<string, Value>,
): ReadonlyMap<string, Value> {
  const byDefault = trainable === undefined || trainable === 'weights'
  const parameters = new Map(
    [...trainableOf(graph, trainable)].filter(
      ([name, value]) => !statistics.has(name) && (!byDefault || used.has(value)),
    ),
  )
  if (parameters.size > 0) return parameters
  const quantized = topological(graph.outputs.values())
    .filter(({ operator }) => Object.hasOwn(quantization, operator))
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

function gradientOutputs(loss: Value, parameters: ReadonlyMap<string, Value>): [string, Value][] {
  const found = gradients([[loss, scalar(loss.dtype, 1)]], [...parameters.values()])
  return [...parameters].map(([name, value], i) => [`grad/${name}`, found[i] ?? zerosLike(value)])
}

const prefixed = (prefix: string, values: ReadonlyMap<string, Value>): [string, Value][] =>
  [...values].map(([name, value]) => [prefix + name, value])
