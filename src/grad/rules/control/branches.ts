import { body } from '../../../ir/scope.js'
import type { Body } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
import { inlined } from '../../../op/inline.js'
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
      const dxs = differentiate(
        ys.flatMap((y, i) => (dys[i] ? [[y, dys[i]] as const] : [])),
        wrt,
      )
      return wrt.map((x, i) => dxs[i] ?? zerosLike(x))
    })
  }
  const { then_branch, else_branch } = node.attributes as { then_branch: Body; else_branch: Body }
  const dxs = op.If(node.inputs[0]!, { then_branch: gradient(then_branch), else_branch: gradient(else_branch) })
  return wrt.map((x, i) => shapedLike(dxs[i]!, x))
}
