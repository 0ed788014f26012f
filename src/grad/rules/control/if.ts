import { body } from '../../../ir/body.js'
import { type Shape, sameShape } from '../../../ir/shape.js'
import type { Body, Value } from '../../../ir/value.js'
import { inline } from '../../../op/inline.js'
import { op } from '../../../op/op.js'
import { zerosLike } from '../../active.js'
import type { ControlRule } from '../../rule.js'
import { rejectRandomNodes, withShapeOf } from './iteration.js'

/**
 * Gradient rule of If: an If with the same condition over the gradients of its branches. A captured value that the
 * selected branch does not use gets zeros. Each branch is computed again, because values inside it are invisible
 * outside.
 */
export const ifRule: ControlRule = (node, dys, wrt, differentiate) => {
  const gradient = (branch: Body): Body => {
    rejectRandomNodes(branch)
    return body([], () => {
      const ys = inline(branch, [])
      // If the shapes of the results and of the incoming gradients differ, this branch is never selected.
      const taken = ys.every((y, i) => !dys[i] || mayBeEqual(y.shape, dys[i].shape))
      const seeds = taken ? ys.flatMap((y, i) => (dys[i] ? [[y, withShapeKnownInBranch(dys[i], y)] as const] : [])) : []
      const dxs = differentiate(seeds, wrt)
      return wrt.map((x, i) => dxs[i] ?? zerosLike(x))
    })
  }
  const { then_branch, else_branch } = node.attributes as { then_branch: Body; else_branch: Body }
  const dxs = op.If(node.inputs[0]!, { then_branch: gradient(then_branch), else_branch: gradient(else_branch) })
  return wrt.map((x, i) => withShapeOf(dxs[i]!, x))
}

/** Whether two shapes may be equal at run time. */
const mayBeEqual = (a: Shape | undefined, b: Shape | undefined): boolean =>
  !a ||
  !b ||
  (a.length === b.length &&
    a.every((dim, axis) => typeof dim !== 'number' || typeof b[axis] !== 'number' || dim === b[axis]))

/** Gradient of a result of If with the shape that is known inside the branch. */
const withShapeKnownInBranch = (dy: Value, y: Value): Value =>
  sameShape(dy.shape, y.shape) ? dy : withShapeOf(op.Identity(dy), y)
