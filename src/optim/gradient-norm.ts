import type { FloatArray } from '../ir/float-array.js'
import { OnnxIreError } from '../util/errors.js'
import { sum } from '../util/statistics.js'
import { arrayOf, type Gradients, type ParameterArrays } from './arrays.js'
import { evaluate, evaluateEach, maxGatheredLength } from './expr/evaluate.js'
import { array, type Formula, formula, scalar } from './expr/expr.js'
import { sumOfSquares } from './expr/interpreter.js'
import type { ParallelEvaluation } from './expr/parallel.js'
import type { Shard } from './shard.js'

const g = array('g')

/** ||g||^2 */
export const squaresFormula: Formula = formula({}, { squares: g })

/** ||clipped g||^2 / limit^2. The summands are at most 1, so the sum does not overflow for any limit. */
export const clippedSquaresFormula: Formula = formula({}, { squares: g.abs().div(scalar('limit')).min(1) })

/** Four parts of a gradient, of one length, and the last elements. */
type Parts = Readonly<Record<(typeof partNames)[number] | 'rest', FloatArray>>

const partNames = ['first', 'second', 'third', 'fourth'] as const

/** ||g||^2 of each part: a core reads from four places in memory at once faster than from one. */
const partsFormula = formula({}, Object.fromEntries(partNames.map((part) => [part, array(part)])))

/** Parts by gradient: `ParallelEvaluation` recognizes the arrays of earlier calls. */
const knownParts = new WeakMap<FloatArray, Parts>()

function partsOf(g: FloatArray): Parts {
  const known = knownParts.get(g)
  if (known) return known
  // Whole vectors of the kernels.
  const length = 4 * Math.floor(g.length / 16)
  const entries = partNames.map((part, i) => [part, g.subarray(i * length, (i + 1) * length)])
  const parts: Parts = { ...Object.fromEntries(entries), rest: g.subarray(4 * length) }
  knownParts.set(g, parts)
  return parts
}

/**
 * Computes the squared norm of each gradient in double precision.
 * @param place the position in training, for messages: 'step 12'
 * @param what the kind of gradients, for messages: 'loss gradient', 'curvature gradient'
 * @param parallel evaluates formulas in several threads, with the same result bit for bit
 * @throws OnnxIreError `not-finite` naming the step, the tensor and the element; `invalid-data` if an array is missing
 * or too short
 */
function finiteSquares(
  parameters: ParameterArrays,
  gradients: Gradients,
  place: string,
  what: string,
  parallel?: ParallelEvaluation,
): number[] {
  const arrays = Object.entries(parameters).map(([name, { length }]) => arrayOf(gradients, name, length, what))
  const large = arrays.filter((g) => !isSmall(g)).map(partsOf)
  const columns = Object.fromEntries(partNames.map((part) => [part, large.map((parts) => parts[part])]))
  const found = evaluateEach(partsFormula, columns, {}, parallel)
  let seen = 0
  return Object.keys(parameters).map((name, i) => {
    const g = arrays[i]!
    // Small tensors are summed without a kernel call, which costs as much as some hundred elements.
    let squares: number
    if (isSmall(g)) squares = sumOfSquares(g, g.length)
    else {
      const { rest } = large[seen]!
      squares = partNames.reduce((sum, part) => sum + found[part]![seen]!, sumOfSquares(rest, rest.length))
      seen++
    }
    if (!Number.isFinite(squares)) requireFinite(g, name, place, what)
    return squares
  })
}

/** Computes the Euclidean norm of all gradients together. Arguments and errors are those of `finiteSquares`. */
export function finiteNorm(
  parameters: ParameterArrays,
  gradients: Gradients,
  place: string,
  what: string,
  parallel?: ParallelEvaluation,
): number {
  const squared = sum(finiteSquares(parameters, gradients, place, what, parallel))
  return Number.isFinite(squared) ? Math.sqrt(squared) : scaledNorm(parameters, gradients)
}

/**
 * As `finiteNorm`, for processes that have the gradients of their own tensors only. The result has the same bits.
 * @throws OnnxIreError `not-finite` or `invalid-data` in all processes, if one has such gradients
 */
export async function finiteNormTogether(
  shard: Pick<Shard, 'owns' | 'sum'>,
  parameters: ParameterArrays,
  gradients: Gradients,
  place: string,
  what: string,
  parallel?: ParallelEvaluation,
): Promise<number> {
  const own = Object.fromEntries(Object.entries(parameters).filter(([name]) => shard.owns(name)))
  const squares = new Float64Array(Object.keys(parameters).length)
  let failure: unknown
  try {
    const found = finiteSquares(own, gradients, place, what, parallel)[Symbol.iterator]()
    // The squares of other tensors are 0 here.
    for (const [i, name] of Object.keys(parameters).entries()) if (shard.owns(name)) squares[i] = found.next().value!
  } catch (error) {
    failure = error
    squares.fill(Number.NaN)
  }
  await shard.sum([squares])
  if (failure) throw failure
  const total = sum(squares)
  if (Number.isFinite(total)) return Math.sqrt(total)
  const problem = Number.isNaN(total)
    ? `the ${what} of a tensor of another process is not finite, which reports it`
    : `the ${what} has a norm above 1e154`
  throw new OnnxIreError('not-finite', `${place}: ${problem}; the parameters are unchanged`)
}

const isSmall = (g: FloatArray): boolean => g.length <= maxGatheredLength && g instanceof Float32Array

/** The factor that reduces a gradient of this norm to `maxNorm`, as in `torch.nn.utils.clip_grad_norm_`. */
export const clipFactor = (norm: number, maxNorm: number): number => Math.min(1, maxNorm / (norm + 1e-6))

/**
 * Computes the norm of gradients after clipping every element to [-limit, limit].
 * @param norm the norm before clipping
 * @param limit > 0
 */
export function clippedNorm(
  parameters: ParameterArrays,
  gradients: Gradients,
  norm: number,
  limit: number,
  parallel?: ParallelEvaluation,
): number {
  if (norm <= limit) return norm // no element exceeds the norm of all
  const tensors = { g: Object.keys(parameters).map((name) => gradients[name]!) }
  return limit * Math.sqrt(evaluate(clippedSquaresFormula, tensors, { limit }, parallel)['squares']!)
}

/** @throws OnnxIreError `not-finite` at the first NaN or infinity */
export function requireFinite(array: FloatArray, name: string, place: string, what: string): void {
  const error = notFiniteError(array, name, place, what)
  if (error) throw error
}

/** Returns the 'not-finite' error of the first NaN or infinity, or null if all elements are finite. */
export function notFiniteError(array: FloatArray, name: string, place: string, what: string): OnnxIreError | null {
  const index = array.findIndex((x) => !Number.isFinite(x))
  return index < 0 ? null : notFiniteAt(place, `${what} of '${name}'`, array[index]!, index, array.length)
}

/** Creates the 'not-finite' error of one element. */
export const notFiniteAt = (place: string, what: string, value: number, index: number, length: number): OnnxIreError =>
  new OnnxIreError(
    'not-finite',
    `${place}: the ${what} is ${value} at element ${index} of ${length}; ` +
      'lower the learning rate, clip the gradient, or look for bad values in the data; the parameters are unchanged',
  )

/** The norm of finite float64 gradients above 1e154, whose squares overflow. */
function scaledNorm(parameters: ParameterArrays, gradients: Gradients): number {
  let largest = 0
  for (const name of Object.keys(parameters)) for (const x of gradients[name]!) largest = Math.max(largest, Math.abs(x))
  let sum = 0
  for (const name of Object.keys(parameters)) for (const x of gradients[name]!) sum += (x / largest) ** 2
  return largest * Math.sqrt(sum)
}
