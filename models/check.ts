import { OnnxIreError } from 'onnx-ire'

/** Throws `invalid-option` if sizes of an architecture do not fit together. */
export function check(fits: boolean, model: string, problem: string): void {
  if (!fits) throw new OnnxIreError('invalid-option', `${model}: ${problem}`)
}
