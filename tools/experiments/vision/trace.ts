import { crossEntropy, type Dataset, type Model, type Runtime } from 'onnx-ire'
import { Random, subset } from 'onnx-ire/data'
import { hutchinsonTrace, LossSurface } from 'onnx-ire/flatness'

export interface TraceOptions {
  /** Examples that the loss is the mean over; those of the beginning. */
  readonly examples: number
  readonly batchSize: number
  /** Random sign vectors, each of them over all the examples. */
  readonly probes: number
}

/**
 * The trace of the Hessian of the cross-entropy, with norms in the form of inference. Signs are the same at every call, so
 * that traces of different weights differ by the weights.
 */
export async function hessianTrace(
  model: Model,
  data: Dataset,
  runtime: Runtime,
  { examples, batchSize, probes }: TraceOptions,
): Promise<number> {
  const surface = LossSurface.of(model, subset(data, { end: examples }), { loss: crossEntropy(), runtime, batchSize })
  try {
    return (await hutchinsonTrace(surface.hessian(), new Random(0), { probes, tolerance: 0 })).value
  } finally {
    await surface.release()
  }
}
