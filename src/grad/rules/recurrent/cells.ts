import { int64s } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { zerosLike } from '../../zeros.js'
import type { Activation } from './activations.js'

/** The weights of one direction, H hidden units and G gates: r [G*H, H], biases [G*H], peepholes [3*H]. */
export interface Weights {
  readonly r: Value
  readonly wb: Value | null
  readonly rb: Value | null
  readonly p: Value | null
}

/** From what the input contributes to the gates (as `cuts` divides it) and the states to the next states, h first. */
export type Step = (z: readonly Value[], states: readonly Value[]) => readonly Value[]

export interface Cell {
  /** Added to the input's part of the gates. */
  readonly bias: Value | null
  /** Gates in each part of z: one after the other in the same product, or apart. */
  readonly cuts: readonly number[]
  readonly step: Step
}

const both = ({ wb, rb }: Weights): Value | null => (wb && rb ? op.Add(wb, rb) : null)
/** a r^T + c */
const linear = (a: Value, r: Value, c: Value | null): Value => op.Gemm(a, r, c, { transB: 1 })
const gatesOf = (x: Value, count: number): readonly Value[] => op.Split(x, { axis: -1, num_outputs: count })

/** h' = f(z + h r^T) */
export function rnnCell(weights: Weights, [f]: readonly Activation[]): Cell {
  return { bias: both(weights), cuts: [1], step: ([z], [h]) => [f!(linear(h!, weights.r, z!))] }
}

/**
 * Gates u (ONNX calls it z) and r, then g: h' = (1 - u) g + u h, where g = f2(z_g + (r h) R_g^T + b) or, with
 * linear_before_reset, f2(z_g + r (h R_g^T + b)).
 */
export function gruCell(weights: Weights, [f, g]: readonly Activation[], linearBeforeReset: boolean): Cell {
  const [ur, rg] = cutRows(weights.r)
  const [urBias, gBias] = weights.rb ? cutRows(weights.rb) : [null, null]
  const bias =
    linearBeforeReset && weights.wb && urBias
      ? op.Add(weights.wb, op.Concat([urBias, zerosLike(gBias!)], { axis: 0 }))
      : both(weights)
  const step: Step = ([zur, zg], [h]) => {
    const [u, r] = gatesOf(f!(linear(h!, ur, zur!)), 2)
    const candidate = linearBeforeReset
      ? op.Add(zg!, op.Mul(r!, linear(h!, rg, gBias)))
      : linear(op.Mul(r!, h!), rg, zg!)
    const fresh = g!(candidate)
    // (1 - u) g + u h
    return [op.Add(fresh, op.Mul(u!, op.Sub(h!, fresh)))]
  }
  return { bias, cuts: [2, 1], step }
}

/** Rows of the first two gates, and of the third. */
function cutRows(r: Value): [Value, Value] {
  const [u, s, g] = op.Split(r, { axis: 0, num_outputs: 3 })
  return [op.Concat([u!, s!], { axis: 0 }), g!]
}

/**
 * Gates i, o, f and c: C' = f C + i g(c), h' = o k(C'); peepholes let i and f see C, and o see C'. With input_forget, f is 1 - i.
 */
export function lstmCell(weights: Weights, activations: readonly Activation[], inputForget: boolean): Cell {
  const [f, g, k] = activations as [Activation, Activation, Activation]
  const bias = both(weights)
  if (weights.p) return { bias, cuts: [4], step: peepingStep(weights.r, weights.p, f, g, k, inputForget) }
  const widths = op.Mul(op.Shape(weights.r, { start: 1, end: 2 }), int64s([3, 1]))
  const step: Step = ([z], [h, cell]) => {
    const [ziof, zc] = op.Split(linear(h!, weights.r, z!), widths, { axis: -1 })
    // One function of three gates at once.
    const [i, o, forget] = gatesOf(f(ziof!), 3)
    const next = op.Add(op.Mul(inputForget ? op.Sub(1, i!) : forget!, cell!), op.Mul(i!, g(zc!)))
    return [op.Mul(o!, k(next)), next]
  }
  return { bias, cuts: [4], step }
}

function peepingStep(r: Value, p: Value, f: Activation, g: Activation, k: Activation, inputForget: boolean): Step {
  const [pi, po, pf] = op.Split(p, { axis: 0, num_outputs: 3 })
  const peep = (x: Value, p: Value, cell: Value) => op.Add(x, op.Mul(cell, p))
  return ([z], [h, cell]) => {
    const [zi, zo, zf, zc] = gatesOf(linear(h!, r, z!), 4)
    const i = f(peep(zi!, pi!, cell!))
    const forget = inputForget ? op.Sub(1, i) : f(peep(zf!, pf!, cell!))
    const next = op.Add(op.Mul(forget, cell!), op.Mul(i, g(zc!)))
    return [op.Mul(f(peep(zo!, po!, next)), k(next)), next]
  }
}
