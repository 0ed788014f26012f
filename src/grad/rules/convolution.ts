import type { Value } from '../../ir/value.js'
import { withRank } from '../../op/compose/shape.js'
import { channelsOf } from '../../op/compose/statistics.js'
import { type convolution, kernelOf, transposedWindowOf } from '../../op/definitions/convolution.js'
import { op } from '../../op/op.js'
import { windowOf } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'
import { inputGradient } from './convolution/input-gradient.js'
import { withKnownPadding } from './convolution/padding.js'
import { weightGradient } from './convolution/weight-gradient.js'

const biasGradient = (b: Value | null, dy: Value) => b && channelsOf(dy).perChannel(dy)

/** Throws `not-differentiable` if the rank of an operand is unknown. */
function requireRanks(operator: string, ...operands: readonly Value[]): void {
  if (operands.some(({ shape }) => shape === undefined)) {
    throw new OnnxIreError(
      'not-differentiable',
      `${operator}: its gradient needs operands of known rank; declare the shape of the model's input`,
    )
  }
}

/** Gradient rules of Conv and ConvTranspose; the forms of the gradients are in `convolution/`. */
export const convolutionRules = {
  Conv: ([data, w, b], dy, { attributes }) => {
    const x = withRank(data, w.shape?.length)
    requireRanks('Conv', x, w)
    const { group, auto_pad } = attributes
    const window = windowOf(attributes, kernelOf(w.shape!, attributes.kernel_shape), x.shape!.slice(2))
    const [dx, dw] = withKnownPadding(x, op.Shape(w, { start: 2 }), window, auto_pad, (x, window) => [
      inputGradient(dy, w, window, group, x),
      weightGradient(x, w, dy, window, group),
    ])
    return [dx, dw!, biasGradient(b, dy)]
  },
  // ConvTranspose is the adjoint of a convolution: dx is that convolution of dy, and x and dy swap roles in the
  // weight gradient.
  ConvTranspose: ([data, w, b], dy, { attributes }) => {
    const x = withRank(data, w.shape?.length)
    requireRanks('ConvTranspose', x, w)
    const { group } = attributes
    const window = transposedWindowOf(attributes, kernelOf(w.shape!, attributes.kernel_shape), x.shape!.slice(2))
    if (window.some(({ before, after }) => typeof before !== 'number' || typeof after !== 'number')) {
      throw new OnnxIreError(
        'not-differentiable',
        "ConvTranspose: with output_shape or auto_pad its gradient needs a known kernel shape and known input lengths; declare the shape of the model's input",
      )
    }
    const trimmed = window.flatMap(({ trim }, i) => (trim > 0 ? [{ trim, axis: i + 2 }] : []))
    const reached =
      trimmed.length === 0
        ? dy
        : op.Slice(
            dy,
            trimmed.map(() => 0),
            trimmed.map(({ trim }) => -trim),
            trimmed.map(({ axis }) => axis),
          )
    const dx = op.Conv(reached, w, {
      group,
      strides: window.map(({ stride }) => stride),
      dilations: window.map(({ dilation }) => dilation),
      pads: [...window.map(({ before }) => before as number), ...window.map(({ after }) => after as number)],
    })
    return [dx, weightGradient(reached, w, x, window, group), biasGradient(b, dy)]
  },
} satisfies Rules<typeof convolution>
