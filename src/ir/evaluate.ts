import type { Dim } from './shape.js'

/** Numbers, names, operators and brackets; a name is what remains between these. */
const tokenPattern = /\d+(?:\.\d+)?(?![\w.])|[-+*/(),]|[^-+*/(),]+/g

const functions: Readonly<Record<string, (...values: number[]) => number>> = {
  floor: Math.floor,
  ceil: Math.ceil,
  max: Math.max,
  min: Math.min,
}

/**
 * The length a dim stands for where its symbols stand for these; undefined when one of them is not known, or when a name
 * is not what shape inference writes.
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
    const called = Object.hasOwn(functions, token) && take('(') ? functions[token] : undefined
    if (!called) return /^\d/.test(token) ? Number(token) : (lengths.get(token) ?? Number.NaN)
    const values = [sum()]
    while (take(',')) values.push(sum())
    return closed(called(...values))
  }
  const closed = (value: number): number => (take(')') ? value : Number.NaN)

  const value = sum()
  return at === tokens.length && Number.isInteger(value) && value >= 0 ? value : undefined
}
