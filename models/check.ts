import { OnnxIreError } from 'onnx-ire'

/** Throws `invalid-option` where sizes of an architecture do not fit each other. */
export function check(fits: boolean, model: string, problem: string): void {
  if (!fits) throw new OnnxIreError('invalid-option', `${model}: ${problem}`)
}
