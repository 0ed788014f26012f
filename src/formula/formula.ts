/** What a term may be made with: one number per element in, one out. `atMost` is 1 where a <= b, else 0. */
export type Arithmetic = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'atMost' | 'sqrt' | 'abs' | 'sign'

/**
 * One number per element, built from others: immutable, and shared where it is used twice. The arithmetic of an update is
 * written once in terms, and runs where the tensors live: host arrays, WebAssembly, a shader, an ONNX graph.
 */
export type Term =
  | { readonly kind: 'array'; readonly name: string }
  | { readonly kind: 'scalar'; readonly name: string }
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'call'; readonly f: Arithmetic; readonly of: readonly Term[] }

/** A term, or a plain number. */
export type TermLike = Term | number

/** Element-wise results by name, computed from arrays of one length and from scalars that are given at every call. */
export interface Formula {
  /** The arrays it reads, in order. */
  readonly arrays: readonly string[]
  /** The numbers that are the same for all elements, in order. */
  readonly scalars: readonly string[]
  /** By the name of what is computed; one that is also in `arrays` replaces that array's elements. */
  readonly outputs: Readonly<Record<string, Term>>
  /** By name, terms whose squares are summed over all elements, in double precision. */
  readonly squares: Readonly<Record<string, Term>>
}

/** An array that a formula reads. */
export const array = (name: string): Term => ({ kind: 'array', name })

/** A number that is the same for all elements, given at every call. */
export const scalar = (name: string): Term => ({ kind: 'scalar', name })

/** a + b */
export const add = (a: TermLike, b: TermLike): Term => call('add', a, b)
/** a - b */
export const sub = (a: TermLike, b: TermLike): Term => call('sub', a, b)
/** a b */
export const mul = (a: TermLike, b: TermLike): Term => call('mul', a, b)
/** a / b */
export const div = (a: TermLike, b: TermLike): Term => call('div', a, b)
/** The smaller one. */
export const min = (a: TermLike, b: TermLike): Term => call('min', a, b)
/** The larger one. */
export const max = (a: TermLike, b: TermLike): Term => call('max', a, b)
/** 1 where a <= b, else 0. */
export const atMost = (a: TermLike, b: TermLike): Term => call('atMost', a, b)
/** The root. */
export const sqrt = (x: TermLike): Term => call('sqrt', x)
/** The magnitude. */
export const abs = (x: TermLike): Term => call('abs', x)
/** -1, 0 or 1; 0 of NaN. */
export const sign = (x: TermLike): Term => call('sign', x)

const call = (f: Arithmetic, ...of: readonly TermLike[]): Term => ({ kind: 'call', f, of: of.map(termOf) })

const termOf = (x: TermLike): Term => (typeof x === 'number' ? { kind: 'constant', value: x } : x)

/**
 * The formula of these results: what it reads is found by walking them, in the order of first use.
 * @param squares terms whose sums of squares are wanted too; of a term that is 0 or 1 that is a count
 */
export function formula(
  outputs: Readonly<Record<string, Term>>,
  squares: Readonly<Record<string, Term>> = {},
): Formula {
  const seen = new Set<Term>()
  const arrays = new Set<string>()
  const scalars = new Set<string>()
  const visit = (term: Term): void => {
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
export function substituted(term: Term, by: Readonly<Record<string, Term>>, done = new Map<Term, Term>()): Term {
  const known = done.get(term)
  if (known) return known
  const result =
    term.kind === 'call'
      ? { ...term, of: term.of.map((x) => substituted(x, by, done)) }
      : term.kind !== 'constant' && Object.hasOwn(by, term.name)
        ? by[term.name]!
        : term
  done.set(term, result)
  return result
}
