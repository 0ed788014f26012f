import { gradientOperator } from '../onnx/gradient-operator.js'
import { training } from '../onnx/upgrade/training.js'
import { family } from './family.js'

/** Optimizers as operators. */
export default family({
  definitions: {},
  gradientOperator,
  forms: { 'ai.onnx.preview.training': training },
})
