import { input, int64s, scalar } from '../../../ir/leaf.js'
import { body } from '../../../ir/scope.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { withRank } from '../../ranked.js'
import type { Cell, Weights } from './cells.js'

/** The operands that RNN, GRU and LSTM have in common. */
export interface Operands {
  readonly x: Value
  readonly w: Value
  readonly r: Value
  readonly b: Value | null
  readonly sequenceLens: Value | null
  /** First states, h before C. */
  readonly initial: readonly (Value | null)[]
  readonly p: Value | null
}

/**
 * RNN, GRU or LSTM as a Scan over time: the input's part of all gates in one product, then the rounds. Gives
 * y [T, D, N, H] and the last states [D, N, H], or with layout 1 [N, T, D, H] and [N, D, H].
 */
export function layer(
  operands: Operands,
  { direction, layout }: { readonly direction: string; readonly layout: number },
  cellOf: (weights: Weights, direction: number) => Cell,
): Value[] {
  const { sequenceLens } = operands
  const given = withRank(operands.x, 3)
  const x = layout ? op.Transpose(given, { perm: [1, 0, 2] }) : given
  const initial = operands.initial.map((state) => state && withRank(state, 3))
  const reversed = direction === 'bidirectional' ? [false, true] : [direction === 'reverse']
  const each = (value: Value | null, axis = 0): readonly (Value | null)[] =>
    value === null
      ? reversed.map(() => null)
      : (reversed.length === 1 ? [value] : op.Split(value, [1, 1], { axis })).map((part) => op.Squeeze(part, [axis]))
  const [w, r, b, p] = [each(operands.w), each(operands.r), each(operands.b), each(operands.p)]
  const states = initial.map((state) => each(state, layout ? 1 : 0))
  const results = reversed.map((backwards, d) => {
    const [wb = null, rb = null] = b[d] ? op.Split(b[d], { axis: 0, num_outputs: 2 }) : []
    const cell = cellOf({ r: r[d]!, wb, rb, p: p[d]! }, d)
    const first = states.map((state) => state[d] ?? zeroState(x, r[d]!))
    return overTime(gates(x, w[d]!, cell), first, cell, backwards, sequenceLens)
  })
  const collected = (parts: readonly Value[], axis: number) =>
    parts.length === 1
      ? op.Unsqueeze(parts[0]!, [axis])
      : op.Concat(
          parts.map((part) => op.Unsqueeze(part, [axis])),
          { axis },
        )
  const y = collected(
    results.map(({ y }) => y),
    1,
  )
  const last = initial.map((_, i) =>
    collected(
      results.map(({ last }) => last[i]!),
      layout ? 1 : 0,
    ),
  )
  return [layout ? op.Transpose(y, { perm: [2, 0, 1, 3] }) : y, ...last]
}

/** Zeros [N, H]. */
const zeroState = (x: Value, r: Value): Value =>
  op.Expand(
    scalar(x.dtype, 0),
    op.Concat([op.Shape(x, { start: 1, end: 2 }), op.Shape(r, { start: 1, end: 2 })], { axis: 0 }),
  )

/** What the input contributes to the gates at all times, x W^T + bias, [T, N, gates*H], cut as the cell takes it. */
function gates(x: Value, w: Value, { bias, cuts }: Cell): readonly Value[] {
  const product = op.MatMul(x, op.Transpose(w, { perm: [1, 0] }))
  const z = bias ? op.Add(product, bias) : product
  if (cuts.length === 1) return [z]
  const count = cuts.reduce((sum, gates) => sum + gates, 0)
  const unit = op.Div(op.Shape(w, { start: 0, end: 1 }), int64s([count]))
  return op.Split(z, op.Mul(unit, int64s(cuts)), { axis: -1 })
}

interface Course {
  /** [T, N, H] */
  readonly y: Value
  /** [N, H] each. */
  readonly last: readonly Value[]
}

/** The rounds of one direction. A sequence shorter than the others keeps its states after its end, and gives zeros. */
function overTime(
  z: readonly Value[],
  first: readonly Value[],
  { step }: Cell,
  backwards: boolean,
  sequenceLens: Value | null,
): Course {
  const lens = sequenceLens && op.Cast(sequenceLens, { to: INT64 })
  const turned = (values: readonly Value[]) =>
    lens && backwards ? values.map((value) => op.ReverseSequence(value, lens, { time_axis: 0, batch_axis: 1 })) : values
  const scanned = [...turned(z), ...(lens ? [running(z[0]!, lens)] : [])]
  const direction = backwards && !lens ? 1 : 0
  const states = first.map((value) => input('state', value.dtype, value.shape))
  const slices = scanned.map((value) => input('slice', value.dtype, value.shape?.slice(1)))
  const results = op.Scan([...first, ...scanned], {
    body: body([...states, ...slices], (...given) => {
      const [before, now] = [given.slice(0, first.length), given.slice(first.length)]
      const after = step(now.slice(0, z.length), before)
      const runs = now[z.length]
      if (!runs) return [...after, after[0]!]
      return [...after.map((value, i) => op.Where(runs, value, before[i]!)), op.Where(runs, after[0]!, 0)]
    }),
    num_scan_inputs: scanned.length,
    scan_input_directions: scanned.map(() => direction),
    scan_output_directions: [direction],
  })
  return { y: turned([results.at(-1)!])[0]!, last: results.slice(0, first.length) }
}

const INT64 = 7

/** [T, N, 1]: whether a sequence has not ended. */
function running(z: Value, lens: Value): Value {
  const time = op.Range(scalar('int64', 0), op.Squeeze(op.Shape(z, { start: 0, end: 1 }), [0]), scalar('int64', 1))
  return op.Less(op.Unsqueeze(time, [1, 2]), op.Unsqueeze(lens, [0, 2]))
}
