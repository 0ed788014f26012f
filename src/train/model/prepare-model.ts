import { type AdapterParts, findAdapterParts } from '../../adapter/record.js'
import { constantNumber, input } from '../../ir/leaf.js'
import { topological, withBodies } from '../../ir/topology.js'
import { describeNode, type Graph, type Node, type Value } from '../../ir/value.js'
import { toFloat32 } from '../../lowering/precision.js'
import { op } from '../../op/op.js'
import { copyNode, disableDropout, rename, rewriteGraph } from '../../op/rewrite.js'
import { OnnxIreError } from '../../util/errors.js'
import { type PassOptions, repeatModel } from './repeat-model.js'

/** A model prepared for training. */
export interface PreparedModel {
  /** The model for evaluation, in float32 or float64. */
  readonly graph: Graph
  /**
   * Outputs for the training loss: those of `graph`, or of its copy with BatchNormalization and Dropout in training
   * mode.
   */
  readonly outputs: ReadonlyMap<string, Value>
  /** Next running statistics of the norms in training mode, by the name of the parameter with the current statistic. */
  readonly statistics: ReadonlyMap<string, Value>
  /** Random inputs of the Dropout nodes in training mode, uniform in [0, 1). */
  readonly noise: ReadonlyMap<string, Value>
}

/** Options of `prepareForTraining`. */
export interface PreparationOptions extends PassOptions {
  /** 'frozen' normalizes by the pretrained statistics, 'trained' by the batch while updating them. Default 'frozen'. */
  readonly batchNorm?: 'frozen' | 'trained'
  /**
   * 'on' activates the model's Dropout nodes in training; evaluation never does. Default 'off', also for nodes that the
   * file sets to training mode. The Dropout of an adapter is always active in training.
   */
  readonly dropout?: 'off' | 'on'
}

/**
 * Prepares a model for training: repeats its passes, converts half precision to float32, and sets BatchNormalization
 * and Dropout to training mode if the options request it.
 * @throws OnnxIreError `invalid-option` for a node that an option cannot be applied to; `invalid-shape` for a Dropout
 *   node whose input has no known shape
 */
export function prepareForTraining(model: Graph, options: PreparationOptions): PreparedModel {
  const { batchNorm, dropout, passes } = options
  if (passes && batchNorm === 'trained')
    throw new OnnxIreError(
      'invalid-option',
      "batchNorm is 'trained', but with 'passes' the batches of several passes would give different statistics: omit one of the options",
    )
  const graph = useExactProducts(toFloat32(disableDropout(repeatModel(model, options))))
  const adapter = findAdapterParts(graph.metadata)
  const outputs = adapter ? detachNorms(graph.outputs, adapter) : graph.outputs
  if (adapter) {
    checkReachable(outputs, ({ name = '' }) => adapter.isNorm(name), 'dora', 'true')
    checkReachable(outputs, ({ name = '' }) => adapter.isDropout(name), 'dropout', 'true')
  }
  const isOf = (operator: string) => (node: Node) => node.operator === operator
  if (batchNorm === 'trained') checkReachable(outputs, isOf('BatchNormalization'), 'batchNorm', 'trained')
  if (dropout === 'on') checkReachable(outputs, isOf('Dropout'), 'dropout', 'on')
  const norms = batchNorm === 'trained' ? enableBatchStatistics(outputs) : { outputs, statistics: new Map() }
  const isActive = ({ name = '' }: Node) => dropout === 'on' || adapter?.isDropout(name) === true
  const dropped =
    dropout === 'on' || adapter ? enableDropout(norms.outputs, isActive) : { outputs: norms.outputs, noise: new Map() }
  return { graph, statistics: norms.statistics, ...dropped }
}

/**
 * Sets the accuracy of products with block-quantized weights to that of their type: at level 4 the forward pass rounds
 * activations to 8 bits, and the gradient would be that of another function.
 */
function useExactProducts(graph: Graph): Graph {
  const { outputs } = graph
  if (!topological(outputs.values()).some(isRoundedProduct)) return graph
  const values = rewriteGraph([...outputs.values()], (node, inputs) =>
    isRoundedProduct(node)
      ? copyNode({ ...node, attributes: { ...node.attributes, accuracy_level: 0 } }, inputs)
      : undefined,
  )
  return { ...graph, outputs: rename(outputs, values) }
}

const isRoundedProduct = ({ operator, attributes }: Node): boolean =>
  operator === 'MatMulNBits' && Boolean(attributes['accuracy_level'])

/** Takes the norms of DoRA as constants in gradients. */
function detachNorms(outputs: ReadonlyMap<string, Value>, adapter: AdapterParts): ReadonlyMap<string, Value> {
  const values = rewriteGraph([...outputs.values()], (node, inputs) =>
    adapter.isNorm(node.name ?? '') ? copyNode({ ...node, isDetached: true }, inputs) : undefined,
  )
  return rename(outputs, values)
}

/** Throws `invalid-option` for a node in a body that an option concerns, since nodes of bodies are not rewritten. */
function checkReachable(
  outputs: ReadonlyMap<string, Value>,
  isConcerned: (node: Node) => boolean,
  option: string,
  value: string,
): void {
  const outside = new Set(topological(outputs.values()))
  const inside = withBodies(outputs.values()).find((node) => isConcerned(node) && !outside.has(node))
  if (inside)
    throw new OnnxIreError(
      'invalid-option',
      `${option} is '${value}', but ${describeNode(inside)} is in a body of If, Loop or Scan, where it stays in inference mode: omit the option`,
    )
}

/**
 * The parameter that holds a running statistic, which exporters may also write as the input of an Identity. Throws
 * `invalid-option` if the statistic is no parameter, or if something else reads it too: exporters store equal tensors
 * once.
 * @param reads number of operands that read a parameter
 */
function statisticOf(
  value: Value,
  node: Node,
  what: 'mean' | 'variance',
  reads: ReadonlyMap<Value, number>,
): Value & { readonly name: string } {
  const statistic = skipCopies(value)
  const refuse = (reason: string): never => {
    throw new OnnxIreError(
      'invalid-option',
      `batchNorm is 'trained', but the running ${what} '${value.name ?? '?'}' of ${describeNode(node)} ${reason}`,
    )
  }
  if (statistic.source.kind !== 'parameter' || statistic.name === undefined)
    return refuse('is not a stored tensor and cannot be updated: store it as an initializer, or omit the option')
  if (reads.get(statistic) !== 1)
    return refuse(
      `is the tensor '${statistic.name}', which is also another operand: the two would differ after training. Export the model without merging equal tensors, or omit the option`,
    )
  return statistic as Value & { readonly name: string }
}

/** Counts the operands that read a value, directly or through copies. */
function countReads(outputs: ReadonlyMap<string, Value>): ReadonlyMap<Value, number> {
  const reads = new Map<Value, number>()
  for (const { inputs, outputs: results } of withBodies(outputs.values())) {
    if (results[0] && skipCopies(results[0]) !== results[0]) continue
    for (const value of inputs.map((x) => x && skipCopies(x))) if (value) reads.set(value, (reads.get(value) ?? 0) + 1)
  }
  return reads
}

/** Follows nodes that copy a value without changing it. */
function skipCopies(value: Value): Value {
  let result = value
  for (;;) {
    const { source } = result
    if (source.kind !== 'node') return result
    const [x] = source.inputs
    const copies = source.operator === 'Identity' || (source.operator === 'Cast' && x?.dtype === result.dtype)
    if (!copies || !x) return result
    result = x
  }
}

/**
 * Switches every BatchNormalization to training mode
 * (https://onnx.ai/onnx/operators/onnx__BatchNormalization.html, training_mode = 1). With momentum 0 the node returns
 * mean and variance of the batch, which its gradient needs too. The next running statistics are computed from them:
 * running = momentum * running + (1 - momentum) * batch.
 */
function enableBatchStatistics(outputs: ReadonlyMap<string, Value>): Pick<PreparedModel, 'outputs' | 'statistics'> {
  const statistics = new Map<string, Value>()
  const reads = countReads(outputs)
  const values = rewriteGraph([...outputs.values()], (node, inputs) => {
    if (node.operator !== 'BatchNormalization' || node.attributes['training_mode'] === 1) return undefined
    const [x, scale, bias] = inputs
    const mean = statisticOf(inputs[3]!, node, 'mean', reads)
    const variance = statisticOf(inputs[4]!, node, 'variance', reads)
    const { epsilon, momentum } = node.attributes as { epsilon: number; momentum: number }
    // ORT overwrites its running-stats inputs in place, so pass it copies.
    const copies = [op.Mul(mean, 0), op.Mul(variance, 0)] as const
    const settings = { epsilon, momentum: 0, training_mode: 1 }
    const [y, batchMean, batchVariance] = op.BatchNormalization(x!, scale!, bias!, ...copies, settings)
    const next = (running: Value, batch: Value) => op.Add(op.Mul(running, momentum), op.Mul(batch, 1 - momentum))
    statistics.set(mean.name, next(mean, batchMean))
    statistics.set(variance.name, next(variance, batchVariance))
    return [y]
  })
  return { outputs: rename(outputs, values), statistics }
}

/**
 * Switches Dropout nodes to training mode (https://onnx.ai/onnx/operators/onnx__Dropout.html): y = x (noise >= ratio) /
 * (1 - ratio). The noise is a graph input that the host samples, so that a seed determines it and a resumed run samples
 * the same noise. The random state of ORT depends on everything that its session has sampled before.
 *
 * @throws OnnxIreError `invalid-option` for a Dropout whose ratio is not constant
 */
function enableDropout(
  outputs: ReadonlyMap<string, Value>,
  isActive: (node: Node) => boolean,
): Pick<PreparedModel, 'outputs' | 'noise'> {
  const noise = new Map<string, Value>()
  const values = rewriteGraph([...outputs.values()], (node, [x, ratio]) => {
    if (node.operator !== 'Dropout' || !isActive(node)) return undefined
    const rate = ratio ? constantNumber(ratio) : 0.5
    if (rate === undefined)
      throw new OnnxIreError(
        'invalid-option',
        `dropout is 'on', but the ratio of ${describeNode(node)} is computed by the model: store it as a constant, or omit the option`,
      )
    if (rate === 0) return undefined
    const { dtype, shape } = node.outputs[0]!
    if (!shape)
      throw new OnnxIreError(
        'invalid-shape',
        `dropout: the input of Dropout '${node.name ?? ''}' has no known shape: declare the model's input shapes`,
      )
    const name = `noise/dropout/${noise.size}`
    const uniform = input(`noise of ${describeNode(node)}`, dtype, shape)
    noise.set(name, uniform)
    const mask = op.GreaterOrEqual(uniform, rate)
    return [op.Mul(x!, op.Mul(op.CastLike(mask, x!), 1 / (1 - rate))), mask]
  })
  return { outputs: rename(outputs, values), noise }
}
