import { int64s } from '../../ir/leaf.js'
import type { Dim } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import type { linalg } from '../../op/definitions/linalg.js'
import { ELLIPSIS, formatEinsum, parseEinsum } from '../../op/einsum.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/**
 * onnxruntime's Einsum kernel does not broadcast: axes of length 1 are repeated to the length that another operand has.
 */
function repeatBroadcastAxes(operands: readonly Value[], equation: string): Value | null {
  const subscripts = parseEinsum(
    equation,
    operands.map(({ shape }) => shape),
  )
  if (subscripts.operands.some((labels, i) => !operands[i]!.shape || labels.includes(ELLIPSIS))) return null
  const longest = new Map<string, { readonly dim: Dim; readonly length: Value }>()
  for (const [i, labels] of subscripts.operands.entries())
    for (const [axis, label] of labels.entries()) {
      const dim = operands[i]!.shape![axis]!
      if (dim !== 1 || !longest.has(label))
        longest.set(label, {
          dim,
          length: typeof dim === 'number' ? int64s([dim]) : op.Shape(operands[i]!, { start: axis, end: axis + 1 }),
        })
    }
  const short = subscripts.operands.map((labels, i) =>
    labels.some((label, axis) => operands[i]!.shape![axis] === 1 && longest.get(label)!.dim !== 1),
  )
  if (!short.includes(true) && !equation.includes('...')) return null
  const whole = operands.map((x, i) =>
    short[i]
      ? op.Expand(
          x,
          op.Concat(
            subscripts.operands[i]!.map((label) => longest.get(label)!.length),
            { axis: 0 },
          ),
        )
      : x,
  )
  return op.Einsum(whole, { equation: formatEinsum(subscripts.operands, subscripts.output) })
}

export const linalgLowerings = {
  Einsum: ([...operands], { equation }) => repeatBroadcastAxes(operands, equation),
} satisfies Lowerings<typeof linalg>
