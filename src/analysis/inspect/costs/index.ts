import type { Node, Value } from '../../../ir/value.js'
import type { control } from '../../../op/definitions/control.js'
import { type Definitions, definitionOf } from '../../../op/op.js'
import type { Costs } from './cost.js'
import { activationCosts, elementwiseCosts, logicalCosts } from './elementwise.js'
import { generationCosts, indexingCosts, movementCosts, slicingCosts, textualCosts } from './movement.js'
import { attentionCosts, blockQuantizationCosts, convolutionCosts, linalgCosts } from './products.js'
import { quantizationCosts } from './quantization.js'
import { recurrentCosts } from './recurrent.js'
import { foldingCosts, regionCosts, resizeCosts, samplingCosts, signalCosts } from './sampling.js'
import { normalizationCosts, poolingCosts, reductionCosts, softmaxCosts } from './statistics.js'

/** Of every operator but those with bodies, which cost what is in them. */
export const costs = {
  ...activationCosts,
  ...elementwiseCosts,
  ...logicalCosts,
  ...movementCosts,
  ...slicingCosts,
  ...indexingCosts,
  ...generationCosts,
  ...textualCosts,
  ...convolutionCosts,
  ...linalgCosts,
  ...attentionCosts,
  ...blockQuantizationCosts,
  ...quantizationCosts,
  ...recurrentCosts,
  ...reductionCosts,
  ...normalizationCosts,
  ...softmaxCosts,
  ...poolingCosts,
  ...resizeCosts,
  ...samplingCosts,
  ...regionCosts,
  ...foldingCosts,
  ...signalCosts,
} satisfies Costs<Omit<Definitions, keyof typeof control>>

type AnyCost = (inputs: readonly (Value | null)[], outputs: readonly Value[], attributes: unknown) => number

/** The table with the types of the single operators forgotten. */
const table: Readonly<Record<string, unknown>> = costs

/** The operations of a node without bodies; NaN where a length it depends on, or the data, is not known. */
export function costOf({ operator, inputs, outputs, attributes }: Node): number {
  const slots = definitionOf(operator).inputs
  const padded = slots.at(-1)?.startsWith('...') ? inputs : slots.map((_, index) => inputs[index] ?? null)
  // Nodes are made by the definitions that the costs are typed by.
  return (table[operator] as AnyCost)(padded, outputs, attributes)
}
