import { activationForms } from '../onnx/upgrade/microsoft/activation.js'
import { family } from './family.js'

/** Activations of onnxruntime's own domain. */
export default family({
  definitions: {},
  forms: { 'com.microsoft': activationForms },
})
