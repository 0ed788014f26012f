import { attentionForms } from '../onnx/upgrade/microsoft/attention.js'
import { groupedQueryForms } from '../onnx/upgrade/microsoft/grouped-query.js'
import { rotaryForms } from '../onnx/upgrade/microsoft/rotary.js'
import { family } from './family.js'

/** Attention of onnxruntime's own domain. */
export default family({
  definitions: {},
  forms: { 'com.microsoft': { ...attentionForms, ...groupedQueryForms, ...rotaryForms } },
})
