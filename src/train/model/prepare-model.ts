import { constantNumber, input } from '../../ir/leaf.js'
import { capturesOf, topological } from '../../ir/topology.js'
import type { Graph } from '../../ir/value.js'
import { type Node, Value } from '../../ir/value.js'
import { cloneNode } from '../../op/inline.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { toFloat32 } from './precision.js'

/**
 * Rewrites the graph upstream of `outputs`. `replace` receives a node and its rewritten inputs and returns the values
 * that replace its outputs, or undefined to keep the node. Nodes that depend on no replaced node are shared with the
 * original graph. Nodes inside bodies are not passed to `replace`, but their captured values are replaced.
 */
export function rewriteGraph(
  outputs: readonly Value[],
  replace: (node: Node, inputs: readonly (Value | null)[]) => readonly Value[] | undefined,
): Value[] {
  const rebuilt = new Map<Value, Value>()
  const now = (value: Value): Value => rebuilt.get(value) ?? value
  for (const node of topological(outputs)) {
    const inputs = node.inputs.map((value) => value && now(value))
    const replacement = replace(node, inputs) ?? cloneIfChanged(node, inputs, rebuilt)
    if (replacement) for (const [i, value] of node.outputs.entries()) rebuilt.set(value, replacement[i] ?? value)
  }
  return outputs.map(now)
}

/** Clones a node on other inputs of the same types; undefined if no input changed. */
function cloneIfChanged(
  node: Node,
  inputs: readonly (Value | null)[],
  rebuilt: ReadonlyMap<Value, Value>,
): readonly Value[] | undefined {
  if (capturesOf(node).some((value) => rebuilt.has(value))) return cloneNode(node, new Map(rebuilt))
  if (inputs.every((value, i) => value === node.inputs[i])) return undefined
  const outputs: Value[] = []
  const copy: Node = { ...node, inputs, outputs }
  for (const value of node.outputs) outputs.push(new Value(value, copy, value.index, value.name, value.contents))
  return outputs
}

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
export interface PreparationOptions {
  /** 'frozen' normalizes by the pretrained statistics, 'trained' by the batch while updating them. Default 'frozen'. */
  readonly batchNorm?: 'frozen' | 'trained'
  /** 'on' activates the model's Dropout nodes in training; evaluation never does. Default 'off', as in the file. */
  readonly dropout?: 'off' | 'on'
}

/**
 * Prepares a model for training: converts half precision to float32, and sets BatchNormalization and Dropout to
 * training mode if the options say so.
 * @throws OnnxIreError `invalid-shape` for a Dropout node whose input has no known shape
 */
export function prepareForTraining(model: Graph, { batchNorm, dropout }: PreparationOptions): PreparedModel {
  const graph = toFloat32(model)
  const { outputs } = graph
  const norms = batchNorm === 'trained' ? enableBatchStatistics(outputs) : { outputs, statistics: new Map() }
  const dropped = dropout === 'on' ? enableDropout(norms.outputs) : { outputs: norms.outputs, noise: new Map() }
  return { graph, statistics: norms.statistics, ...dropped }
}

/**
 * Switches every BatchNormalization whose running statistics are parameters to training mode
 * (https://onnx.ai/onnx/operators/onnx__BatchNormalization.html, training_mode = 1). With momentum 0 the node returns
 * mean and variance of the batch, which its gradient needs too. The next running statistics are computed from them:
 * running = momentum * running + (1 - momentum) * batch.
 */
function enableBatchStatistics(outputs: ReadonlyMap<string, Value>): Pick<PreparedModel, 'outputs' | 'statistics'> {
  const statistics = new Map<string, Value>()
  const values = rewriteGraph([...outputs.values()], (node, inputs) => {
    const [x, scale, bias, mean, variance] = inputs
    if (node.operator !== 'BatchNormalization' || node.attributes['training_mode'] === 1) return undefined
    if (mean?.source.kind !== 'parameter' || variance?.source.kind !== 'parameter') return undefined
    const { epsilon, momentum } = node.attributes as { epsilon: number; momentum: number }
    // ORT overwrites its running-stats inputs in place, so pass it copies.
    const copies = [op.Mul(mean, 0), op.Mul(variance, 0)] as const
    const settings = { epsilon, momentum: 0, training_mode: 1 }
    const [y, batchMean, batchVariance] = op.BatchNormalization(x!, scale!, bias!, ...copies, settings)
    const next = (running: Value, batch: Value) => op.Add(op.Mul(running, momentum), op.Mul(batch, 1 - momentum))
    statistics.set(mean.name!, next(mean, batchMean))
    statistics.set(variance.name!, next(variance, batchVariance))
    return [y]
  })
  return { outputs: rename(outputs, values), statistics }
}

/**
 * Switches every Dropout to training mode (https://onnx.ai/onnx/operators/onnx__Dropout.html): y = x (noise >= ratio) /
 * (1 - ratio). The noise is a graph input that the host samples, so that a seed determines it and a resumed run samples
 * the same noise. The random state of ORT depends on everything that its session has sampled before.
 *
 * A Dropout inside a body stays off, and so does one whose ratio is not constant.
 */
function enableDropout(outputs: ReadonlyMap<string, Value>): Pick<PreparedModel, 'outputs' | 'noise'> {
  const noise = new Map<string, Value>()
  const values = rewriteGraph([...outputs.values()], (node, [x, ratio]) => {
    if (node.operator !== 'Dropout') return undefined
    const rate = ratio ? constantNumber(ratio) : 0.5
    if (rate === undefined || rate === 0) return undefined
    const { dtype, shape } = node.outputs[0]!
    if (!shape)
      throw new OnnxIreError(
        'invalid-shape',
        `dropout: the input of Dropout '${node.name ?? ''}' has no known shape: declare the model's input shapes`,
      )
    const name = `noise/dropout/${noise.size}`
    const uniform = input(name, dtype, shape)
    noise.set(name, uniform)
    const mask = op.GreaterOrEqual(uniform, rate)
    return [op.Mul(x!, op.Mul(op.CastLike(mask, x!), 1 / (1 - rate))), mask]
  })
  return { outputs: rename(outputs, values), noise }
}

/** Rewritten values under the names of the original outputs. */
const rename = (outputs: ReadonlyMap<string, Value>, values: readonly Value[]): ReadonlyMap<string, Value> =>
  new Map([...outputs.keys()].map((name, i) => [name, values[i]!]))
