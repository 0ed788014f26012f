import type { FloatArray } from '../ir/float-array.js'
import { OnnxIreError } from '../util/errors.js'
import { arrayOf, type Gradients, type ParameterArrays } from './arrays.js'
import { evaluateOne } from './expr/evaluate.js'
import { abs, array, div, type Formula, formula, min, scalar } from './expr/expr.js'
import { sumOfSquares } from './expr/interpreter.js'

const g = array('g')

/** ||g||^2 */
export const squares: Formula = formula({}, { squares: g })
/** ||clipped g||^2 / limit^2: of numbers up to 1, whatever the limit, so that nothing overflows. */
export const clippedSquares: Formula = formula({}, { squares: min(1, div(abs(g), scalar('limit'))) })

/**
 * The Euclidean norm of all gradients together, in double precision; it also proves them finite.
 * @param place where we are, for the message: 'step 12'
 * @param what what these gradients are: 'loss gradient', 'curvature gradient'
 * @throws 'not-finite' naming the step, the tensor and the element; 'invalid-data' when an array is missing or too short
 */
export function finiteNorm(parameters: ParameterArrays, gradients: Gradients, place: string, what: string): number {
  let sum = 0
  for (const [name, parameter] of Object.entries(parameters)) {
    const gradient = arrayOf(gradients, name, parameter.length, what)
    const part = squaresOf(gradient)
    if (!Number.isFinite(part)) requireFinite(gradient, name, place, what)
    sum += part
  }
  return Number.isFinite(sum) ? Math.sqrt(sum) : scaledNorm(parameters, gradients)
}

/** Of few elements without the call of a kernel, which takes as long as some hundred do; bit for bit the same sum. */
const squaresOf = (g: FloatArray): number =>
  g.length <= FEW && g instanceof Float32Array ? sumOfSquares(g, g.length) : evaluateOne(squares, { g })['squares']!

const FEW = 192

/** The factor that brings a gradient of this norm down to `maxNorm`, as `torch.nn.utils.clip_grad_norm_`. */
export const clipFactor = (norm: number, maxNorm: number): number => Math.min(1, maxNorm / (norm + 1e-6))

/**
 * The norm that is left of gradients of the finite norm `norm` once every element is clipped to [-limit, limit].
 * @param limit > 0
 */
export function clippedNorm(parameters: ParameterArrays, gradients: Gradients, norm: number, limit: number): number {
  if (norm <= limit) return norm // no element is above the norm of all
  let sum = 0 // of numbers up to 1: whatever the limit, their squares do not overflow
  for (const name of Object.keys(parameters))
    sum += evaluateOne(clippedSquares, { g: gradients[name]! }, { limit })['squares']!
  return limit * Math.sqrt(sum)
}

/** @throws 'not-finite' at the first NaN or infinity */
export function requireFinite(array: FloatArray, name: string, place: string, what: string): void {
  const fault = faultOf(array, name, place, what)
  if (fault) throw fault
}

/** The 'not-finite' error about the first NaN or infinity; null where there is none. */
export function faultOf(array: FloatArray, name: string, place: string, what: string): OnnxIreError | null {
  const index = array.findIndex((x) => !Number.isFinite(x))
  if (index < 0) return null
  return new OnnxIreError(
    'not-finite',
    `${place}: the ${what} of '${name}' is ${array[index]} at element ${index} of ${array.length}; ` +
      'lower the learning rate, clip the gradient, or look for bad values in the data; the parameters are unchanged',
  )
}

/** For finite float64 gradients above 1e154, whose squares overflow. */
function scaledNorm(parameters: ParameterArrays, gradients: Gradients): number {
  let largest = 0
  for (const name of Object.keys(parameters)) for (const x of gradients[name]!) largest = Math.max(largest, Math.abs(x))
  let sum = 0
  for (const name of Object.keys(parameters)) for (const x of gradients[name]!) sum += (x / largest) ** 2
  return largest * Math.sqrt(sum)
}
