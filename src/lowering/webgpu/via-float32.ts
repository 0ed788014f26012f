import type { DType } from '../../ir/dtype.js'
import type { Attributes, Value } from '../../ir/value.js'
import { apply } from '../../op/apply.js'
import { cast } from '../../op/compose/cast.js'
import { definitionOf, type OperatorName, op } from '../../op/op.js'
import type { AnyLowering } from '../lowering.js'

type Move = (parts: readonly Value[]) => readonly Value[]

/** Types whose values float32 represents exactly. */
const short: ReadonlySet<DType> = new Set(['bool', 'uint8', 'int8', 'uint16', 'int16'])

/**
 * A lowering of an operator that only moves elements, for types that its kernel lacks. Booleans and 8- and 16-bit
 * integers are moved as float32; int32, if `wide`, as two 16-bit halves in float32 that are combined again.
 * @param slots the inputs whose elements are moved
 * @param otherwise the lowering for types that the kernel has
 */
export function viaFloat32(
  operator: OperatorName,
  slots: readonly number[] | 'all',
  wide: boolean,
  otherwise?: AnyLowering,
): AnyLowering {
  return (inputs, attributes, context) => {
    const moves = (slot: number) => slots === 'all' || slots.includes(slot)
    const dtype = inputs.find((value, slot) => value && moves(slot))!.dtype
    const move: Move = (parts) => {
      const rest = parts.values()
      return apply({
        operator,
        definition: definitionOf(operator),
        inputs: inputs.map((value, slot) => (value && moves(slot) ? rest.next().value! : value)),
        attributes: attributes as Attributes,
        outputCount: context.outputCount,
      })
    }
    const moved = inputs.filter((value, slot): value is Value => value !== null && moves(slot))
    if (short.has(dtype)) return move(moved.map((x) => cast(x, 'float32'))).map((y) => cast(y, dtype))
    if (wide && dtype === 'int32') return splitInt32(moved, move)
    return otherwise?.(inputs, attributes, context) ?? null
  }
}

/** x = 65536 high + low, both exact in float32. */
function splitInt32(xs: readonly Value[], move: Move): readonly Value[] {
  const high = xs.map((x) => op.Div(x, 2 ** 16))
  const low = xs.map((x, i) => op.Sub(x, op.Mul(high[i]!, 2 ** 16)))
  const [highs, lows] = [high, low].map((parts) => move(parts.map((part) => cast(part, 'float32'))))
  return highs!.map((y, i) => op.Add(op.Mul(cast(y, 'int32'), 2 ** 16), cast(lows![i]!, 'int32')))
}
