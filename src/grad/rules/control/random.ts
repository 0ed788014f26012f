import { bodiesOf, topological } from '../../../ir/topology.js'
import type { Body } from '../../../ir/value.js'
import { drawsNumbers } from '../../../op/draws.js'
import { OnnxIreError } from '../../../util/errors.js'

/** A body is computed again for its gradient, and would draw other numbers then. */
export function refuseRandom(body: Body): void {
  for (const node of topological(body.outputs, ({ scope }) => scope === body.scope)) {
    if (drawsNumbers(node))
      throw new OnnxIreError(
        'not-differentiable',
        `${node.operator} '${node.name ?? node.outputs[0]?.name ?? '?'}' draws random numbers inside a body, which is computed a second time for its gradient; draw them outside`,
      )
    bodiesOf(node).forEach(refuseRandom)
  }
}
