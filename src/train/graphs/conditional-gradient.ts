import { activeValues } from '../../grad/active.js'
import { gradientsWithin, zerosLike } from '../../grad/gradient.js'
import type { GradientTables } from '../../grad/rule.js'
import { withShapeOf } from '../../grad/rules/control/iteration.js'
import { body } from '../../ir/body.js'
import { input, scalar, tensorFrom } from '../../ir/leaf.js'
import { unknownDim } from '../../ir/shape.js'
import type { Tensors } from '../../ir/tensor.js'
import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Node, Value } from '../../ir/value.js'
import type { LossGraph } from '../../loss/loss.js'
import { cloneNode, type Substitution } from '../../op/inline.js'
import { op } from '../../op/op.js'

/** The graph input that selects the gradients of a `ConditionalGradient`. */
export const sampledInput = 'choice/sampled'

/** Gradients of a loss or of its sampled loss, selected by an input of the graph. */
interface ConditionalGradient {
  /** The inputs that select the gradients: a boolean and the noise of the sampled loss. */
  readonly inputs: readonly (readonly [string, Value])[]
  /** Gradients by parameter name, for parameters that have one. */
  readonly gradients: ReadonlyMap<string, Value>
  /** Feeds that select the gradients of the loss. */
  readonly lossFeeds: Tensors
  /** Feeds that select the gradients of the sampled loss, in addition to the noise. */
  readonly curvatureFeeds: Tensors
}

/**
 * Builds one backward pass for two losses on the same model outputs: an If selects the gradient at the model outputs,
 * and everything upstream of them is computed once. A second program would need a second arena of the same size.
 * @param outputs the model outputs that the loss was built from
 * @param always values that the graph computes in any case
 */
export function buildConditionalGradient(
  loss: Value,
  sampled: NonNullable<LossGraph['sampled']>,
  outputs: Iterable<Value>,
  always: readonly Value[],
  parameters: ReadonlyMap<string, Value>,
  tables: GradientTables,
): ConditionalGradient {
  const wrt = [...parameters.values()]
  const model = new Set(topological(outputs))
  const isDownstream = (node: Node) => !model.has(node)
  const border = findBorder([loss, sampled.loss], isDownstream, wrt)
  const choice = input(sampledInput, 'bool', [])
  // Free lengths: without sampling, the noise may be empty.
  const noise = [...sampled.noise].map(([name, { value }]) => {
    const { dtype, shape } = value
    return {
      name,
      value,
      free: input(
        name,
        dtype,
        shape?.map(() => unknownDim()),
      ),
    }
  })

  const known = new Set(topological([loss, ...always]))
  const sample = (): Value => {
    const copies: Substitution = new Map(noise.map(({ value, free }) => [value, withShapeOf(op.Identity(free), value)]))
    for (const node of topological([sampled.loss], (node) => isDownstream(node) && !known.has(node)))
      for (const [i, copy] of cloneNode(node, copies).entries()) copies.set(node.outputs[i]!, copy)
    return copies.get(sampled.loss) ?? sampled.loss
  }
  const branch = (build: () => Value) =>
    body([], () => {
      const y = build()
      const found = gradientsWithin([[y, scalar(y.dtype, 1)]], border, isDownstream, tables)
      return border.map((x, i) => found[i] ?? zerosLike(x))
    })
  const dBorder =
    border.length > 0 ? op.If(choice, { then_branch: branch(sample), else_branch: branch(() => loss) }) : []
  const found = gradientsWithin(
    border.map((x, i) => [x, withShapeOf(dBorder[i]!, x)]),
    wrt,
    () => true,
    tables,
  )
  return {
    inputs: [[sampledInput, choice], ...noise.map(({ name, free }) => [name, free] as const)],
    gradients: new Map([...parameters.keys()].flatMap((name, i) => (found[i] ? [[name, found[i]] as const] : []))),
    lossFeeds: {
      [sampledInput]: tensorFrom('bool', [], [0]),
      ...Object.fromEntries(
        noise.map(({ name, free: { dtype, shape = [] } }) => [name, zeroFeed(dtype, shape.length)]),
      ),
    },
    curvatureFeeds: { [sampledInput]: tensorFrom('bool', [], [1]) },
  }
}

/** A zero with one element. */
const zeroFeed = (dtype: Value['dtype'], rank: number) => tensorFrom(dtype, new Array<number>(rank).fill(1), [0])

/** The values that `isDownstream` nodes read from other nodes and that depend on `wrt`. */
function findBorder(ends: readonly Value[], isDownstream: (node: Node) => boolean, wrt: readonly Value[]): Value[] {
  const nodes = topological(ends, isDownstream)
  const inside = new Set<unknown>(nodes)
  const border = new Set([...ends, ...nodes.flatMap(dependenciesOf)].filter(({ source }) => !inside.has(source)))
  const active = activeValues(topological(border), wrt)
  return [...border].filter((x) => active.has(x))
}
