import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { rewriteGraph } from '../op/rewrite.js'

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
export function trainNorms(outputs: ReadonlyMap<string, Value>): TrainedNorms {
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
