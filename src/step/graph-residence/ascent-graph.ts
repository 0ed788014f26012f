import { add, array, type Formula, formula, mul, scalar } from '../../formula/formula.js'
import { formulaGraph } from '../../formula/graph.js'
import type { GraphSpec } from '../../onnx/export.js'
import { op } from '../../op/index.js'
import { joined, listed, type Named, parted } from './flat.js'
import type { Bundle } from './layout.js'
import { sumOf } from './sum.js'

const ascended = (e: Parameters<typeof mul>[0]): Formula =>
  formula({ ascended: add(array('theta'), mul(scalar('scale'), e)) })
const plain = ascended(array('g'))
const adaptively = ascended(mul(mul(array('theta'), array('theta')), array('g')))

/**
 * SAM's ascent as one graph:
 *
 *     theta + rho g / (||g|| + 1e-12), adaptive: theta + rho theta^2 g / (||abs(theta) g|| + 1e-12)
 *
 * Inputs: `g/<bundle>/<part>`, `theta/<bundle>`, `rho`. Outputs: `ascended/<bundle>/<part>`; `flat/<bundle>`, the gradients
 * of several tensors; `sums`, the sum of squares of every bundle's gradient, and `total`, that of all.
 */
export function ascentGraph(bundles: readonly Bundle[], adaptive: boolean): GraphSpec {
  const inputs: Named = new Map()
  const outputs: Named = new Map()
  const thetas = bundles.map(({ id, dims }) => listed(inputs, `theta/${id}`, dims))
  const gradients = bundles.map((bundle) => joined(inputs, 'g', bundle))
  const squares = (weighted: boolean) =>
    op.Concat(
      bundles.map(({ length }, i) => {
        const g = gradients[i]!
        return op.Reshape(sumOf(weighted ? op.Mul(thetas[i]!, g) : g, length, 'squares'), [1])
      }),
      { axis: 0 },
    )
  const sums = squares(false)
  const total = sumOf(sums, bundles.length)
  outputs.set('sums', sums)
  outputs.set('total', total)
  const norm = op.Sqrt(adaptive ? sumOf(squares(true), bundles.length) : total)
  const scale = op.Div(listed(inputs, 'rho'), op.Add(norm, 1e-12))
  bundles.forEach((bundle, i) => {
    const arrays = { theta: thetas[i]!, g: gradients[i]! }
    const result = formulaGraph(adaptive ? adaptively : plain, arrays, { scale })['ascended']!
    parted(outputs, 'ascended', bundle, result)
    if (bundle.parts.length > 1) outputs.set(`flat/${bundle.id}`, gradients[i]!)
  })
  return { name: 'ascent', inputs, outputs }
}
