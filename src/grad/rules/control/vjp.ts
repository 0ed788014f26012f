import { body } from '../../../ir/body.js'
import { capturesOf, nodesOf } from '../../../ir/topology.js'
import type { Body, Node, TensorType, Value } from '../../../ir/value.js'
import { cloneBody, inline } from '../../../op/inline.js'
import { op } from '../../../op/op.js'
import { zerosLike } from '../../active.js'
import type { Differentiate } from '../../rule.js'
import { findActiveStates, findUsedInputs, type IterationBody, placeholder } from './iteration.js'

/** Request for the gradients of an iteration. */
interface VjpRequest extends IterationBody {
  /** Replacements of the body's inputs: values of the same types, or constants. */
  readonly inputs: readonly Value[]
  /** Whether each input is differentiated; a state is if its initial value is. */
  readonly differentiated: readonly boolean[]
  /** Whether each scan output has an incoming gradient. */
  readonly incoming: readonly boolean[]
  /** Captured values that are differentiated. */
  readonly captured: readonly Value[]
  /**
   * Whether the caller already has the inputs of all iterations, and their gradients, in one tensor each. They are
   * then not stacked as factors.
   */
  readonly inputsAreStacked: boolean
}

/** Vector-Jacobian product of one iteration: a function of its inputs and of the gradients of its results. */
export interface IterationVjp {
  /** Whether each state carries a gradient. */
  readonly states: readonly boolean[]
  /** Whether `apply` reads each input of the body. */
  readonly used: readonly boolean[]
  /** Values inside the body that `apply` takes as arguments instead of computing them again. */
  readonly saved: readonly Value[]
  /** Gradient of each captured value. */
  readonly captured: readonly Contribution[]
  /** Whether each input of the body that is not a state gets a gradient. */
  readonly inputsWithGradient: readonly boolean[]
  /** Types of the factors that `apply` returns. */
  readonly factors: readonly TensorType[]
  /**
   * @param xs the inputs of the iteration
   * @param saved the `saved` values of the iteration
   * @param dStates gradients of the carried states after the iteration
   * @param dSlices incoming gradients of the scan outputs
   */
  apply(xs: readonly Value[], saved: readonly Value[], dStates: readonly Value[], dSlices: readonly Value[]): Gradients
}

/**
 * Gradient of a captured value in one iteration: a term that is summed over the iterations, if `sums`, and matrix
 * products whose factors are stacked instead, because one product of the stacked factors equals the sum over all
 * iterations.
 */
interface Contribution {
  readonly sums: boolean
  readonly products: readonly Product<Factor>[]
}

/**
 * Index of a factor among the results of `apply`; or, if `inputsAreStacked`, index of the body's input that is the
 * factor or whose gradient is.
 */
export type Factor = { readonly kind: 'result' | 'input' | 'gradient'; readonly index: number }

interface Gradients {
  readonly states: readonly Value[]
  /** One term for each captured value with `sums`. */
  readonly sums: readonly Value[]
  readonly inputs: readonly Value[]
  readonly factors: readonly Value[]
}

/** The items whose flag is set. */
export const select = <T>(items: readonly T[], which: readonly boolean[]): T[] => items.filter((_, i) => which[i])

/** Differentiates one iteration; the result is applied in every iteration. */
export function buildIterationVjp(request: VjpRequest, differentiate: Differentiate): IterationVjp {
  const { of, lead, skip, count, inputs, incoming, captured } = request
  const states = findActiveStates(request, request.differentiated, captured)
  const stateInputs = inputs.slice(lead, lead + count)
  /** Indices of the differentiated inputs that are not states. */
  const askedInputs = inputs.flatMap((_, i) =>
    request.differentiated[i] && (i < lead || i >= lead + count) ? [i] : [],
  )
  const results = of.outputs.slice(skip)
  const dStates = select(stateInputs, states).map((x) => placeholder(x))
  const dSlices = select(results.slice(count), incoming).map((y) => placeholder(y))
  const saved = findStorableResults(of, inputs)
  const forward = new Map<Value, Value>()
  let found: readonly (Value | null)[] = []
  const differentiated = body([...inputs, ...dStates, ...dSlices], () => {
    for (const [value, copy] of cloneBody(of, inputs)) forward.set(value, copy)
    const ys = results.map((y) => forward.get(y) ?? y)
    found = differentiate(
      [
        ...select(ys.slice(0, count), states).map((y, i) => [y, dStates[i]!] as const),
        ...select(ys.slice(count), incoming).map((y, i) => [y, dSlices[i]!] as const),
      ],
      [...select(stateInputs, states), ...captured, ...askedInputs.map((i) => inputs[i]!)],
    )
    return found.filter((dx) => dx !== null)
  })

  const dCaptured = found.slice(dStates.length, dStates.length + captured.length)
  const dInputs = found.slice(dStates.length + captured.length)
  const split = dCaptured.map((dx) => (dx ? splitProducts(dx) : { rest: [], products: [] }))
  const factors: Value[] = []
  const factor = (x: Value): Factor => {
    if (request.inputsAreStacked && inputs.includes(x)) return { kind: 'input', index: inputs.indexOf(x) }
    if (request.inputsAreStacked && dInputs.includes(x))
      return { kind: 'gradient', index: askedInputs[dInputs.indexOf(x)]! }
    if (!factors.includes(x)) factors.push(x)
    return { kind: 'result', index: factors.indexOf(x) }
  }
  const contributions = split.map(
    ({ rest, products }): Contribution => ({
      sums: rest.length > 0,
      products: products.map(({ a, b, alpha }) => ({ a: factor(a), b: factor(b), alpha })),
    }),
  )
  const savedInputs = saved.map((x) => placeholder(forward.get(x)!))
  const gradient = body([...inputs, ...savedInputs, ...dStates, ...dSlices], () => {
    const known = new Map(saved.map((x, i) => [forward.get(x)!, savedInputs[i]!]))
    const copies = cloneBody(differentiated, differentiated.inputs, known)
    const now = (x: Value) => copies.get(x) ?? x
    return [
      ...select(stateInputs, states).map((x, i) => (found[i] ? roundGradient(now(found[i])) : zerosLike(x))),
      ...split.flatMap(({ rest }) => (rest.length > 0 ? [rest.map(now).reduce((a, b) => op.Add(a, b))] : [])),
      ...dInputs.flatMap((dx) => (dx ? [now(dx)] : [])),
      ...factors.map(now),
    ]
  })
  const ends = [dStates.length, contributions.filter(({ sums }) => sums).length, dInputs.filter((dx) => dx).length]
  const used = findUsedInputs(gradient)
  return {
    states,
    used: used.slice(0, inputs.length),
    saved: saved.filter((_, i) => used[inputs.length + i]),
    captured: contributions,
    inputsWithGradient: inputs.map((_, i) => askedInputs.includes(i) && dInputs[askedInputs.indexOf(i)] !== null),
    factors,
    apply: (xs, given, dStates, dSlices) => {
      let at = 0
      const everySaved = savedInputs.map((x, i) => (used[inputs.length + i] ? given[at++]! : x))
      const dxs = inline(gradient, [...xs, ...everySaved, ...dStates, ...dSlices])
      const [a, b, c] = [ends[0]!, ends[0]! + ends[1]!, ends[0]! + ends[1]! + ends[2]!]
      return { states: dxs.slice(0, a), sums: dxs.slice(a, b), inputs: dxs.slice(b, c), factors: dxs.slice(c) }
    },
  }
}

/** Float32 numbers around it are 2^-100 apart. */
const roundingTerm = 1.5 * 2 ** -77

/**
 * Rounds a float32 gradient to multiples of 2^-100. That of an early iteration is often a product of many factors below
 * 1: unrounded it would be subnormal, and a processor takes some hundred cycles for each product with such a number.
 */
const roundGradient = (dx: Value): Value =>
  dx.dtype === 'float32' ? op.Sub(op.Add(dx, roundingTerm), roundingTerm) : dx

/** Operators whose results are stored, because computing them again costs more. */
const expensiveOperators = /^(MatMul|Gemm|Einsum|Conv|ConvTranspose|Attention|RNN|GRU|LSTM|If|Loop|Scan|.*Pool)$/

const isExpensive = ({ source }: Value): boolean => source.kind === 'node' && expensiveOperators.test(source.operator)

/**
 * Whether a node is a gate: Sigmoid or Tanh of an expensive result or of a part of one. Their gradients read their
 * results only, which are therefore stored instead of the expensive result.
 */
function isGate({ operator, inputs: [x] }: Node): boolean {
  if (operator !== 'Sigmoid' && operator !== 'Tanh') return false
  const { source } = x!
  return isExpensive(x!) || (source.kind === 'node' && source.operator === 'Split' && isExpensive(source.inputs[0]!))
}

/** Results of expensive operators and of gates whose lengths are the same in every iteration. */
function findStorableResults(of: Body, inputs: readonly Value[]): Value[] {
  const nodes = nodesOf(of)
  const outside = nodes.flatMap((node) => [...node.inputs, ...capturesOf(node)])
  const made = new Set<Node>(nodes)
  const fixed = [...inputs, ...outside.filter((x) => x !== null && !(x.source.kind === 'node' && made.has(x.source)))]
  const lengths = new Set(fixed.flatMap((x) => x?.shape?.flatMap(unknownsOf) ?? []))
  return nodes
    .filter((node) => expensiveOperators.test(node.operator) || isGate(node))
    .flatMap(({ outputs }) => outputs)
    .filter(({ shape }) => shape?.flatMap(unknownsOf).every((unknown) => lengths.has(unknown)))
}

const unknownsOf = (dim: string | number): readonly string[] => `${dim}`.match(/\?\d+/g) ?? []

/** alpha a^T b of matrices. */
interface Product<T> {
  readonly a: T
  readonly b: T
  readonly alpha: number
}

/** Largest number of terms that a sum is split into; shared terms could otherwise be enumerated without end. */
const maxTerms = 32

/** Splits a sum into products a^T b, the form of a weight's gradient, and the remaining terms. */
function splitProducts(sum: Value): {
  readonly rest: readonly Value[]
  readonly products: readonly Product<Value>[]
} {
  const rest: Value[] = []
  const products: Product<Value>[] = []
  const open = [sum]
  for (let term = open.pop(); term !== undefined; term = open.pop()) {
    const node = term.source
    const many = open.length + rest.length + products.length >= maxTerms
    if (!many && node.kind === 'node' && node.operator === 'Add' && node.inputs.every((x) => hasShapeOf(x, term!)))
      open.push(...(node.inputs as Value[]))
    else if (node.kind === 'node' && isProduct(node))
      products.push({ a: node.inputs[0]!, b: node.inputs[1]!, alpha: node.attributes['alpha'] as number })
    else rest.push(term)
  }
  return { rest, products }
}

/** Whether an operand has the shape of the sum, i.e. is not broadcast. */
const hasShapeOf = (x: Value | null, { shape }: Value): boolean =>
  x?.shape?.length === shape?.length &&
  (x?.shape?.every(
    (dim, axis) => dim === shape![axis] || (typeof dim === 'string' && typeof shape![axis] === 'string'),
  ) ??
    false)

const isProduct = ({ operator, inputs, attributes }: Node): boolean =>
  operator === 'Gemm' && !inputs[2] && attributes['transA'] === 1 && attributes['transB'] === 0

/**
 * The sum over t of alpha a_t^T b_t, of stacked factors [T, K, M] and [T, K, N]: the rows of all iterations are the
 * rows of one matrix.
 */
export const stackedMatMul = ({ a, b, alpha }: Product<Value>): Value =>
  op.Gemm(op.Flatten(a, { axis: 2 }), op.Flatten(b, { axis: 2 }), { transA: 1, alpha })
