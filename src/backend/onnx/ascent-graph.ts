import type { Value } from '../../ir/value.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { op } from '../../op/op.js'
import { formulaToOnnx, sumElements } from '../../optim/expr/onnx.js'
import { squares } from '../../optim/gradient-norm.js'
import { adaptiveAscent, adaptiveNorm, ascent } from '../../optim/update-formulas.js'
import { joined, listed, type Named, parted, stacked } from './flat.js'
import type { Bundle } from './layout.js'

/**
 * SAM's ascent as one graph: `ascent` or `adaptiveAscent`, where scale = rho / (norm + 1e-12).
 *
 * Inputs: `g/<bundle>/<part>`, `theta/<bundle>`, `rho`. Outputs: `ascended/<bundle>/<part>`; `flat/<bundle>`, the gradients
 * of several tensors; `sums`, the sum of squares of every bundle's gradient, and `total`, that of all.
 */
export function ascentGraph(bundles: readonly Bundle[], adaptive: boolean): GraphSpec {
  const inputs: Named = new Map()
  const outputs: Named = new Map()
  const arrays = bundles.map((bundle) => ({
    theta: listed(inputs, `theta/${bundle.id}`, bundle.dims),
    g: joined(inputs, 'g', bundle),
  }))
  const summed = (formula: typeof squares): Value =>
    stacked(arrays.map((each) => formulaToOnnx(formula, each).squares['squares']!))
  const sums = summed(squares)
  const total = sumElements(sums)
  outputs.set('sums', sums)
  outputs.set('total', total)
  const norm = op.Sqrt(adaptive ? sumElements(summed(adaptiveNorm)) : total)
  const scale = op.Div(listed(inputs, 'rho'), op.Add(norm, 1e-12))
  bundles.forEach((bundle, i) => {
    const made = formulaToOnnx(adaptive ? adaptiveAscent : ascent, arrays[i]!, { scale }).outputs
    parted(outputs, 'ascended', bundle, made['ascended']!)
    if (bundle.parts.length > 1) outputs.set(`flat/${bundle.id}`, arrays[i]!.g)
  })
  return { name: 'ascent', inputs, outputs }
}
