import { linalgForms } from '../onnx/upgrade/microsoft/linalg.js'
import { family } from './family.js'

/** Matrix products and convolutions that onnxruntime's optimizer fuses. */
export default family({
  definitions: {},
  forms: { 'com.microsoft': linalgForms },
})
