import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import type { signal } from '../definitions/signal.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'
import { rangeAlongAxis, scalarLength } from './shape.js'

/** Converts an integer tensor of one element to an int64 scalar. */
export const wholeScalar = (x: Value): Value => op.Reshape(op.Cast(x, { to: dtypes.int64.onnx }), int64s([]))

export const signalExpansions = {
  // The transform of every frame, times the window.
  STFT: ([signal, step, window, frameLength], { onesided }) => {
    if (!signal.shape) {
      throw new OnnxIreError(
        'not-differentiable',
        "STFT: its gradient needs the number of axes of the signal; declare the shape of the model's input",
      )
    }
    const x = signal.shape.length === 2 ? op.Unsqueeze(signal, [2]) : signal
    const length = window ? scalarLength(window, 0) : wholeScalar(frameLength!)
    const hop = wholeScalar(step)
    const frames = op.Add(op.Div(op.Sub(scalarLength(x, 1), length), hop), 1)
    const places = op.Add(op.Mul(rangeAlongAxis(frames, 0, 2), hop), rangeAlongAxis(length, 1, 2))
    const cut = op.Gather(x, places, { axis: 1 })
    const spectrum = op.DFT(window ? op.Mul(cut, op.Unsqueeze(window, [1])) : cut, null, scalar('int64', 2))
    if (!onesided) return spectrum
    return op.Slice(spectrum, [0], op.Reshape(op.Add(op.Div(length, 2), 1), [1]), [2])
  },
} satisfies Expansions<typeof signal>
