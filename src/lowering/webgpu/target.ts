import type { Value } from '../../ir/value.js'
import { attentionExpansions } from '../../op/compose/attention.js'
import { recurrentExpansions } from '../../op/compose/recurrent.js'
import { regionExpansions } from '../../op/compose/region.js'
import { samplingExpansions } from '../../op/compose/sampling.js'
import type { recurrent } from '../../op/definitions/recurrent.js'
import { type Definitions, definitionOf } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import type { AnyLowering, Lowerings, Target } from '../lowering.js'
import { bitLowerings } from './bits.js'
import { controlLowerings } from './control.js'
import { convolutionLowerings, downlevelConvolutions } from './convolution.js'
import { moveLowerings, movementLowerings, slicingLowerings } from './data-movement.js'
import { rangeAlong } from './dims.js'
import { activationLowerings, downlevelActivations, elementwiseLowerings, logicalLowerings } from './elementwise.js'
import { generationLowerings, indexingLowerings } from './indexing.js'
import { linalgLowerings } from './linalg.js'
import { downlevelNormalizations, normalizationLowerings, softmaxLowerings } from './normalization.js'
import { downlevelPools, foldingLowerings, poolingLowerings } from './pooling.js'
import { quantizationLowerings } from './quantization.js'
import { reductionLowerings } from './reduction.js'
import { resizeLowerings } from './resize.js'
import { signalLowerings } from './signal.js'
import { textLowerings } from './text.js'

/** Activations for which GRU and LSTM have kernels: the defaults of the ONNX page, without clipping. */
const usualActivations: Readonly<Record<string, readonly string[]>> = {
  GRU: ['Sigmoid', 'Tanh'],
  LSTM: ['Sigmoid', 'Tanh', 'Tanh'],
}

const isUsual = (operator: string, { activations, clip }: CellAttributes): boolean =>
  clip === undefined &&
  (activations?.every((name, i) => name === usualActivations[operator]![i % usualActivations[operator]!.length]) ??
    true)

interface CellAttributes {
  readonly activations?: readonly string[] | undefined
  readonly clip?: number | undefined
}

/** Number of steps of an RNN, which has no kernel, up to which its Scan is unrolled rather than run by the CPU. */
const maxUnrolledSteps = 128

/** Cells with other activations become a Scan, which is unrolled if it is short. */
const recurrentLowerings = {
  RNN: (inputs, attributes) => {
    const length = inputs[0].shape?.[0]
    return typeof length === 'number' && length <= maxUnrolledSteps ? recurrentExpansions.RNN(inputs, attributes) : null
  },
  GRU: (inputs, attributes) => (isUsual('GRU', attributes) ? null : recurrentExpansions.GRU(inputs, attributes)),
  LSTM: (inputs, attributes) => (isUsual('LSTM', attributes) ? null : recurrentExpansions.LSTM(inputs, attributes)),
} satisfies Lowerings<typeof recurrent>

const { Attention, RotaryEmbedding } = attentionExpansions

const lowerings = {
  ...activationLowerings,
  ...bitLowerings,
  ...controlLowerings,
  ...convolutionLowerings,
  ...elementwiseLowerings,
  ...foldingLowerings,
  ...generationLowerings,
  ...indexingLowerings,
  ...linalgLowerings,
  ...logicalLowerings,
  ...movementLowerings,
  ...normalizationLowerings,
  ...poolingLowerings,
  ...quantizationLowerings,
  ...recurrentLowerings,
  ...reductionLowerings,
  ...regionExpansions,
  ...resizeLowerings,
  ...samplingExpansions,
  ...signalLowerings,
  ...slicingLowerings,
  ...softmaxLowerings,
  ...textLowerings,
  Attention,
} satisfies Lowerings<Definitions>

const downlevel = {
  ...downlevelActivations,
  ...downlevelConvolutions,
  ...downlevelNormalizations,
  ...downlevelPools,
  RotaryEmbedding,
} satisfies Lowerings<Definitions>

/**
 * WebGPU has no kernel that casts from int64, but Gather takes int64 indices: an index becomes int32 as that element of
 * 0, 1, 2 ...
 */
function indexRange({ source }: Value): Value | null {
  if (source.kind !== 'node' || !definitionOf(source.operator).indexesAxis) return null
  return rangeAlong(source.inputs[0]!, source.attributes['axis'] as number)
}

/** Leaves a node to the CPU if its expansion needs a shape that is not known. */
const skipIfUnknown =
  (lowering: AnyLowering): AnyLowering =>
  (inputs, attributes, context) => {
    try {
      return lowering(inputs, attributes, context)
    } catch (error) {
      if (error instanceof OnnxIreError && error.code === 'not-differentiable') return null
      throw error
    }
  }

const table = (of: object) =>
  Object.fromEntries(
    Object.entries(of as Record<string, AnyLowering>).map(([name, lowering]) => [name, skipIfUnknown(lowering)]),
  )

/** Lowerings for onnxruntime's WebGPU provider; `tools/kernels` measures which operators need one. */
export const webgpu: Target = {
  provider: 'webgpu',
  lowerings: { ...table(lowerings), ...moveLowerings },
  downlevel: table(downlevel),
  indexRange,
}
