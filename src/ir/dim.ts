import { getOwn } from '../util/record.js'
import { roundHalfToEven } from '../util/round.js'

/**
 * The length of an axis: a number, or a symbol for a length that is only known when the graph runs. Equal symbols are
 * equal lengths. Lengths computed from symbols are expressions (`N+1`, `floor(H/2)`) with a canonical order of terms
 * and factors, so that equal texts are equal lengths.
 */
export type Dim = number | string

let unknowns = 0

/** Creates a symbol for an unknown length, different from every other symbol. */
export const unknownDim = (): string => `?${++unknowns}`

/**
 * Replaces an expression by an unknown length if it is too long (repeated doubling of a symbol would grow without
 * limit) or has numbers that are not plain digits or too large to be exact.
 */
export const limitLength = (expression: string): string =>
  expression.length > 256 || /\de[-+]\d|NaN|Infinity|\d{16}/.test(expression) ? unknownDim() : expression

/** Splits an expression before every separator that is outside brackets. */
function splitOutsideBrackets(expression: string, separators: string): string[] {
  const pieces: string[] = []
  let depth = 0
  let start = 0
  for (let at = 0; at < expression.length; at++) {
    const character = expression[at]!
    depth += character === '(' ? 1 : character === ')' ? -1 : 0
    if (depth !== 0 || !separators.includes(character)) continue
    pieces.push(expression.slice(start, at))
    start = at
  }
  pieces.push(expression.slice(start))
  return pieces
}

/** A dim as a factor of an expression: in brackets if it has an operator. */
export const toFactor = (dim: Dim): string =>
  typeof dim === 'string' && !isName(dim) && splitOutsideBrackets(dim, '+-*/').length > 1 ? `(${dim})` : `${dim}`
const stripBrackets = (expression: string): string => {
  const [inner, close, ...more] = splitOutsideBrackets(expression, ')')
  return inner!.startsWith('(') && close === ')' && more.length === 0 ? inner!.slice(1) : expression
}

/** The factors of a product that `mulDims` wrote. Any other dim is its only factor. */
export function factorsOf(dim: Dim): readonly Dim[] {
  if (typeof dim === 'number' || !dim.includes('*') || splitOutsideBrackets(dim, '+-/').length > 1) return [dim]
  const [first, ...others] = splitOutsideBrackets(dim, '*')
  if (others.length === 0) return [dim]
  return [first!, ...others.map((factor) => factor.slice(1))].map((factor) =>
    /^\d+(\.\d+)?$/.test(factor) ? Number(factor) : stripBrackets(factor),
  )
}

const isName = (dim: string): boolean => /^[A-Za-z_?]\w*$/.test(dim)

/** The coefficients of the terms of a sum, by term; that of '' is the constant. */
function termsOf(dim: Dim): Map<string, number> {
  const terms = new Map<string, number>()
  const add = (term: string, coefficient: number) => terms.set(term, (terms.get(term) ?? 0) + coefficient)
  if (typeof dim === 'number') return terms.set('', dim)
  if (isName(dim)) return terms.set(dim, 1)
  const [first, ...others] = splitOutsideBrackets(dim, '+-')
  const signed: [sign: number, text: string][] = others.map((piece) => [piece.startsWith('-') ? -1 : 1, piece.slice(1)])
  if (first !== '') signed.unshift([1, first!])
  // A name that contains signs.
  if (signed.some(([, text]) => text === '')) return terms.set(dim, 1)
  for (const [sign, text] of signed) {
    const inner = stripBrackets(text)
    if (inner !== text) {
      for (const [term, coefficient] of termsOf(inner)) add(term, sign * coefficient)
      continue
    }
    const factors = /^\d+(\.\d+)?$/.test(text) ? [Number(text)] : factorsOf(text)
    const symbols = factors.filter((factor) => typeof factor === 'string')
    const coefficient = factors.reduce<number>(
      (product, factor) => (typeof factor === 'number' ? product * factor : product),
      1,
    )
    add(symbols.length === 0 ? '' : `${symbols.reduce<Dim>(mulDims, 1)}`, sign * coefficient)
  }
  return terms
}

/**
 * Sums and products that were computed before: inference along a chain of operators computes the same ones again and
 * again.
 */
const memo = new Map<string, Dim>()
const maxMemoized = 4096

function memoize(key: string, compute: () => Dim): Dim {
  const before = memo.get(key)
  if (before !== undefined) return before
  const result = compute()
  // Unknown lengths are not stored: every computation must return a new one.
  if (typeof result === 'string' && result.startsWith('?')) return result
  if (memo.size >= maxMemoized) memo.clear()
  memo.set(key, result)
  return result
}

const sum = (a: Dim, b: Dim, sign: 1 | -1): Dim => memoize(`${a}\0${sign}\0${b}`, () => computeSum(a, b, sign))

/** a + sign b with its terms in alphabetical order: first positive terms, then negative ones, then the constant. */
function computeSum(a: Dim, b: Dim, sign: 1 | -1): Dim {
  const terms = termsOf(a)
  for (const [term, coefficient] of termsOf(b)) terms.set(term, (terms.get(term) ?? 0) + sign * coefficient)
  const constant = terms.get('') ?? 0
  terms.delete('')
  const ordered = [...terms].filter(([, coefficient]) => coefficient !== 0).sort(([a], [b]) => (a < b ? -1 : 1))
  const written = ([term, coefficient]: [string, number]) => toTerm(mulDims(term, Math.abs(coefficient)))
  const plus = ordered.filter(([, coefficient]) => coefficient > 0).map(written)
  const minus = ordered.filter(([, coefficient]) => coefficient < 0).map(written)
  if (plus.length + minus.length === 0) return constant
  if (plus.length === 1 && minus.length === 0 && constant === 0) return mulDims(...(ordered[0] as [string, number]))
  const head = plus.length > 0 ? plus.join('+') : `${constant}`
  const tail = plus.length === 0 || constant === 0 ? '' : constant > 0 ? `+${constant}` : `${constant}`
  return limitLength(`${[head, ...minus].join('-')}${tail}`)
}

const toTerm = (dim: Dim): string =>
  typeof dim === 'string' && splitOutsideBrackets(dim, '+-').length > 1 ? `(${dim})` : `${dim}`

export const addDims = (a: Dim, b: Dim): Dim => (typeof a === 'number' && typeof b === 'number' ? a + b : sum(a, b, 1))
export const subDims = (a: Dim, b: Dim): Dim => (typeof a === 'number' && typeof b === 'number' ? a - b : sum(a, b, -1))

export const mulDims = (a: Dim, b: Dim): Dim =>
  typeof a === 'number' && typeof b === 'number' ? a * b : memoize(`${a}\0*\0${b}`, () => computeProduct([a, b]))

export const productOf = (dims: readonly Dim[]): Dim =>
  dims.every((dim) => typeof dim === 'number')
    ? dims.reduce((product, dim) => product * dim, 1)
    : memoize(dims.join('\0*\0'), () => computeProduct(dims))

/** The product of dims with its symbols in alphabetical order, then the number. */
function computeProduct(dims: readonly Dim[]): Dim {
  const factors = dims.flatMap(factorsOf)
  const number = factors.reduce<number>(
    (product, factor) => (typeof factor === 'number' ? product * factor : product),
    1,
  )
  const symbols = factors.filter((factor) => typeof factor === 'string').sort()
  if (number === 0) return 0
  if (symbols.length === 0) return number
  if (number === 1 && symbols.length === 1) return symbols[0]!
  if (number < 0) return subDims(0, symbols.reduce<Dim>(mulDims, -number))
  return limitLength([...symbols.map(toFactor), ...(number === 1 ? [] : [number])].join('*'))
}

/** a / b if b consists of factors of a, otherwise undefined. */
export function exactQuotient(a: Dim, b: Dim): Dim | undefined {
  const over = [...factorsOf(a)]
  let divisor = 1
  for (const factor of factorsOf(b)) {
    if (typeof factor === 'number') divisor *= factor
    else if (!over.includes(factor)) return undefined
    else over.splice(over.indexOf(factor), 1)
  }
  const number =
    over.reduce<number>((product, factor) => (typeof factor === 'number' ? product * factor : product), 1) / divisor
  return Number.isInteger(number)
    ? over.filter((factor) => typeof factor === 'string').reduce<Dim>(mulDims, number)
    : undefined
}

/** floor(a / b), the division of ONNX for lengths, which are not negative. */
export const divDims = (a: Dim, b: Dim): Dim =>
  typeof a === 'number' && typeof b === 'number'
    ? Math.floor(a / b)
    : (exactQuotient(a, b) ?? limitLength(`floor(${toFactor(a)}/${toFactor(b)})`))

export const ceilDivDims = (a: Dim, b: Dim): Dim =>
  typeof a === 'number' && typeof b === 'number'
    ? Math.ceil(a / b)
    : (exactQuotient(a, b) ?? limitLength(`ceil(${toFactor(a)}/${toFactor(b)})`))

/** Numbers, operators, brackets and names. Any text between the other tokens is a name. */
const tokenPattern = /\d+(?:\.\d+)?(?![\w.])|[-+*/(),]|[^-+*/(),]+/g

const functions: Readonly<Record<string, (...values: number[]) => number>> = {
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundHalfToEven,
  max: Math.max,
  min: Math.min,
}

/**
 * Evaluates a dim for these lengths of its symbols. Returns undefined if a symbol has no length, if the text is not an
 * expression of shape inference, or if the result is not a non-negative integer.
 */
export function evaluateDim(dim: Dim, lengths: ReadonlyMap<string, number>): number | undefined {
  if (typeof dim === 'number') return dim
  const known = lengths.get(dim)
  if (known !== undefined) return known
  const tokens = dim.match(tokenPattern) ?? []
  let at = 0
  const take = (token: string): boolean => tokens[at] === token && ++at > 0

  const sum = (): number => {
    let value = product()
    for (;;) {
      if (take('+')) value += product()
      else if (take('-')) value -= product()
      else return value
    }
  }
  const product = (): number => {
    let value = factor()
    for (;;) {
      if (take('*')) value *= factor()
      else if (take('/')) value /= factor()
      else return value
    }
  }
  const factor = (): number => {
    if (take('(')) return closed(sum())
    const token = tokens[at++] ?? ''
    const called = Object.hasOwn(functions, token) && take('(') ? getOwn(functions, token) : undefined
    if (!called) return /^\d/.test(token) ? Number(token) : (lengths.get(token) ?? Number.NaN)
    const values = [sum()]
    while (take(',')) values.push(sum())
    return closed(called(...values))
  }
  const closed = (value: number): number => (take(')') ? value : Number.NaN)

  const value = sum()
  return at === tokens.length && Number.isInteger(value) && value >= 0 ? value : undefined
}
