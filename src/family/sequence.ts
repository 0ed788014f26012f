import { sequenceForms } from '../onnx/upgrade/sequence.js'
import { family } from './family.js'

/** Sequences of tensors, which importing resolves. */
export default family({
  definitions: {},
  sequenceForms,
})
