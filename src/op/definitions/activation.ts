import { formatShape } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { type AttributeSpecs, define, float, string } from '../define.js'
import { broadcastType } from './elementwise.js'

/** ONNX stores attributes in single precision: so are their defaults. */
const single = (value: number) => float(Math.fround(value))

const pointwise = <const A extends AttributeSpecs>(since: number, attributes: A) =>
  define({ inputs: ['x'], since, attributes, infer: ({ inputs: [x] }) => x })

/** PRelu's slope is broadcast to `x`, never the other way round. */
function preluType(x: Value, slope: Value): TensorType {
  const { dtype, shape } = broadcastType(x, slope)
  const widened = shape?.some((dim, axis) => typeof dim === 'number' && dim !== 1 && x.shape?.[axis] === 1)
  if (x.shape && shape && (shape.length > x.shape.length || widened)) {
    throw new OnnxIreError(
      'invalid-shape',
      `a slope ${formatShape(slope.shape)} does not broadcast to ${formatShape(x.shape)}`,
    )
  }
  return { dtype, shape: x.shape }
}

export const activation = {
  Relu: pointwise(6, {}),
  LeakyRelu: pointwise(6, { alpha: single(0.01) }),
  PRelu: define({
    inputs: ['x', 'slope'],
    since: 7,
    broadcasts: true,
    infer: ({ inputs: [x, slope] }) => preluType(x, slope),
  }),
  ThresholdedRelu: pointwise(10, { alpha: float(1) }),
  Elu: pointwise(6, { alpha: float(1) }),
  Celu: pointwise(12, { alpha: float(1) }),
  Selu: pointwise(6, { alpha: single(1.6732632), gamma: single(1.050701) }),
  Sigmoid: pointwise(6, {}),
  HardSigmoid: pointwise(6, { alpha: single(0.2), beta: float(0.5) }),
  HardSwish: pointwise(14, {}),
  Softplus: pointwise(1, {}),
  Softsign: pointwise(1, {}),
  Mish: pointwise(18, {}),
  Swish: pointwise(24, { alpha: float(1) }),
  Shrink: pointwise(9, { bias: float(0), lambd: float(0.5) }),
  Gelu: pointwise(20, { approximate: string('none') }),
}
