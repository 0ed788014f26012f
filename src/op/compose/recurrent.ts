import { body } from '../../ir/body.js'
import { input, int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import type { recurrent } from '../definitions/recurrent.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'
import { withRank } from './shape.js'

type Activation = (x: Value) => Value

interface Form {
  /** Defaults of activation_alpha and activation_beta. */
  readonly alpha?: number
  readonly beta?: number
  readonly build: (x: Value, alpha: number, beta: number) => Value
}

/** By name in lower case; the defaults are those of the operators of these names. */
const forms: Readonly<Record<string, Form>> = {
  relu: { build: (x) => op.Relu(x) },
  tanh: { build: (x) => op.Tanh(x) },
  sigmoid: { build: (x) => op.Sigmoid(x) },
  softsign: { build: (x) => op.Softsign(x) },
  softplus: { build: (x) => op.Softplus(x) },
  affine: { alpha: 1, beta: 0, build: (x, alpha, beta) => op.Add(op.Mul(x, alpha), beta) },
  leakyrelu: { alpha: 0.01, build: (x, alpha) => op.LeakyRelu(x, { alpha }) },
  thresholdedrelu: { alpha: 1, build: (x, alpha) => op.ThresholdedRelu(x, { alpha }) },
  scaledtanh: { alpha: 1, beta: 1, build: (x, alpha, beta) => op.Mul(op.Tanh(op.Mul(x, beta)), alpha) },
  hardsigmoid: { alpha: 0.2, beta: 0.5, build: (x, alpha, beta) => op.HardSigmoid(x, { alpha, beta }) },
  elu: { alpha: 1, build: (x, alpha) => op.Elu(x, { alpha }) },
}

interface Given {
  readonly activations?: readonly string[] | undefined
  readonly activation_alpha?: readonly number[] | undefined
  readonly activation_beta?: readonly number[] | undefined
  readonly clip?: number | undefined
}

/**
 * Returns the activation functions of every direction, in order. Each function with an alpha or beta uses the next
 * given value. Inputs of gate activations (the first two of a direction) are clipped; the input of the third, for
 * LSTM's cell, is not (as in onnxruntime; ONNX does not specify it).
 */
function activationsOf(given: Given, defaults: readonly string[], directions: number): Activation[] {
  const names = given.activations ?? Array.from({ length: directions }, () => defaults).flat()
  if (names.length !== defaults.length * directions)
    throw new OnnxIreError('invalid-model', `needs ${defaults.length * directions} activations, not ${names.length}`)
  const [alphas, betas] = [[...(given.activation_alpha ?? [])], [...(given.activation_beta ?? [])]]
  return names.map((name, index) => {
    const key = name.toLowerCase()
    const form = getOwn(forms, key)
    if (!form) throw new OnnxIreError('invalid-model', `'${name}' is not an activation of recurrent operators`)
    const alpha = form.alpha === undefined ? 0 : (alphas.shift() ?? form.alpha)
    const beta = form.beta === undefined ? 0 : (betas.shift() ?? form.beta)
    const clip = index % defaults.length < 2 ? given.clip : undefined
    return (x) => form.build(clip ? op.Clip(x, -clip, clip) : x, alpha, beta)
  })
}

/** The weights of one direction, H hidden units and G gates: r [G*H, H], biases [G*H], peepholes [3*H]. */
interface Weights {
  readonly r: Value
  readonly wb: Value | null
  readonly rb: Value | null
  readonly p: Value | null
}

/** Computes the next states, h first, from the input's part of the gates (split by `cuts`) and the states. */
type Step = (z: readonly Value[], states: readonly Value[]) => readonly Value[]

interface Cell {
  /** Added to the input's part of the gates. */
  readonly bias: Value | null
  /** Number of gates in each part of z. */
  readonly cuts: readonly number[]
  readonly step: Step
}

const both = ({ wb, rb }: Pick<Weights, 'wb' | 'rb'>): Value | null => (wb && rb ? op.Add(wb, rb) : null)
/** a r^T + c */
const linear = (a: Value, r: Value, c: Value | null): Value => op.Gemm(a, r, c, { transB: 1 })
const gatesOf = (x: Value, count: number): readonly Value[] => op.Split(x, { axis: -1, num_outputs: count })

/** h' = f(z + h r^T) */
function rnnCell(weights: Weights, [f]: readonly Activation[]): Cell {
  return { bias: both(weights), cuts: [1], step: ([z], [h]) => [f!(linear(h!, weights.r, z!))] }
}

/**
 * Gates u (ONNX calls it z) and r, then g: h' = (1 - u) g + u h, where g = f2(z_g + (r h) R_g^T + b) or, with
 * linear_before_reset, f2(z_g + r (h R_g^T + b)).
 */
function gruCell(weights: Weights, [f, g]: readonly Activation[], linearBeforeReset: boolean): Cell {
  const [ur, rg] = cutRows(weights.r)
  const [urBias, gBias] = weights.rb ? cutRows(weights.rb) : [null, null]
  const bias =
    linearBeforeReset && weights.wb && urBias
      ? op.Add(weights.wb, op.Concat([urBias, op.Expand(scalar(gBias!.dtype, 0), op.Shape(gBias!))], { axis: 0 }))
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
 * Gates i, o, f and c: C' = f C + i g(c), h' = o k(C'); peepholes let i and f see C, and o see C'. With input_forget, f
 * is 1 - i.
 */
function lstmCell({ r, p, ...biases }: Weights, activations: readonly Activation[], inputForget: boolean): Cell {
  const [f, g, k] = activations as [Activation, Activation, Activation]
  const [pi, po, pf] = p ? op.Split(p, { axis: 0, num_outputs: 3 }) : []
  const peep = (x: Value, p: Value | undefined, cell: Value) => (p ? op.Add(x, op.Mul(cell, p)) : x)
  const step: Step = ([z], [h, cell]) => {
    const [zi, zo, zf, zc] = gatesOf(linear(h!, r, z!), 4)
    const i = f(peep(zi!, pi, cell!))
    const forget = inputForget ? op.Sub(1, i) : f(peep(zf!, pf, cell!))
    const next = op.Add(op.Mul(forget, cell!), op.Mul(i, g(zc!)))
    return [op.Mul(f(peep(zo!, po, next)), k(next)), next]
  }
  return { bias: both(biases), cuts: [4], step }
}

/** The common operands of RNN, GRU and LSTM. */
interface Operands {
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
 * RNN, GRU or LSTM as a Scan over time: one product for the input's part of all gates, then the steps. Returns
 * y [T, D, N, H] and the last states [D, N, H], or with layout 1 [N, T, D, H] and [N, D, H].
 */
function layer(
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

/** The input's part of the gates at all times, x W^T + bias, [T, N, gates*H], split as the cell requires. */
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

/** The steps of one direction. After the end of a shorter sequence, its states remain and its outputs are 0. */
function overTime(
  z: readonly Value[],
  first: readonly Value[],
  { step }: Cell,
  backwards: boolean,
  sequenceLens: Value | null,
): Course {
  const lens = sequenceLens && op.Cast(sequenceLens, { to: int64Type })
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

const int64Type = 7

/** Whether a sequence has not ended: [T, N, 1]. */
function running(z: Value, lens: Value): Value {
  const time = op.Range(scalar('int64', 0), op.Squeeze(op.Shape(z, { start: 0, end: 1 }), [0]), scalar('int64', 1))
  return op.Less(op.Unsqueeze(time, [1, 2]), op.Unsqueeze(lens, [0, 2]))
}

const directionsOf = (direction: string): number => (direction === 'bidirectional' ? 2 : 1)

/** The functions of direction d among those of all directions. */
const ofDirection = <T>(all: readonly T[], count: number, d: number): readonly T[] =>
  all.slice(d * count, (d + 1) * count)

export const recurrentExpansions = {
  RNN: ([x, w, r, b = null, sequenceLens = null, h = null], attributes) => {
    const all = activationsOf(attributes, ['Tanh'], directionsOf(attributes.direction))
    const [y, yH] = layer({ x, w, r, b, sequenceLens, initial: [h], p: null }, attributes, (weights, d) =>
      rnnCell(weights, ofDirection(all, 1, d)),
    )
    return [y!, yH!]
  },
  GRU: ([x, w, r, b = null, sequenceLens = null, h = null], attributes) => {
    const all = activationsOf(attributes, ['Sigmoid', 'Tanh'], directionsOf(attributes.direction))
    const [y, yH] = layer({ x, w, r, b, sequenceLens, initial: [h], p: null }, attributes, (weights, d) =>
      gruCell(weights, ofDirection(all, 2, d), attributes.linear_before_reset !== 0),
    )
    return [y!, yH!]
  },
  LSTM: ([x, w, r, b = null, sequenceLens = null, h = null, c = null, p = null], attributes) => {
    const all = activationsOf(attributes, ['Sigmoid', 'Tanh', 'Tanh'], directionsOf(attributes.direction))
    const [y, yH, yC] = layer({ x, w, r, b, sequenceLens, initial: [h, c], p }, attributes, (weights, d) =>
      lstmCell(weights, ofDirection(all, 3, d), attributes.input_forget !== 0),
    )
    return [y!, yH!, yC!]
  },
} satisfies Expansions<typeof recurrent>
