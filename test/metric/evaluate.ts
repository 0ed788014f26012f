import { Random } from '../../src/data/index.js'
import { input } from '../../src/graph/index.js'
import type { Loss, Metric, Runtime, Tensor } from '../../src/index.js'
import type { DType } from '../../src/ir/dtype.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import type { Dim } from '../../src/ir/shape.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { type Measures, MetricAccumulator } from '../../src/metric/accumulator.js'
import { buildMetrics, readSums } from '../../src/metric/metric.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'

/** Values of metrics over batches of outputs `y` and of the loss's other inputs. */
export async function measured(
  runtime: Runtime,
  loss: Loss,
  metrics: readonly Metric[],
  shape: readonly Dim[],
  batches: readonly Tensors[],
  dtype: DType = 'float32',
): Promise<Measures> {
  const y = input('y', dtype, shape)
  const built = loss.build(new Map([['y', y]]))
  const graph = buildMetrics(metrics, built, true)
  const program = await runtime.compile(
    encode(
      'ModelProto',
      exportGraph({
        name: 'metrics',
        inputs: new Map([['y', y], ...built.targets]),
        outputs: new Map([['loss', built.loss], ['count', built.count], ...graph.outputs]),
      }),
    ),
  )
  const tally = new MetricAccumulator(graph)
  for (const batch of batches) {
    const outputs = await program.run(batch)
    const [count, value] = [numbersOf(outputs['count']!)[0]!, numbersOf(outputs['loss']!)[0]!]
    tally.add({ loss: value, count, weight: count, sums: readSums(outputs, graph) })
  }
  await program.release()
  return tally.measures()
}

export const float = (dims: readonly number[], values: ArrayLike<number>): Tensor => tensorFrom('float32', dims, values)
export const int = (dims: readonly number[], values: readonly number[]): Tensor => tensorFrom('int64', dims, values)

/** Draws of random numbers, for one test file: the files of a process share this module. */
export function draws() {
  const random = new Random(31)
  return {
    normals: (n: number): number[] => Array.from(random.fill(new Float32Array(n), 'normal')),
    integers: (n: number, below: number): number[] => Array.from({ length: n }, () => random.integer(below)),
  }
}

export const chunks = <T>(values: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(values.length / size) }, (_, i) => values.slice(i * size, (i + 1) * size))
