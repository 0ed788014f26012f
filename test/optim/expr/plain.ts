import { Expr, type Formula, type Op } from '../../../src/optim/expr/expr.js'
import type { Random } from '../../../src/util/random.js'

/**
 * Evaluates one element of an expression, with every operation rounded by `store`. IEEE arithmetic defines the result
 * exactly.
 */
export function plainly(term: Expr, at: (name: string) => number, store: (x: number) => number): number {
  const { node } = term
  if (node.kind === 'array') return at(node.name)
  if (node.kind === 'scalar') return store(at(node.name))
  if (node.kind === 'constant') return store(node.value)
  const [a, b] = node.operands.map((x) => plainly(x, at, store)) as [number, number]
  const results: Record<Op, () => number> = {
    add: () => a + b,
    sub: () => a - b,
    mul: () => a * b,
    div: () => a / b,
    min: () => Math.min(a, b),
    max: () => Math.max(a, b),
    atMost: () => Number(a <= b),
    sqrt: () => Math.sqrt(a),
    abs: () => Math.abs(a),
    sign: () => Math.sign(a) || 0,
  }
  return store(results[node.op]())
}

const binary: readonly Op[] = ['add', 'sub', 'mul', 'div', 'min', 'max', 'atMost']
const unary: readonly Op[] = ['sqrt', 'abs', 'sign']

/** Up to 20 operations on the leaves, with shared subexpressions. */
export function randomTerms(random: Random, leaves: readonly Expr[]): Expr[] {
  const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)]!
  const terms = [...leaves]
  for (let i = 1 + random.integer(20); i > 0; i--) {
    const op = pick(random.integer(3) > 0 ? binary : unary)
    const operands = binary.includes(op) ? [pick(terms), pick(terms)] : [pick(terms)]
    terms.push(new Expr({ kind: 'call', op, operands }))
  }
  return terms.slice(leaves.length)
}

/** Every element of every output, and the sums of squares; `arrays` are only read. */
export function expected(
  { outputs, squares }: Formula,
  arrays: Readonly<Record<string, ArrayLike<number>>>,
  scalars: Readonly<Record<string, number>>,
  store: (x: number) => number,
) {
  const { length } = Object.values(arrays)[0]!
  const each = (term: Expr) =>
    Array.from({ length }, (_, i) => plainly(term, (name) => arrays[name]?.[i] ?? scalars[name]!, store))
  const map = <T>(terms: Formula['outputs'], f: (term: Expr) => T) =>
    Object.fromEntries(Object.entries(terms).map(([name, term]) => [name, f(term)]))
  return {
    outputs: map(outputs, each),
    squares: map(squares, (term) => each(term).reduce((sum, x) => sum + x * x, 0)),
  }
}
