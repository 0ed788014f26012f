import { blockQuantizationRules } from '../grad/rules/block-quantization.js'
import { quantizationExpansions } from '../grad/rules/quantization.js'
import { sameForm } from '../onnx/upgrade/upgrade.js'
import { blockQuantization } from '../op/block-quantization.js'
import { quantization } from '../op/quantization.js'
import { family } from './family.js'

/** Integers that stand for reals. */
export default family({
  definitions: { ...quantization, ...blockQuantization },
  rules: blockQuantizationRules,
  expansions: quantizationExpansions,
  forms: { 'com.microsoft': { QuantizeLinear: sameForm, DequantizeLinear: sameForm } },
})
