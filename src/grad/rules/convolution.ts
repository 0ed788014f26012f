import type { Value } from '../../ir/value.js'
import { withRank } from '../../op/compose/shape.js'
import { channelsOf } from '../../op/compose/statistics.js'
import { type convolution, kernelOf, transposedWindowOf } from '../../op/definitions/convolution.js'
import { op } from '../../op/op.js'
import { windowOf } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'
import { inputGradient } from './convolution/input.js'
import { withKnownPadding } from './convolution/padding.js'
import { weightGradient } from './convolution/weight.js'

const biasGradient = (b: Value | null, dy: Value) => b && channelsOf(dy).perChannel(dy)

/** The number of axes decides the form of everything here. */
function requireRanks(operator: string, ...operands: readonly Value[]): void {
  if (operands.some(({ shape }) => shape === undefined)) {
    throw new OnnxIreError(
      'not-differentiable',
      `${operator}: its gradient needs the number of axes of its operands; declare the shape of the model's input`,
    )
  }
}

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
  // The adjoint of a convolution that takes the output back to the input.
  ConvTranspose: ([data, w, b], dy, { attributes }) => {
    const x = withRank(data, w.shape?.length)
    requireRanks('ConvTranspose', x, w)
    const { group } = attributes
    const window = transposedWindowOf(attributes, kernelOf(w.shape!, attributes.kernel_shape), x.shape!.slice(2))
    if (window.some(({ before, after }) => typeof before !== 'number' || typeof after !== 'number')) {
      throw new OnnxIreError(
        'not-differentiable',
        "ConvTranspose: with output_shape or auto_pad its gradient needs the kernel and the lengths of its input; declare the shape of the model's input",
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
