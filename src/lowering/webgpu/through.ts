import { type DType, dtypes } from '../../ir/dtype.js'
import type { Attributes, Value } from '../../ir/value.js'
import { apply } from '../../op/apply.js'
import type { OperatorName } from '../../op/op.js'
import { definitionOf, op } from '../../op/op.js'
import type { AnyLowering } from '../lowering.js'

export const cast = (x: Value, to: DType): Value => (x.dtype === to ? x : op.Cast(x, { to: dtypes[to].onnx }))

type Move = (parts: readonly Value[]) => readonly Value[]

/** Types that float32 holds exactly. */
const short: ReadonlySet<DType> = new Set(['bool', 'uint8', 'int8', 'uint16', 'int16'])

/**
 * An operator that only moves elements, of types that its kernel does not have: bool and 8 and 16 bits go as float32; int32, where
 * `wide` says that it needs to, in two halves of 16 bits as float32, which are put together again.
 */
export function moving(
  operator: OperatorName,
  slots: readonly number[] | 'all',
  wide: boolean,
  otherwise?: AnyLowering,
): AnyLowering {
  return (inputs, attributes, asked) => {
    const moves = (slot: number) => slots === 'all' || slots.includes(slot)
    const dtype = inputs.find((value, slot) => value && moves(slot))!.dtype
    const move: Move = (parts) => {
      const rest = parts.values()
      return apply({
        operator,
        definition: definitionOf(operator),
        inputs: inputs.map((value, slot) => (value && moves(slot) ? rest.next().value! : value)),
        attributes: attributes as Attributes,
        outputCount: asked.outputs,
      })
    }
    const moved = inputs.filter((value, slot): value is Value => value !== null && moves(slot))
    if (short.has(dtype)) return move(moved.map((x) => cast(x, 'float32'))).map((y) => cast(y, dtype))
    if (wide && dtype === 'int32') return inHalves(moved, move)
    return otherwise?.(inputs, attributes, asked) ?? null
  }
}

/** x = 65536 high + low, both exact in float32. */
function inHalves(xs: readonly Value[], move: Move): readonly Value[] {
  const high = xs.map((x) => op.Div(x, 2 ** 16))
  const low = xs.map((x, i) => op.Sub(x, op.Mul(high[i]!, 2 ** 16)))
  const [highs, lows] = [high, low].map((parts) => move(parts.map((part) => cast(part, 'float32'))))
  return highs!.map((y, i) => op.Add(op.Mul(cast(y, 'int32'), 2 ** 16), cast(lows![i]!, 'int32')))
}
