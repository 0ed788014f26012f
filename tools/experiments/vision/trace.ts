import {
  crossEntropy,
  type Dataset,
  encodeModel,
  importGraph,
  type Model,
  modelOf,
  Random,
  type Runtime,
  type Tensors,
  trainingGraphs,
} from 'onnx-ire'

export interface TraceOptions {
  /** Examples that the loss is the mean over; those of the beginning. */
  readonly examples: number
  readonly batchSize: number
  /** Random sign vectors per batch. */
  readonly probes: number
}

/**
 * Hutchinson's estimate of the trace of the Hessian of the cross-entropy, tr H = E[v . Hv] for random signs v, with norms
 * in the form of inference. Signs are the same at every call, so that traces of different weights differ by the weights.
 */
export async function hessianTrace(
  model: Model,
  data: Dataset,
  runtime: Runtime,
  { examples, batchSize, probes }: TraceOptions,
): Promise<number> {
  const graph = importGraph(model)
  const {
    curvature,
    parameters,
    data: inputs,
  } = trainingGraphs(graph, { loss: crossEntropy(), curvature: 'hutchinson' })
  const { spec, probes: signs } = curvature!
  const program = await runtime.compile(encodeModel(modelOf(spec)))
  try {
    const weights: Record<string, Tensors[string]> = {}
    for (const [name, value] of parameters) if (value.source.kind === 'parameter') weights[name] = value.source.tensor
    const random = new Random(0)
    const batches = Math.ceil(examples / batchSize)
    let sum = 0
    for (let b = 0; b < batches; b++) {
      const indices = Array.from({ length: batchSize }, (_, i) => (b * batchSize + i) % data.length)
      const batch = await data.batch(indices)
      const given = Object.fromEntries(Object.entries(batch).filter(([name]) => inputs.has(name)))
      for (let p = 0; p < probes; p++) {
        const drawn: Record<string, Tensors[string]> = {}
        for (const [name, { shape }] of signs) {
          const dims = shape as readonly number[]
          const data = new Float32Array(dims.reduce((a, c) => a * c, 1))
          drawn[name] = { dtype: 'float32', dims, data: random.fill(data, 'sign') }
        }
        const outputs = await program.run({ ...given, ...drawn, ...weights })
        for (const [name, { data }] of Object.entries(outputs))
          if (name.startsWith('grad/')) for (const value of data as Float32Array) sum += value
      }
    }
    return sum / (batches * probes)
  } finally {
    await program.release()
  }
}
