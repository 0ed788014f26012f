import { axisOf } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import type { AnyLowering, Lowerings } from '../lowering/lowering.js'
import { activationLowerings, downlevelActivations, elementwiseLowerings } from '../lowering/webgpu/elementwise.js'
import { generationLowerings, indexingLowerings } from '../lowering/webgpu/indexing.js'
import { downlevelNormalizations, normalizationLowerings, softmaxLowerings } from '../lowering/webgpu/normalization.js'
import { accumulate } from '../lowering/webgpu/reduction.js'
import { attentionExpansions } from '../op/compose/attention.js'
import { regionExpansions } from '../op/compose/region.js'
import { samplingExpansions } from '../op/compose/sampling.js'
import { channelsOf, standardize } from '../op/compose/statistics.js'
import { type Definitions, op } from '../op/op.js'
import { dimsOf } from './types.js'

/** The axes of x from `first` on. */
const axesFrom = (x: Value, first: number): readonly number[] =>
  dimsOf(x)
    .map((_, axis) => axis)
    .slice(first)

function softmax(x: Value, axis: number): Value {
  const powers = op.Exp(op.Sub(x, op.ReduceMax(x, [axis], { keepdims: 1 })))
  return op.Div(powers, op.ReduceSum(powers, [axis], { keepdims: 1 }))
}

/** sqrt(2 / pi) (x + 0.044715 x³), whose hyperbolic tangent is near the error function of x / sqrt(2). */
const gauss = (x: Value): Value => op.Mul(op.Add(x, op.Mul(op.Mul(op.Mul(x, x), x), 0.044715)), Math.sqrt(2 / Math.PI))

/**
 * Samples classes by their logits: the largest logit plus standard Gumbel noise, -ln(-ln u). Near u = 1 the logarithm of
 * a shader may be 0.
 */
function multinomial(logits: Value, count: number, seed: number | undefined): Value {
  const [rows, classes] = dimsOf(logits) as readonly [number, number]
  const u = op.RandomUniform({ shape: [rows, count, classes], low: 2 ** -25, seed })
  const noise = op.Neg(op.Log(op.Max([op.Neg(op.Log(u)), 2 ** -24])))
  return op.ArgMax(op.Add(op.Unsqueeze(logits, [1]), noise), { axis: 2, keepdims: 0 })
}

const table = {
  ...activationLowerings,
  ...attentionExpansions,
  ...downlevelActivations,
  ...downlevelNormalizations,
  ...softmaxLowerings,
  ...regionExpansions,
  ...samplingExpansions,
  CastLike: elementwiseLowerings.CastLike,
  Mean: elementwiseLowerings.Mean,
  Mod: elementwiseLowerings.Mod,
  Dropout: generationLowerings.Dropout,
  EyeLike: generationLowerings.EyeLike,
  ConstantOfShape: indexingLowerings.ConstantOfShape,
  OneHot: indexingLowerings.OneHot,
  Range: indexingLowerings.Range,
  ReverseSequence: indexingLowerings.ReverseSequence,
  TensorScatter: indexingLowerings.TensorScatter,
  GroupNormalization: normalizationLowerings.GroupNormalization,
  LRN: normalizationLowerings.LRN,
  MeanVarianceNormalization: normalizationLowerings.MeanVarianceNormalization,
  BatchNormalization: (inputs, attributes) => {
    const trained = normalizationLowerings.BatchNormalization(inputs, attributes)
    if (trained) return trained
    const [x, scale, bias, mean, variance] = inputs
    const { column } = channelsOf(x)
    const factor = op.Mul(scale, op.Reciprocal(op.Sqrt(op.Add(variance, attributes.epsilon))))
    return [op.Add(op.Mul(op.Sub(x, column(mean)), column(factor)), column(bias)), mean, variance]
  },
  InstanceNormalization: ([x, scale, bias], { epsilon }) => {
    const { column } = channelsOf(x)
    const { xhat } = standardize(x, axesFrom(x, 2), epsilon)
    return op.Add(op.Mul(xhat, column(scale)), column(bias))
  },
  LayerNormalization: ([x, scale, bias], { axis, epsilon }) => {
    const axes = axesFrom(x, axisOf(axis, dimsOf(x).length))
    const { xhat, invStd } = standardize(x, axes, epsilon)
    const scaled = op.Mul(xhat, scale)
    return [bias ? op.Add(scaled, bias) : scaled, op.ReduceMean(x, axes, { keepdims: 1 }), invStd]
  },
  // Curvature is sampled from cumulative sums of shares.
  CumSum: (inputs, attributes) => accumulate(op.Add, 0, inputs, attributes),
  Bernoulli: ([x], { seed }) => op.Less(op.RandomUniform({ shape: dimsOf(x), seed }), x),
  Clip: ([x, min, max]) => {
    const raised = min ? op.Max([x, min]) : x
    return max ? op.Min([raised, max]) : raised
  },
  Gelu: ([x], { approximate }) => {
    const share = approximate === 'tanh' ? op.Tanh(gauss(x)) : op.Erf(op.Mul(x, Math.SQRT1_2))
    return op.Mul(op.Mul(x, 0.5), op.Add(share, 1))
  },
  GlobalMaxPool: ([x]) => op.ReduceMax(x, axesFrom(x, 2), { keepdims: 1 }),
  LpNormalization: ([x], { axis, p }) => {
    const norm = op[p === 1 ? 'ReduceL1' : 'ReduceL2'](x, [axis], { keepdims: 1 })
    return op.Div(x, op.Where(op.Equal(norm, 0), 1, norm))
  },
  Multinomial: ([x], { sample_size, seed }) => multinomial(x, sample_size, seed),
  PRelu: ([x, slope]) => op.Where(op.Less(x, 0), op.Mul(x, slope), x),
  RandomNormalLike: ([x], { dtype: _, ...attributes }) => op.RandomNormal({ ...attributes, shape: dimsOf(x) }),
  RandomUniformLike: ([x], { dtype: _, ...attributes }) => op.RandomUniform({ ...attributes, shape: dimsOf(x) }),
  ReduceLogSum: ([x, axes], attributes) => op.Log(op.ReduceSum(x, axes, attributes)),
  Softmax: ([x], { axis }) => softmax(x, axis),
} satisfies Lowerings<Definitions>

/** Replacements of operators, by name. */
export type Expansions = Readonly<Record<string, AnyLowering>>

/**
 * Operators that become others, for which there are shaders: some as in the lowerings for onnxruntime's provider. These
 * are those of common models, see `allExpansions`.
 */
export const commonExpansions = table as unknown as Expansions
