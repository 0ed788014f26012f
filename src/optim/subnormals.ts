import { evaluate } from './expr/evaluate.js'
import { array, constant, type Formula, formula } from './expr/expr.js'
import type { ParallelEvaluation } from './expr/parallel.js'
import type { OptimizerState } from './state.js'

/** Steps between two passes over the moments, one of which takes about as long as an update. */
const interval = 64

/** The smallest positive float32 number that is not subnormal. */
const smallestNormal = 2 ** -126

const x = array('x')
const clearFormula: Formula = formula({ x: x.mul(constant(smallestNormal).atMost(x.abs())) })

/**
 * Sets the subnormal numbers of float32 moments, or of IRE's curvature, to 0, in place, after every 64th step. If the
 * gradient of a weight becomes 0, as that of a unit which is no longer active or of a token which has become rare, its
 * moments shrink until they are subnormal, and remain so, as a tenth of the smallest number is rounded to 0. A processor
 * takes some hundred cycles for each product with such a number.
 * @param step the step that has ended, from 0
 */
export function clearSubnormals(step: number, moments: OptimizerState['moments'], parallel?: ParallelEvaluation): void {
  if ((step + 1) % interval !== 0) return
  const arrays = Object.values(moments).flatMap((moment) => Object.values(moment))
  const single = arrays.filter((moment) => moment instanceof Float32Array)
  if (single.length > 0) evaluate(clearFormula, { x: single }, {}, parallel)
}
