import { formatShape } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { type AttributeSpecs, define, type Facts, type Flops, float, string } from '../define.js'
import { perOutput, size } from '../flops.js'
import { broadcastType } from './elementwise.js'

/** ONNX stores attributes in single precision: so are their defaults. */
const single = (value: number) => float(Math.fround(value))

type Pointwise<A extends AttributeSpecs> = Partial<Facts> & { readonly flops: Flops<readonly ['x'], A> }

const pointwise = <const A extends AttributeSpecs>(since: number, attributes: A, facts: Pointwise<A>) =>
  define({ inputs: ['x'], since, attributes, elementwise: true, ...facts, infer: ({ inputs: [x] }) => x })

/** PRelu's slope is broadcast to `x`, never the other way round. */
function preluType(x: Value, slope: Value): TensorType {
  const { dtype, shape } = broadcastType([x, slope])
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
  Relu: pointwise(6, {}, { flops: perOutput(1) }),
  LeakyRelu: pointwise(6, { alpha: single(0.01) }, { flops: perOutput(2) }),
  PRelu: define({
    inputs: ['x', 'slope'],
    since: 7,
    broadcasts: true,
    weights: ['slope'],
    elementwise: true,
    flops: perOutput(2),
    infer: ({ inputs: [x, slope] }) => preluType(x, slope),
  }),
  ThresholdedRelu: pointwise(10, { alpha: float(1) }, { maxOpset: { webgpu: 21 }, flops: perOutput(1) }),
  // x > 0 ? x : alpha (exp(x) - 1)
  Elu: pointwise(6, { alpha: float(1) }, { maxOpset: { webgpu: 21 }, flops: perOutput(4) }),
  // max(0, x) + min(0, alpha (exp(x / alpha) - 1))
  Celu: pointwise(12, { alpha: float(1) }, { flops: perOutput(6) }),
  Selu: pointwise(6, { alpha: single(1.6732632), gamma: single(1.050701) }, { flops: perOutput(5) }),
  Sigmoid: pointwise(6, {}, { keepsClasses: true, flops: perOutput(1) }),
  HardSigmoid: pointwise(
    6,
    { alpha: single(0.2), beta: float(0.5) },
    { maxOpset: { webgpu: 21 }, flops: perOutput(4) },
  ),
  HardSwish: pointwise(14, {}, { maxOpset: { webgpu: 21 }, flops: perOutput(5) }),
  // log(1 + exp(x))
  Softplus: pointwise(1, {}, { flops: perOutput(3) }),
  Softsign: pointwise(1, {}, { flops: perOutput(3) }),
  // x tanh(softplus(x))
  Mish: pointwise(18, {}, { flops: perOutput(5) }),
  Swish: pointwise(
    24,
    { alpha: float(1) },
    { maxOpset: { webgpu: 24 }, flops: (_, [y], { alpha }) => (alpha === 1 ? 2 : 3) * size(y!) },
  ),
  Shrink: pointwise(9, { bias: float(0), lambd: float(0.5) }, { flops: perOutput(3) }),
  // 0.5 x (1 + erf(x / sqrt 2)), or 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  Gelu: pointwise(
    20,
    { approximate: string('none') },
    { flops: (_, [y], { approximate }) => (approximate === 'tanh' ? 9 : 5) * size(y!) },
  ),
}
