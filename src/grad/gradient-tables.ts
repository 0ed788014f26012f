import { activationExpansions } from '../op/compose/activation.js'
import { attentionExpansions } from '../op/compose/attention.js'
import { normalizationExpansions } from '../op/compose/normalization.js'
import { poolingExpansions } from '../op/compose/pooling.js'
import { quantizationExpansions } from '../op/compose/quantization.js'
import { recurrentExpansions } from '../op/compose/recurrent.js'
import { regionExpansions } from '../op/compose/region.js'
import { samplingExpansions } from '../op/compose/sampling.js'
import { selectionExpansions } from '../op/compose/selection.js'
import { signalExpansions } from '../op/compose/signal.js'
import { softmaxExpansions } from '../op/compose/softmax.js'
import type { Definitions } from '../op/op.js'
import type { ControlRules, GradientTables, WithoutGradient } from './rule.js'
import { activationRules, softmaxRules } from './rules/activation.js'
import { blockQuantizationRules } from './rules/block-quantization.js'
import { ifRule } from './rules/control/if.js'
import { loopRule } from './rules/control/loop.js'
import { scanRule } from './rules/control/scan.js'
import { convolutionRules, foldingRules, gpuConvolutionRules, loweredConvolutionRules } from './rules/convolution.js'
import { elementwiseRules } from './rules/elementwise.js'
import { indexingRules, selectionRules } from './rules/indexing.js'
import { linalgRules } from './rules/linalg.js'
import { generationRules, movementRules } from './rules/movement.js'
import { normalizationRules } from './rules/normalization.js'
import { poolingRules } from './rules/pooling.js'
import { reductionRules } from './rules/reduction.js'
import { resizeRules } from './rules/resize.js'
import { signalRules } from './rules/signal.js'
import { slicingRules } from './rules/slicing.js'

const controlRules = { If: ifRule, Loop: loopRule, Scan: scanRule } satisfies ControlRules<Definitions>

const rules = {
  ...activationRules,
  ...blockQuantizationRules,
  ...convolutionRules,
  ...elementwiseRules,
  ...foldingRules,
  ...generationRules,
  ...indexingRules,
  ...linalgRules,
  ...movementRules,
  ...normalizationRules,
  ...poolingRules,
  ...reductionRules,
  ...resizeRules,
  ...selectionRules,
  ...signalRules,
  ...slicingRules,
  ...softmaxRules,
}
const expansions = {
  ...activationExpansions,
  ...attentionExpansions,
  ...normalizationExpansions,
  ...poolingExpansions,
  ...quantizationExpansions,
  ...recurrentExpansions,
  ...regionExpansions,
  ...samplingExpansions,
  ...selectionExpansions,
  ...signalExpansions,
  ...softmaxExpansions,
}

type Missing = WithoutGradient<Definitions, keyof typeof rules | keyof typeof expansions | keyof typeof controlRules>

/**
 * Returns `tables`. Does not compile while an operator lacks both a gradient and a reason for that: the error names it.
 */
const complete = (tables: [Missing] extends [never] ? object : { readonly withoutGradient: Missing }) =>
  tables as unknown as GradientTables

/** The gradient rules and expansions of every operator, by operator name. */
export const gradientTables: GradientTables = complete({ rules, expansions, control: controlRules })

const withRules = (others: object): GradientTables => ({
  ...gradientTables,
  rules: { ...gradientTables.rules, ...others },
})

/** The tables for graphs that are lowered for onnxruntime's CPU provider. */
export const cpuGradientTables: GradientTables = withRules(loweredConvolutionRules)

/** The tables for a GPU, whose convolutions have other fast forms than those of a CPU. */
export const gpuGradientTables: GradientTables = withRules(gpuConvolutionRules)
