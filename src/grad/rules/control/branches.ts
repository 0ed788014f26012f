import { body } from '../../../ir/scope.js'
import { type Shape, sameShape } from '../../../ir/shape.js'
import type { Body, Value } from '../../../ir/value.js'
import { inlined } from '../../../op/inline.js'
import { op } from '../../../op/op.js'
import type { ControlRule } from '../../rule.js'
import { zerosLike } from '../../zeros.js'
import { refuseRandom } from './random.js'
import { shapedLike } from './round.js'

/**
 * If of the same condition over the gradients of its branches; a captured value that the taken branch does not use gets
 * zeros. Each branch is computed again, because nothing inside of it can be seen from outside.
 */
export const branches: ControlRule = (node, dys, wrt, differentiate) => {
  const gradient = (branch: Body): Body => {
    refuseRandom(branch)
    return body([], () => {
      const ys = inlined(branch, [])
      // Of results that cannot be those whose gradients come in, this is not the branch that is taken.
      const taken = ys.every((y, i) => !dys[i] || mayAgree(y.shape, dys[i].shape))
      const seeds = taken ? ys.flatMap((y, i) => (dys[i] ? [[y, knownAs(dys[i], y)] as const] : [])) : []
      const dxs = differentiate(seeds, wrt)
      return wrt.map((x, i) => dxs[i] ?? zerosLike(x))
    })
  }
  const { then_branch, else_branch } = node.attributes as { then_branch: Body; else_branch: Body }
  const dxs = op.If(node.inputs[0]!, { then_branch: gradient(then_branch), else_branch: gradient(else_branch) })
  return wrt.map((x, i) => shapedLike(dxs[i]!, x))
}

/** Whether two shapes may be one at run time. */
const mayAgree = (a: Shape | undefined, b: Shape | undefined): boolean =>
  !a ||
  !b ||
  (a.length === b.length &&
    a.every((dim, axis) => typeof dim !== 'number' || typeof b[axis] !== 'number' || dim === b[axis]))

/** The gradient of an If's result with what the branch knows of its shape. */
const knownAs = (dy: Value, y: Value): Value => (sameShape(dy.shape, y.shape) ? dy : shapedLike(op.Identity(dy), y))
