import type { Tensors } from '../../src/ir/tensor.js'
import { withBodies } from '../../src/ir/topology.js'
import { compileGraph } from '../../src/lowering/compile.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import type { Runtime } from '../../src/runtime/runtime.js'

/** Compiles, runs once, releases. */
export async function outputsOf(runtime: Runtime, spec: GraphSpec, feeds: Tensors): Promise<Tensors> {
  const program = await compileGraph(runtime, spec)
  try {
    return await program.run(feeds)
  } finally {
    await program.release()
  }
}

/**
 * The largest difference between two tensors' elements, relative where they are larger than 1; infinite for other types
 * or shapes.
 */
export function distance(a: Tensors, b: Tensors): number {
  return Math.max(
    0,
    ...Object.entries(b).map(([name, right]) => {
      const left = a[name]
      if (!left || left.dtype !== right.dtype || left.dims.join() !== right.dims.join()) return Number.POSITIVE_INFINITY
      return Array.from(right.data as ArrayLike<number | bigint>, Number).reduce(
        (most, y, i) => Math.max(most, apart(Number(left.data[i]), y)),
        0,
      )
    }),
  )
}

const apart = (x: number, y: number): number => {
  if (Object.is(x, y) || x === y) return 0
  const difference = Math.abs(x - y) / Math.max(1, Math.abs(y))
  return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference
}

/** The operators of a graph, bodies included. */
export const operatorsOf = ({ outputs }: GraphSpec): string[] =>
  withBodies(outputs.values()).map(({ operator }) => operator)
