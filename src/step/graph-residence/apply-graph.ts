import { add, array, type Formula, formula, max, min, mul, scalar, sub, substituted } from '../../formula/formula.js'
import { formulaGraph } from '../../formula/graph.js'
import type { Value } from '../../ir/value.js'
import type { GraphSpec } from '../../onnx/export.js'
import { op } from '../../op/index.js'
import { joined, listed, type Named, parted } from './flat.js'
import type { Bundle } from './layout.js'
import { LARGEST, sumOf } from './sum.js'

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
 * The update of a step as one graph:
 *
 *     s = min(1, clipNorm / (||g|| + 1e-6)), g clipped to [-clipValue, clipValue] first
 *     theta <- theta + (1 + kappa n) d(s g), with the moments; everything as it was where the sum of squares is not finite
 *
 * Inputs: `g/<bundle>/<part>`, `theta/<bundle>`, `<moment>/<bundle>`, `n/<bundle>`, `factor/<factors>/<scalar>`, `kappa`,
 * `clipValue`, `clipNorm`, `ascent`. Outputs: `next/theta/<bundle>` and, of several tensors, `parameter/<bundle>/<part>` and
 * `flat/<bundle>`, their gradients; `next/<moment>/<bundle>`; `sums`, the sum of squares of every bundle's gradient.
 */
export function applyGraph(form: ApplyForm): GraphSpec {
  const { moved, clipsValue, clipsNorm, ascended } = form
  const inputs: Named = new Map()
  const outputs: Named = new Map()
  const limit = clipsValue ? listed(inputs, 'clipValue') : undefined
  const gradients = moved.map(({ bundle }) => joined(inputs, 'g', bundle))
  const sums = gradients.map((g, i) => sumOf(g, moved[i]!.bundle.length, 'squares'))
  const each = op.Concat(
    sums.map((sum) => op.Reshape(sum, [1])),
    { axis: 0 },
  )
  outputs.set('sums', each)
  const total = sumOf(each, moved.length)
  const finite = op.LessOrEqual(total, LARGEST)
  const proceeds = ascended ? op.And(finite, op.LessOrEqual(listed(inputs, 'ascent'), LARGEST)) : finite
  const norm = () => (limit ? clippedNorm(gradients, moved, limit) : op.Sqrt(total))
  const scale = clipsNorm ? op.Min([op.Div(listed(inputs, 'clipNorm'), op.Add(norm(), 1e-6)), 1]) : undefined

  moved.forEach(({ bundle, factors, enhanced }, i) => {
    const { id, dims, parts } = bundle
    const update = updateFormula(form, enhanced)
    const old: Record<string, Value> = { theta: listed(inputs, `theta/${id}`, dims) }
    for (const moment of form.moments) old[moment] = listed(inputs, `${moment}/${id}`, dims)
    const arrays: Record<string, Value> = { ...old, g: gradients[i]! }
    const scalars: Record<string, Value> = {}
    if (limit) scalars['limit'] = limit
    if (scale) scalars['scale'] = scale
    if (enhanced) arrays['n'] = listed(inputs, `n/${id}`, dims)
    if (enhanced) scalars['kappa'] = inputs.get('kappa') ?? listed(inputs, 'kappa')
    for (const name of form.formula.scalars) {
      const key = factorName(factors, name)
      scalars[name] = inputs.get(key) ?? listed(inputs, key)
    }
    const next = formulaGraph(update, arrays, scalars)
    for (const [name, value] of Object.entries(next))
      outputs.set(`next/${name}/${id}`, op.Where(proceeds, value, old[name]!))
    if (parts.length === 1) return
    parted(outputs, 'parameter', bundle, outputs.get(`next/theta/${id}`)!)
    outputs.set(`flat/${id}`, gradients[i]!)
  })
  return { name: 'update', inputs, outputs }
}

/** sqrt(sum of min(1, abs(g) / limit)^2) limit: of numbers up to 1, whose squares do not overflow. */
function clippedNorm(gradients: readonly Value[], moved: readonly Moved[], limit: Value): Value {
  const sums = gradients.map((g, i) =>
    op.Reshape(sumOf(op.Min([op.Div(op.Abs(g), limit), 1]), moved[i]!.bundle.length, 'squares'), [1]),
  )
  return op.Mul(limit, op.Sqrt(sumOf(op.Concat(sums, { axis: 0 }), sums.length)))
}

/** theta <- theta + (1 + kappa n) d of the clipped gradient, and the moments. */
function updateFormula({ formula: base, clipsValue, clipsNorm }: ApplyForm, enhanced: boolean): Formula {
  let g = array('g')
  if (clipsValue) g = max(sub(0, scalar('limit')), min(scalar('limit'), g))
  if (clipsNorm) g = mul(scalar('scale'), g)
  const done = new Map()
  const { d, ...moments } = Object.fromEntries(
    Object.entries(base.outputs).map(([name, term]) => [name, substituted(term, { g }, done)]),
  )
  const share = enhanced ? mul(add(1, mul(scalar('kappa'), array('n'))), d!) : d!
  return formula({ theta: add(array('theta'), share), ...moments })
}
