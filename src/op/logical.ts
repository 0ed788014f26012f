import { broadcastShapes, type Dim, unknownDim } from '../ir/shape.js'
import { elementwiseContents, onNumbers } from './contents.js'
import { define, int, zero } from './define.js'
import { broadcastType } from './elementwise.js'

const truth = zero('truth values')
type Test = (a: Dim, b: Dim) => Dim

const binary = (since: number, test: Test) =>
  define({
    inputs: ['a', 'b'],
    since,
    broadcasts: true,
    gradient: truth,
    infer: ({ inputs: [a, b] }) => {
      broadcastType(a, b)
      return { dtype: 'bool', shape: broadcastShapes(a.shape, b.shape) }
    },
    contents: ({ inputs: [a, b] }) => elementwiseContents([a, b], 'bool', test),
  })

const comparison = (test: (a: number, b: number) => boolean) => onNumbers((a, b) => Number(test(a, b)))

/** Symbols that stand for lengths are never negative; one that is a difference, or unknown, may be. */
const isLength = (dim: Dim): boolean => typeof dim === 'string' && !/[-?]/.test(dim)

function equal(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return Number(a === b)
  if (a === b) return 1
  const [number, symbol] = typeof a === 'number' ? [a, b] : [b, a]
  return typeof number === 'number' && number < 0 && isLength(symbol) ? 0 : unknownDim()
}

/** Comparisons and logic: everything that answers in truth values. */
export const logical = {
  Equal: binary(11, equal),
  Greater: binary(
    9,
    comparison((a, b) => a > b),
  ),
  GreaterOrEqual: binary(
    12,
    comparison((a, b) => a >= b),
  ),
  Less: binary(
    9,
    comparison((a, b) => a < b),
  ),
  LessOrEqual: binary(
    12,
    comparison((a, b) => a <= b),
  ),
  And: binary(7, (a, b) => (a === 0 || b === 0 ? 0 : a === 1 ? b : b === 1 ? a : unknownDim())),
  Or: binary(7, (a, b) => (a === 1 || b === 1 ? 1 : a === 0 ? b : b === 0 ? a : unknownDim())),
  Xor: binary(
    7,
    comparison((a, b) => a !== b),
  ),
  Not: define({
    inputs: ['x'],
    since: 1,
    gradient: truth,
    infer: ({ inputs: [x] }) => x,
    contents: ({ inputs: [x] }) =>
      elementwiseContents(
        [x],
        'bool',
        onNumbers((x) => 1 - x),
      ),
  }),
  IsNaN: define({
    inputs: ['x'],
    since: 9,
    gradient: truth,
    infer: ({ inputs: [x] }) => ({ dtype: 'bool', shape: x.shape }),
  }),
  IsInf: define({
    inputs: ['x'],
    attributes: { detect_negative: int(1), detect_positive: int(1) },
    since: 10,
    laterTypes: { float16: 20 },
    gradient: truth,
    infer: ({ inputs: [x] }) => ({ dtype: 'bool', shape: x.shape }),
  }),
}
