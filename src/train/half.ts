import { isHalf } from '../ir/dtype.js'
import { withBodies } from '../ir/topology.js'
import type { Graph } from '../ir/value.js'

/** Whether anything in a graph, bodies of control flow included, is in float16 or bfloat16. */
export function holdsHalf({ inputs, outputs, parameters }: Graph): boolean {
  const values = [
    ...withBodies(outputs.values()).flatMap((node) => [...node.inputs, ...node.outputs]),
    ...[inputs, outputs, parameters].flatMap((each) => [...each.values()]),
  ]
  return values.some((value) => value && isHalf(value.dtype))
}
