import { OnnxIreError } from '../util/errors.js'
import { type Dim, unknownDim } from './dim.js'

export {
  addDims,
  ceilDivDims,
  type Dim,
  divDims,
  exactQuotient,
  limitLength,
  mulDims,
  productOf,
  subDims,
  toFactor,
  unknownDim,
} from './dim.js'

/**
 * Largest number of axes of a tensor, as in NumPy and PyTorch. Files may declare millions, and walks over the axes of
 * all operands would take as long as the square of that.
 */
export const maxRank = 64

/** The lengths of all axes. */
export type Shape = readonly Dim[]

/** Whether every length is a number. */
export const isStatic = (shape: Shape | undefined): shape is readonly number[] =>
  shape?.every((dim) => typeof dim === 'number') ?? false

/** Whether two shapes are known and equal. */
export const sameShape = (a: Shape | undefined, b: Shape | undefined): boolean =>
  a !== undefined && b !== undefined && a.length === b.length && a.every((dim, axis) => dim === b[axis])

/** Whether no tensor can have both shapes. */
export const contradict = (a: Shape, b: Shape): boolean =>
  a.length !== b.length ||
  a.some((dim, axis) => typeof dim === 'number' && typeof b[axis] === 'number' && dim !== b[axis])

/** Formats a shape for messages. Long expressions are shortened. */
export const formatShape = (shape: Shape | undefined): string =>
  shape === undefined
    ? '[...]'
    : `[${shape.map((dim) => (typeof dim === 'string' && dim.length > 32 ? `${dim.slice(0, 29)}...` : dim)).join(', ')}]`

/** Converts a possibly negative axis to its position. Throws `invalid-shape` if the tensor has no such axis. */
export function axisOf(axis: number, rank: number): number {
  const index = axis < 0 ? axis + rank : axis
  if (!(Number.isInteger(index) && index >= 0 && index < rank))
    throw new OnnxIreError('invalid-shape', `axis ${axis} is outside a tensor of ${rank} axes`)
  return index
}

/**
 * The shape of an element-wise result (multidirectional broadcasting,
 * https://onnx.ai/onnx/repo-docs/Broadcasting.html).
 */
export function broadcastShapes(shapes: readonly (Shape | undefined)[]): Shape | undefined {
  let result: Shape | undefined = []
  for (const shape of shapes) {
    if (shape === undefined) return undefined
    result = sameShape(result, shape) ? result : broadcastTwo(result, shape, shapes)
  }
  return result
}

function broadcastTwo(a: Shape, b: Shape, shapes: readonly (Shape | undefined)[]): Shape {
  if (a.length === 0) return b
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, axis) =>
    broadcastDims(a[axis - rank + a.length] ?? 1, b[axis - rank + b.length] ?? 1, shapes),
  )
}

function broadcastDims(a: Dim, b: Dim, shapes: readonly (Shape | undefined)[]): Dim {
  if (a === b || b === 1) return a
  if (a === 1) return b
  if (typeof a === 'number' && typeof b === 'number') {
    throw new OnnxIreError('invalid-shape', `shapes ${shapes.map(formatShape).join(' and ')} do not broadcast`)
  }
  // A symbol may be 1 at run time. A number other than 1 determines the result, two different symbols do not.
  return typeof a === 'number' ? a : typeof b === 'number' ? b : unknownDim()
}
