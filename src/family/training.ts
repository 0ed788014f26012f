import { training } from '../onnx/upgrade/training.js'
import { family } from './family.js'

/** Optimizers as operators. */
export default family({
  definitions: {},
  forms: { 'ai.onnx.preview.training': training },
})
