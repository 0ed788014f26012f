import { OnnxIreError } from '../errors.js'

/**
 * The length of one axis: a number, or a symbol for a length known only when the graph runs. Equal symbols are equal
 * lengths; what is computed from symbols is written as an expression (`N+1`, `floor(H/2)`), so equal text still means equal lengths.
 */
export type Dim = number | string
export type Shape = readonly Dim[]

let unknowns = 0

/** A length about which nothing is known: a symbol equal to no other. */
export const unknownDim = (): string => `?${++unknowns}`

/** The characters of an expression outside all brackets. */
const outside = (dim: string): string => {
  let depth = 0
  return [...dim].filter((character) => (character === '(' ? depth++ : character === ')' ? --depth : depth) === 0).join('')
}

const atom = (dim: Dim): string => (typeof dim === 'string' && /[-+*/]/.test(outside(dim)) ? `(${dim})` : `${dim}`)
const infix = (operator: string, compute: (a: number, b: number) => number) => (a: Dim, b: Dim) =>
  typeof a === 'number' && typeof b === 'number' ? compute(a, b) : bounded(`${atom(a)}${operator}${atom(b)}`)

/** An expression too long to be of use is given up: repeated doubling of a symbol would write one of any length. */
const bounded = (expression: string): string => (expression.length > 256 ? unknownDim() : expression)

const plus = infix('+', (a, b) => a + b)
const minus = infix('-', (a, b) => a - b)

export const addDims = (a: Dim, b: Dim): Dim => (a === 0 ? b : b === 0 ? a : typeof b === 'number' && b < 0 ? subDims(a, -b) : plus(a, b))
export const subDims = (a: Dim, b: Dim): Dim => (b === 0 ? a : a === b ? 0 : minus(a, b))

/** The factors of a product as `mulDims` writes it; of anything else, itself. */
export function factorsOf(dim: Dim): readonly Dim[] {
  if (typeof dim === 'number' || !/^[^-+/]*$/.test(outside(dim))) return [dim]
  let depth = 0
  const marked = [...dim].map((character) => {
    depth += character === '(' ? 1 : character === ')' ? -1 : 0
    return character === '*' && depth === 0 ? '\n' : character
  })
  const factors = marked.join('').split('\n')
  return factors.length === 1 ? [dim] : factors.map((factor) => (/^\d+(\.\d+)?$/.test(factor) ? Number(factor) : factor.replace(/^\((.*)\)$/, '$1')))
}

/** Symbols in alphabetical order, then the number: whatever order lengths are multiplied in, the text is the same. */
export function mulDims(a: Dim, b: Dim): Dim {
  const factors = [...factorsOf(a), ...factorsOf(b)]
  const number = factors.reduce<number>((product, factor) => (typeof factor === 'number' ? product * factor : product), 1)
  const symbols = factors.filter((factor) => typeof factor === 'string').sort()
  if (number === 0 || symbols.length === 0) return number
  if (number === 1 && symbols.length === 1) return symbols[0]!
  return bounded([...symbols.map(atom), ...(number === 1 ? [] : [number])].join('*'))
}

/** floor(a / b), the division of shape arithmetic (lengths are not negative). */
export const divDims = (a: Dim, b: Dim): Dim =>
  b === 1 ? a : a === b ? 1 : typeof a === 'number' && typeof b === 'number' ? Math.floor(a / b) : bounded(`floor(${atom(a)}/${atom(b)})`)

export const ceilDivDims = (a: Dim, b: Dim): Dim =>
  b === 1 ? a : a === b ? 1 : typeof a === 'number' && typeof b === 'number' ? Math.ceil(a / b) : bounded(`ceil(${atom(a)}/${atom(b)})`)

export const productOf = (shape: Shape): Dim => shape.reduce(mulDims, 1)

export const isStatic = (shape: Shape | undefined): shape is readonly number[] =>
  shape?.every((dim) => typeof dim === 'number') ?? false

export const sameShape = (a: Shape | undefined, b: Shape | undefined): boolean =>
  a !== undefined && b !== undefined && a.length === b.length && a.every((dim, axis) => dim === b[axis])

/** For messages: long expressions are shortened. */
export const formatShape = (shape: Shape | undefined): string =>
  shape === undefined ? '[...]' : `[${shape.map((dim) => (typeof dim === 'string' && dim.length > 32 ? `${dim.slice(0, 29)}...` : dim)).join(', ')}]`

/** A negative axis counts from the end. Throws `invalid-shape` when there is no such axis. */
export function axisOf(axis: number, rank: number): number {
  const index = axis < 0 ? axis + rank : axis
  if (index < 0 || index >= rank) throw new OnnxIreError('invalid-shape', `axis ${axis} is outside a tensor of ${rank} axes`)
  return index
}

/** The shape of an element-wise result (multidirectional broadcasting, https://onnx.ai/onnx/repo-docs/Broadcasting.html). */
export function broadcastShapes(...shapes: readonly (Shape | undefined)[]): Shape | undefined {
  const known = shapes.filter((shape) => shape !== undefined)
  if (known.length < shapes.length) return undefined
  const rank = Math.max(0, ...known.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, axis) =>
    known.map((shape) => shape[axis - rank + shape.length] ?? 1).reduce((a, b) => broadcastDims(a, b, known)),
  )
}

function broadcastDims(a: Dim, b: Dim, shapes: readonly Shape[]): Dim {
  if (a === b || b === 1) return a
  if (a === 1) return b
  if (typeof a === 'number' && typeof b === 'number') {
    throw new OnnxIreError('invalid-shape', `shapes ${shapes.map(formatShape).join(' and ')} do not broadcast`)
  }
  // One of them may be 1 at run time: a number other than 1 decides, two different symbols do not.
  return typeof a === 'number' ? a : typeof b === 'number' ? b : unknownDim()
}
