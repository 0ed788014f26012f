import type { Value } from '../../ir/value.js'
import type { GraphSpec } from '../../onnx/export/export-graph.js'
import { op } from '../../op/op.js'
import type { Formula } from '../../optim/expr/expr.js'
import { FLOAT32_MAX, formulaToOnnx, sumElements } from '../../optim/expr/onnx.js'
import { clippedSquares, squares } from '../../optim/gradient-norm.js'
import { updateFormula } from '../../optim/update-formulas.js'
import { joined, listed, type Named, parted, stacked } from './flat.js'
import type { Bundle } from './layout.js'

/** One bundle in the update of a step. */
export interface Moved {
  readonly bundle: Bundle
  /** Bundles of one number share the scalars of their formula. */
  readonly factors: number
  /** Whether its mask is fed. */
  readonly enhanced: boolean
}

/** What decides the graph of an update. */
export interface ApplyForm {
  /** The base optimizer's. */
  readonly formula: Formula
  readonly moments: readonly string[]
  readonly moved: readonly Moved[]
  readonly clipsValue: boolean
  readonly clipsNorm: boolean
  /** Whether the squares of the ascent's gradient are fed, which have to be finite too. */
  readonly ascended: boolean
}

/** The name of a scalar of a formula in the graph. */
export const factorName = (factors: number, scalar: string): string => `factor/${factors}/${scalar}`

/**
 * The update of a step as one graph: theta and the moments by `updateFormula`, where scale = min(1, clipNorm / (||g|| + 1e-6))
 * of the g that clipValue leaves; and everything as it was where the sum of squares is not finite.
 *
 * Inputs: `g/<bundle>/<part>`, `theta/<bundle>`, `<moment>/<bundle>`, `n/<bundle>`, `factor/<factors>/<scalar>`, `kappa`,
 * `clipValue`, `clipNorm`, `ascent`. Outputs: `next/theta/<bundle>` and, of several tensors, `parameter/<bundle>/<part>` and
 * `flat/<bundle>`, their gradients; `next/<moment>/<bundle>`; `sums`, the sum of squares of every bundle's gradient,
 * and `ascent` behind them.
 */
export function applyGraph(form: ApplyForm): GraphSpec {
  const { moved, clipsValue, clipsNorm, ascended } = form
  const inputs: Named = new Map()
  const outputs: Named = new Map()
  const limit = clipsValue ? listed(inputs, 'clipValue') : Infinity
  const gradients = moved.map(({ bundle }) => joined(inputs, 'g', bundle))
  const sums = stacked(gradients.map((g) => formulaToOnnx(squares, { g }).squares['squares']!))
  const total = sumElements(sums)
  const ascent = ascended ? listed(inputs, 'ascent') : undefined
  outputs.set('sums', ascent ? op.Concat([sums, op.Reshape(ascent, [1])], { axis: 0 }) : sums)
  const finite = op.LessOrEqual(total, FLOAT32_MAX)
  const proceeds = ascent ? op.And(finite, op.LessOrEqual(ascent, FLOAT32_MAX)) : finite
  const norm = () => (limit === Infinity ? op.Sqrt(total) : clippedNorm(gradients, limit as Value))
  const scale = clipsNorm ? op.Min([op.Div(listed(inputs, 'clipNorm'), op.Add(norm(), 1e-6)), 1]) : 1

  moved.forEach(({ bundle, factors, enhanced }, i) => {
    const { id, dims, parts } = bundle
    const g = gradients[i]!
    const old: Record<string, Value> = { theta: listed(inputs, `theta/${id}`, dims) }
    for (const moment of form.moments) old[moment] = listed(inputs, `${moment}/${id}`, dims)
    const scalars: Record<string, Value | number> = { limit, scale }
    for (const name of form.formula.scalars) scalars[name] = shared(inputs, factorName(factors, name))
    if (enhanced) scalars['kappa'] = shared(inputs, 'kappa')
    const arrays = { ...old, g, ...(enhanced ? { n: listed(inputs, `n/${id}`, dims) } : {}) }
    const update = updateFormula(form.formula, { clipped: clipsValue, enhanced })
    for (const [name, value] of Object.entries(formulaToOnnx(update, arrays, scalars).outputs))
      outputs.set(`next/${name}/${id}`, op.Where(proceeds, value, old[name]!))
    if (parts.length === 1) return
    parted(outputs, 'parameter', bundle, outputs.get(`next/theta/${id}`)!)
    outputs.set(`flat/${id}`, g)
  })
  return { name: 'update', inputs, outputs }
}

/** A scalar that several bundles read. */
const shared = (inputs: Named, name: string): Value => inputs.get(name) ?? listed(inputs, name)

/** The norm that is left of gradients whose elements are clipped to [-limit, limit]. */
function clippedNorm(gradients: readonly Value[], limit: Value): Value {
  const sums = gradients.map((g) => formulaToOnnx(clippedSquares, { g }, { limit }).squares['squares']!)
  return op.Mul(limit, op.Sqrt(sumElements(stacked(sums))))
}
