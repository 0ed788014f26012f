import { constantNumber, input } from '../../ir/leaf.js'
import type { Graph, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { rewriteGraph } from '../../op/rewrite.js'
import { OnnxIreError } from '../../util/errors.js'
import { toFloat32 } from './precision.js'

/** A model prepared for training. */
export interface PreparedModel {
  /** The model as it is evaluated, in float32 or float64. */
  readonly graph: Graph
  /** Outputs that the training loss reads: those of `graph`, or of its copy with BatchNormalization and Dropout in training mode. */
  readonly outputs: ReadonlyMap<string, Value>
  /** Next running statistics of the norms in training mode, by the parameter that holds the present ones. */
  readonly statistics: ReadonlyMap<string, Value>
  /** Random inputs of the Dropout nodes in training mode. */
  readonly noise: ReadonlyMap<string, Value>
}

/** Options of `prepareForTraining`. */
export interface PreparationOptions {
  /** 'frozen' normalizes by the pretrained statistics, 'trained' by the batch while updating them. Default 'frozen'. */
  readonly batchNorm?: 'frozen' | 'trained'
  /** 'on' activates the model's Dropout nodes in training; evaluation never does. Default 'off', as in the file. */
  readonly dropout?: 'off' | 'on'
}

/** Converts half floats to float32, and sets BatchNormalization and Dropout to training mode if the options say so. */
export function prepareForTraining(model: Graph, { batchNorm, dropout }: PreparationOptions): PreparedModel {
  const graph = toFloat32(model)
  const { outputs } = graph
  const norms = batchNorm === 'trained' ? enableBatchStatistics(outputs) : { outputs, statistics: new Map() }
  const dropped = dropout === 'on' ? enableDropout(norms.outputs) : { outputs: norms.outputs, noise: new Map() }
  return { graph, statistics: norms.statistics, ...dropped }
}

/** A model whose BatchNormalization layers normalise by the batch, and the running statistics that follow from a batch. */
export interface TrainedNorms {
  readonly outputs: ReadonlyMap<string, Value>
  /** Next running mean or variance, by the name of the parameter that holds the present one. */
  readonly statistics: ReadonlyMap<string, Value>
}

/**
 * Switches every BatchNormalization with running statistics of its own to its training form
 * (https://onnx.ai/onnx/operators/onnx__BatchNormalization.html, training_mode = 1). With momentum 0 the node gives mean and
 * variance of the batch, which its gradient needs as well; running = momentum * running + (1 - momentum) * batch stands
 * behind it.
 */
export function enableBatchStatistics(outputs: ReadonlyMap<string, Value>): TrainedNorms {
  const statistics = new Map<string, Value>()
  const values = rewriteGraph([...outputs.values()], (node, inputs) => {
    const [x, scale, bias, mean, variance] = inputs
    if (node.operator !== 'BatchNormalization' || node.attributes['training_mode'] === 1) return undefined
    if (mean?.source.kind !== 'parameter' || variance?.source.kind !== 'parameter') return undefined
    const { epsilon, momentum } = node.attributes as { epsilon: number; momentum: number }
    // onnxruntime writes the new statistics over the old ones, whoever else reads them: it gets others to write over.
    const [y, batchMean, batchVariance] = op.BatchNormalization(
      x!,
      scale!,
      bias!,
      op.Mul(mean, 0),
      op.Mul(variance, 0),
      {
        epsilon,
        momentum: 0,
        training_mode: 1,
      },
    )
    const next = (running: Value, batch: Value) => op.Add(op.Mul(running, momentum), op.Mul(batch, 1 - momentum))
    statistics.set(mean.name!, next(mean, batchMean))
    statistics.set(variance.name!, next(variance, batchVariance))
    return [y]
  })
  return { outputs: new Map([...outputs.keys()].map((name, i) => [name, values[i]!])), statistics }
}

/** A model whose Dropout nodes are at work, and the uniform noise that decides what they drop. */
export interface TrainedDropout {
  readonly outputs: ReadonlyMap<string, Value>
  readonly noise: ReadonlyMap<string, Value>
}

/**
 * Switches every Dropout to its training form (https://onnx.ai/onnx/operators/onnx__Dropout.html):
 * y = x (noise >= ratio) / (1 - ratio). The noise is an input that the host draws, so that a seed decides it and a resumed
 * run drops what an uninterrupted one drops; onnxruntime's own depends on all that its session drew before.
 *
 * A Dropout inside of a body stays as it is, and so does one whose ratio is no constant.
 */
export function enableDropout(outputs: ReadonlyMap<string, Value>): TrainedDropout {
  const noise = new Map<string, Value>()
  const values = rewriteGraph([...outputs.values()], (node, [x, ratio]) => {
    if (node.operator !== 'Dropout') return undefined
    const rate = ratio ? constantNumber(ratio) : 0.5
    if (rate === undefined || rate === 0) return undefined
    const { dtype, shape } = node.outputs[0]!
    if (!shape)
      throw new OnnxIreError(
        'invalid-shape',
        `dropout: nothing is known of the shape of what Dropout '${node.name ?? ''}' drops; declare the model's input shapes`,
      )
    const name = `noise/dropout/${noise.size}`
    const uniform = input(name, dtype, shape)
    noise.set(name, uniform)
    const kept = op.GreaterOrEqual(uniform, rate)
    return [op.Mul(x!, op.Mul(op.CastLike(kept, x!), 1 / (1 - rate))), kept]
  })
  return { outputs: new Map([...outputs.keys()].map((name, i) => [name, values[i]!])), noise }
}
