import { normalizationForms, simplifiedLayerNormalization } from '../onnx/upgrade/microsoft/normalization.js'
import { family } from './family.js'

/** Norms that onnxruntime's optimizer fuses with what stands beside them. */
export default family({
  definitions: {},
  forms: {
    // onnxruntime has added an operator to ai.onnx itself.
    '': { SimplifiedLayerNormalization: simplifiedLayerNormalization },
    'com.microsoft': normalizationForms,
  },
})
