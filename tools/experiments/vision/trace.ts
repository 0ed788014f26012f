import { crossEntropy, type Dataset, type Model, type Runtime } from 'onnx-ire'
import { Random, subset } from 'onnx-ire/data'
import { hutchinsonTrace, LossSurface } from 'onnx-ire/flatness'

export interface TraceOptions {
  /** Number of examples of the mean loss; the first ones are taken. */
  readonly examples: number
  readonly batchSize: number
  /** Number of random sign vectors, each applied to all examples. */
  readonly probes: number
}

/**
 * Estimates the trace of the Hessian of the cross-entropy, with norms in inference mode. Signs are the same in every
 * call, so that traces of different weights are comparable.
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
