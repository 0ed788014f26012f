import { currentScope } from '../ir/body.js'
import { isFloat } from '../ir/dtype.js'
import { contradict, formatShape, isStatic, productOf, sameShape } from '../ir/shape.js'
import { capturesOf, dependenciesOf, topological } from '../ir/topology.js'
import { describeNode, type Node, type Value } from '../ir/value.js'
import { definitionOf, op } from '../op/op.js'
import { append } from '../util/append.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import { activeValues, gradientType, zerosLike } from './active.js'
import { sumTo } from './broadcast.js'
import { gradientTables } from './gradient-tables.js'
import { addRepeated, isRepeated } from './repeated.js'
import type { GradientTables } from './rule.js'

export { zerosLike }

/** An output and its incoming gradient, which has the output's shape and type. */
export type Seed = readonly [y: Value, dy: Value]

/**
 * Builds the vector-Jacobian product d(sum <dy, y>) / dx for every `x` of `wrt` by reverse accumulation.
 *
 * @param seeds outputs `y` with their incoming gradients `dy`
 * @returns one value per `x`, of its shape; `null` if no `y` depends on `x` differentiably, so that its gradient is
 *   `zerosLike(x)`
 * @throws OnnxIreError `not-differentiable` listing every operator between `wrt` and the outputs that has no gradient;
 *   `invalid-shape` for an incoming gradient of another shape or type than its output
 * @example
 * const x = input('x', 'float32', ['N'])
 * const y = op.ReduceSum(op.Mul(x, x), { keepdims: 0 })
 * const [dx] = gradients([[y, scalar('float32', 1)]], [x]) // 2 x
 */
export function gradients(seeds: readonly Seed[], wrt: readonly Value[]): (Value | null)[] {
  for (const [y, dy] of seeds) checkSeed(y, dy)
  return gradientsWithin(seeds, wrt, () => true)
}

/** Throws `invalid-shape` for a seed that its output cannot have; of one element each, the number of axes may differ. */
function checkSeed(y: Value, dy: Value): void {
  const isSingle = [y, dy].every(({ shape }) => shape && productOf(shape) === 1)
  const isWrong = y.shape && dy.shape && !isSingle && contradict(y.shape, dy.shape)
  if (isWrong || (isFloat(y.dtype) && dy.dtype !== y.dtype))
    throw new OnnxIreError(
      'invalid-shape',
      `gradients: the incoming gradient of an output ${y.dtype}${formatShape(y.shape)} is ${dy.dtype}${formatShape(dy.shape)}: give it the type and shape of the output, as in op.Expand(scalar('${y.dtype}', 1), op.Shape(y))`,
    )
}

/**
 * `gradients` restricted to the nodes for which `within` is true; results of other nodes are treated as independent
 * variables.
 */
export function gradientsWithin(
  seeds: readonly Seed[],
  wrt: readonly Value[],
  within: (node: Node) => boolean,
  tables = gradientTables,
): (Value | null)[] {
  const order = topological(
    seeds.map(([y]) => y),
    (node) => within(node) && !node.isDetached,
  )
  const active = activeValues(order, wrt)
  const withoutNaN = findReplacements(order)
  const collected = new Map<Value, Value>()
  const collect = (x: Value, dx: Value) => {
    const before = collected.get(x)
    collected.set(x, before ? op.Add(before, dx) : dx)
  }
  for (const [y, dy] of seeds) if (active.has(y)) collect(y, dy)
  const blocking = new Map<Node, string>()
  for (const node of order.reverse()) {
    const dys = node.outputs.map((y) => collected.get(y) ?? null)
    if (dys.every((dy) => dy === null) || !dependenciesOf(node).some((x) => active.has(x))) continue
    const dxs = propagate(node, dys, { active, withoutNaN, tables })
    if (typeof dxs === 'string') {
      blocking.set(node, dxs)
      // Continue with zeros, so that one error lists every operator without a gradient.
      for (const x of dependenciesOf(node)) if (active.has(x)) collect(x, zerosLike(x))
      continue
    }
    for (const [index, x] of operandsOf(node).entries()) {
      const dx = x && active.has(x) ? dxs[index] : null
      if (x && dx) collect(x, reduceToOperand(node, x, dx))
    }
  }
  if (blocking.size > 0) throw notDifferentiable(blocking)
  return wrt.map((x) => collected.get(x) ?? null)
}

/** Inputs of a node, then the values that its bodies capture. */
const operandsOf = (node: Node): readonly (Value | null)[] => [...node.inputs, ...capturesOf(node)]

/** A walk over a graph: its differentiable values, and those that are read in place of others. */
interface Walk {
  readonly active: ReadonlySet<Value>
  readonly withoutNaN: ReadonlyMap<Value, Value>
  readonly tables: GradientTables
}

/**
 * Finds the results whose NaN elements the graph replaces by a number, with their replacements: w = IsNaN(y) ? c : y,
 * as PyTorch writes the Softmax of rows that are masked as a whole. There dw / dy is 0, so a rule that reads w in place
 * of y returns 0 times a number instead of 0 times NaN.
 */
function findReplacements(nodes: readonly Node[]): Map<Value, Value> {
  const replacements = new Map<Value, Value>()
  for (const { operator, inputs, outputs } of nodes) {
    const [condition, c, y] = inputs
    if (operator !== 'Where' || condition?.source.kind !== 'node' || !c?.shape || !y) continue
    const { source } = condition
    const isNumber = productOf(c.shape) === 1 && c.shape.length <= (y.shape?.length ?? 0)
    if (source.operator === 'IsNaN' && source.inputs[0] === y && isNumber) replacements.set(y, outputs[0]!)
  }
  return replacements
}

/** Gradients of a node's operands, or the reason for their absence. */
function propagate(node: Node, dys: readonly (Value | null)[], walk: Walk): readonly (Value | null)[] | string {
  try {
    return differentiateNode(node, dys, walk)
  } catch (error) {
    if (error instanceof NotDifferentiableError) return `composed of\n${error.lines.join('\n').replaceAll(/^/gm, '  ')}`
    // A rule may support some forms of its operator only.
    if (error instanceof OnnxIreError && error.code === 'not-differentiable') return error.message
    throw error
  }
}

function differentiateNode(
  node: Node,
  dys: readonly (Value | null)[],
  { active, withoutNaN, tables }: Walk,
): readonly (Value | null)[] | string {
  const { gradient: none, inputs: slots, outputs } = definitionOf(node.operator)
  if (none?.none === 'zero') return []
  const control = getOwn(tables.control, node.operator)
  if (control) {
    const operands = new Set(dependenciesOf(node).map((x) => x.source))
    const wrt = [...new Set(dependenciesOf(node).filter((x) => active.has(x)))]
    const dxs = control(node, dys, wrt, (seeds, wrt) => {
      const scope = currentScope()
      return gradientsWithin(seeds, wrt, (inner) => inner.scope === scope && !operands.has(inner), tables)
    })
    return atFirstOccurrence(operandsOf(node), wrt, dxs)
  }
  const rule = getOwn(tables.rules, node.operator)
  if (rule) {
    const single = outputs.length === 1 && !outputs[0]!.startsWith('...')
    const padded = slots.map((_, index) => node.inputs[index] ?? null)
    const inputs = node.inputs.length > padded.length ? node.inputs : padded
    return rule(inputs, single ? dys[0]! : dys, {
      y: single ? (withoutNaN.get(node.outputs[0]!) ?? node.outputs[0]!) : node.outputs,
      attributes: node.attributes,
    })
  }
  const expansion = getOwn(tables.expansions, node.operator)
  if (!expansion) return none?.reason ?? 'no gradient rule'
  const expanded = [expansion(node.inputs, node.attributes)].flat()
  const seeds = dys.flatMap((dy, index): Seed[] => (dy && expanded[index] ? [[expanded[index], dy]] : []))
  const wrt = [...new Set(node.inputs.filter((x) => x !== null && active.has(x)))] as Value[]
  // The operands may depend on each other; the outer walk handles that.
  const operands = new Set(node.inputs.map((x) => x?.source))
  const within = (inner: Node) => !operands.has(inner)
  const dxs = gradientsWithin(seeds, wrt, within, tables)
  if (topological(expanded, within).some(isRepeated)) addRepeated(node, expanded)
  return atFirstOccurrence(node.inputs, wrt, dxs)
}

/** Gradients by operand; if an operand occurs twice, its first occurrence gets the whole gradient. */
function atFirstOccurrence(
  operands: readonly (Value | null)[],
  wrt: readonly Value[],
  dxs: readonly (Value | null)[],
): (Value | null)[] {
  const left = new Map(wrt.map((x, index) => [x, dxs[index] ?? null]))
  return operands.map((x) => {
    const dx = x && left.get(x)
    if (x) left.delete(x)
    return dx ?? null
  })
}

/**
 * Sums the gradient of a broadcasting operator to its operand's shape. Throws `invalid-model` if the gradient of
 * another operator has a wrong shape, which contradictory shape declarations of a model lead to.
 */
function reduceToOperand(node: Node, x: Value, dx: Value): Value {
  if (definitionOf(node.operator).broadcasts) return sumTo(dx, x)
  const wrong =
    dx.shape &&
    x.shape &&
    (dx.shape.length !== x.shape.length || (isStatic(dx.shape) && isStatic(x.shape) && !sameShape(dx.shape, x.shape)))
  if (wrong || dx.dtype !== gradientType(x.dtype)) {
    throw new OnnxIreError(
      'invalid-model',
      `the gradient of ${describeWithInputs(node)} for '${x.name ?? '?'}' is ${dx.dtype}${formatShape(dx.shape)} instead of ${x.dtype}${formatShape(x.shape)}: the shapes that the model declares contradict each other; ` +
        'correct or remove them, and report the model if onnxruntime runs it',
    )
  }
  return dx
}

function describeWithInputs(node: Node): string {
  const types = node.inputs.map((x) => (x ? `${x.dtype}${formatShape(x.shape)}` : '-'))
  return `${describeNode(node)} (inputs ${types.join(', ')})`
}

function notDifferentiable(blocking: ReadonlyMap<Node, string>): OnnxIreError {
  const byReason = new Map<string, string[]>()
  for (const [node, reason] of blocking) append(byReason, reason, describeWithInputs(node))
  const lines = [...byReason].map(([reason, nodes]) => `  ${nodes.join(',\n  ')}: ${reason}`)
  return new NotDifferentiableError(blocking.size, lines)
}

/**
 * Error that lists the operators without a gradient; composite operators and bodies pass the list of inner operators
 * outwards.
 */
class NotDifferentiableError extends OnnxIreError {
  readonly lines: readonly string[]

  constructor(count: number, lines: readonly string[]) {
    super(
      'not-differentiable',
      `${count === 1 ? 'an operator' : `${count} operators`} between the parameters and the outputs cannot be differentiated:\n${lines.join('\n')}\n` +
        'Train only parameters downstream of them (narrow the trainable set), or train an output upstream of them.',
    )
    this.lines = lines
  }
}
