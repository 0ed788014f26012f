import { OnnxIreError } from '../errors.js'
import { type Dim, mulDims, unknownDim } from './dim.js'

export {
  addDims,
  ceilDivDims,
  type Dim,
  divDims,
  exactQuotient,
  factorsOf,
  mulDims,
  subDims,
  unknownDim,
} from './dim.js'

export type Shape = readonly Dim[]

export const productOf = (shape: Shape): Dim => shape.reduce(mulDims, 1)

export const isStatic = (shape: Shape | undefined): shape is readonly number[] =>
  shape?.every((dim) => typeof dim === 'number') ?? false

export const sameShape = (a: Shape | undefined, b: Shape | undefined): boolean =>
  a !== undefined && b !== undefined && a.length === b.length && a.every((dim, axis) => dim === b[axis])

/** For messages: long expressions are shortened. */
export const formatShape = (shape: Shape | undefined): string =>
  shape === undefined
    ? '[...]'
    : `[${shape.map((dim) => (typeof dim === 'string' && dim.length > 32 ? `${dim.slice(0, 29)}...` : dim)).join(', ')}]`

/** A negative axis counts from the end. Throws `invalid-shape` when there is no such axis. */
export function axisOf(axis: number, rank: number): number {
  const index = axis < 0 ? axis + rank : axis
  if (!(Number.isInteger(index) && index >= 0 && index < rank))
    throw new OnnxIreError('invalid-shape', `axis ${axis} is outside a tensor of ${rank} axes`)
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
