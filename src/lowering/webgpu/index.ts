import type { Value } from '../../ir/value.js'
import { attentionExpansions } from '../../op/compose/attention.js'
import { regionExpansions } from '../../op/compose/region.js'
import { samplingExpansions } from '../../op/compose/sampling.js'
import { signalExpansions } from '../../op/compose/signal.js'
import type { Definitions } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import type { AnyLowering, Lowerings, Target } from '../lowering.js'
import { activationLowerings, olderActivations } from './activation.js'
import { convolutionLowerings, olderConvolutions } from './convolution.js'
import { elementwiseLowerings } from './elementwise.js'
import { foldingLowerings } from './folding.js'
import { generationLowerings } from './generation.js'
import { indexingLowerings } from './indexing.js'
import { numbersAlong } from './lengths.js'
import { linalgLowerings } from './linalg.js'
import { logicalLowerings } from './logical.js'
import { movementLowerings } from './movement.js'
import { moves } from './moves.js'
import { normalizationLowerings, olderNormalizations } from './normalization.js'
import { olderPools, poolingLowerings } from './pooling.js'
import { recurrentLowerings } from './recurrent.js'
import { reductionLowerings } from './reduction.js'
import { slicingLowerings } from './slicing.js'
import { softmaxLowerings } from './softmax.js'
import { until } from './until.js'

const { Attention, RotaryEmbedding } = attentionExpansions

const lowerings = {
  ...activationLowerings,
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
  ...recurrentLowerings,
  ...reductionLowerings,
  ...regionExpansions,
  ...samplingExpansions,
  ...signalExpansions,
  ...slicingLowerings,
  ...softmaxLowerings,
  Attention,
} satisfies Lowerings<Definitions>

const older = {
  ...olderActivations,
  ...olderConvolutions,
  ...olderNormalizations,
  ...olderPools,
  RotaryEmbedding,
} satisfies Lowerings<Definitions>

/** Operators whose integer output counts along an axis of their input. */
const counting: ReadonlySet<string> = new Set(['ArgMax', 'ArgMin', 'TopK'])

/** Casting from int64 has no kernel, being looked up has: an index becomes int32 as the element at its place of the numbers from 0. */
function countedIn({ source }: Value): Value | null {
  if (source.kind !== 'node' || !counting.has(source.operator)) return null
  return numbersAlong(source.inputs[0]!, source.attributes['axis'] as number)
}

/** An expansion that needs to know more than it is told leaves the node to the CPU. */
const optional =
  (lowering: AnyLowering): AnyLowering =>
  (inputs, attributes, asked) => {
    try {
      return lowering(inputs, attributes, asked)
    } catch (error) {
      if (error instanceof OnnxIreError && error.code === 'not-differentiable') return null
      throw error
    }
  }

const table = (of: object) =>
  Object.fromEntries(
    Object.entries(of as Record<string, AnyLowering>).map(([name, lowering]) => [name, optional(lowering)]),
  )

/** onnxruntime's WebGPU provider, as `tools/kernels` finds it. */
export const webgpu: Target = { lowerings: { ...table(lowerings), ...moves }, older: table(older), until, countedIn }
