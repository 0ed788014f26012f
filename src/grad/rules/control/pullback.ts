import { body } from '../../../ir/scope.js'
import { capturesOf } from '../../../ir/topology.js'
import type { Body, Node, TensorType, Value } from '../../../ir/value.js'
import { copied, inlined } from '../../../op/inline.js'
import { op } from '../../../op/op.js'
import type { Differentiate } from '../../rule.js'
import { zerosLike } from '../../zeros.js'
import { type Product, productsIn } from './product.js'
import { activeStates, nodesOf, placeholder, usedInputs } from './round.js'

/** A round of Loop or Scan: a body's inputs are `lead` others, the states, and slices; its results `skip` others, states, slices. */
export interface Round {
  readonly of: Body
  readonly lead: number
  readonly skip: number
  /** How many states. */
  readonly count: number
}

/** What is asked of the gradient of a round. */
export interface Question extends Round {
  /** What stands for the body's inputs: values of their types, or constants. */
  readonly inputs: readonly Value[]
  /** By input: whether it is differentiated, a state if its first value is. */
  readonly asked: readonly boolean[]
  /** By slice of the results: whether a gradient comes in. */
  readonly incoming: readonly boolean[]
  /** What of the values from outside is differentiated. */
  readonly captured: readonly Value[]
  /** Whether the asker has the body's inputs of all rounds, and their gradients, in one tensor each: they need not be stacked as factors. */
  readonly stacked: boolean
}

/** The gradient of one round as a function of what the round was given and of the gradients of what it gave. */
export interface Pullback {
  /** By state: whether a gradient is carried for it. */
  readonly states: readonly boolean[]
  /** By input of the body: whether `apply` looks at it. */
  readonly used: readonly boolean[]
  /** Values inside the body that `apply` wants rather than compute them again. */
  readonly saved: readonly Value[]
  /** What it gives for each captured value. */
  readonly captured: readonly Contribution[]
  /** By input of the body: whether it gets a gradient of its own, states aside. */
  readonly answered: readonly boolean[]
  /** Further results of `apply`: factors of products, as they are typed. */
  readonly factors: readonly TensorType[]
  /**
   * @param xs the inputs as the round got them
   * @param saved the `saved` values in this round
   * @param dStates of the carried states, after the round
   * @param dSlices of the incoming slices
   */
  apply(xs: readonly Value[], saved: readonly Value[], dStates: readonly Value[], dSlices: readonly Value[]): Gradients
}

/**
 * A captured value's gradient in a round: something to be added up over the rounds (`sums`: whether there is one), and products
 * of matrices whose factors are stacked instead, because one product over all rounds is the sum of those of each.
 */
export interface Contribution {
  readonly sums: boolean
  readonly products: readonly Product<Factor>[]
}

/**
 * A further result of `apply`, by number; or, where the asker has them `stacked`, an input of the body or the gradient of one,
 * by the number of the input.
 */
export type Factor = { readonly kind: 'result' | 'input' | 'gradient'; readonly index: number }

interface Gradients {
  readonly states: readonly Value[]
  /** One for each captured value with `sums`. */
  readonly sums: readonly Value[]
  readonly inputs: readonly Value[]
  readonly factors: readonly Value[]
}

export const where = <T>(items: readonly T[], which: readonly boolean[]): T[] => items.filter((_, i) => which[i])

/** Differentiates a round once, to be applied in every one. */
export function pullback(question: Question, differentiate: Differentiate): Pullback {
  const { of, lead, skip, count, inputs, asked, incoming, captured } = question
  const states = activeStates(question, asked, captured)
  const stateInputs = inputs.slice(lead, lead + count)
  /** Differentiated inputs that are no states. */
  const askedInputs = inputs.flatMap((_, i) => (asked[i] && (i < lead || i >= lead + count) ? [i] : []))
  const results = of.outputs.slice(skip)
  const dStates = where(stateInputs, states).map((x) => placeholder(x))
  const dSlices = where(results.slice(count), incoming).map((y) => placeholder(y))
  const saved = worthSaving(of, inputs)
  const forward = new Map<Value, Value>()
  let found: readonly (Value | null)[] = []
  const differentiated = body([...inputs, ...dStates, ...dSlices], () => {
    for (const [value, copy] of copied(of, inputs)) forward.set(value, copy)
    const ys = results.map((y) => forward.get(y) ?? y)
    found = differentiate(
      [
        ...where(ys.slice(0, count), states).map((y, i) => [y, dStates[i]!] as const),
        ...where(ys.slice(count), incoming).map((y, i) => [y, dSlices[i]!] as const),
      ],
      [...where(stateInputs, states), ...captured, ...askedInputs.map((i) => inputs[i]!)],
    )
    return found.filter((dx) => dx !== null)
  })

  const dCaptured = found.slice(dStates.length, dStates.length + captured.length)
  const dInputs = found.slice(dStates.length + captured.length)
  const split = dCaptured.map((dx) => (dx ? productsIn(dx) : { rest: [], products: [] }))
  const factors: Value[] = []
  const factor = (x: Value): Factor => {
    if (question.stacked && inputs.includes(x)) return { kind: 'input', index: inputs.indexOf(x) }
    if (question.stacked && dInputs.includes(x)) return { kind: 'gradient', index: askedInputs[dInputs.indexOf(x)]! }
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
    const copies = copied(differentiated, differentiated.inputs, known)
    const now = (x: Value) => copies.get(x) ?? x
    return [
      ...where(stateInputs, states).map((x, i) => (found[i] ? now(found[i]) : zerosLike(x))),
      ...split.flatMap(({ rest }) => (rest.length > 0 ? [rest.map(now).reduce((a, b) => op.Add(a, b))] : [])),
      ...dInputs.flatMap((dx) => (dx ? [now(dx)] : [])),
      ...factors.map(now),
    ]
  })
  const ends = [dStates.length, contributions.filter(({ sums }) => sums).length, dInputs.filter((dx) => dx).length]
  const used = usedInputs(gradient)
  return {
    states,
    used: used.slice(0, inputs.length),
    saved: saved.filter((_, i) => used[inputs.length + i]),
    captured: contributions,
    answered: inputs.map((_, i) => askedInputs.includes(i) && dInputs[askedInputs.indexOf(i)] !== null),
    factors,
    apply: (xs, given, dStates, dSlices) => {
      let at = 0
      const everySaved = savedInputs.map((x, i) => (used[inputs.length + i] ? given[at++]! : x))
      const dxs = inlined(gradient, [...xs, ...everySaved, ...dStates, ...dSlices])
      const [a, b, c] = [ends[0]!, ends[0]! + ends[1]!, ends[0]! + ends[1]! + ends[2]!]
      return { states: dxs.slice(0, a), sums: dxs.slice(a, b), inputs: dxs.slice(b, c), factors: dxs.slice(c) }
    },
  }
}

/** Operators that cost more to compute again than to keep the results of. */
const costly = /^(MatMul|Gemm|Einsum|Conv|ConvTranspose|Attention|RNN|GRU|LSTM|If|Loop|Scan|.*Pool)$/

/** Results of costly operators whose lengths are the same in every round. */
function worthSaving(of: Body, inputs: readonly Value[]): Value[] {
  const nodes = nodesOf(of)
  const outside = nodes.flatMap((node) => [...node.inputs, ...capturesOf(node)])
  const made = new Set<Node>(nodes)
  const fixed = [...inputs, ...outside.filter((x) => x !== null && !(x.source.kind === 'node' && made.has(x.source)))]
  const lengths = new Set(fixed.flatMap((x) => x?.shape?.flatMap(unknownsOf) ?? []))
  return nodes
    .filter(({ operator }) => costly.test(operator))
    .flatMap(({ outputs }) => outputs)
    .filter(({ shape }) => shape?.flatMap(unknownsOf).every((unknown) => lengths.has(unknown)))
}

const unknownsOf = (dim: string | number): readonly string[] => `${dim}`.match(/\?\d+/g) ?? []
