import { activeValues } from '../grad/active.js'
import { gradients, gradientsWithin, zerosLike } from '../grad/gradient.js'
import { withShapeOf } from '../grad/rules/control/iteration.js'
import { body } from '../ir/body.js'
import { input, scalar, tensorFrom } from '../ir/leaf.js'
import { unknownDim } from '../ir/shape.js'
import type { Tensors } from '../ir/tensor.js'
import { dependenciesOf, topological } from '../ir/topology.js'
import type { Node, Value } from '../ir/value.js'
import type { LossGraph } from '../loss/loss.js'
import { copyOf, type Substitution } from '../op/inline.js'
import { op } from '../op/op.js'

/** The input that says which gradients an `EitherGraph` gives. */
export const SAMPLED = 'choice/sampled'

/** The gradients of a loss or, where it is fed so, those of what is sampled of it. */
export interface EitherGradient {
  /** What decides it: a truth value and the noise. */
  readonly inputs: readonly (readonly [string, Value])[]
  /** By parameter name, only where there is one. */
  readonly gradients: ReadonlyMap<string, Value>
  /** What is fed for those of the loss; */
  readonly plain: Tensors
  /** and, beside the noise, for the sampled ones. */
  readonly sampled: Tensors
}

/**
 * Both are made of the same outputs of the model: an If gives the gradients there, of the one or the other, and what is
 * behind it, nearly all of a training graph, is there once. So IRE's curvature takes no second program, whose memory would
 * be as large, and cold whenever it is run.
 * @param outputs the model's, which the loss was built on
 * @param always what the graph computes in any case
 */
export function eitherGradient(
  loss: Value,
  sampled: NonNullable<LossGraph['sampled']>,
  outputs: Iterable<Value>,
  always: readonly Value[],
  parameters: ReadonlyMap<string, Value>,
): EitherGradient {
  const wrt = [...parameters.values()]
  const model = new Set(topological(outputs))
  const beyond = (node: Node) => !model.has(node)
  const border = borderOf([loss, sampled.loss], beyond, wrt)
  const choice = input(SAMPLED, 'bool', [])
  // Of no length in particular: where nothing is sampled there need not be any.
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
    for (const node of topological([sampled.loss], (node) => beyond(node) && !known.has(node)))
      for (const [i, copy] of copyOf(node, copies).entries()) copies.set(node.outputs[i]!, copy)
    return copies.get(sampled.loss) ?? sampled.loss
  }
  const branch = (of: () => Value) =>
    body([], () => {
      const y = of()
      const found = gradientsWithin([[y, scalar(y.dtype, 1)]], border, beyond)
      return border.map((x, i) => found[i] ?? zerosLike(x))
    })
  const dBorder =
    border.length > 0 ? op.If(choice, { then_branch: branch(sample), else_branch: branch(() => loss) }) : []
  const found = gradients(
    border.map((x, i) => [x, withShapeOf(dBorder[i]!, x)]),
    wrt,
  )
  return {
    inputs: [[SAMPLED, choice], ...noise.map(({ name, free }) => [name, free] as const)],
    gradients: new Map([...parameters.keys()].flatMap((name, i) => (found[i] ? [[name, found[i]] as const] : []))),
    plain: {
      [SAMPLED]: tensorFrom('bool', [], [0]),
      ...Object.fromEntries(noise.map(({ name, free: { dtype, shape = [] } }) => [name, one(dtype, shape.length)])),
    },
    sampled: { [SAMPLED]: tensorFrom('bool', [], [1]) },
  }
}

const one = (dtype: Value['dtype'], rank: number) => tensorFrom(dtype, new Array<number>(rank).fill(1), [0])

/** The values at which the nodes `beyond` begin, as far as they depend on `wrt`. */
function borderOf(ends: readonly Value[], beyond: (node: Node) => boolean, wrt: readonly Value[]): Value[] {
  const nodes = topological(ends, beyond)
  const inside = new Set<unknown>(nodes)
  const border = new Set([...ends, ...nodes.flatMap(dependenciesOf)].filter(({ source }) => !inside.has(source)))
  const active = activeValues(topological(border), wrt)
  return [...border].filter((x) => active.has(x))
}
