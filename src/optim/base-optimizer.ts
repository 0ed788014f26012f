import { type FloatArray, mapArrays, zeroArrayLike } from '../ir/float-array.js'
import { sizeOf } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import type { MomentArray } from './arrays.js'
import { array, constant, type Expr, type Formula, formula, scalar, substitute } from './expr/expr.js'
import { type FormulaValues, formulaToOnnx, type Operands } from './expr/onnx.js'

/**
 * A base optimizer: computes from gradients the displacement d of plain training, theta <- theta + d, including
 * learning rate, momentum, preconditioning and weight decay. It never writes the parameters, so that `sam` and `ire`
 * can wrap any base optimizer. Its arithmetic is a formula, not code, so that it runs on every training backend.
 *
 * @example Descent by the sign of the gradient
 *
 *     const { array, formula, scalar } = expr
 *     const signSgd: BaseOptimizer = {
 *       kind: 'base', name: 'sign', lr: 1e-3, weightDecay: 0, options: {}, moments: [],
 *       formula: formula({ d: array('g').sign().mul(scalar('step')) }),
 *       coefficients: (t, lr) => ({ step: -lr }),
 *     }
 */
export interface BaseOptimizer {
  readonly kind: 'base'
  /** The name in messages and checkpoints: 'sgd', 'adam', 'adamw'. */
  readonly name: string
  /** The learning rate before the factor of a schedule. */
  readonly lr: number
  /** The weight decay of tensors without a setting of their own; 0 for an optimizer without weight decay. */
  readonly weightDecay: number
  /** All options, with defaults filled in; plain data. */
  readonly options: Readonly<Record<string, number | boolean | string | readonly number[]>>
  /** The names of the arrays that are stored per parameter, initially zero. */
  readonly moments: readonly string[]
  /**
   * The displacement `d` and the next value of every moment, from the arrays `theta`, `g` (the gradient, already
   * clipped) and the moments, and from the scalars of `coefficients`. The same object at every step, computed in the
   * precision of the parameters. The names n, d, kappa, limit and scale are reserved for the step.
   *
   * IRE multiplies d. A formula that reads the array `enhancement`, which is 1 + kappa n, multiplies itself.
   */
  readonly formula: Formula
  /**
   * The scalars of `formula` for one update of one tensor.
   * @param t the number of earlier updates of this tensor
   * @param lr the learning rate of this update and tensor
   * @param weightDecay the weight decay of this tensor
   * @param estimate the current numbers of `estimate`; empty without it
   */
  coefficients(
    t: number,
    lr: number,
    weightDecay: number,
    estimate: Readonly<Record<string, number>>,
  ): Readonly<Record<string, number>>
  /** For an optimizer whose step depends on sums over all tensors, which are the `squares` of its formula. */
  readonly estimate?: Estimate
  /**
   * For an optimizer that trains other weights than it evaluates: evaluation and export are at theta + the sum of
   * factor * moment, with these factors by moment. Such an optimizer averages the weights itself, so that a trainer
   * rejects `ema` and `schedule`.
   */
  readonly evaluation?: Readonly<Record<string, number>>
  /**
   * The rule of one tensor, for an optimizer that treats tensors by shape or role. Without it every tensor is updated
   * by `formula`.
   */
  ruleOf?(tensor: TrainedTensor): UpdateRule
}

/** Numbers that an optimizer estimates from all tensors together, once per step. */
export interface Estimate {
  /** The numbers before the first step. */
  readonly initial: Readonly<Record<string, number>>
  /**
   * Returns the numbers for the next step.
   * @param sums the sums of the `squares` of the formula over all tensors of this step
   */
  next(
    numbers: Readonly<Record<string, number>>,
    sums: Readonly<Record<string, number>>,
  ): Readonly<Record<string, number>>
}

/** A trained tensor as it is described to an optimizer. */
export interface TrainedTensor {
  readonly dims: readonly number[]
  /** The tensor as the matrix of a hidden layer; null for embeddings, the last layer, norms, biases and others. */
  readonly matrix: HiddenMatrix | null
}

/** The weight of a hidden layer as a matrix: [first axis, all others]. */
export interface HiddenMatrix {
  readonly rows: number
  readonly columns: number
  /** The axis of the layer's outputs. */
  readonly outputs: 'rows' | 'columns'
}

/** An element-wise update of one tensor; the fields are those of `BaseOptimizer`. */
export type FormulaRule = Pick<BaseOptimizer, 'moments' | 'formula' | 'coefficients'>

/** An update of one tensor by an ONNX graph, which may contain matrix products and reductions. It is float32. */
export interface GraphRule extends Pick<BaseOptimizer, 'moments' | 'coefficients'> {
  /** Identifies the graph: rules of one key build the same graph. */
  readonly key: string
  /** The names of the scalars that `build` reads. */
  readonly scalars: readonly string[]
  /** Types of moments that differ from the parameter's. */
  readonly momentTypes?: Readonly<Record<string, MomentType>>
  /**
   * Builds the displacement `d` and the next value of every moment.
   * @param arrays `theta`, `g` (the gradient, already clipped) and the moments, in their own dims
   */
  build(arrays: Readonly<Record<string, Value>>, scalars: Readonly<Record<string, Value>>): Record<string, Value>
}

/** Type of an array of state. */
export interface MomentType {
  readonly dtype: 'float32' | 'uint8'
  readonly dims: readonly number[]
}

/** The update of one tensor. */
export type UpdateRule = FormulaRule | GraphRule

/** Returns the rule of a parameter by its name. */
export type Rules = (name: string) => UpdateRule

/** Returns the type of a moment of a float32 tensor of these dims. */
export const momentTypeOf = (rule: UpdateRule, moment: string, dims: readonly number[]): MomentType =>
  (isGraphRule(rule) && getOwn(rule.momentTypes, moment)) || { dtype: 'float32', dims }

/** Creates the initial array of a moment. */
export function createMoment(rule: UpdateRule, moment: string, parameter: FloatArray): MomentArray {
  const type = isGraphRule(rule) ? getOwn(rule.momentTypes, moment) : undefined
  if (!type) return zeroArrayLike(parameter)
  return type.dtype === 'uint8' ? new Uint8Array(sizeOf(type.dims)) : new Float32Array(sizeOf(type.dims))
}

/** Whether a rule is an ONNX graph. */
export const isGraphRule = (rule: UpdateRule): rule is GraphRule => 'build' in rule

/**
 * Creates the rules of a run.
 * @param tensors the trained tensors, which only an optimizer with `ruleOf` needs
 * @throws OnnxIreError `invalid-option` if it needs them and they are not given
 */
export function createRules(base: BaseOptimizer, tensors?: Readonly<Record<string, TrainedTensor>>): Rules {
  if (!base.ruleOf) return () => base
  if (!tensors)
    throw new OnnxIreError(
      'invalid-option',
      `optimizer '${base.name}' updates tensors by their shapes, with graphs of a runtime, and plain arrays have neither: train with a Trainer`,
    )
  const rules = new Map<string, UpdateRule>()
  return (name) => {
    const rule = rules.get(name) ?? base.ruleOf!(tensors[name]!)
    rules.set(name, rule)
    return rule
  }
}

const checkedOptimizers = new WeakSet<BaseOptimizer>()

/** Names that the step adds to a base optimizer's formula. */
const reserved: readonly string[] = ['n', 'd', 'kappa', 'limit', 'scale', 'enhancement']

/** Throws `invalid-option` if a base optimizer's formula does not match its moments, or uses reserved names. */
export function checkBaseOptimizer(base: BaseOptimizer): void {
  if (checkedOptimizers.has(base)) return
  const { name, formula, moments, estimate } = base
  const reject = (fault: string, remedy: string): never => {
    throw new OnnxIreError('invalid-option', `optimizer '${name}': ${fault}; ${remedy}`)
  }
  const results = ['d', ...moments]
  const readable = ['theta', 'g', ...moments]
  for (const result of results)
    if (!Object.hasOwn(formula.outputs, result))
      reject(`its formula has no '${result}'`, `it must return ${results.join(', ')}`)
  for (const output of Object.keys(formula.outputs))
    if (!results.includes(output)) reject(`its formula returns '${output}'`, `it may return only ${results.join(', ')}`)
  for (const array of formula.arrays)
    if (array !== 'enhancement' && !readable.includes(array))
      reject(`its formula reads '${array}'`, `it may read only ${readable.join(', ')}`)
  if (Object.keys(formula.squares).length > 0 && !estimate)
    reject('its formula has sums of squares', 'only an optimizer with `estimate` may have any')
  for (const own of [...moments, ...formula.scalars])
    if (reserved.includes(own)) reject(`'${own}' is a reserved name`, `reserved are ${reserved.join(', ')}`)
  for (const moment of moments)
    if (moment === 'theta' || moment === 'g')
      reject(`a moment is named '${moment}'`, `that is the name of the ${moment === 'g' ? 'gradient' : 'parameter'}`)
  checkedOptimizers.add(base)
}

/** Returns the names of the scalars of a rule. */
export const scalarsOf = (rule: UpdateRule): readonly string[] =>
  isGraphRule(rule) ? rule.scalars : rule.formula.scalars

/**
 * Returns the scalars of a rule for one update.
 * @param optimizer the name of the optimizer, for messages
 * @throws OnnxIreError `invalid-option` if a scalar is missing or not finite
 */
export function coefficientsOf(
  optimizer: string,
  rule: UpdateRule,
  t: number,
  lr: number,
  weightDecay: number,
  estimate: Readonly<Record<string, number>>,
) {
  const coefficients = rule.coefficients(t, lr, weightDecay, estimate)
  for (const scalar of scalarsOf(rule))
    if (!Number.isFinite(getOwn(coefficients, scalar)))
      throw new OnnxIreError(
        'invalid-option',
        `optimizer '${optimizer}': the coefficient '${scalar}' of update ${t} is ${getOwn(coefficients, scalar)}; it must be a finite number`,
      )
  return coefficients
}

/** Parts of an update beyond the base optimizer. */
export interface UpdateVariant {
  /** Whether gradients are clipped by value to [-limit, limit]. */
  readonly clipped: boolean
  /** Whether the mask n and kappa enhance the displacement. */
  readonly enhanced: boolean
}

const cache = new WeakMap<Formula, Map<string, Formula>>()

/**
 * Builds the update of one tensor from a base optimizer's formula:
 *
 *     g <- scale max(-limit, min(limit, g))
 *     theta <- theta + (1 + kappa n) d
 *
 * Scalars: the base optimizer's, and `scale`, `limit`, `kappa`. Outputs: `theta` and every moment. Sums of squares: the
 * base optimizer's.
 * @returns the same object for the same arguments
 */
export function updateFormula(base: Formula, { clipped, enhanced }: UpdateVariant): Formula {
  const variants = cache.get(base) ?? new Map<string, Formula>()
  cache.set(base, variants)
  const key = `${clipped} ${enhanced}`
  const known = variants.get(key)
  if (known) return known
  const [theta, n, limit, kappa] = [array('theta'), array('n'), scalar('limit'), scalar('kappa')]
  const g = clipped ? array('g').min(limit).max(limit.negate()) : array('g')
  const enhancement = enhanced ? n.mul(kappa).add(1) : constant(1)
  const done = new Map<Expr, Expr>()
  const replace = (exprs: Readonly<Record<string, Expr>>) =>
    mapArrays(exprs, (expr) => substitute(expr, { g: g.mul(scalar('scale')), enhancement }, done))
  const { d, ...moments } = replace(base.outputs)
  const displacement = enhanced && !base.arrays.includes('enhancement') ? enhancement.mul(d!) : d!
  const update = formula({ theta: theta.add(displacement), ...moments }, replace(base.squares))
  variants.set(key, update)
  return update
}

/**
 * Adds the update of one tensor to a graph: as `updateFormula`, by any rule.
 * @param arrays `theta`, `g`, the moments, and `n` if the update is enhanced
 * @param scalars the rule's, and `scale`, `limit`, `kappa`
 * @returns the next `theta` and moments, and the sums of squares of a formula
 */
export function updateToOnnx(
  rule: UpdateRule,
  variant: UpdateVariant,
  arrays: Readonly<Record<string, Value>>,
  scalars: Operands,
): FormulaValues {
  if (!isGraphRule(rule)) return formulaToOnnx(updateFormula(rule.formula, variant), arrays, scalars)
  const { g } = formulaToOnnx(variant.clipped ? clippedGradient : scaledGradient, arrays, scalars).outputs
  const { d, ...moments } = rule.build({ ...arrays, g: g! }, scalars as Readonly<Record<string, Value>>)
  const { theta } = formulaToOnnx(variant.enhanced ? enhancedMove : move, { ...arrays, d: d! }, scalars).outputs
  return { outputs: { theta: theta!, ...moments }, squares: {} }
}

const [limit, scaled] = [scalar('limit'), (g: Expr) => formula({ g: g.mul(scalar('scale')) })]
const scaledGradient = scaled(array('g'))
const clippedGradient = scaled(array('g').min(limit).max(limit.negate()))
const moved = (factor: Expr) => formula({ theta: array('theta').add(factor) })
const move = moved(array('d'))
const enhancedMove = moved(array('n').mul(scalar('kappa')).add(1).mul(array('d')))
