import { type FloatArray, mapArrays } from '../ir/float-array.js'
import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import { evaluateOne } from '../optim/expr/evaluate.js'
import { array, formula, scalar } from '../optim/expr/expr.js'
import { squaresFormula } from '../optim/gradient-norm.js'
import { ascendsAt, friendlyFormula, type SamOptimizer } from '../optim/sam.js'
import type { OptimizerState } from '../optim/state.js'
import { emptyRecord, getOwn } from '../util/record.js'
import type { AscentRequest } from './backend.js'

const g = array('g')
const addFormula = formula({ sum: g.add(array('other').mul(scalar('factor'))) })
/** ||a + b||^2 and ||a - b||^2, whose difference is 4 a . b */
const productFormula = formula({}, { plus: g.add(array('other')), minus: g.sub(array('other')) })

/**
 * The variants of SAM with a state, on host arrays. The state is written by `commit` only, so that a step that fails or
 * is abandoned changes nothing.
 */
export class SamVariant {
  readonly #sam: SamOptimizer
  readonly #state: () => OptimizerState
  #pending: { readonly step: number; readonly arrays: ParameterArrays } | null = null

  constructor(sam: SamOptimizer, state: () => OptimizerState) {
    this.#sam = sam
    this.#state = state
  }

  /** Returns the direction of the ascent, from finite gradients. */
  direction({ step, tensors }: AscentRequest, gradients: Gradients): Gradients {
    const { variant, sigma, meanDecay } = this.#sam
    if (variant === 'look') {
      this.#pending = { step, arrays: Object.fromEntries(tensors.map(({ name }) => [name, gradients[name]!.slice()])) }
      return gradients
    }
    const directions: Record<string, FloatArray> = emptyRecord()
    const means: Record<string, FloatArray> = emptyRecord()
    for (const { name, t } of tensors) {
      const g = gradients[name]!
      const gradientMean = this.#moment('gradientMean', name)
      const [direction, nextMean] = [g.slice(), g.slice()]
      directions[name] = direction
      means[name] = nextMean
      // The first gradient is the first mean, and nothing is subtracted from it.
      if (t === 0) continue
      const arrays = { g, gradientMean, direction, nextMean }
      evaluateOne(friendlyFormula, arrays, { sigma, oneMinusDecay: 1 - meanDecay })
    }
    this.#pending = { step, arrays: means }
    return directions
  }

  /** Returns the gradients of the update, from finite gradients, after the ascent if the step has one. */
  gradients(step: number, trained: readonly string[], gradients: Gradients): Gradients {
    const { variant, alpha } = this.#sam
    if (variant !== 'look') return gradients
    const first = this.#pending?.step === step ? this.#pending.arrays : null
    const names = Object.fromEntries(trained.map((name) => [name, gradients[name]!]))
    const squares = (of: (name: string) => FloatArray) =>
      trained.reduce((sum, name) => sum + evaluateOne(squaresFormula, { g: of(name) })['squares']!, 0)
    const add = (of: (name: string) => FloatArray, factor: number) =>
      mapArrays(names, (g, name) => {
        const sum = g.slice()
        evaluateOne(addFormula, { g, other: of(name), sum }, { factor })
        return sum
      })
    if (ascendsAt(this.#sam, step)) {
      if (!first) return gradients // no tensor was trained at the ascent
      const product = trained.reduce((sum, name) => {
        const { plus, minus } = evaluateOne(productFormula, { g: gradients[name]!, other: first[name]! })
        return sum + (plus! - minus!) / 4
      }, 0)
      const total = squares((name) => first[name]!)
      const components = add((name) => first[name]!, total > 0 ? -product / total : 0)
      this.#pending = { step, arrays: components }
      return gradients
    }
    const component = (name: string) => this.#moment('gradientComponent', name)
    const norm = Math.sqrt(squares(component))
    return norm > 0 ? add(component, (alpha * Math.sqrt(squares((name) => gradients[name]!))) / norm) : gradients
  }

  /** Writes the state of a step that is applied. */
  commit(step: number): void {
    const moment = this.#sam.variant === 'look' ? 'gradientComponent' : 'gradientMean'
    if (this.#pending?.step === step)
      for (const [name, array] of Object.entries(this.#pending.arrays)) this.#moment(moment, name).set(array)
    this.#pending = null
  }

  #moment(moment: string, name: string): FloatArray {
    return getOwn(getOwn(this.#state().moments, moment), name) as FloatArray
  }
}
