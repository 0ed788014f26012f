/** What a term may be made with: one number per element in, one out. `atMost` is 1 where a <= b, else 0. */
export type Op = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'atMost' | 'sqrt' | 'abs' | 'sign'

/**
 * One number per element, built from others: immutable, and shared where it is used twice. The arithmetic of an update is
 * written once in terms, and runs where the tensors live: host arrays, WebAssembly, a shader, an ONNX graph.
 */
export type Expr =
  | { readonly kind: 'array'; readonly name: string }
  | { readonly kind: 'scalar'; readonly name: string }
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'call'; readonly f: Op; readonly of: readonly Expr[] }

/** A term, or a plain number. */
export type ExprLike = Expr | number

/** Element-wise results by name, computed from arrays of one length and from scalars that are given at every call. */
export interface Formula {
  /** The arrays it reads, in order. */
  readonly arrays: readonly string[]
  /** The numbers that are the same for all elements, in order. */
  readonly scalars: readonly string[]
  /** By the name of what is computed; one that is also in `arrays` replaces that array's elements. */
  readonly outputs: Readonly<Record<string, Expr>>
  /** By name, terms whose squares are summed over all elements, in double precision. */
  readonly squares: Readonly<Record<string, Expr>>
}

/** An array that a formula reads. */
export const array = (name: string): Expr => ({ kind: 'array', name })

/** A number that is the same for all elements, given at every call. */
export const scalar = (name: string): Expr => ({ kind: 'scalar', name })

/** a + b */
export const add = (a: ExprLike, b: ExprLike): Expr => call('add', a, b)
/** a - b */
export const sub = (a: ExprLike, b: ExprLike): Expr => call('sub', a, b)
/** a b */
export const mul = (a: ExprLike, b: ExprLike): Expr => call('mul', a, b)
/** a / b */
export const div = (a: ExprLike, b: ExprLike): Expr => call('div', a, b)
/** The smaller one. */
export const min = (a: ExprLike, b: ExprLike): Expr => call('min', a, b)
/** The larger one. */
export const max = (a: ExprLike, b: ExprLike): Expr => call('max', a, b)
/** 1 where a <= b, else 0. */
export const atMost = (a: ExprLike, b: ExprLike): Expr => call('atMost', a, b)
/** The root. */
export const sqrt = (x: ExprLike): Expr => call('sqrt', x)
/** The magnitude. */
export const abs = (x: ExprLike): Expr => call('abs', x)
/** -1, 0 or 1; 0 of NaN. */
export const sign = (x: ExprLike): Expr => call('sign', x)

const call = (f: Op, ...of: readonly ExprLike[]): Expr => ({ kind: 'call', f, of: of.map(termOf) })

const termOf = (x: ExprLike): Expr => (typeof x === 'number' ? { kind: 'constant', value: x } : x)

/**
 * The formula of these results: what it reads is found by walking them, in the order of first use.
 * @param squares terms whose sums of squares are wanted too; of a term that is 0 or 1 that is a count
 */
export function formula(
  outputs: Readonly<Record<string, Expr>>,
  squares: Readonly<Record<string, Expr>> = {},
): Formula {
  const seen = new Set<Expr>()
  const arrays = new Set<string>()
  const scalars = new Set<string>()
  const visit = (term: Expr): void => {
    if (seen.has(term)) return
    seen.add(term)
    if (term.kind === 'array') arrays.add(term.name)
    else if (term.kind === 'scalar') scalars.add(term.name)
    else if (term.kind === 'call') for (const x of term.of) visit(x)
  }
  for (const term of [...Object.values(outputs), ...Object.values(squares)]) visit(term)
  return { arrays: [...arrays], scalars: [...scalars], outputs, squares }
}

/** A term with some of its arrays and scalars, by name, replaced by other terms. */
export function substitute(term: Expr, by: Readonly<Record<string, Expr>>, done = new Map<Expr, Expr>()): Expr {
  const known = done.get(term)
  if (known) return known
  const result =
    term.kind === 'call'
      ? { ...term, of: term.of.map((x) => substitute(x, by, done)) }
      : term.kind !== 'constant' && Object.hasOwn(by, term.name)
        ? by[term.name]!
        : term
  done.set(term, result)
  return result
}
